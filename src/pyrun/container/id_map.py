"""User namespaces that do nothing but hold mappings of ids: what mount_setattr(2) takes for a mount with mapped ids."""

from __future__ import annotations

from pyrun.container.namespaces import id_map
from pyrun.errors import KernelError
from pyrun.kernel.namespace import Namespace
from pyrun.kernel.spawn import create
from pyrun.kernel.step import Gate, Unshare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from pyrun.container.root_plan import IdMap
    from pyrun.spec.oci import OciIdMapping


class IdMaps:
    """Those of one plan, held open while it runs."""

    def __init__(self, namespaces: dict[str, Namespace]) -> None:
        self._namespaces = namespaces

    @classmethod
    def open(cls, maps: Sequence[IdMap]) -> IdMaps:
        """Make a user namespace for each. Raises :class:`KernelError` for mappings that the kernel refuses."""
        made = cls({})
        try:
            for each in maps:
                made._namespaces[each.slot] = make_id_map(each.uid_mappings, each.gid_mappings)
        except BaseException:
            made.close()
            raise
        return made

    def fds(self) -> dict[str, Namespace]:
        """What the slots of the plan are to be filled with."""
        return dict(self._namespaces)

    def close(self) -> None:
        """Idempotent."""
        for namespace in self._namespaces.values():
            namespace.close()

    def __enter__(self) -> IdMaps:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def make_id_map(uids: Sequence[OciIdMapping], gids: Sequence[OciIdMapping]) -> Namespace:
    """A new user namespace with these mappings; unlike a container's, it needs no root. Nobody is in it.

    Raises :class:`KernelError` for mappings that the kernel refuses, such as ranges that overlap.
    """
    with create((Unshare(("user",)), Gate())) as holder:
        holder.wait_created()
        _write_map(holder.process.pid, "uid_map", uids)
        _write_map(holder.process.pid, "gid_map", gids)
        return Namespace.open("user", holder.process)


def _write_map(pid: int, name: str, mappings: Sequence[OciIdMapping]) -> None:
    try:
        with open(f"/proc/{pid}/{name}", "wb", buffering=0) as file:
            file.write(id_map(mappings).encode())
    except OSError as error:
        raise KernelError(error.errno or 0, "write(2)", f"{name} of a mount with mapped ids") from None
