"""The pod of the benchmarks, and what its containers run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TRUE = ("/bin/true",)
STAMP = ("/bin/limit", "stamp")  # writes, in STAMP_BYTES of this machine's order, when its first instruction ran
STAMP_BYTES = 8
HOLD = ("/bin/limit", "processes", "1")


def processes(count: int) -> tuple[str, ...]:
    """*count* processes that stay, and a byte on standard output when all are there."""
    return ("/bin/limit", "processes", str(count))


def manifest(rootfs: str, containers: int, program: Sequence[str] = TRUE) -> dict[str, Any]:
    # As the configuration that runc and crun write has it.
    security = {"allowPrivilegeEscalation": False}
    each = {"image": f"rootfs:{rootfs}", "command": list(program), "securityContext": security}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bench"},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": f"c{number}", **each} for number in range(containers)],
        },
    }
