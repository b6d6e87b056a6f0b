"""The namespaces of a container that its plan joins: those that are there already, and a user namespace, which is made for it.

A user namespace has to have its maps before anybody sets up anything in it, and only somebody outside can write them. So it is
made in advance by a process that does nothing else, and the container's plan joins it like any other. What the plan does before
that (opening the host's trees, joining namespaces of the host's) it does with the host's privileges.
"""

from __future__ import annotations

from pyrun.container.plan import check_user_namespace, namespace_slot
from pyrun.errors import PyrunError, SpecError
from pyrun.kernel.namespace import Namespace
from pyrun.kernel.spawn import create
from pyrun.kernel.step import Gate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from pyrun.spec.oci import OciIdMapping, OciSpec


class JoinedNamespaces:
    """What a container joins, held open.

    ``kinds`` is for :class:`~pyrun.container.plan.Setting`, in the order in which they can be joined; ``same`` are those that we
    are in already and that cannot be joined again.
    """

    def __init__(self, namespaces: Sequence[Namespace], same: Sequence[str] = ()) -> None:
        self._namespaces = {namespace.kind: namespace for namespace in namespaces}
        self.same = tuple(same)
        self.kinds = _order(self._namespaces)

    @classmethod
    def open(cls, spec: OciSpec) -> JoinedNamespaces:
        """Open what *spec* names by path, and make its user namespace if it wants a new one.

        Raises :class:`SpecError` with a pointer into the specification, :class:`KernelError` where a namespace cannot be made.
        """
        check_user_namespace(spec)
        opened: list[Namespace] = []
        same: list[str] = []
        try:
            for i, namespace in enumerate(spec.linux.namespaces):
                if namespace.path:
                    opened.append(_open(namespace.type, namespace.path, f"/linux/namespaces/{i}/path"))
                elif namespace.type == "user":
                    opened.append(make_user_namespace(spec.linux.uid_mappings, spec.linux.gid_mappings))
            _drop_our_own_user_namespace(opened, same)
            _check_sysctls(spec, opened)
        except BaseException:
            for each in opened:
                each.close()
            raise
        return cls(opened, same)

    def fds(self) -> dict[str, Namespace]:
        """What the slots of the plan are to be filled with."""
        return {namespace_slot(kind): self._namespaces[kind] for kind in self.kinds}

    def close(self) -> None:
        """Idempotent."""
        for namespace in self._namespaces.values():
            namespace.close()

    def __enter__(self) -> JoinedNamespaces:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def id_map(mappings: Sequence[OciIdMapping]) -> str:
    """The lines of /proc/PID/uid_map or gid_map, user_namespaces(7)."""
    return "".join([f"{each.container_id} {each.host_id} {each.size}\n" for each in mappings])


def make_user_namespace(uids: Sequence[OciIdMapping], gids: Sequence[OciIdMapping]) -> Namespace:
    """A new user namespace with these maps; nobody is in it."""
    with create((Gate(),), namespaces=("user",), uid_map=id_map(uids), gid_map=id_map(gids)) as holder:
        holder.wait_created()
        return Namespace.open("user", holder.process)


def _open(kind: str, path: str, pointer: str) -> Namespace:
    try:
        return Namespace.of_file(kind, path)
    except PyrunError as error:
        raise SpecError(pointer, str(error)) from None


def _order(namespaces: dict[str, Namespace]) -> tuple[str, ...]:
    """What belongs to the user namespace to be joined can be joined only from inside it, and what does not, only before. The
    mount namespace is the last of its group, since it changes what paths mean."""
    user = namespaces.get("user")
    others = sorted([kind for kind in namespaces if kind != "user"], key=lambda kind: kind == "mount")
    if user is None:
        return tuple(others)
    inside = [kind for kind in others if namespaces[kind].owner_id() == user.id]
    return (*[kind for kind in others if kind not in inside], "user", *inside)


def _drop_our_own_user_namespace(opened: list[Namespace], same: list[str]) -> None:
    """setns(2) does not enter it again."""
    for each in [each for each in opened if each.kind == "user"]:
        with Namespace.open("user") as ours:
            if each == ours:
                same.append("user")
                opened.remove(each)
                each.close()


def _check_sysctls(spec: OciSpec, opened: Sequence[Namespace]) -> None:
    """A network namespace that is named by path may be our own after all: then the setting would be the host's."""
    names = [name for name, _ in spec.linux.sysctl if name.replace("/", ".").startswith("net.")]
    for each in [each for each in opened if each.kind == "network" and names]:
        with Namespace.open("network") as ours:
            if each == ours:
                raise SpecError(
                    f"/linux/sysctl/{names[0]}", "the network namespace is the host's: it would be set there"
                )
