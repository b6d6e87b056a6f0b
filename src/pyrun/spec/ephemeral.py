"""An ephemeral container for a pod that runs, from what Kubernetes' API takes for one."""

from __future__ import annotations

from pyrun.spec.container_parse import read_container
from pyrun.spec.parse import Reader
from pyrun.spec.pod_check import check_pod
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.pod import PodSpec


def with_ephemeral(pod: PodSpec, document: object) -> PodSpec:
    """*pod* with one more ephemeral container, the last of them, from *document*, an ``EphemeralContainer``.

    Raises :class:`SpecError`: for what is wrong in it, with a pointer into *document*; for what does not go with the pod (a name
    that is taken, a target or a volume that is not there), with one into the pod.
    """
    container = read_container(Reader(document), [], "ephemeral")
    changed = replace(pod, ephemeral_containers=(*pod.ephemeral_containers, container))
    check_pod(changed)
    return changed
