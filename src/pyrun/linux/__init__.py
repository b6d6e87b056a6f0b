"""The raw layer: functions named after man pages, one kernel operation each, raising :class:`pyrun.errors.KernelError`.

No policy, no state, no owning objects: descriptors go in and out as numbers and are close-on-exec. What owns them is in
:mod:`pyrun.kernel`. Each function's docstring has labels: ``Kernel:`` which call and since when, ``Affects:`` whom it acts on,
``Units:``, ``Raises:`` what an errno means here, ``Owns:`` who closes what, ``Order:`` what must come before or after.
"""
