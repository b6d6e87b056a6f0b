"""``pyrun gc``: find and remove what nobody has any more."""

from __future__ import annotations

import os
from functools import partial

from pyrun import CleanupErrors, PyrunError, describe_error, find_ownerless, remove_ownerless, remove_tree
from pyrun_runtime.admission import find_unowned, release
from pyrun_runtime.cli.document import list_output, render
from pyrun_runtime.cli.message import FAILED, CommandError, say, show
from pyrun_runtime.cli.options import setting
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS, store_of
from pyrun_runtime.cli.supervisor import OWNER
from pyrun_runtime.columns import align
from pyrun_runtime.store import LOG_ROOT, list_uids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun_runtime.cli.options import Options, OptionTable
    from pyrun_runtime.store import Store

OPTIONS: OptionTable = {"dry-run": "", "output,o": "FORMAT", "no-headers": "", "logs": "DIR", **ROOT_OPTIONS}
HELP = f"""\
usage: pyrun gc [OPTION]...

Finds what is left of pods that nobody has any more, and removes it: directories and records of pods whose launcher was killed,
control groups in which neither pause nor a monitor lives, or whose monitor lost its directory, and logs of removed pods.
Detached pods without a supervisor get one. Mounts, namespaces and interfaces of a pod belong to its processes and go with them.

  --dry-run              find, and remove nothing
  -o, --output FORMAT    table, wide, json, yaml, or name
  --no-headers           leave the first line of a table out
  --logs DIR             where the logs of detached pods are (PYRUN_LOGS; {LOG_ROOT})
{ROOT_HELP}
What belongs to pods of another --root is left alone as long as these live.

Exit status: 0; 1 if something could not be removed.
"""
HEADER = ("KIND", "NAME", "WHY")


class Found:
    """Something that nobody has, and how it is removed."""

    def __init__(self, kind: str, name: str, why: str, remove: Callable[[], object]) -> None:
        self.row = (kind, name, why)
        self.remove = remove


def run(options: Options, _arguments: list[str]) -> int:
    output = list_output(options)
    if os.geteuid() != 0:
        raise CommandError("removing what others left needs root: sudo pyrun gc")
    store = store_of(options)
    failed = False
    if "dry-run" not in options:
        failed = _collect(store)
    found = [*_abandoned(store), *_groups(store), *_records(store), *_logs(options)]
    _print(found, output, "no-headers" not in options)
    if "dry-run" not in options:
        failed = any([not _remove(each) for each in found]) or failed
    return FAILED if failed else 0


def _collect(store: Store) -> bool:
    """Whether something of the pods that are known stays."""
    from pyrun_runtime.cli.detached import adopt_orphans

    failed = False
    for uid, error in store.collect(wait=True):
        if error is None:
            say(f"removed what was left of pod {uid}, whose pyrun was killed")
        else:
            say(f"left of pod {uid}, whose pyrun was killed: {describe_error(error)}")
            failed = True
    adopt_orphans(store)
    return failed


def _abandoned(store: Store) -> list[Found]:
    """For --dry-run: else they are gone by now."""
    claims, unknown = store.find_abandoned(wait=True)
    for claim in claims:
        claim.keep()
    whys = {claim.uid: "its pyrun was killed" for claim in claims}
    whys |= {uid: describe_error(error) for uid, error in unknown.items()}
    whys |= dict.fromkeys(store.find_orphans(), "its supervisor was killed")
    return [Found("pod", uid, why, lambda: None) for uid, why in whys.items()]


def _groups(store: Store) -> list[Found]:
    found = find_ownerless(list_uids(store.run_root))
    return [Found("cgroup", each.name, each.why, partial(remove_ownerless, each)) for each in found]


def _records(store: Store) -> list[Found]:
    return [
        Found("reservation", uid, "there is no such pod", partial(release, store.run_root, uid))
        for uid in find_unowned(store.run_root)
    ]


def _logs(options: Options) -> list[Found]:
    """Those that say whose they are, and whose pod is gone."""
    top = f"{setting(options, 'logs', 'PYRUN_LOGS', LOG_ROOT)}/pods"
    found = []
    for name in sorted(os.listdir(top)) if os.path.isdir(top) else []:
        path = f"{top}/{name}"
        try:
            owner = os.readlink(f"{path}/{OWNER}")
        except OSError:
            continue  # somebody else's
        if not os.path.isdir(owner):
            found.append(Found("logs", path, f"its pod was removed ({owner})", partial(remove_tree, path)))
    return found


def _remove(found: Found) -> bool:
    try:
        found.remove()
    except (PyrunError, CleanupErrors, OSError) as error:
        say(f"{found.row[1]}: {describe_error(error)}")
        return False
    return True


def _print(found: list[Found], output: str, headed: bool) -> None:
    rows = [each.row for each in found]
    if output in ("table", "wide"):
        for line in align([HEADER, *rows][not headed :]) if rows else []:
            show(line)
    elif output == "name":
        for kind, name, _ in rows:
            show(f"{kind}/{name}")
    else:
        items = [dict(zip(("kind", "name", "why"), row, strict=True)) for row in rows]
        show(render({"items": items}, output), end="")
