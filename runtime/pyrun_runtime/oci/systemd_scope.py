"""The scope of one container, from before its first process is born to its removal."""

from __future__ import annotations

import os

from pyrun import Cgroup, create, find_cgroup_root, oci_limits, steps
from pyrun_runtime.oci.systemd import (
    SYSTEM_SLICE,
    USER_SLICE,
    Systemd,
    annotation_properties,
    expand_slice,
    limit_properties,
    limits_in_force,
    parse_unit,
    scope_properties,
)
from pyrun_runtime.oci.systemd_bus import open_bus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import OciSpec
    from pyrun_runtime.oci.store import State
    from pyrun_runtime.oci.systemd import Unit


def unit_of(cgroups_path: str, id: str) -> Unit:
    return parse_unit(cgroups_path, id, SYSTEM_SLICE if os.geteuid() == 0 else USER_SLICE)


def place_scope(spec: OciSpec, id: str) -> tuple[str, str]:
    """Where systemd will put the scope: the path of its slice, and the name of the unit, which is the group's, too."""
    unit = unit_of(spec.linux.cgroups_path, id)
    with open_bus() as bus:
        return f"{find_cgroup_root()}{Systemd(bus).root()}{expand_slice(unit.slice)}", unit.name


class Holder:
    """The process that a scope is made around. It does nothing, and ends when somebody else lives in the scope."""

    def __init__(self) -> None:
        self._process = create((steps.Gate(),))

    def make_scope(self, state: State, spec: OciSpec) -> Cgroup:
        """Make the scope that *state* names, with the limits that systemd keeps, and open its group.

        After an error it is the caller's to remove: see :func:`remove_scope`.
        """
        self._process.wait_created()
        unit = unit_of(spec.linux.cgroups_path, state.id)
        properties = [
            *scope_properties(unit, state.id, self._process.process.pid),
            *(limit_properties(oci_limits(spec.linux.resources)) if spec.linux.resources is not None else []),
            *annotation_properties(spec.annotations),
        ]
        with open_bus() as bus:
            Systemd(bus).start(unit, properties)
        # From the top, because systemd does not know of every controller: it leaves huge pages to us, all the way down.
        return Cgroup.open(f"{state.cgroup_root}/{state.cgroup}".removeprefix(find_cgroup_root()))

    def end(self) -> None:
        """Idempotent."""
        self._process.abandon()


def update_scope(state: State, group: Cgroup) -> None:
    """Tell systemd of the limits that the group has by now: it would put back the old ones."""
    with open_bus() as bus:
        Systemd(bus).set_properties(state.cgroup, limit_properties(limits_in_force(group)))


def remove_scope(state: State) -> None:
    """Let systemd forget the unit. Nothing to do for one that went with its last process."""
    with open_bus() as bus:
        Systemd(bus).stop(state.cgroup)
