"""What a configuration may ask for and no step does yet: refused, because the container would run without it.

A row goes when its steps come.
"""

from __future__ import annotations

from pyrun.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.oci import OciSpec


def refuse_not_planned(spec: OciSpec) -> None:
    """Raises :class:`SpecError` for the first such field."""
    if spec.linux.intel_rdt is not None:
        raise SpecError("/linux/intelRdt", "classes of Intel RDT are not supported: nothing here writes to resctrl")
