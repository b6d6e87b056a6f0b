"""``pyrun-oci run``: create and start, and unless ``--detach`` wait for the end and delete."""

from __future__ import annotations

from pyrun_runtime.oci.delete import delete
from pyrun_runtime.oci.launch import OPTIONS as LAUNCH_OPTIONS
from pyrun_runtime.oci.launch import OPTIONS_HELP, launch
from pyrun_runtime.oci.options import container_id
from pyrun_runtime.oci.start import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.oci.launch import Launched
    from pyrun_runtime.oci.main import Context
    from pyrun_runtime.oci.options import Options, OptionTable
    from pyrun_runtime.oci.start import Started

OPTIONS: OptionTable = {**LAUNCH_OPTIONS, "detach,d": "", "keep": "", "no-subreaper": ""}
IN_ORDER = False
HELP = f"""\
usage: pyrun-oci run [OPTION]... ID

Creates a container from a bundle and starts it. In the foreground its exit status is ours, signals are handed on, and it is
deleted when it has ended.

{OPTIONS_HELP}\
  -d, --detach             do not wait for its end
  --keep                   do not delete it at its end
  --no-subreaper           accepted; we are none
"""


def run(context: Context, options: Options, arguments: list[str]) -> int:
    id = container_id(arguments)
    if options.flag("detach"):
        launched = launch(context, options, id)
        with _start(context, launched) as started:
            launched.close()
            started.notifications.wait_ready(started.process)
        return 0
    from pyrun_runtime.oci.foreground import Signals, stand_in_front

    with Signals() as caught:
        launched = launch(context, options, id, foreground=not options.get("console-socket"))
        with _start(context, launched) as started:
            launched.entry.close()  # others may signal it, or run something in it
            try:
                status = stand_in_front(launched.process, launched.terminal, caught, started.notifications)
            finally:
                launched.close()
        if not options.flag("keep"):
            _delete(context, id)
    return status


def _start(context: Context, launched: Launched) -> Started:
    """Start what was just created; if that fails nothing of it stays."""
    try:
        return start(launched.entry, launched.state)
    except BaseException:
        launched.process.end()
        delete(context, launched.entry, launched.state)
        launched.close()
        raise


def _delete(context: Context, id: str) -> None:
    """Somebody may have been quicker."""
    from pyrun import NotFound

    try:
        with context.store.open(id) as entry:
            delete(context, entry, entry.read_state())
    except NotFound:
        pass
