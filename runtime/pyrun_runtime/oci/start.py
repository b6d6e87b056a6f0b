"""``pyrun-oci start``: the program of a container that waits runs."""

from __future__ import annotations

from pyrun import ExecError, StateError
from pyrun_runtime.oci.container import CREATED, read_status
from pyrun_runtime.oci.options import container_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.oci.main import Context
    from pyrun_runtime.oci.options import Options, OptionTable
    from pyrun_runtime.oci.store import Entry, State

OPTIONS: OptionTable = {}
IN_ORDER = False
HELP = """\
usage: pyrun-oci start ID

Starts the program of a container that 'pyrun-oci create' has made.
"""


def run(context: Context, _options: Options, arguments: list[str]) -> int:
    with context.store.open(container_id(arguments)) as entry:
        state = entry.read_state()
        status = read_status(context.store, entry, state)
        if status != CREATED:
            raise StateError(f"container {entry.id!r}", status, CREATED)
        start(entry, state)
    return 0


def start(entry: Entry, state: State) -> None:
    """Open the gate of a container whose lock we have, and wait until its program runs."""
    error = entry.door.open()
    if error:
        raise ExecError(state.program, error)
