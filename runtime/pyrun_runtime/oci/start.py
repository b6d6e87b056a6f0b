"""``pyrun-oci start``: the program of a container that waits runs."""

from __future__ import annotations

from pyrun import ExecError, StateError
from pyrun_runtime.oci.cgroup import open_cgroup
from pyrun_runtime.oci.container import CREATED, need_process, read_status
from pyrun_runtime.oci.notify import Notifications
from pyrun_runtime.oci.options import container_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import ForeignProcess
    from pyrun_runtime.oci.main import Context
    from pyrun_runtime.oci.options import Options, OptionTable
    from pyrun_runtime.oci.store import Entry, State

# Of the front in C (csrc/oci_front.c), not of users: it has opened the gate, and that is why the program could not be executed.
EXEC_ERROR = "exec-error"
OPTIONS: OptionTable = {EXEC_ERROR: "ERRNO"}
IN_ORDER = False
HELP = """\
usage: pyrun-oci start ID

Starts the program of a container that 'pyrun-oci create' has made.
"""
SIGKILL = 9


def run(context: Context, options: Options, arguments: list[str]) -> int:
    with context.store.open(container_id(arguments)) as entry:
        state = entry.read_state()
        if options.number(EXEC_ERROR):
            raise ExecError(state.program, options.number(EXEC_ERROR))
        status = read_status(context.store, entry, state)
        if status != CREATED:
            raise StateError(f"container {entry.id!r}", status, CREATED)
        started = start(entry, state)
    # Without the lock: a program that never gets ready is to be deleted.
    with started:
        started.notifications.wait_ready(started.process)
    return 0


class Started:
    """A program that runs, and what it is to say when it is ready. As a context manager it lets go of both."""

    def __init__(self, process: ForeignProcess, notifications: Notifications) -> None:
        self.process = process
        self.notifications = notifications

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.close()
        self.notifications.close()


def start(entry: Entry, state: State) -> Started:
    """Let the program of a container run whose lock we have, between its hooks. If one of them fails the program ends."""
    process = need_process(state, "start")
    try:
        notifications = Notifications(entry, process.pid)
        if state.hooks:
            _start_with_hooks(entry, state, process)
        else:
            _open(entry, state)
    except BaseException:
        with process:
            process.signal(SIGKILL)
        raise
    return Started(process, notifications)


def _open(entry: Entry, state: State) -> None:
    error = entry.door.open()
    if error:
        raise ExecError(state.program, error)


def _start_with_hooks(entry: Entry, state: State, process: ForeignProcess) -> None:
    from pyrun import load_oci  # only where there are hooks: its tables cost as much as all else here
    from pyrun_runtime.oci.hooks import InContainer, run_poststart_hooks, run_start_hooks

    spec = load_oci(entry.read_config(), f"{entry.path}/config.json")
    group = open_cgroup(state)
    try:
        run_start_hooks(state, InContainer(spec, process, group))
    finally:
        if group is not None:
            group.close()
    _open(entry, state)
    run_poststart_hooks(spec, state)
