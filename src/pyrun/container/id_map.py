"""User namespaces that do nothing but hold mappings of ids: what mount_setattr(2) takes for a mount with mapped ids."""

from __future__ import annotations

import os

from pyrun.errors import KernelError
from pyrun.kernel.namespace import Namespace
from pyrun.kernel.spawn import create
from pyrun.kernel.step import Gate, Unshare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrun.container.root_plan import IdMap
    from pyrun.kernel.undo import Undo
    from pyrun.spec.oci import OciIdMapping


def open_id_maps(maps: Iterable[IdMap], undo: Undo) -> dict[str, Namespace]:
    """A user namespace for each slot; *undo* closes them. They may be closed as soon as the plan has run."""
    found: dict[str, Namespace] = {}
    for id_map in maps:
        namespace = open_id_map(id_map.uid_mappings, id_map.gid_mappings)
        undo.push(f"close the {id_map.slot}", namespace.close)
        found[id_map.slot] = namespace
    return found


def open_id_map(uid_mappings: Iterable[OciIdMapping], gid_mappings: Iterable[OciIdMapping]) -> Namespace:
    """A new user namespace with these mappings. Nobody lives in it once this returns; the caller closes it.

    Raises :class:`KernelError` for mappings that the kernel refuses: ranges that overlap, or more than 340 of them.
    """
    with create((Unshare(("user",)), Gate())) as holder:
        holder.wait_created()
        for name, mappings in (("uid_map", uid_mappings), ("gid_map", gid_mappings)):
            _write_map(f"/proc/{holder.process.pid}/{name}", mappings)
        return Namespace.open("user", holder.process)


def _write_map(path: str, mappings: Iterable[OciIdMapping]) -> None:
    lines = [f"{mapping.container_id} {mapping.host_id} {mapping.size}\n" for mapping in mappings]
    try:
        with open(path, "wb", buffering=0) as file:
            file.write("".join(lines).encode())
    except OSError as error:
        raise KernelError(error.errno or 0, "write(2) of a mount's mapped ids", os.path.basename(path)) from None
