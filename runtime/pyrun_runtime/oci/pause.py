"""``pyrun-oci pause``: stop all processes of a container where they are."""

from __future__ import annotations

from pyrun_runtime.oci.cgroup import open_cgroup
from pyrun_runtime.oci.container import CREATED, PAUSED, RUNNING, read_status
from pyrun_runtime.oci.explain import NotRunning
from pyrun_runtime.oci.options import container_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import Cgroup
    from pyrun_runtime.oci.main import Context
    from pyrun_runtime.oci.options import Options, OptionTable
    from pyrun_runtime.oci.store import State

OPTIONS: OptionTable = {}
IN_ORDER = False
HELP = """\
usage: pyrun-oci pause ID

Stops every process of a container, until 'pyrun-oci resume ID'. Needs its cgroup.
"""


def run(context: Context, _options: Options, arguments: list[str]) -> int:
    id = container_id(arguments)
    with context.store.share(id) as entry:
        state = entry.read_state()
        status = read_status(context.store, entry, state)
        if status == PAUSED:
            raise NotRunning(f"container {id!r} is paused already")
        if status not in (CREATED, RUNNING):
            raise NotRunning(f"cannot pause container {id!r}: container not running")
        with need_cgroup(state, "paused") as group:
            group.freeze()
    return 0


def need_cgroup(state: State, what: str) -> Cgroup:
    """The container's group, without which it cannot be *what*."""
    group = open_cgroup(state)
    if group is None:
        raise NotRunning(f"container {state.id!r} cannot be {what}: it has no cgroup")
    return group
