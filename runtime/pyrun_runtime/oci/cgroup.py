"""Where the cgroup of a container is, and how it goes. How it comes: :mod:`pyrun_runtime.oci.new_cgroup`."""

from __future__ import annotations

from pyrun import Cgroup, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.oci.store import State

DISABLED, CGROUPFS, SYSTEMD = "disabled", "cgroupfs", "systemd"


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
        # By us, at once: systemd would ask the processes first, and wait.
        group.destroy()
    if state.manager == SYSTEMD:
        from pyrun_runtime.oci.systemd_scope import remove_scope

        remove_scope(state)
