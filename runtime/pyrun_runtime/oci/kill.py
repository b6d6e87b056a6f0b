"""``pyrun-oci kill``: a signal to the first process of a container, or to all."""

from __future__ import annotations

from pyrun import ForeignProcess, KernelError, NotFound, read_start_ticks
from pyrun_runtime.cli.message import UsageError
from pyrun_runtime.oci.cgroup import open_cgroup
from pyrun_runtime.oci.container import need_process
from pyrun_runtime.oci.options import container_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import Cgroup
    from pyrun_runtime.oci.main import Context
    from pyrun_runtime.oci.options import Options, OptionTable
    from pyrun_runtime.oci.store import State

OPTIONS: OptionTable = {"all,a": ""}
IN_ORDER = False
HELP = """\
usage: pyrun-oci kill [--all] ID [SIGNAL]

Sends SIGNAL (SIGTERM without one; a name with or without SIG, or a number) to the first process of the container.

  -a, --all  to all processes of the container
"""
SIGKILL = 9
SIGNAL_MOST = 64


def run(context: Context, options: Options, arguments: list[str]) -> int:
    id = container_id(arguments, most=2)
    number = parse_signal(arguments[1] if len(arguments) > 1 else "TERM")
    with context.store.look(id) as entry:
        state = entry.read_state()
    if options.flag("all"):
        signal_all(state, number)
        return 0
    with need_process(state, "kill") as process:
        if not process.signal(number):
            raise NotFound(f"cannot kill container {id!r}: container not running")
    if number == SIGKILL and state.shares_pids:
        signal_all(state, number)  # as runc: else the others would be left without anybody who could be asked to end
    return 0


def parse_signal(text: str) -> int:
    """``SIGTERM``, ``TERM``, ``term`` and ``15`` are 15."""
    if text.isascii() and text.isdigit():
        number = int(text) if len(text) < 4 else 0
        if not 0 < number <= SIGNAL_MOST:
            raise UsageError(f"{text} is not the number of a signal")
        return number
    import signal  # makes enums, which costs some milliseconds

    name = "SIG" + text.upper().removeprefix("SIG")
    base, plus, offset = name.partition("+") if "+" in name else name.partition("-")
    found = signal.Signals.__members__.get(base)
    if found is None or (plus and not (base in ("SIGRTMIN", "SIGRTMAX") and offset.isdigit())):
        raise UsageError(f"{text!r} is not the name of a signal")
    number = int(found) + (int(offset or 0) if plus != "-" else -int(offset))
    if not 0 < number <= SIGNAL_MOST:
        raise UsageError(f"{text!r} is not the name of a signal")
    return number


def signal_all(state: State, number: int) -> None:
    """To every process of the container's cgroup. One that ends meanwhile is no failure."""
    group = open_cgroup(state)
    if group is None:
        with need_process(state, "kill") as process:
            process.signal(number)
        return
    with group:
        if number == SIGKILL:
            group.kill()
        else:
            _signal_each(group, number)


def _signal_each(group: Cgroup, number: int) -> None:
    try:
        pids = group.read_all_procs()
    except KernelError:  # removed meanwhile
        return
    for pid in pids:
        try:
            process = ForeignProcess.find(pid, read_start_ticks(pid))
        except NotFound:
            continue
        if process is not None:
            with process:
                process.signal(number)
