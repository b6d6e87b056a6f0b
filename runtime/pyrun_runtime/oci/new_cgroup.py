"""How the cgroup of a container comes.

``linux.cgroupsPath`` is a path below the root of cgroup v2, with or without a slash before it; without one it is the container's
ID. What is there of the path belongs to whoever made it and stays; only what ``create`` has made is removed.
Through systemd it is ``slice:prefix:name``.
"""

from __future__ import annotations

import os

from pyrun import AlreadyExists, Cgroup, SpecError, StateError, apply_resources, find_cgroup_root
from pyrun_runtime.oci.cgroup import DISABLED, SYSTEMD, destroy_cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import OciSpec
    from pyrun_runtime.oci.store import State
    from pyrun_runtime.oci.systemd_scope import Holder

# For statistics, and so that limits can be set later.
ACCOUNTED = ("cpu", "cpuset", "hugetlb", "io", "memory", "pids", "rdma")


def place_cgroup(manager: str, spec: OciSpec, id: str) -> tuple[str, str]:
    """Where the container's group will be: the part of its path that is there already, and the rest; both empty for none."""
    if manager == DISABLED:
        return "", ""
    if manager == SYSTEMD:
        from pyrun_runtime.oci.systemd_scope import place_scope

        return _checked(*place_scope(spec, id))
    top, parts = find_cgroup_root(), _split(spec.linux.cgroups_path or id)
    kept = len(parts) - 1
    while kept and not os.path.isdir("/".join([top, *parts[:kept]])):
        kept -= 1
    return _checked("/".join([top, *parts[:kept]]), "/".join(parts[kept:]))


def _split(path: str) -> list[str]:
    """The names of the groups on the way. The root is nobody's own, and what leads up again leads out of it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or "\n" in path:
        raise SpecError("/linux/cgroupsPath", f"{path!r} is not the path of a cgroup below the root")
    return parts


def _checked(root: str, name: str) -> tuple[str, str]:
    """Nobody lives there. Before it is written down as ours: what is, goes with the container."""
    if os.path.isdir(f"{root}/{name}"):
        with Cgroup.open(name, root=root) as group:
            _check_empty(group)
    return root, name


def _check_empty(group: Cgroup) -> None:
    if group.read_events().populated:
        raise StateError(f"cgroup {group.path}", "in use by other processes", "the container's own")


def make_cgroup(state: State) -> Cgroup:
    """The container's group, made now or found without a process. Raises :class:`StateError` if somebody lives there."""
    top = find_cgroup_root()
    name = f"{state.cgroup_root}/{state.cgroup}"[len(top) + 1 :]
    try:
        return Cgroup.create(name, optional_controllers=ACCOUNTED)
    except AlreadyExists:
        group = Cgroup.open(name)
        try:
            _check_empty(group)
        except BaseException:
            group.close()
            raise
        return group


class NewCgroup:
    """The group that a container is born in, for the block: open, with its limits; None where there is to be none.

    After an error in the block it is the caller's to destroy, as later.
    """

    def __init__(self, state: State, spec: OciSpec) -> None:
        self._state = state
        self._spec = spec
        self._group: Cgroup | None = None
        self._holder: Holder | None = None

    def __enter__(self) -> Cgroup | None:
        if not self._state.cgroup:
            return None
        self._group = self._make()
        try:
            self._furnish(self._group)
        except BaseException:
            self._let_go()
            destroy_cgroup(self._state)
            raise
        return self._group

    def _furnish(self, group: Cgroup) -> None:
        if group.read_events().frozen:
            # A process that is born in it would never get to its gate. A new group is frozen with the one above it.
            raise StateError(f"cgroup {group.path}", "frozen", "one whose processes run")
        apply_resources(group, self._spec.linux.resources)
        process, namespaces = self._spec.process, self._spec.linux.namespaces
        if process is not None and (process.user.uid or any([each.type == "user" for each in namespaces])):
            from pyrun import delegate_cgroup  # root's it is already

            delegate_cgroup(group, self._spec)

    def _make(self) -> Cgroup:
        if self._state.manager != SYSTEMD:
            return make_cgroup(self._state)
        from pyrun_runtime.oci.systemd_scope import Holder

        self._holder = Holder()
        try:
            return self._holder.make_scope(self._state, self._spec)
        except BaseException:
            self._let_go()
            destroy_cgroup(self._state)
            raise

    def __exit__(self, *_error: object) -> None:
        self._let_go()

    def _let_go(self) -> None:
        if self._group is not None:
            self._group.close()
        if self._holder is not None:
            self._holder.end()
