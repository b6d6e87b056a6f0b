"""What does a pod cost, from nothing to removed?"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable

import pyrun

_serial = itertools.count()


def cases() -> dict[str, Callable[[], object]]:
    directory = tempfile.mkdtemp(prefix="pyrun-bench-")
    return {f"pod of {count}": lambda count=count: _pod(directory, count) for count in (1, 2, 8)}


def _pod(directory: str, count: int) -> None:
    containers = [{"name": f"c{i}", "image": "host:", "command": ["/bin/true"]} for i in range(count)]
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bench"}}
    spec = pyrun.parse_pod({**manifest, "spec": {"restartPolicy": "Never", "containers": containers}}, "bench")
    with pyrun.Pod.create(spec, directory=os.path.join(directory, str(next(_serial)))) as pod:
        pod.start()
        pod.wait()
