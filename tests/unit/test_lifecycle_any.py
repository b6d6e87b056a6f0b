"""The lifecycle machine under any sequence of events; what has to hold is in :mod:`fixtures.any_life`."""

from __future__ import annotations

from hypothesis import settings

from fixtures.any_life import AnyLife

TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
