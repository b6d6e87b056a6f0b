"""Device filters on a real cgroup: loaded, attached, replaced, and asked by the kernel."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from fixtures.machine import patience
from pyrun.container.device_filter import DEFAULT_RULES, device_filter
from pyrun.errors import KernelError
from pyrun.kernel.cgroup import Cgroup
from pyrun.kernel.device_access import clear_device_filter, count_device_filters, set_device_filter
from pyrun.kernel.program import program_fd
from pyrun.kernel.spawn import spawn
from pyrun.kernel.step import Exec, FindProgram
from pyrun.linux import bpf_program
from pyrun.spec.oci import OciDeviceRule

pytestmark = pytest.mark.root

# Stays open for good once something is spawned: not a leak of the test that happens to be the first.
program_fd("pyrun-stage")

DENY_ALL = OciDeviceRule(False, "a", None, None, "rwm")
KMSG = ("c", 1, 11)


@pytest.fixture
def group() -> Iterator[Cgroup]:
    with Cgroup.create("pyrun-test/devices") as made:
        yield made


def can(group: Cgroup, script: str) -> bool:
    """Whether a shell command succeeds in the group. Its own descriptors were open before."""
    plan = (FindProgram("sh", "/usr/bin:/bin"), Exec(("sh", "-c", f"({script}) 2>&-"), ("PATH=/usr/bin:/bin",)))
    with spawn(plan, cgroup=group) as process:
        status = process.wait(patience(20))
    assert status is not None
    return status.code == 0


READ, WRITE = ": < /dev/kmsg", ": > /dev/kmsg"


def test_a_group_without_a_filter_may_use_what_its_user_may(group: Cgroup) -> None:
    assert count_device_filters(group) == 0
    assert can(group, READ)


def test_what_no_rule_allows_is_denied(group: Cgroup) -> None:
    set_device_filter(group, device_filter([DENY_ALL]))
    assert not can(group, READ)
    assert can(group, ": < /dev/null && : > /dev/zero && : < /dev/urandom")


def test_reading_can_be_allowed_by_itself(group: Cgroup) -> None:
    set_device_filter(group, device_filter([DENY_ALL, OciDeviceRule(True, *KMSG, "r")]))
    assert can(group, READ)
    assert not can(group, WRITE)


def test_a_later_rule_takes_away(group: Cgroup) -> None:
    set_device_filter(group, device_filter([OciDeviceRule(True), OciDeviceRule(False, *KMSG, "w")]))
    assert can(group, READ)
    assert not can(group, WRITE)


def test_a_node_can_be_made_but_not_opened(group: Cgroup) -> None:
    set_device_filter(group, device_filter([DENY_ALL]))
    made = "cd $(mktemp -d) && mknod kmsg c 1 11"
    assert can(group, f"{made} && rm kmsg && rmdir $PWD")
    assert not can(group, f"{made}; : < kmsg; ended=$?; rm kmsg; rmdir $PWD; exit $ended")


def test_groups_below_are_filtered_too(group: Cgroup) -> None:
    set_device_filter(group, device_filter([DENY_ALL]))
    with group.child("below") as below:
        set_device_filter(below, device_filter([OciDeviceRule(True)]))
        assert not can(below, READ)


def test_a_filter_takes_the_place_of_the_one_before(group: Cgroup) -> None:
    set_device_filter(group, device_filter([DENY_ALL]))
    set_device_filter(group, device_filter([OciDeviceRule(True)]))
    assert count_device_filters(group) == 1
    assert can(group, READ)


def test_a_filter_takes_the_place_of_several(group: Cgroup) -> None:
    for rules in ([DENY_ALL], [OciDeviceRule(True)]):  # as systemd and a runtime would attach one each
        fd = bpf_program.load_device_program(device_filter(rules))
        bpf_program.attach_device_program(group.fileno(), fd)
        os.close(fd)
    assert count_device_filters(group) == 2
    assert not can(group, READ)  # all are asked
    set_device_filter(group, device_filter([OciDeviceRule(True)]))
    assert count_device_filters(group) == 1
    assert can(group, READ)


def test_a_filter_can_be_taken_away(group: Cgroup) -> None:
    set_device_filter(group, device_filter([DENY_ALL]))
    clear_device_filter(group)
    clear_device_filter(group)
    assert count_device_filters(group) == 0
    assert can(group, READ)


def test_the_kernel_takes_every_program() -> None:
    """Its checker refuses what reads an unwritten register, jumps out, or cannot be reached."""
    dice = random.Random(1)
    numbers = (None, 0, 1, 2**31, 2**32 - 1)
    for _ in range(200):
        rules = [
            OciDeviceRule(
                dice.random() < 0.5,
                dice.choice("acb"),
                dice.choice(numbers),
                dice.choice(numbers),
                "".join(dice.sample("rwm", dice.randint(0, 3))),
            )
            for _ in range(dice.randint(0, 12))
        ]
        os.close(bpf_program.load_device_program(device_filter(rules)))


def test_many_rules_fit() -> None:
    rules = [OciDeviceRule(True, "c", 200, minor, "rw") for minor in range(1000)]
    os.close(bpf_program.load_device_program(device_filter(rules)))


def test_a_program_that_the_kernel_refuses_is_told_why(group: Cgroup) -> None:
    good = device_filter(DEFAULT_RULES)
    with pytest.raises(KernelError, match=r"bpf\(2\)") as caught:
        set_device_filter(group, good[:-8])  # runs off its end
    assert caught.value.__notes__ != ["the kernel gives no reason"]
    assert count_device_filters(group) == 0
