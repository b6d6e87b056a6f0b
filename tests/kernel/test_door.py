"""Gates: several in a plan, and one that another process opens."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import fixtures.child  # noqa: F401 - opens the programs once for all tests
from fixtures.machine import open_files
from pyrun.errors import NotFound, StateError, StepError
from pyrun.kernel.door import Door
from pyrun.kernel.foreign import ForeignProcess, read_start_ticks
from pyrun.kernel.process import Process
from pyrun.kernel.spawn import Created, create
from pyrun.kernel.step import Checkpoint, Exec, Gate, SetHostname, Step

pytestmark = pytest.mark.root

TRUE = Exec(("/bin/true",))
SLEEP = Exec(("/bin/sleep", "60"))


# ---- several gates -----------------------------------------------------------------------------------------------------


def test_a_plan_stops_at_each_of_its_gates() -> None:
    plan = (Checkpoint("one"), SetHostname("a"), Checkpoint("two"), SetHostname("b"), Gate(), TRUE)
    with create(plan, namespaces=("uts",)) as created:
        for name in ("one", "two", "start"):
            created.wait_gate(name)
            assert not reached_next(created)
            created.open_gate()
        with created.wait_started() as process:
            assert process.wait_status().code == 0


def reached_next(created: Created) -> bool:
    return bool(select_report(created))


def select_report(created: Created) -> list[object]:
    import select

    return list(select.select([created._report], [], [], 0.02)[0])


def test_waiting_for_the_last_gate_passes_those_that_were_opened_before() -> None:
    with create((Checkpoint("one"), Gate(), TRUE)) as created:
        created.open_gate()
        created.wait_created()
        with created.start() as process:
            assert process.wait_status().code == 0


def test_a_gate_is_opened_once() -> None:
    with create((Checkpoint("one"), Gate(), SLEEP)) as created:
        created.open_gate()
        created.open_gate()
        with pytest.raises(StateError, match="past its gate"):
            created.open_gate()
        created.wait_started()
        created.process.end()


def test_a_failure_between_gates_is_told_at_the_next() -> None:
    with create((Checkpoint("one"), SetHostname("x" * 65), Gate(), TRUE), namespaces=("uts",)) as created:
        created.wait_gate("one")
        created.open_gate()
        with pytest.raises(StepError) as caught:
            created.wait_created()
        assert (caught.value.index, caught.value.errno) == (1, errno.EINVAL)


def test_a_child_at_a_checkpoint_ends_with_its_launcher() -> None:
    """Else a runtime that is killed while it looks after the process would leave it behind."""
    code = (
        "from pyrun.kernel.spawn import create; from pyrun.kernel.step import Checkpoint, Exec, Gate; import os;"
        "c = create((Checkpoint('one'), Gate(), Exec(('/bin/true',)))); c.wait_gate('one');"
        "print(c.process.pid, flush=True); os.read(0, 1); os._exit(0)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout is not None
        pid = int(launcher.stdout.readline())
        process = ForeignProcess.find(pid, read_start_ticks(pid))
        assert process is not None
        with process:
            launcher.kill()
            assert process.wait_end(10)


# ---- a gate of a FIFO --------------------------------------------------------------------------------------------------


@contextmanager
def waiting(directory: Path, *steps: Step) -> Iterator[tuple[Door, Process]]:
    door = Door(str(directory))
    door.make()
    with door.open_gate() as gate:
        created = create((Gate(source="gate"), *steps), fds={"gate": gate}, report=door.open_report())
    with created.release() as process:
        yield door, process


def test_another_process_opens_the_gate(tmp_path: Path) -> None:
    with waiting(tmp_path, SLEEP) as (door, process):
        assert door.is_awaited()
        code = f"from pyrun.kernel.door import Door; print(Door({str(tmp_path)!r}).open())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "0\n"
        assert os.readlink(f"/proc/{process.pid}/exe") == os.path.realpath("/bin/sleep")
        assert not door.is_awaited()


def test_the_program_has_neither_of_the_fifos(tmp_path: Path) -> None:
    with waiting(tmp_path, SLEEP) as (door, process):
        door.open()
        assert not {target for target in open_files(process.pid) if target.startswith(str(tmp_path))}


def test_a_program_that_cannot_be_executed_is_told_to_who_opens(tmp_path: Path) -> None:
    with waiting(tmp_path, Exec(("/no/such/program",))) as (door, process):
        assert door.open() == errno.ENOENT
        assert process.wait_status().code == 127


def test_nobody_waits_behind_a_door_that_was_opened(tmp_path: Path) -> None:
    with waiting(tmp_path, SLEEP) as (door, _):
        door.open()
        with pytest.raises(StateError, match="past its gate"):
            door.open()


def test_nobody_waits_once_the_process_is_dead(tmp_path: Path) -> None:
    with waiting(tmp_path, SLEEP) as (door, process):
        process.kill()
        process.wait()
        assert not door.is_awaited()


def test_there_is_no_door_in_an_empty_directory(tmp_path: Path) -> None:
    assert not Door(str(tmp_path)).is_awaited()


# ---- a process that is not our child -----------------------------------------------------------------------------------


def test_a_process_is_found_by_pid_and_start(tmp_path: Path) -> None:
    with waiting(tmp_path, SLEEP) as (_, process):
        ticks = read_start_ticks(process.pid)
        found = ForeignProcess.find(process.pid, ticks)
        assert found is not None
        with found:
            assert not found.wait_end(0)
            assert found.signal(9)
            assert found.wait_end(10)
        # A zombie, and then nobody.
        assert ForeignProcess.find(process.pid, ticks) is None
        process.wait()
        assert ForeignProcess.find(process.pid, ticks) is None
        with pytest.raises(NotFound):
            read_start_ticks(process.pid)


def test_another_process_of_the_same_pid_is_not_taken_for_it() -> None:
    assert ForeignProcess.find(os.getpid(), read_start_ticks(os.getpid()) + 1) is None
