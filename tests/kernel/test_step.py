"""kernel/step.py against csrc/plan.h: every kind has a step, and each step fills what the kind reads."""

from __future__ import annotations

import re

import pytest

from fixtures.machine import ROOT
from pyrun._core import lib
from pyrun.kernel import encode
from pyrun.kernel import step as steps
from pyrun.kernel.step import Step

PLAN_H = ROOT / "csrc/plan.h"
KINDS = set(re.findall(r"^\s*X\((\w+), \d+\)", PLAN_H.read_text(), re.MULTILINE))


def step_types() -> list[type[Step]]:
    def below(cls: type[Step]) -> list[type[Step]]:
        return [item for sub in cls.__subclasses__() for item in (sub, *below(sub))]

    return [cls for cls in below(Step) if cls.__name__ in steps.__all__]


def example(cls: type[Step]) -> Step:
    """A value of the type, every field filled; the names of slots are the names of their fields."""
    by_name = {
        "kinds": ("uts",),
        "mode": "private" if cls in (steps.SetPropagation, steps.SetRootPropagation) else 0o100644,
        "options": ("size=1m", "mode=0700"),
        "attributes": ("ro", "nosuid"),
        "clear": ("nodev",),
        "propagation": ("slave", True) if cls is steps.SetMountAttributes else "slave",
        "top_attributes": ("noexec",),
        "top_clear": ("ro",),
        "then": ("shared", False),
        "groups": (3, 4),
        "monotonic_ns": 2 * 10**9 + 1,
        "boottime_ns": 2 * 10**9 + 1,
        "argv": ("a", "b"),
        "env": ("K=v",),
        "data": b"bytes",
        "program": b"\x06\0\0\0\0\0\xff\x7f" if issubclass(cls, steps.LoadFilter) else "/bin/true",
        "name": "net.ipv4.ip_forward" if cls is steps.SetSysctl else "name",
    }
    number = {"mask", "signal", "value", "uid", "gid", "effective", "permitted", "inheritable", "ambient"}
    number |= {"resource", "soft", "hard", "major", "minor", "number", "first", "last", "create_mode", "filter_flags"}
    number |= {"recursive", "create", "on_exec", "rows", "columns", "map_all", "keep", "content", "if_exists"}
    number |= {"policy", "scheduler_flags", "nice", "priority", "runtime_ns", "deadline_ns", "period_ns", "io_class"}
    number |= {"persona"}
    values = {field: by_name.get(field, 1 if field in number else field) for field in cls._fields}
    if cls is steps.SetSysctl:
        values["value"] = "1"
    return cls(**values)


def test_every_kind_has_a_step_and_every_step_a_kind() -> None:
    assert {cls.kind for cls in step_types()} == KINDS


@pytest.mark.parametrize("cls", step_types(), ids=lambda cls: cls.__name__)
def test_fields_of_a_step_are_those_that_plan_h_lists(cls: type[Step]) -> None:
    """The comment of the kind names each slot, string and number; the step fills these and no others."""
    comment = re.search(rf"^\s*X\({cls.kind}, \d+\)(.*)$", PLAN_H.read_text(), re.MULTILINE)
    assert comment
    text = re.sub(r"arg(\d),(\d)", r"arg\1 arg\2", comment[1])
    given = (
        "source",
        "at",
        "tree",
        "root",
        "terminal",
        "file",
        "socket",
        "id_map",
        "directory",
        "launcher",
        "stdin",
        "stdout",
        "stderr",
    )
    encoder = encode.Encoder(dict.fromkeys(given, 9))
    slots, strings, numbers = example(cls).fields(encoder)
    used = {f"fd{i}" for i, slot in enumerate(slots) if slot != lib.PLAN_NO_SLOT}
    used |= {f"str{i}" for i, string in enumerate(strings) if string}
    used |= {f"arg{i}" for i, number in enumerate(numbers) if number}
    listed = set(re.findall(r"\b(?:fd|str|arg)\d\b", text))
    if cls in (steps.SetSysctl, steps.SetSecurityLabel):
        listed -= {"fd0", "arg1"}  # a path of the child's own, to a file that exists
    if cls is steps.EnterPidNamespace:
        listed -= {"arg0"}  # the one that was joined
    if cls is steps.LoadFilter:
        listed -= {"fd0"}  # without a listener
    assert used == listed


@pytest.mark.parametrize("cls", step_types(), ids=lambda cls: cls.__name__)
def test_a_step_describes_itself_in_one_line(cls: type[Step]) -> None:
    step = example(cls)
    assert step.describe()
    assert "\n" not in step.describe()
    assert cls.reason
    assert step == example(cls)
    assert hash(step) == hash(example(cls))


# ---- access-time settings are one field ----------------------------------------------------------------------------------


def test_setting_an_access_time_clears_the_field() -> None:
    assert steps.attribute_change(("noatime",), ()) == (lib.MOUNT_ATTR_NOATIME, lib.MOUNT_ATTR__ATIME)
    assert steps.attribute_change(("relatime", "ro"), ()) == (lib.MOUNT_ATTR_RDONLY, lib.MOUNT_ATTR__ATIME)
    assert steps.attribute_change((), ("noatime",)) == (0, lib.MOUNT_ATTR__ATIME)
    assert steps.attribute_change(("ro",), ("nodev",)) == (lib.MOUNT_ATTR_RDONLY, lib.MOUNT_ATTR_NODEV)
