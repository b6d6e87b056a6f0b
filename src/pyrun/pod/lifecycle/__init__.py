"""The life of a pod as a pure machine: what happens goes in, what is to be done comes out. No clock, no I/O.

:mod:`~pyrun.pod.lifecycle.event` is what it takes, :mod:`~pyrun.pod.lifecycle.action` what it answers.
"""
