"""Network devices of the host that a container gets: ``linux.netDevices``.

The kernel takes a device's addresses away when it changes its namespace; the specification wants them kept, and the device up.
"""

from __future__ import annotations

from pyrun.kernel.namespace import Namespace
from pyrun.linux.netlink import add_address, list_addresses, move_link, open_netlink, set_link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrun.kernel.spawn import HasFileno
    from pyrun.spec.oci import OciNetDevice


def move_net_devices(devices: Sequence[tuple[str, OciNetDevice]], process: HasFileno) -> None:
    """Move *devices* from our network namespace into that of *process* (its pidfd), which has not started its program yet.

    Raises :class:`KernelError` with the device's name. Those that were moved before it stay there, and end with that namespace.
    """
    if not devices:
        return
    with (
        Namespace.open("network", process) as namespace,
        open_netlink() as here,
        open_netlink(namespace.fileno()) as there,
    ):
        for name, device in devices:
            addresses = list_addresses(here, name, lasting=True)
            move_link(here, name, namespace.fileno(), device.name)
            for address in addresses:
                add_address(there, device.name or name, address)
            set_link(there, device.name or name, up=True)
