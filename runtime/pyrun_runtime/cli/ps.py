"""``pyrun ps``: the pods of this machine, a line each."""

from __future__ import annotations

import os
import time

from pyrun_runtime.cli.document import list_output, render
from pyrun_runtime.cli.message import FAILED, show
from pyrun_runtime.cli.options import setting
from pyrun_runtime.cli.pod_word import age_word, pod_word, ready_word, restarts_word, seconds_of
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS, STATUS_S, reach, tell_errors
from pyrun_runtime.columns import align
from pyrun_runtime.control import NoLauncher
from pyrun_runtime.store import RUN_ROOT, list_uids, read_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pyrun_runtime.cli.options import Options, OptionTable
    from pyrun_runtime.cli.reach import Reached

OPTIONS: OptionTable = {"output,o": "FORMAT", "namespace,n": "NAME", "no-headers": "", **ROOT_OPTIONS}
HEADER = ("NAME", "READY", "STATUS", "RESTARTS", "AGE")
HEADERS = {"table": HEADER, "wide": (*HEADER, "NAMESPACE", "UID", "QOS", "PID")}
HELP = f"""\
usage: pyrun ps [OPTION]... [POD...]

Lists the pods that run on this machine, or those named.

  -o, --output FORMAT    table, wide (with namespace, uid, QoS class and the launcher's pid), json, yaml, or name
  -n, --namespace NAME   only those of that namespace
  --no-headers           leave the first line of a table out
{ROOT_HELP}
A pod whose pyrun does not answer, or was killed, has the status Unknown; the next 'pyrun run' removes what is left of the latter.

Exit status: 0; 1 if there is no pod of a name that was given.
"""


def run(options: Options, arguments: list[str]) -> int:
    output = list_output(options)
    run_root = setting(options, "root", "PYRUN_ROOT", RUN_ROOT)
    words = arguments or list_uids(run_root)
    every = reach(options, words, {"verb": "status"}, STATUS_S) if words else []
    found = [each for each in every if each.directory]
    pods = [pod for each in found if (pod := _document(each, run_root)) is not None]
    if "namespace" in options:
        pods = [pod for pod in pods if pod["metadata"]["namespace"] == options["namespace"]]
    pods.sort(key=lambda pod: (pod["metadata"]["namespace"], pod["metadata"]["name"], pod["metadata"]["uid"]))
    _print(pods, output, run_root, "no-headers" not in options)
    # What is gone meanwhile is no error of a list, but of a name that somebody gave.
    return FAILED if tell_errors([each for each in every if arguments and not each.directory]) else 0


def _document(each: Reached, run_root: str) -> dict[str, Any] | None:
    """The pod and its status; None for one that has just gone."""
    if each.answer is not None:
        return dict(each.answer)
    uid = os.path.basename(each.directory)
    facts = read_facts(run_root, uid)
    if not facts:
        return None
    why = "its pyrun was killed" if isinstance(each.error, NoLauncher) else "its pyrun does not answer"
    metadata = {"name": facts["name"], "namespace": facts["namespace"], "uid": uid}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": "Unknown", "message": why}}


def _row(pod: Mapping[str, Any], run_root: str, now_s: float) -> tuple[str, ...]:
    metadata, status = pod["metadata"], pod["status"]
    start = status.get("startTime")
    launcher = read_facts(run_root, metadata["uid"]).get("launcher_pid", "")
    return (
        metadata["name"],
        ready_word(status),
        pod_word(status),
        restarts_word(status, now_s),
        age_word(now_s - seconds_of(start)) if start else "<unknown>",
        metadata["namespace"],
        metadata["uid"],
        status.get("qosClass", ""),
        str(launcher),
    )


def _print_table(pods: list[dict[str, Any]], run_root: str, header: tuple[str, ...], headed: bool) -> None:
    now_s = time.time()
    rows = [header] * headed + [_row(pod, run_root, now_s)[: len(header)] for pod in pods]
    for line in align(rows):
        show(line)


def _print(pods: list[dict[str, Any]], output: str, run_root: str, headed: bool) -> None:
    if output in HEADERS:
        _print_table(pods, run_root, HEADERS[output], headed)
    elif output == "name":
        for pod in pods:
            show(f"pod/{pod['metadata']['name']}")
    else:
        show(render({"apiVersion": "v1", "kind": "List", "items": pods}, output), end="")
