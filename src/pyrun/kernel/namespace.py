"""Namespaces as objects: held open by a descriptor, compared, joined by a plan."""

from __future__ import annotations

import errno
import os
import select

from pyrun.errors import KernelError, NotFound, StateError
from pyrun.kernel.fd import Fd
from pyrun.kernel.step import JoinNamespaces
from pyrun.linux.namespace import NAMESPACE_TYPES, open_namespace, open_owner, read_type
from pyrun.linux.pidfd import read_pid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from types import TracebackType

    from pyrun.kernel.spawn import HasFileno


class Namespace:
    """One namespace. It lives at least as long as this object is open; ``id`` is its inode number, which identifies it
    meanwhile."""

    def __init__(self, kind: str, fd: Fd, id: int) -> None:
        self.kind = kind
        self.id = id
        self._fd = fd

    def __repr__(self) -> str:
        return f"<Namespace {self.kind}:[{self.id}]>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Namespace) and (self.kind, self.id) == (other.kind, other.id)

    def __hash__(self) -> int:
        return hash((self.kind, self.id))

    @classmethod
    def open(cls, kind: str, process: HasFileno | None = None) -> Namespace:
        """The namespace of *kind* that *process* (its pidfd) is in; of this process without one.

        Raises :class:`NotFound` if the process has ended, :class:`KernelError` where this kernel has no such namespace.
        """
        try:
            fd = Fd.adopt(open_namespace(_proc_directory(process), kind))
        except KernelError as error:
            if error.errno == errno.ENOENT and process is not None and _has_ended(process):
                raise NotFound("the process has ended") from None
            raise
        try:
            _check_alive(process)
        except BaseException:
            fd.close()
            raise
        return cls(kind, fd, os.fstat(fd.fileno()).st_ino)

    @classmethod
    def of_file(cls, kind: str, path: str) -> Namespace:
        """The namespace behind the file *path*: one of /proc/PID/ns, or what one was bind-mounted on.

        Raises :class:`NotFound` if there is no such file, :class:`StateError` if it is no namespace of *kind*.
        """
        try:
            fd = Fd.open(path, os.O_RDONLY | os.O_NONBLOCK)  # not to wait for who opens a FIFO
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            raise NotFound(f"{path}: there is no such namespace") from None
        try:
            _check_kind(kind, fd, path)
        except BaseException:
            fd.close()
            raise
        return cls(kind, fd, os.fstat(fd.fileno()).st_ino)

    def owner_id(self) -> int:
        """The ``id`` of the user namespace that it belongs to; 0 for one that is out of our reach."""
        try:
            with Fd.adopt(open_owner(self.fileno())) as owner:
                return os.fstat(owner.fileno()).st_ino
        except KernelError as error:
            if error.errno == errno.EPERM:
                return 0
            raise

    def fileno(self) -> int:
        return self._fd.fileno()

    def close(self) -> None:
        """Idempotent."""
        self._fd.close()

    def __enter__(self) -> Namespace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class NamespaceSet:
    """Namespaces of one process, at most one of each kind: a mapping from kind to :class:`Namespace` that owns them.

    A plan joins them with :meth:`join_steps`, if it is spawned with :meth:`fds`::

        with NamespaceSet.open(pod.sandbox.pause, ("network", "uts")) as namespaces:
            spawn([*namespaces.join_steps(), Exec(("ip", "address"), program="/sbin/ip")], fds=namespaces.fds())
    """

    def __init__(self, namespaces: Collection[Namespace]) -> None:
        self._namespaces = {namespace.kind: namespace for namespace in namespaces}

    @classmethod
    def open(cls, process: HasFileno | None = None, kinds: Collection[str] = tuple(NAMESPACE_TYPES)) -> NamespaceSet:
        """Those of *process* (its pidfd), or of this process. Kinds that the kernel does not have are left out."""
        opened: list[Namespace] = []
        try:
            for kind in kinds:
                if os.path.exists(f"/proc/self/ns/{NAMESPACE_TYPES[kind].link}"):
                    opened.append(Namespace.open(kind, process))
        except BaseException:
            for namespace in opened:
                namespace.close()
            raise
        return cls(opened)

    def __repr__(self) -> str:
        return f"<NamespaceSet {', '.join([f'{kind}:[{each.id}]' for kind, each in self._namespaces.items()])}>"

    def __getitem__(self, kind: str) -> Namespace:
        return self._namespaces[kind]

    def __contains__(self, kind: object) -> bool:
        return kind in self._namespaces

    def __iter__(self) -> Iterator[str]:
        return iter(self._namespaces)

    def __len__(self) -> int:
        return len(self._namespaces)

    def shared_with(self, other: NamespaceSet) -> tuple[str, ...]:
        """The kinds in which both have the same namespace."""
        return tuple([kind for kind in self if kind in other and self[kind] == other[kind]])

    def fds(self) -> dict[str, Namespace]:
        """What the slots of :meth:`join_steps` are to be filled with."""
        return {_slot(kind): namespace for kind, namespace in self._namespaces.items()}

    def join_steps(self) -> tuple[JoinNamespaces, ...]:
        """Steps that enter all of them, in an order that works: user first, since the others may belong to it, mount last, since
        it changes what paths mean. The user namespace that we are in already is left out, since setns(2) does not enter it again;
        ``pid`` is for spawn's *pid_namespace*: it counts for children only."""
        left_out = {"pid", *(("user",) if self._has_our_user_namespace() else ())}
        order = sorted(
            [kind for kind in self if kind not in left_out], key=lambda kind: (kind == "mount", kind != "user")
        )
        return tuple([JoinNamespaces(_slot(kind), (kind,)) for kind in order])

    def _has_our_user_namespace(self) -> bool:
        return "user" in self and self["user"].id == os.stat("/proc/self/ns/user").st_ino

    def close(self) -> None:
        """Idempotent."""
        for namespace in self._namespaces.values():
            namespace.close()

    def __enter__(self) -> NamespaceSet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_kind(kind: str, fd: Fd, path: str) -> None:
    try:
        found = read_type(fd.fileno())
    except KernelError as error:
        if error.errno != errno.ENOTTY:
            raise
        raise StateError(path, "no namespace", f"a {kind} namespace") from None
    if found != kind:
        raise StateError(path, f"a {found} namespace", f"a {kind} namespace")


def _slot(kind: str) -> str:
    return f"{kind} namespace"


def _proc_directory(process: HasFileno | None) -> str:
    if process is None:
        return "/proc/self"
    pid = read_pid(process.fileno())
    if not pid:
        raise NotFound("the process has ended" if pid is None else "the process is in another PID namespace")
    return f"/proc/{pid}"


def _has_ended(process: HasFileno) -> bool:
    """Also of one that has not been reaped yet."""
    poll = select.poll()
    poll.register(process.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _check_alive(process: HasFileno | None) -> None:
    """A pid is another process's as soon as ours is reaped: what was opened by it counts only if ours is still there."""
    if process is not None and read_pid(process.fileno()) is None:
        raise NotFound("the process has ended")
