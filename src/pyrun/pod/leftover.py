"""Pods by what the machine has of them: which there are, and taking away what is left of one whose launcher is gone."""

from __future__ import annotations

from pyrun.container.lower import CLASS_CGROUPS, PARENT_CGROUP, cgroup_name
from pyrun.errors import NotFound, Unsupported
from pyrun.kernel.cgroup import Cgroup
from pyrun.kernel.cgroup_tree import names_below
from pyrun.kernel.undo import Undo
from pyrun.linux.cgroupfs import find_root
from pyrun.pod.plan import PAUSE_CGROUP
from pyrun.pod.remove import remove_tree


def remove_leftovers(uid: str, directory: str) -> None:
    """End what still runs of pod *uid*, and remove its cgroup and *directory*, the one that :meth:`Pod.create` was given.

    Its namespaces and all mounts in them went with its processes. Idempotent; whoever calls has made sure that nobody
    drives the pod any more. Raises :class:`CleanupErrors` with what could not be removed.
    """
    undo = Undo(f"pod {uid}")
    undo.push(f"remove directory {directory}", remove_tree, directory)
    for parent in CLASS_CGROUPS.values():
        undo.push(f"remove cgroup {cgroup_name(uid, parent)}", _end_cgroup, cgroup_name(uid, parent))
    undo.run()


def kill_pod(uid: str) -> None:
    """SIGKILL to every process of pod *uid*, created or running; nothing if there is none. For a launcher that gives up:
    the creation that it is in the middle of then fails, and undoes itself."""
    for parent in CLASS_CGROUPS.values():
        try:
            with Cgroup.open(cgroup_name(uid, parent)) as cgroup:
                cgroup.kill()
        except (NotFound, Unsupported):
            continue


def list_pods() -> tuple[str, ...]:
    """The uids of the pods that have containers on this machine, created or running, whoever made them. As root or not.

    The cgroup tree is the record: a pod is there as long as anything of it is.
    """
    root = find_root()
    if root is None:
        return ()
    top = f"{root}/{PARENT_CGROUP}"
    found = [
        name for parent in CLASS_CGROUPS.values() for name in names_below(f"{root}/{parent}") if name.startswith("pod")
    ]
    for pool in [name for name in names_below(top) if name.startswith("pool-")]:
        found += [
            name for name in names_below(f"{top}/{pool}") if names_below(f"{top}/{pool}/{name}") != [PAUSE_CGROUP]
        ]
    return tuple([name.removeprefix("pod") for name in found])


def _end_cgroup(name: str) -> None:
    try:
        cgroup = Cgroup.open(name)
    except (NotFound, Unsupported):  # Unsupported: no cgroup v2, so no pod ever had one
        return
    cgroup.destroy()
