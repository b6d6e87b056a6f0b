"""Where the cgroup of a container is, and how it comes and goes.

``linux.cgroupsPath`` is a path below the root of cgroup v2, with or without a slash before it; without one it is the container's
ID. What is there of the path belongs to whoever made it and stays; only what ``create`` has made is removed.
"""

from __future__ import annotations

import os

from pyrun import AlreadyExists, Cgroup, NotFound, StateError, apply_resources, find_cgroup_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import OciSpec
    from pyrun_runtime.oci.store import State

DISABLED, CGROUPFS, SYSTEMD = "disabled", "cgroupfs", "systemd"
# For statistics, and so that limits can be set later.
ACCOUNTED = ("cpu", "cpuset", "hugetlb", "io", "memory", "pids", "rdma")


def place_cgroup(manager: str, spec: OciSpec, id: str) -> tuple[str, str]:
    """Where the container's group will be: the part of its path that is there already, and the rest; both empty for none."""
    if manager == DISABLED:
        return "", ""
    top, parts = find_cgroup_root(), (spec.linux.cgroups_path or id).strip("/").split("/")
    kept = len(parts) - 1
    while kept and not os.path.isdir("/".join([top, *parts[:kept]])):
        kept -= 1
    return "/".join([top, *parts[:kept]]), "/".join(parts[kept:])


def make_cgroup(state: State) -> Cgroup:
    """The container's group, made now or found without a process. Raises :class:`StateError` if somebody lives there."""
    top = find_cgroup_root()
    name = f"{state.cgroup_root}/{state.cgroup}"[len(top) + 1 :]
    try:
        return Cgroup.create(name, optional_controllers=ACCOUNTED)
    except AlreadyExists:
        group = Cgroup.open(name)
        if group.read_events().populated:
            group.close()
            raise StateError(f"cgroup {group.path}", "in use by other processes", "the container's own") from None
        return group


class NewCgroup:
    """The group that a container is born in, for the block: open, with its limits; None where there is to be none.

    After an error it is the caller's to destroy, as later.
    """

    def __init__(self, state: State, spec: OciSpec) -> None:
        self._state = state
        self._spec = spec
        self._group: Cgroup | None = None

    def __enter__(self) -> Cgroup | None:
        if self._state.cgroup:
            self._group = make_cgroup(self._state)
            try:
                apply_resources(self._group, self._spec.linux.resources)
            except BaseException:
                self._group.close()
                raise
        return self._group

    def __exit__(self, *_error: object) -> None:
        if self._group is not None:
            self._group.close()


def open_cgroup(state: State) -> Cgroup | None:
    """The container's group; None if it has none, or it is gone."""
    if not state.cgroup:
        return None
    try:
        return Cgroup.open(state.cgroup, root=state.cgroup_root)
    except NotFound:
        return None


def destroy_cgroup(state: State) -> None:
    """Kill what lives in the container's group and remove it, with the groups above it that were made for it. Idempotent."""
    group = open_cgroup(state)
    if group is not None:
        group.destroy()
