"""OCI's ``linux.resources`` on a cgroup: what a new container gets, and what ``update`` changes."""

from __future__ import annotations

import errno

from pyrun.container.device_filter import device_filter
from pyrun.container.oci_limits import POINTER, InForce, oci_limits
from pyrun.container.resources import NO_LIMIT
from pyrun.errors import KernelError, SpecError
from pyrun.kernel.cgroup_limits import CpuMax
from pyrun.kernel.device_access import set_device_filter
from pyrun.linux.cgroupfs import parse_cpu_max, parse_limit
from pyrun.linux.procfs import in_user_namespace
from pyrun.spec.oci import OciResources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.kernel.cgroup import Cgroup
    from pyrun.spec.oci import OciBlockIo, OciDeviceRule, OciMemory


def apply_resources(group: Cgroup, resources: OciResources | None, *, pointer: str = POINTER) -> None:
    """Give a new group the limits of *resources* and a filter of devices: without a rule only the default devices may be used.

    Before a process is in the group. Raises :class:`SpecError` for what cgroup v2 does not have, :class:`Unsupported` for what
    this machine does not have, :class:`KernelError` for a value that the kernel does not take.
    """
    wanted = resources or OciResources()
    bfq = _has_bfq(group, wanted.block_io)
    group.apply_limits(oci_limits(wanted, bfq=bfq, pointer=pointer))
    _filter_devices(group, wanted.devices)


def update_resources(group: Cgroup, resources: OciResources, *, pointer: str = POINTER) -> None:
    """Change the limits that *resources* name; the others stay. The filter of devices is made anew if there is a rule.

    Of a pair such as quota and period the half that is not given is what is in force. Raises as :func:`apply_resources`, and
    :class:`SpecError` where ``checkBeforeUpdate`` finds more memory in use than the new limit.
    """
    in_force = InForce(_read_memory_max(group), _read_cpu_max(group))
    bfq = _has_bfq(group, resources.block_io)
    limits = oci_limits(resources, in_force, bfq=bfq, pointer=pointer)
    if resources.memory is not None and resources.memory.check_before_update:
        _check_memory(group, resources.memory, f"{pointer}/memory/limit")
    group.apply_limits(limits)
    if resources.devices:
        _filter_devices(group, resources.devices)


def _has_bfq(group: Cgroup, block_io: OciBlockIo | None) -> bool:
    """Whether weights of block io go to the BFQ scheduler, which is asked for only where there are any."""
    asked = block_io is not None and (block_io.weight or block_io.weight_device)
    return bool(asked) and group.has_limit("io.bfq.weight")


def _filter_devices(group: Cgroup, rules: tuple[OciDeviceRule, ...]) -> None:
    try:
        set_device_filter(group, device_filter(rules))
    except KernelError as error:
        # In a user namespace nobody may attach one, and nobody needs to: no node of a device can be made there, and the
        # host's nodes are used with the rights of the user who began it. So runc and crun have it.
        if error.errno != errno.EPERM or not in_user_namespace():
            raise


# ---- what is in force ----


def _read_memory_max(group: Cgroup) -> int:
    data = _read(group, "memory.max")
    limit = parse_limit(data) if data is not None else None
    return NO_LIMIT if limit is None else limit


def _read_cpu_max(group: Cgroup) -> CpuMax:
    data = _read(group, "cpu.max")
    if data is None:
        return CpuMax(NO_LIMIT)
    quota, period = parse_cpu_max(data)
    return CpuMax(NO_LIMIT if quota is None else quota, period)


def _read(group: Cgroup, name: str) -> bytes | None:
    """None for a file that comes with a controller which the group does not have yet."""
    try:
        return group.read_file(name).encode()
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        return None


def _check_memory(group: Cgroup, memory: OciMemory, pointer: str) -> None:
    data = _read(group, "memory.current")
    used = int(data) if data is not None else 0
    if memory.limit is not None and 0 < memory.limit < used:
        raise SpecError(pointer, f"{memory.limit} is less than the {used} bytes that are in use (checkBeforeUpdate)")
