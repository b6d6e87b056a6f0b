"""``pyrun status``: a pod told for people, as ``kubectl describe pod`` does."""

from __future__ import annotations

import os
import time

from pyrun_runtime.cli.document import list_output, render
from pyrun_runtime.cli.message import one_line, show
from pyrun_runtime.cli.pod_word import age_word, pod_word, ready_word, seconds_of
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS, reach_status
from pyrun_runtime.columns import align
from pyrun_runtime.event_file import read_events
from pyrun_runtime.store import read_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from pyrun_runtime.cli.options import Options, OptionTable

OPTIONS: OptionTable = {"output,o": "FORMAT", **ROOT_OPTIONS}
HELP = f"""\
usage: pyrun status [OPTION]... POD...

Tells how pods are: phase, conditions, each container with its state and the one before, and what has happened last.

  -o, --output FORMAT    table, wide (with all events), json or yaml (the Pod with its status), or name (phase alone)
{ROOT_HELP}
Exit status: 0; 1 if there is no such pod.
"""
LAST_EVENTS = 10
KINDS = {
    "initContainerStatuses": "Init Containers",
    "containerStatuses": "Containers",
    "ephemeralContainerStatuses": "Ephemeral Containers",
}


def run(options: Options, arguments: list[str]) -> int:
    output = list_output(options)
    pods, failed = reach_status(options, arguments)
    _print(pods, output)
    return 1 if failed else 0


def _print(pods: list[tuple[dict[str, Any], str]], output: str) -> None:
    if output in ("json", "yaml"):
        documents = [pod for pod, _ in pods]
        one = documents[0] if len(documents) == 1 else {"apiVersion": "v1", "kind": "List", "items": documents}
        if documents:
            show(render(one, output), end="")
        return
    for number, (pod, directory) in enumerate(pods):
        if output == "name":
            show(f"pod/{pod['metadata']['name']} {pod['status']['phase']}")
            continue
        if number:
            show("\n")
        for line in _describe(pod, directory, time.time(), output == "wide"):
            show(line)


def _describe(pod: Mapping[str, Any], directory: str, now_s: float, all_events: bool) -> Iterator[str]:
    metadata, status = pod["metadata"], pod["status"]
    facts = read_facts(os.path.dirname(os.path.dirname(directory)), os.path.basename(directory))
    start = status.get("startTime")
    yield from _pairs(
        {
            "Name": metadata["name"],
            "Namespace": metadata["namespace"],
            "UID": metadata["uid"],
            "Start Time": f"{start} ({age_word(now_s - seconds_of(start))} ago)" if start else "",
            "Labels": _joined(metadata.get("labels", {})),
            "Annotations": _joined(metadata.get("annotations", {})),
            "Status": f"{status['phase']} ({pod_word(status)}, {ready_word(status)} ready)",
            "Reason": status.get("reason", ""),
            "Message": status.get("message", ""),
            "QoS Class": status.get("qosClass", ""),
            "Launcher": str(facts.get("launcher_pid", "")) + (" (supervisor)" if "detached" in facts else ""),
            "Logs": str(facts.get("logs", "")),
        }
    )
    for kind, title in KINDS.items():
        if status.get(kind):
            yield f"{title}:"
            for container in status[kind]:
                yield from _container(container)
    yield "Conditions:"
    rows = [("Type", "Status", "Reason")]
    rows += [(each["type"], each["status"], each.get("reason", "")) for each in status.get("conditions", ())]
    yield from [f"  {line}" for line in align(rows)]
    yield from _events(directory, now_s, all_events)


def _container(container: Mapping[str, Any]) -> Iterator[str]:
    yield f"  {container['name']}:"
    pairs = {
        **_state("State", container["state"]),
        **_state("Last State", container.get("lastState", {})),
        "Ready": str(bool(container.get("ready"))),
        "Started": str(bool(container.get("started"))),
        "Restart Count": str(container.get("restartCount", 0)),
        "Process": str(container.get("pid", "")),
        "Requests": _joined(container.get("resources", {}).get("requests", {})),
        "Limits": _joined(container.get("resources", {}).get("limits", {})),
    }
    yield from [f"    {line}" for line in _pairs(pairs)]


def _state(title: str, state: Mapping[str, Any]) -> dict[str, str]:
    """``State``, and below it what belongs to it, indented."""
    for word, inner in state.items():
        told = {f"  {_spaced(key)}": str(value) for key, value in inner.items() if value != ""}
        return {
            title: word.capitalize(),
            **{f"{key}{'' if title == 'State' else ' '}": value for key, value in told.items()},
        }
    return {}


def _spaced(key: str) -> str:
    """``exitCode`` as ``Exit Code``."""
    return "".join([f" {letter}" if letter.isupper() else letter for letter in key]).capitalize()


def _events(directory: str, now_s: float, all_of_them: bool) -> Iterator[str]:
    events = read_events(directory)
    shown = events if all_of_them else events[-LAST_EVENTS:]
    if not shown:
        yield "Events: <none>"
        return
    yield "Events:" if len(shown) == len(events) else f"Events (the last {len(shown)} of {len(events)}):"
    rows = [("Type", "Reason", "Age", "Container", "Message")]
    for event in shown:
        age = age_word(now_s - seconds_of(event["time"]))
        rows.append((event["type"], event["reason"], age, event["container"], one_line(event["message"])))
    yield from [f"  {line}" for line in align(rows)]


def _pairs(pairs: Mapping[str, str]) -> Iterator[str]:
    width = max([len(name) for name in pairs]) + 2
    for name, value in pairs.items():
        if value:
            yield f"{name.rstrip() + ':':{width}} {one_line(value)}"


def _joined(pairs: Mapping[str, str]) -> str:
    return ", ".join([f"{name}={value}" for name, value in pairs.items()])
