"""Which container of a pod is meant, by the document of its status."""

from __future__ import annotations

from pyrun_runtime.cli.message import CommandError, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
KINDS = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


def container_statuses(pod: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """By name, in the order of the manifest."""
    return {status["name"]: status for kind in KINDS for status in pod["status"].get(kind, ())}


def check_container(pod: Mapping[str, Any], name: str) -> str:
    """*name*, if the pod has such a container. Raises CommandError."""
    known = container_statuses(pod)
    if name not in known:
        raise CommandError(
            f"container {name} is not valid for pod {pod['metadata']['name']}; it has {', '.join(known)}"
        )
    return name


def default_container(pod: Mapping[str, Any]) -> str:
    """That which the pod's annotation names, else its first regular one; where there are others, that is said."""
    known = container_statuses(pod)
    annotated = pod["metadata"].get("annotations", {}).get(DEFAULT_CONTAINER, "")
    if annotated in known:
        return str(annotated)
    name = str(pod["status"]["containerStatuses"][0]["name"])
    if len(known) > 1:
        say(f"Defaulted container {name!r} out of: {', '.join(known)}")
    return name
