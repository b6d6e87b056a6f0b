"""A container's scope, from before its first process is born to its removal."""

from __future__ import annotations

from pyrun import Cgroup, create, steps
from pyrun_runtime.oci.systemd import (
    Systemd,
    Unit,
    annotation_properties,
    limit_properties,
    parse_unit,
    scope_properties,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import Limits, OciSpec

__all__ = ["NewScope", "parse_unit"]


class NewScope:
    """Makes the scope *unit* for the container of *spec*::

        with NewScope(systemd, unit, "web", spec, limits) as group:
            process = spawn(plan, cgroup=group)

    At the end of the block the holder goes, and the scope with it if nobody was born in it; after an error it is stopped.
    """

    def __init__(self, systemd: Systemd, unit: Unit, container: str, spec: OciSpec, limits: Limits) -> None:
        self._systemd = systemd
        self._unit = unit
        self._container = container
        self._extra = [*limit_properties(limits), *annotation_properties(spec.annotations)]
        self._limits = limits

    def __enter__(self) -> Cgroup:
        self._holder = create((steps.Gate(),))
        try:
            self._holder.wait_created()
            pid = self._holder.process.pid
            properties = [*scope_properties(self._unit, self._container, pid), *self._extra]
            self._systemd.start(self._unit, properties)
        except BaseException:
            self._holder.abandon()
            raise
        try:
            self._group = self._open_limited()
        except BaseException:
            self._end(stop=True)
            raise
        return self._group

    def _open_limited(self) -> Cgroup:
        """The limits once more, exactly, and those that systemd has no property for."""
        group = Cgroup.open(self._systemd.cgroup(self._unit).strip("/"))
        try:
            group.apply_limits(self._limits)
        except BaseException:
            group.close()
            raise
        return group

    def __exit__(self, kind: object, _error: object, _trace: object) -> None:
        self._group.close()
        self._end(stop=kind is not None)

    def _end(self, *, stop: bool) -> None:
        try:
            if stop:
                self._systemd.stop(self._unit)
        finally:
            self._holder.abandon()
