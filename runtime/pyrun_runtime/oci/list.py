"""``pyrun-oci list``: the containers below the root."""

from __future__ import annotations

import os

from pyrun import NotFound
from pyrun_runtime.cli.message import UsageError, show
from pyrun_runtime.columns import align
from pyrun_runtime.oci.container import read_status
from pyrun_runtime.oci.json_text import to_json
from pyrun_runtime.oci.state import full_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.oci.main import Context
    from pyrun_runtime.oci.options import Options, OptionTable

OPTIONS: OptionTable = {"format,f": "table|json", "quiet,q": ""}
IN_ORDER = False
HELP = """\
usage: pyrun-oci list [OPTION]...

Lists the containers below --root.

  -f, --format FORMAT  table or json
  -q, --quiet          the IDs only
"""
COLUMNS = (
    ("ID", "id"),
    ("PID", "pid"),
    ("STATUS", "status"),
    ("BUNDLE", "bundle"),
    ("CREATED", "created"),
    ("OWNER", "owner"),
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    if arguments:
        raise UsageError(f"unexpected argument {arguments[0]!r}")
    format = options.get("format", "table")
    if format not in ("table", "json"):
        raise UsageError(f"--format {format}: there are table and json")
    if options.flag("quiet"):
        for id in context.store.ids():
            show(id)
        return 0
    containers = read_all(context)
    if format == "json":
        show(to_json(containers, ""))
    else:
        show("\n".join(table(containers)))
    return 0


def read_all(context: Context) -> list[dict[str, object]]:
    """The state of each; one that is deleted meanwhile is left out."""
    containers = []
    for id in context.store.ids():
        try:
            with context.store.look(id) as entry:
                state = entry.read_state()
                owner = _user_name(os.fstat(entry.fileno()).st_uid)
                containers.append({**full_state(state, read_status(context.store, entry, state)), "owner": owner})
        except NotFound:
            continue
    return containers


def table(containers: list[dict[str, object]]) -> list[str]:
    rows = [[heading for heading, _ in COLUMNS]]
    rows += [[str(container[field]) for _, field in COLUMNS] for container in containers]
    return align(rows)


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
