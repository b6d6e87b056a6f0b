"""``pyrun-oci exec``: another program in a container that runs."""

from __future__ import annotations

import errno
import os

from pyrun import (
    ALL_CAPABILITIES_MASK,
    CONTAINER,
    Cgroup,
    KernelError,
    NotFound,
    Setting,
    StateError,
    available_capabilities,
    complete_process,
    create,
    load_oci,
    plan_exec,
)
from pyrun_runtime.oci.cgroup import open_cgroup
from pyrun_runtime.oci.container import CREATED, PAUSED, RUNNING, kinds_to_join, need_process, read_status, refer_calls
from pyrun_runtime.oci.descriptors import count_preserved, preserved_slots, send_pidfd
from pyrun_runtime.oci.exec_process import PROCESS_OPTIONS, PROCESS_OPTIONS_HELP, read_process
from pyrun_runtime.oci.explain import ProgramFailed, explain
from pyrun_runtime.oci.options import container_id
from pyrun_runtime.oci.store import CONFIG, write_file
from pyrun_runtime.terminal import Console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import Created, Fd, ForeignProcess, OciProcess, OciSpec, Plan, Process
    from pyrun_runtime.oci.main import Context
    from pyrun_runtime.oci.options import Options, OptionTable
    from pyrun_runtime.oci.store import Entry, State

OPTIONS: OptionTable = {
    **PROCESS_OPTIONS,
    "detach,d": "",
    "console-socket": "SOCKET",
    "pid-file": "FILE",
    "pidfd-socket": "SOCKET",
    "preserve-fds": "N",
    "cgroup": "PATH",
    "ignore-paused": "",
    "no-subreaper": "",
}
IN_ORDER = True
HELP = f"""\
usage: pyrun-oci exec [OPTION]... ID COMMAND [ARGUMENT]...
       pyrun-oci exec [OPTION]... --process FILE ID

Runs another program in a container. In the foreground its exit status is ours; 255 says that it could not be started.

{PROCESS_OPTIONS_HELP}\
  -d, --detach             do not wait for its end
  --pid-file FILE          write its pid there
  --console-socket SOCKET  send the terminal there, if it has one
  --pidfd-socket SOCKET    send a pidfd of it there
  --preserve-fds N         hand N descriptors on, from 3
  --cgroup PATH            in this group below the container's
  --ignore-paused          also in a container that is paused; the program then waits until that is resumed
  --no-subreaper           accepted; we are none
"""
FAILED_TO_START = 255  # runc


class Executed:
    """A program that runs in a container, and its terminal if that is ours."""

    def __init__(self, process: Process, terminal: Fd | None) -> None:
        self.process = process
        self.terminal = terminal

    def close(self) -> None:
        self.process.close()
        if self.terminal is not None:
            self.terminal.close()


def run(context: Context, options: Options, arguments: list[str]) -> int:
    id = container_id(arguments[:1])
    if options.flag("detach"):
        _start(context, options, id, arguments[1:], foreground=False).close()
        return 0
    from pyrun_runtime.oci.foreground import Signals, stand_in_front

    with Signals() as caught:
        executed = _start(context, options, id, arguments[1:], foreground=not options.get("console-socket"))
        try:
            return stand_in_front(executed.process, executed.terminal, caught)
        finally:
            executed.close()


def _start(context: Context, options: Options, id: str, command: list[str], *, foreground: bool) -> Executed:
    try:
        preserved = count_preserved(options)
        # Shared: a delete waits until it runs, for then it is found in the cgroup.
        with context.store.share(id) as entry:
            state = entry.read_state()
            _check_status(context, options, entry, state)
            spec = load_oci(entry.read_config(), f"{entry.path}/{CONFIG}")
            process = read_process(options, spec, command)
            with (
                need_process(state, "exec in") as init,
                Console(process.terminal, options.get("console-socket"), foreground) as console,
            ):
                process = complete_process(process, f"/proc/{init.pid}/root")
                slots = {**console.slots(), **preserved_slots(preserved)}
                executed = _spawn(options, state, spec, console.fit(process), init, slots)
                return _tell(options, executed, console)
    except Exception as error:
        text, _ = explain(error)
        raise ProgramFailed(f"exec failed: {text}", FAILED_TO_START) from error


def _check_status(context: Context, options: Options, entry: Entry, state: State) -> None:
    status = read_status(context.store, entry, state)
    if status == PAUSED and options.flag("ignore-paused"):
        return
    if status not in (CREATED, RUNNING):
        raise StateError(f"container {entry.id!r}", status, RUNNING)


def _spawn(
    options: Options, state: State, spec: OciSpec, process: OciProcess, init: ForeignProcess, slots: dict[str, int]
) -> Process:
    """Up to the moment when the program runs."""
    kinds = kinds_to_join(spec, init)
    preserved = len([name for name in slots if name.startswith("preserved")])
    # A gate is there for the listener of a filter, which somebody has to take before the program makes a call.
    gated = "listenerPath" in (spec.linux.seccomp or {})
    grantable = ALL_CAPABILITIES_MASK if "user" in kinds else available_capabilities()
    setting = Setting(gated=gated, preserve_fds=preserved, grantable=grantable)
    plan = plan_exec(spec, process, kinds, setting=setting)
    fds = {"stdin": 0, "stdout": 1, "stderr": 2, CONTAINER: init.fileno(), **slots}
    with _create(options, state, plan, init, fds) as created:
        created.wait_created()
        if setting.gated:
            refer_calls(created, spec, state, RUNNING)
        return created.start()


def _create(
    options: Options,
    state: State,
    plan: Plan,
    init: ForeignProcess,
    fds: dict[str, int],
) -> Created:
    """In the container's group, or where its first process is if that one may have none."""
    group = _group(options, state)
    if group is None:
        return create(plan, fds=fds)
    with group:
        try:
            return create(plan, cgroup=group, fds=fds)
        except KernelError as error:
            # It has groups of its own with controllers, so processes live in the leaves only.
            if error.errno != errno.EBUSY or options.get("cgroup"):
                raise
    with _group_of(init.pid) as leaf:
        return create(plan, cgroup=leaf, fds=fds)


def _group(options: Options, state: State) -> Cgroup | None:
    below = options.get("cgroup").strip("/")
    if below and state.cgroup:
        return Cgroup.open(f"{state.cgroup}/{below}", root=state.cgroup_root)
    return open_cgroup(state)


def _group_of(pid: int) -> Cgroup:
    with open(f"/proc/{pid}/cgroup") as file:
        paths = [line.strip().removeprefix("0::") for line in file if line.startswith("0::")]
    if not paths:
        raise NotFound(f"process {pid} is in no cgroup")
    return Cgroup.open(paths[0].strip("/"))


def _tell(options: Options, process: Process, console: Console) -> Executed:
    """To everybody who wants to know of it; if that fails it ends."""
    try:
        terminal = console.receive()
        send_pidfd(options, process.fileno())
        if options.get("pid-file"):
            write_file(os.path.abspath(options.get("pid-file")), str(process.pid).encode(), 0o644)
    except BaseException:
        process.end()
        raise
    return Executed(process, terminal)
