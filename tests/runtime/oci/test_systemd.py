"""The systemd cgroup manager: what it asks for, and that a real bus carries it."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pyrun
from fixtures.held import Held
from fixtures.machine import cgroup2_root
from fixtures.systemd import FakeSystemd
from pyrun import NO_LIMIT, CpuMax, Limits, SpecError, Unsupported
from pyrun_runtime.oci import systemd_bus
from pyrun_runtime.oci.main import main
from pyrun_runtime.oci.systemd import (
    BusError,
    Systemd,
    Unit,
    annotation_properties,
    expand_slice,
    limit_properties,
    limits_in_force,
    parse_unit,
    scope_properties,
)

UNIT = Unit("system.slice", "pyrun-web.scope")
UNKNOWN = "org.freedesktop.systemd1.NoSuchUnit"
EXISTS = "org.freedesktop.systemd1.UnitExists"


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("machine.slice:libpod:abc", Unit("machine.slice", "libpod-abc.scope")),
        (
            "kubepods-burstable-pod1_2.slice:cri-containerd:abc",
            Unit("kubepods-burstable-pod1_2.slice", "cri-containerd-abc.scope"),
        ),
        (":crio:abc", Unit("system.slice", "crio-abc.scope")),
        ("a.slice::abc", Unit("a.slice", "abc.scope")),
        ("-.slice:x:y", Unit("-.slice", "x-y.scope")),
        ("", Unit("system.slice", "pyrun-id.scope")),
    ],
)
def test_the_unit_that_a_path_names(path: str, unit: Unit) -> None:
    assert parse_unit(path, "id") == unit


@pytest.mark.parametrize(
    "path",
    [
        "/kubepods/pod1",
        "a.slice:b",
        "a.slice:b:c:d",
        "a.slice:b:",
        "a:b:c",
        "a--b.slice:b:c",
        "-a.slice:b:c",
        "a.slice:b:c.slice",
        ".slice:b:c",
        "a/b.slice:b:c",
        "a.slice:b:c/d",
    ],
)
def test_a_path_that_names_no_unit(path: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_unit(path, "id")
    assert caught.value.pointer == "/linux/cgroupsPath"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a.slice", "/a.slice"),
        ("a-b_c.slice", "/a.slice/a-b_c.slice"),
        ("-.slice", ""),
        ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
    ],
)
def test_where_a_slice_is(name: str, path: str) -> None:
    assert expand_slice(name) == path


# ---- properties ------------------------------------------------------------------------------------------------------


def test_a_scope_is_delegated_and_holds_the_process() -> None:
    properties = dict(scope_properties(UNIT, "web", 42))
    assert properties["PIDs"] == ("au", [42])
    assert properties["Delegate"] == ("b", True)
    assert properties["Slice"] == ("s", "system.slice")
    assert properties["DefaultDependencies"] == ("b", False)
    assert properties["MemoryAccounting"] == properties["CPUAccounting"] == ("b", True)


@pytest.mark.parametrize(
    ("limits", "properties"),
    [
        (Limits(), {}),
        (Limits(memory_max_bytes=1 << 20), {"MemoryMax": ("t", 1 << 20)}),
        (Limits(memory_max_bytes=NO_LIMIT), {"MemoryMax": ("t", 2**64 - 1)}),
        (Limits(memory_low_bytes=0, memory_swap_max_bytes=5), {"MemoryLow": ("t", 0), "MemorySwapMax": ("t", 5)}),
        (
            Limits(pids_max=7, cpu_weight=100, io_weight=10),
            {"TasksMax": ("t", 7), "CPUWeight": ("t", 100), "IOWeight": ("t", 10)},
        ),
        (Limits(cpu_idle=True, cpu_weight=100), {"CPUWeight": ("t", 0)}),
        (Limits(cpu_max=CpuMax(50_000)), {"CPUQuotaPeriodUSec": ("t", 100_000), "CPUQuotaPerSecUSec": ("t", 500_000)}),
        # 33,333 of 100,000 is 33.3 %, up to 34.
        (Limits(cpu_max=CpuMax(33_333)), {"CPUQuotaPeriodUSec": ("t", 100_000), "CPUQuotaPerSecUSec": ("t", 340_000)}),
        (
            Limits(cpu_max=CpuMax(NO_LIMIT, 5000)),
            {"CPUQuotaPeriodUSec": ("t", 5000), "CPUQuotaPerSecUSec": ("t", 2**64 - 1)},
        ),
        (Limits(cpuset_cpus="0-2,9"), {"AllowedCPUs": ("ay", b"\x07\x02")}),
        (Limits(cpuset_mems="1"), {"AllowedMemoryNodes": ("ay", b"\x02")}),
        (Limits(memory_max_bytes=9, unified=(("memory.max", "5"), ("io.max", "8:0 rbps=1"))), {"MemoryMax": ("t", 5)}),
        (
            Limits(unified=(("cpu.max", "20000 100000"), ("pids.max", "max"))),
            {"CPUQuotaPeriodUSec": ("t", 100_000), "CPUQuotaPerSecUSec": ("t", 200_000), "TasksMax": ("t", 2**64 - 1)},
        ),
        (Limits(unified=(("cpuset.cpus", "3"),)), {"AllowedCPUs": ("ay", b"\x08")}),
    ],
)
def test_limits_as_systemd_keeps_them(limits: Limits, properties: dict[str, Any]) -> None:
    assert dict(limit_properties(limits)) == properties


@pytest.mark.parametrize("text", ["a", "1-", "-1", "1,,2", "99999", "1-2-3"])
def test_a_set_that_is_none(text: str) -> None:
    with pytest.raises(SpecError, match="not a list of numbers"):
        limit_properties(Limits(cpuset_cpus=text))


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("TimeoutStopUSec", "uint64 123456789", ("TimeoutStopUSec", ("t", 123456789))),
        ("TimeoutStopSec", "1.5", ("TimeoutStopUSec", ("t", 1_500_000))),
        ("TimeoutStopSec", "uint64 3", ("TimeoutStopUSec", ("t", 3_000_000))),
        ("CollectMode", "'inactive-or-failed'", ("CollectMode", ("s", "inactive-or-failed"))),
        ("Description", '"a b"', ("Description", ("s", "a b"))),
        ("SendSIGHUP", "true", ("SendSIGHUP", ("b", True))),
        ("After", "['a.service', 'b.service']", ("After", ("as", ["a.service", "b.service"]))),
        ("Number", "-5", ("Number", ("i", -5))),
        ("Number", "byte 0x1f", ("Number", ("y", 31))),
    ],
)
def test_properties_from_annotations(name: str, text: str, found: object) -> None:
    assert annotation_properties([(f"org.systemd.property.{name}", text), ("other", "x")]) == [found]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[
            ("Wants", text)
            for text in (
                "",
                "unquoted",
                "byte 256",
                "uint64 -1",
                "'a",
                "'a\\'b'",
                "['a', b]",
                "[1]",
                "strange 5",
                "@as []",
            )
        ],
        ("ab", "true"),
        ("a-b", "true"),
        ("a/b~", "true"),
        ("TimeoutSec", "true"),
        ("TimeoutSec", "-1"),
        ("TimeoutSec", "double nan"),
    ],
)
def test_annotations_that_are_no_properties(name: str, text: str) -> None:
    with pytest.raises(SpecError) as caught:
        annotation_properties([(f"org.systemd.property.{name}", text)])
    assert caught.value.pointer.startswith("/annotations/org.systemd.property.")


# ---- over a bus ------------------------------------------------------------------------------------------------------


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSystemd]:
    with FakeSystemd(tmp_path) as server:
        for variable in ("DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS"):
            monkeypatch.setenv(variable, server.address)
        yield server


@pytest.fixture
def bus(fake: FakeSystemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[systemd_bus.SystemdBus]:
    assert fake.address  # it serves
    monkeypatch.setattr(systemd_bus, "BOOTED", str(tmp_path))
    with systemd_bus.open_bus() as opened:
        yield opened


def test_start_asks_for_the_unit_and_waits_for_its_job(fake: FakeSystemd, bus: systemd_bus.SystemdBus) -> None:
    systemd = Systemd(bus)
    limits = Limits(memory_max_bytes=5, cpuset_cpus="1", cpu_max=CpuMax(1000))
    systemd.start(UNIT, [*scope_properties(UNIT, "web", 42), *limit_properties(limits)])
    assert fake.methods() == ["Subscribe", "StartTransientUnit"]
    name, mode, properties, auxiliary = fake.calls[1][1]
    assert (name, mode, auxiliary) == ("pyrun-web.scope", "replace", [])
    found = dict(properties)
    assert found["PIDs"] == ("au", [42])
    assert found["AllowedCPUs"] == ("ay", b"\x02")
    assert found["MemoryMax"] == ("t", 5)
    assert systemd.root() == ""


def test_a_job_that_fails_is_an_error_and_leaves_no_failed_unit(fake: FakeSystemd, bus: systemd_bus.SystemdBus) -> None:
    fake.results.append("canceled")
    with pytest.raises(BusError, match=r"could not start pyrun-web\.scope: its job ended with 'canceled'"):
        Systemd(bus).start(UNIT, [])
    assert fake.methods()[-1] == "ResetFailedUnit"


def test_a_failed_unit_of_that_name_is_let_go_once(fake: FakeSystemd, bus: systemd_bus.SystemdBus) -> None:
    fake.errors["StartTransientUnit"] = deque([EXISTS])
    Systemd(bus).start(UNIT, [])
    assert fake.methods() == ["Subscribe", "StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]
    fake.errors["StartTransientUnit"] = deque([EXISTS, EXISTS])
    with pytest.raises(BusError, match="StartTransientUnit was told to fail"):
        Systemd(bus).start(UNIT, [])


def test_stop_waits_and_forgets(fake: FakeSystemd, bus: systemd_bus.SystemdBus) -> None:
    Systemd(bus).stop(UNIT.name)
    assert fake.methods() == ["Subscribe", "StopUnit", "ResetFailedUnit"]


def test_stop_of_what_is_gone_is_done(fake: FakeSystemd, bus: systemd_bus.SystemdBus) -> None:
    fake.errors = {"StopUnit": deque([UNKNOWN]), "ResetFailedUnit": deque([UNKNOWN])}
    Systemd(bus).stop(UNIT.name)
    fake.errors = {"StopUnit": deque(["org.freedesktop.DBus.Error.AccessDenied"])}
    with pytest.raises(BusError, match="StopUnit was told to fail"):
        Systemd(bus).stop(UNIT.name)


def test_properties_of_a_running_unit(fake: FakeSystemd, bus: systemd_bus.SystemdBus) -> None:
    Systemd(bus).set_properties(UNIT.name, limit_properties(Limits(pids_max=3)))
    assert fake.calls[-1] == ("SetUnitProperties", ("pyrun-web.scope", True, [("TasksMax", ("t", 3))]))


def test_an_answer_that_never_comes(
    fake: FakeSystemd, bus: systemd_bus.SystemdBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd_bus, "TIMEOUT_S", 0.2)
    fake.silent = True
    with pytest.raises(BusError, match=r"Subscribe: no answer within 0\.2 s"):
        Systemd(bus).start(UNIT, [])
    with pytest.raises(BusError, match=r"no word about /job within 0\.1 s"):
        bus.wait_job("/job", 0.1)


def test_no_systemd_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd_bus, "BOOTED", str(tmp_path / "none"))
    with pytest.raises(Unsupported, match=r"systemd does not run here .*--cgroup-manager=cgroupfs"):
        systemd_bus.open_bus()


@pytest.mark.parametrize("address", ["unix:path=/nowhere/bus", "tcp:host=localhost,port=1", "nonsense"])
def test_no_bus_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(systemd_bus, "BOOTED", str(tmp_path))
    for variable in ("DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.setenv(variable, address)
    with pytest.raises(Unsupported, match="systemd cgroup manager is not available here"):
        systemd_bus.open_bus()


def test_the_address_of_ones_own_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert systemd_bus.user_address() == "unix:path=/run/user/7/bus"
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:abstract=/tmp/x,guid=1")
    assert systemd_bus.socket_path(systemd_bus.user_address()) == "\0/tmp/x"


# ---- a container -----------------------------------------------------------------------------------------------------


class Contained:
    """Containers whose groups systemd makes: really made, below a slice of the test's."""

    def __init__(self, fake: FakeSystemd, held: Held) -> None:
        self.held = held
        self.top = f"{cgroup2_root()}/{TOP}"
        fake.root = f"/{TOP}"
        fake.on_start = self._start
        self.properties: dict[str, Any] = {}

    def _start(self, unit: str, properties: dict[str, Any]) -> None:
        self.properties = properties
        with pyrun.Cgroup.create(f"{TOP}/{SLICE}/{unit}") as group:
            group.attach(properties["PIDs"][1][0])
            group._created = False  # it stays when the block ends

    def __call__(self, *words: str) -> int:
        """In this process, which knows of the bus."""
        return main(["--root", str(self.held.bundle.parent / "state"), "--systemd-cgroup", *words])

    @property
    def group(self) -> Path:
        return Path(f"{self.top}/{SLICE}/libpod-held.scope")


