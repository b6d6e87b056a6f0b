"""Which kernel settings a container may ask for."""

from __future__ import annotations

import pytest

from pyrun.container.sysctl import check_sysctl
from pyrun.errors import SpecError

ALL = ("ipc", "network", "uts")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("kernel.shmmax", "ipc"),
        ("kernel/sem", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("fs/mqueue/queues_max", "ipc"),
        ("net.ipv4.ip_forward", "network"),
        ("net/ipv4/conf/eth0.100/forwarding", "network"),
        ("kernel.domainname", "uts"),
    ],
)
def test_a_setting_of_a_namespace_needs_that_namespace(name: str, kind: str) -> None:
    check_sysctl(name, "1", (kind,))
    with pytest.raises(SpecError, match=f"needs a namespace of type {kind}"):
        check_sysctl(name, "1", [other for other in ALL if other != kind])


@pytest.mark.parametrize(
    "name",
    [
        *("kernel.core_pattern", "kernel/core_pattern", "vm.swappiness", "fs.file-max", "kernel.panic", "kernel.shm"),
        *("kernel.msgmaxx", "netx.a", "fs.mqueuex", "dev.a", "user.max_user_namespaces", "net", ""),
    ],
)
def test_any_other_would_be_the_machines(name: str) -> None:
    with pytest.raises(SpecError):
        check_sysctl(name, "1", ALL)


@pytest.mark.parametrize(
    "name",
    [
        "net/../kernel/core_pattern",
        "net.ipv4..x",
        "net//x",
        "/net/x",
        "net/./x",
        "kernel.shmmax/../core_pattern",
        "net.",
    ],
)
def test_a_name_cannot_lead_elsewhere(name: str) -> None:
    """CVE-2022-0811 smuggled a second setting in; a name that climbs would do the same."""
    with pytest.raises(SpecError, match="is not the name of a setting"):
        check_sysctl(name, "1", ALL)


def test_what_the_configuration_says_elsewhere_is_not_said_twice() -> None:
    with pytest.raises(SpecError, match=r"^/linux/sysctl/kernel\.hostname: is set by /hostname"):
        check_sysctl("kernel.hostname", "x", ALL)
    with pytest.raises(SpecError, match="is set by /domainname, to 'other'"):
        check_sysctl("kernel.domainname", "x", ALL, "other")
    check_sysctl("kernel.domainname", "x", ALL, "x")
