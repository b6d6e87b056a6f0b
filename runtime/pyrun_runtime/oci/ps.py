"""``pyrun-oci ps``: the processes in a container."""

from __future__ import annotations

import os

from pyrun import ExecError, Fd, PyrunError, spawn, steps
from pyrun_runtime.cli.message import UsageError, show
from pyrun_runtime.oci.cgroup import open_cgroup
from pyrun_runtime.oci.container import find_process
from pyrun_runtime.oci.json_text import to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.oci.main import Context
    from pyrun_runtime.oci.options import Options, OptionTable
    from pyrun_runtime.oci.store import State

OPTIONS: OptionTable = {"format,f": "table|json"}
IN_ORDER = True  # what comes after the ID is for ps(1)
HELP = """\
usage: pyrun-oci ps [--format FORMAT] ID [PS OPTION]...

Lists the processes of a container, with their pids outside of it.

  -f, --format FORMAT  table, by ps(1) with its options (-ef without any), or json, the pids alone
"""
FORMATS = ("table", "json")
DEFAULT_OPTIONS = ["-ef"]
SEARCH = "/usr/bin:/bin"


def run(context: Context, options: Options, arguments: list[str]) -> int:
    if not arguments:
        raise UsageError("the ID of a container is missing")
    format = options.get("format", "table")
    if format not in FORMATS:
        raise UsageError(f"--format {format}: there are {' and '.join(FORMATS)}")
    with context.store.look(arguments[0]) as entry:
        state = entry.read_state()
    pids = list_pids(state)
    if format == "json":
        show(to_json(pids, ""))
    else:
        show("\n".join(table(pids, arguments[1:])))
    return 0


def list_pids(state: State) -> list[int]:
    """Everybody in the container's cgroup; without one, its first process and those who descend from it."""
    group = open_cgroup(state)
    if group is not None:
        with group:
            return list(group.read_all_procs())
    process = find_process(state)
    if process is None:
        return []
    with process:
        return sorted(descendants(state.pid))


def descendants(pid: int) -> list[int]:
    """*pid* and those below it. One whose parent has ended is another's child by now, and is not found."""
    found = [pid]
    for parent in found:  # which grows meanwhile
        found += _children(parent)
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                children += [int(word) for word in file.read().split()]
    except OSError:
        pass  # it has just ended
    return children


def table(pids: list[int], options: list[str]) -> list[str]:
    """The lines of ps(1) about *pids*, under its heading. Where there is no ps, the pids alone."""
    try:
        heading, *lines = _ps(options or DEFAULT_OPTIONS).splitlines() or [""]
    except ExecError:
        if options:
            raise
        return ["PID", *map(str, pids)]
    if "PID" not in heading.split():
        raise PyrunError(f"ps {' '.join(options)} prints no column PID, by which the container's processes are found")
    column = heading.split().index("PID")
    wanted = {str(pid) for pid in pids}
    return [heading, *[line for line in lines if wanted.intersection(line.split()[column : column + 1])]]


def _ps(options: list[str]) -> str:
    """What ps(1) prints. Its own messages go where ours do."""
    reading, writing = [Fd.adopt(fd) for fd in os.pipe2(os.O_CLOEXEC)]
    plan = (
        steps.Duplicate("stdout", 1),
        steps.FindProgram("ps", os.environ.get("PATH", SEARCH)),
        steps.Exec(("ps", *options), tuple([f"{name}={value}" for name, value in os.environ.items()])),
    )
    with reading:
        with writing:
            process = spawn(plan, fds={"stdout": writing})
        with process, open(reading.detach(), "rb") as output:
            text = output.read()
            status = process.wait_status()
    if status.code != 0:
        raise PyrunError(f"ps {' '.join(options)}: {status.describe()}")
    return text.decode(errors="replace")
