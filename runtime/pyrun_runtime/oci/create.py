"""``pyrun-oci create``: a container up to the moment before its program runs."""

from __future__ import annotations

from pyrun_runtime.oci.launch import OPTIONS as LAUNCH_OPTIONS
from pyrun_runtime.oci.launch import OPTIONS_HELP, launch
from pyrun_runtime.oci.options import container_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.oci.main import Context
    from pyrun_runtime.oci.options import Options, OptionTable

OPTIONS: OptionTable = LAUNCH_OPTIONS
IN_ORDER = False
HELP = f"""\
usage: pyrun-oci create [OPTION]... ID

Makes a container from a bundle. Its process is there and waits: 'pyrun-oci start ID' runs its program.

{OPTIONS_HELP}"""


def run(context: Context, options: Options, arguments: list[str]) -> int:
    launched = launch(context, options, container_id(arguments))
    launched.process.close()
    launched.entry.close()
    return 0
