"""What a child tells of its plan, over its report pipe."""

from __future__ import annotations

from struct import Struct

REPORT = Struct("=IIi")
"""``struct plan_report`` of csrc/plan.h: kind, index of the step, errno."""
