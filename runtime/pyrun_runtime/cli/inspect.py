"""``pyrun inspect``: everything that is known of pods."""

from __future__ import annotations

import os

from pyrun import Monitor, NotFound, PyrunError, StateError
from pyrun_runtime.cli.choice import container_statuses
from pyrun_runtime.cli.document import check_format, render
from pyrun_runtime.cli.manifest import KEPT, KEPT_OBJECTS
from pyrun_runtime.cli.message import show
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS, reach_status
from pyrun_runtime.event_file import read_events
from pyrun_runtime.store import read_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pyrun import ExitRecord
    from pyrun_runtime.cli.options import Options, OptionTable

OPTIONS: OptionTable = {"output,o": "FORMAT", **ROOT_OPTIONS}
HELP = f"""\
usage: pyrun inspect [OPTION]... POD...

Prints all that is known of pods, as a list of JSON objects, one for each: the pod with its status, its sources as they were read,
what this machine has of it (directories, cgroup, namespaces, processes), what its monitor says, and its events.

  -o, --output FORMAT    json or yaml
{ROOT_HELP}
Exit status: 0; 1 if there is no such pod.
"""
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")


def run(options: Options, arguments: list[str]) -> int:
    output = check_format(options.get("output", "json"))
    pods, failed = reach_status(options, arguments)
    found = [_document(*each) for each in pods]
    if output == "json":
        import json

        show(json.dumps(found, indent=2))
    else:
        for document in found:
            show("---\n" + render(document, output), end="")
    return 1 if failed else 0


def _document(pod: dict[str, Any], directory: str) -> dict[str, Any]:
    run_root, uid = os.path.dirname(os.path.dirname(directory)), os.path.basename(directory)
    facts = read_facts(run_root, uid)
    return {
        "pod": pod,
        "sources": _sources(directory),
        "facts": facts,
        "runDirectory": directory,
        "logDirectory": facts.get("logs"),
        "containers": _containers(pod),
        "monitor": _monitor(directory),
        "events": read_events(directory),
    }


def _sources(directory: str) -> dict[str, str]:
    """The manifest and the files with objects, as they were read."""
    found = {}
    for name in sorted(os.listdir(directory)):
        if name == KEPT or name.startswith(KEPT_OBJECTS):
            with open(f"{directory}/{name}", encoding="utf-8", errors="replace") as file:
                found[name] = file.read()
    return found


def _containers(pod: Mapping[str, Any]) -> dict[str, object]:
    """Of those that run: what the kernel says of the first process."""
    return {name: _process(status["pid"]) for name, status in container_statuses(pod).items() if "pid" in status}


def _process(pid: int) -> dict[str, object]:
    return {
        "pid": pid,
        "cgroup": _read(f"/proc/{pid}/cgroup").rpartition("0::")[2].strip(),
        "namespaces": {kind: link for kind in NAMESPACES if (link := _link(f"/proc/{pid}/ns/{kind}"))},
        "mounts": _read(f"/proc/{pid}/mountinfo").splitlines(),
    }


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""  # it has just ended


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _monitor(directory: str) -> dict[str, object] | None:
    """What it says of itself, and how processes have ended; None of a pod that has none, or is over."""
    try:
        with Monitor.connect(directory) as monitor:
            status = monitor.status()
            told = {name: getattr(status, name) for name in type(status)._fields}
            return {"pid": monitor.pid, **told, "exits": [_exit(record) for record in monitor.exits()]}
    except (NotFound, StateError):
        return None
    except PyrunError as error:
        return {"error": str(error)}


def _exit(record: ExitRecord) -> dict[str, object]:
    return {
        "name": record.name,
        "pid": record.pid,
        "exitCode": record.status.exit_code,
        "signal": record.status.signal,
        "startedSeconds": record.started_s,
        "finishedSeconds": record.finished_s,
        "userSeconds": record.status.user_s,
        "systemSeconds": record.status.system_s,
        "oomKills": record.oom_kills,
        "memoryPeakBytes": record.memory_peak_bytes,
    }
