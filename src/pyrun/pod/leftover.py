"""Taking away what is left of a pod whose launcher is gone, from the pod's uid alone."""

from __future__ import annotations

from pyrun.container.lower import cgroup_name
from pyrun.errors import NotFound, Unsupported
from pyrun.kernel.cgroup import Cgroup
from pyrun.kernel.undo import Undo
from pyrun.pod.volume import remove_tree


def remove_leftovers(uid: str, directory: str) -> None:
    """End what still runs of pod *uid*, and remove its cgroup and *directory*, the one that :meth:`Pod.create` was given.

    Its namespaces and all mounts in them went with its processes. Idempotent; whoever calls has made sure that nobody
    drives the pod any more. Raises :class:`CleanupErrors` with what could not be removed.
    """
    undo = Undo(f"pod {uid}")
    undo.push(f"remove directory {directory}", remove_tree, directory)
    undo.push(f"remove cgroup {cgroup_name(uid)}", _end_cgroup, cgroup_name(uid))
    undo.run()


def kill_pod(uid: str) -> None:
    """SIGKILL to every process of pod *uid*, created or running; nothing if there is none. For a launcher that gives up:
    the creation that it is in the middle of then fails, and undoes itself."""
    try:
        with Cgroup.open(cgroup_name(uid)) as cgroup:
            cgroup.kill()
    except (NotFound, Unsupported):
        pass


def _end_cgroup(name: str) -> None:
    try:
        cgroup = Cgroup.open(name)
    except (NotFound, Unsupported):  # Unsupported: no cgroup v2, so no pod ever had one
        return
    cgroup.destroy()
