"""What a configuration may ask for and no step does yet: refused, because the container would run without it.

A row goes when its steps come.
"""

from __future__ import annotations

from pyrun.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.oci import OciProcess, OciSpec


def refuse_not_planned(spec: OciSpec) -> None:
    """Raises :class:`SpecError` for the first such field."""
    if spec.linux.intel_rdt is not None:
        raise SpecError("/linux/intelRdt", "classes of Intel RDT are not supported: nothing here writes to resctrl")
    rows = _of_process(spec.process) if spec.process is not None else []
    rows += [
        ("/linux/memoryPolicy", spec.linux.memory_policy),
        ("/linux/netDevices", spec.linux.net_devices),
        ("/linux/personality", spec.linux.personality),
    ]
    for pointer, value in rows:
        if value:
            raise SpecError(pointer, "not built yet")


def _of_process(process: OciProcess) -> list[tuple[str, object]]:
    return [
        ("/process/scheduler", process.scheduler),
        ("/process/ioPriority", process.io_priority),
        ("/process/execCPUAffinity", process.exec_cpu_affinity),
        ("/process/apparmorProfile", process.apparmor_profile),
        ("/process/selinuxLabel", process.selinux_label),
    ]
