"""``pyrun-oci state``: what a container is, as JSON."""

from __future__ import annotations

from pyrun_runtime.cli.message import show
from pyrun_runtime.oci.container import STOPPED, read_status
from pyrun_runtime.oci.json_text import to_json
from pyrun_runtime.oci.options import container_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.oci.main import Context
    from pyrun_runtime.oci.options import Options, OptionTable
    from pyrun_runtime.oci.store import State

OPTIONS: OptionTable = {}
IN_ORDER = False
HELP = """\
usage: pyrun-oci state ID

Prints the state of a container as JSON.
"""


def run(context: Context, _options: Options, arguments: list[str]) -> int:
    with context.store.look(container_id(arguments)) as entry:
        state = entry.read_state()
        show(to_json(full_state(state, read_status(context.store, entry, state))))
    return 0


def full_state(state: State, status: str) -> dict[str, object]:
    """The fields of the specification, and those that runc and crun add."""
    return {
        "ociVersion": state.oci_version,
        "id": state.id,
        "pid": 0 if status == STOPPED else state.pid,
        "status": status,
        "bundle": state.bundle,
        "rootfs": state.rootfs,
        "created": state.created,
        "owner": state.owner,
        "annotations": dict(state.annotations),
    }
