"""``pyrun-oci delete``: everything of a container goes."""

from __future__ import annotations

from pyrun import NotFound, StateError, Undo
from pyrun_runtime.oci.cgroup import destroy_cgroup
from pyrun_runtime.oci.container import CREATED, STOPPED, find_process, read_status
from pyrun_runtime.oci.options import container_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.oci.main import Context
    from pyrun_runtime.oci.options import Options, OptionTable
    from pyrun_runtime.oci.store import Entry, State

OPTIONS: OptionTable = {"force,f": ""}
IN_ORDER = False
HELP = """\
usage: pyrun-oci delete [--force] ID

Removes what there is of a container that has stopped, or was never started.

  -f, --force  kill it first, and do not mind if there is none
"""
SIGKILL = 9


def run(context: Context, options: Options, arguments: list[str]) -> int:
    id, force = container_id(arguments), options.flag("force")
    try:
        entry = context.store.open(id)
    except NotFound:
        if force:
            return 0
        raise
    with entry:
        try:
            state = entry.read_state()
        except NotFound:  # a create that was killed as soon as it had begun
            if not force:
                raise
            entry.remove()
            return 0
        status = read_status(context.store, entry, state)
        if not force and status not in (STOPPED, CREATED):
            raise StateError(f"container {id!r}", status, f"{STOPPED} to be deleted")
        delete(context, entry, state)
    return 0


def delete(context: Context, entry: Entry, state: State) -> None:
    """Kill what runs, and remove all that there is of a container whose lock we have; then the hooks that wait for that."""
    undo = Undo(f"container {state.id}")
    undo.push("end the first process", _kill, state)
    undo.push("remove the cgroup", destroy_cgroup, state)
    undo.run()
    config = entry.read_config() if state.hooks else b""
    entry.remove()
    if config:
        from pyrun import load_oci
        from pyrun_runtime.oci.hooks import run_poststop_hooks

        run_poststop_hooks(load_oci(config, "config.json"), state, context.log)


def _kill(state: State) -> None:
    """Where there is a cgroup it was killed with that."""
    process = find_process(state)
    if process is not None:
        with process:
            process.signal(SIGKILL)
            process.wait_end()
