"""``pyrun-oci resume``: let the processes of a paused container go on."""

from __future__ import annotations

from pyrun_runtime.oci.container import PAUSED, read_status
from pyrun_runtime.oci.explain import NotRunning
from pyrun_runtime.oci.options import container_id
from pyrun_runtime.oci.pause import need_cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.oci.main import Context
    from pyrun_runtime.oci.options import Options, OptionTable

OPTIONS: OptionTable = {}
IN_ORDER = False
HELP = """\
usage: pyrun-oci resume ID

Lets the processes of a container that is paused go on.
"""


def run(context: Context, _options: Options, arguments: list[str]) -> int:
    id = container_id(arguments)
    with context.store.share(id) as entry:
        state = entry.read_state()
        if read_status(context.store, entry, state) != PAUSED:
            raise NotRunning(f"container {id!r} is not paused")
        with need_cgroup(state, "resumed") as group:
            group.thaw()
    return 0
