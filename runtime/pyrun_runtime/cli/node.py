"""``pyrun node``: what this machine has for pods, and what of it is taken."""

from __future__ import annotations

import os

from pyrun import resource_names
from pyrun_runtime.admission import Admission, total
from pyrun_runtime.cli.document import check_format, render
from pyrun_runtime.cli.message import UsageError, one_line, say, show
from pyrun_runtime.cli.options import setting
from pyrun_runtime.columns import align
from pyrun_runtime.config import CONFIG, load_config
from pyrun_runtime.store import RUN_ROOT, STATE_ROOT, read_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrun_runtime.cli.options import Options, OptionTable

OPTIONS: OptionTable = {"output": "FORMAT", "root": "DIR", "state": "DIR", "config": "FILE"}
HELP = f"""\
usage: pyrun node [OPTION]...

Shows what this machine has for pods (capacity), what of that is theirs (allocatable: without the reserves), and what the pods
that were admitted have requested.

  --output FORMAT  table (the default), json or yaml
  --config FILE    what this node keeps for itself ({CONFIG}, if it exists)
  --root DIR       where running pods are known (PYRUN_ROOT; {RUN_ROOT})
  --state DIR      where volumes on disk are (PYRUN_STATE; {STATE_ROOT})

Exit status: 0.
"""
COLUMNS = ("RESOURCE", "CAPACITY", "RESERVED", "ALLOCATABLE", "REQUESTED", "")
COUNTED = ("pods", "pids")


def run(options: Options, arguments: list[str]) -> int:
    if arguments:
        raise UsageError(f"node takes no argument, found {arguments[0]!r}")
    output = options.get("output", "table")
    if output != "table":
        check_format(output)
    run_root = setting(options, "root", "PYRUN_ROOT", RUN_ROOT)
    storage = setting(options, "state", "PYRUN_STATE", STATE_ROOT)
    node = read_node(Admission(run_root, storage, load_config(options.get("config"))), run_root)
    if output == "table":
        show("\n".join([one_line(line) for line in table(node)]))
    else:
        show(render(to_document(node), output), end="")
    return 0


class Node:
    """What was found. ``pods`` are by uid: their name and what each has."""

    def __init__(
        self, capacity: dict[str, int], allocatable: dict[str, int], pods: dict[str, tuple[str, dict[str, int]]]
    ) -> None:
        self.capacity = capacity
        self.allocatable = allocatable
        self.pods = pods
        self.requested = total([amounts for _, amounts in pods.values()])


def read_node(admission: Admission, run_root: str) -> Node:
    names = resource_names()
    try:
        reserved = admission.reserved()
    except PermissionError:
        say("warning: only root sees which pods were admitted")
        reserved = {}
    pods = {uid: (str(read_facts(run_root, uid).get("name", "")), amounts) for uid, amounts in reserved.items()}
    return Node(admission.capacity(names), admission.allocatable(names), pods)


# ---- a table ----


def table(node: Node) -> list[str]:
    rows = [COLUMNS, *[_row(node, name) for name in node.capacity if node.capacity[name] or name in node.requested]]
    lines = align(rows, "  ")
    if node.pods:
        named = sorted(node.pods.values())
        pods = [("POD", "REQUESTS"), *[(name, _describe(amounts)) for name, amounts in named]]
        lines += ["", *align(pods, "  ")]
    return lines


def _row(node: Node, name: str) -> tuple[str, ...]:
    has, left, used = node.capacity[name], node.allocatable[name], node.requested.get(name, 0)
    share = f"{100 * used // left}%" if left else ""
    return (name, *[human(name, amount) for amount in (has, has - left, left, used)], share)


def _describe(amounts: Mapping[str, int]) -> str:
    return ", ".join([f"{name} {human(name, amount)}" for name, amount in amounts.items() if name != "pods"]) or "-"


def human(name: str, amount: int) -> str:
    """Rounded, for people; :func:`quantity` is exact."""
    if name in COUNTED or name == "cpu":
        return quantity(name, amount)
    for shift, unit in ((40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")):
        if amount >= 1 << shift:
            return f"{amount / (1 << shift):.1f}{unit}"
    return str(amount)


# ---- as Kubernetes shapes it ----


def quantity(name: str, amount: int) -> str:
    """As a server writes it: whole processors without a unit, bytes without one."""
    if name != "cpu":
        return str(amount)
    return f"{amount}m" if amount % 1000 else str(amount // 1000)


def _quantities(amounts: Mapping[str, int]) -> dict[str, str]:
    return {name: quantity(name, amount) for name, amount in amounts.items()}


def to_document(node: Node) -> dict[str, object]:
    """A Node of the API, with ``requested`` and ``pods`` beside what that has."""
    kernel = os.uname()
    pods = [{"uid": uid, "name": name, "requests": _quantities(amounts)} for uid, (name, amounts) in node.pods.items()]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": kernel.nodename},
        "status": {
            "capacity": _quantities(node.capacity),
            "allocatable": _quantities(node.allocatable),
            "nodeInfo": {"kernelVersion": kernel.release, "operatingSystem": "linux", "architecture": kernel.machine},
        },
        "requested": _quantities(node.requested),
        "pods": pods,
    }