TOP = "pyrun-test-systemd"
SLICE = "machine.slice"


@pytest.fixture
def contained(fake: FakeSystemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Contained]:
    monkeypatch.setattr(systemd_bus, "BOOTED", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    contained = Contained(fake, Held(tmp_path, cgroupsPath=f"{SLICE}:libpod:held"))
    yield contained
    contained("delete", "--force", "held")
    # Started from this process, it is our child; dbus-daemon, which is one too, still runs.
    while os.waitpid(-1, os.WNOHANG)[0]:
        pass
    # The slice is systemd's to remove: with a group's end go those above it that are empty.
    with pyrun.Cgroup.create(f"{TOP}/{SLICE}/last"):
        pass


@pytest.mark.root
def test_a_container_is_born_in_its_scope_and_the_holder_goes(fake: FakeSystemd, contained: Contained) -> None:
    assert contained("create", "--bundle", str(contained.held.bundle), "held") == 0
    (pid,) = (contained.group / "cgroup.procs").read_text().split()
    assert int(pid) != contained.properties["PIDs"][1][0]
    assert f"/{TOP}/{SLICE}/libpod-held.scope" in Path(f"/proc/{pid}/cgroup").read_text()
    assert contained.properties["Slice"] == ("s", SLICE)
    assert "StopUnit" not in fake.methods()
    assert contained("delete", "--force", "held") == 0
    assert fake.methods()[-2:] == ["StopUnit", "ResetFailedUnit"]
    assert not contained.group.exists()


@pytest.mark.root
def test_a_container_that_cannot_be_made_leaves_no_unit(
    fake: FakeSystemd, contained: Contained, capfd: pytest.CaptureFixture[str]
) -> None:
    contained.held.config["process"]["args"] = ["/no/such/program"]
    (contained.held.bundle / "config.json").write_text(json.dumps(contained.held.config))
    assert contained("create", "--bundle", str(contained.held.bundle), "held") == 1
    assert "no/such/program" in capfd.readouterr().err
    assert "StopUnit" in fake.methods()
    assert not contained.group.exists()


@pytest.mark.root
def test_a_unit_that_does_not_start_leaves_no_holder(
    fake: FakeSystemd, contained: Contained, capfd: pytest.CaptureFixture[str]
) -> None:
    """The leak check of tests/conftest.py counts processes."""
    fake.errors["StartTransientUnit"] = deque(["org.freedesktop.DBus.Error.InvalidArgs"])
    assert contained("create", "--bundle", str(contained.held.bundle), "held") == 1
    assert "systemd: StartTransientUnit was told to fail" in capfd.readouterr().err


@pytest.mark.root
def test_a_scope_in_which_others_live_is_left_to_them(contained: Contained, capfd: pytest.CaptureFixture[str]) -> None:
    assert contained("create", "--bundle", str(contained.held.bundle), "held") == 0
    assert contained("create", "--bundle", str(contained.held.bundle), "other") == 1
    assert "in use by other processes" in capfd.readouterr().err
    assert (contained.group / "cgroup.procs").read_text()


@pytest.mark.root
def test_update_tells_systemd_too(fake: FakeSystemd, contained: Contained) -> None:
    assert contained("create", "--bundle", str(contained.held.bundle), "held") == 0
    assert contained("update", "held") == 0
    method, (unit, runtime, _) = fake.calls[-1]
    assert (method, unit, runtime) == ("SetUnitProperties", "libpod-held.scope", True)


@pytest.mark.root
def test_where_systemd_does_not_run(tmp_path: Path) -> None:
    held = Held(tmp_path, manager="systemd", cgroupsPath="a.slice:b:c")
    said = held.fails("create", "--bundle", str(held.bundle), held.id)
    assert "systemd cgroup manager is not available here" in said
    assert held.fails("state", held.id) == "container 'held' does not exist"


def test_limits_that_the_group_has_are_those_that_systemd_is_told() -> None:
    files = {"memory.max": "max\n", "pids.max": "5\n", "cpu.max": "20000 100000\n", "cpuset.cpus": "\n"}

    class Group:
        def read_file(self, name: str) -> str:
            if name not in files:
                raise pyrun.KernelError(2, "open(2)")
            return files[name]

    found: Any = limits_in_force(Group())  # type: ignore[arg-type] # a group of files
    assert dict(limit_properties(found)) == {
        "MemoryMax": ("t", 2**64 - 1),
        "TasksMax": ("t", 5),
        "CPUQuotaPeriodUSec": ("t", 100_000),
        "CPUQuotaPerSecUSec": ("t", 200_000),
    }
