"""What a process outside of a container does in its place: files by its root, as its users, in its network."""

from __future__ import annotations

import os

from pyrun.kernel.fd import Fd
from pyrun.linux.file import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from pyrun.linux.namespace import NAMESPACE_TYPES, setns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.kernel.spawn import HasFileno


def open_in_root(root: HasFileno, path: str, flags: int, mode: int = 0) -> Fd:
    """*path* as a process whose root is the directory *root* means it: neither links nor ``..`` lead out of it (openat2(2),
    RESOLVE_IN_ROOT). Raises :class:`KernelError`."""
    return Fd.adopt(openat2(root.fileno(), path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS))


def join_users(process: HasFileno) -> None:
    """Become root among the users of *process* (a pidfd), for good: this process, which must have no threads, has no rights left
    over what belongs to nobody there. Descriptors that it has stay open."""
    setns(process.fileno(), NAMESPACE_TYPES["user"].flag)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def join_network(process: HasFileno) -> None:
    """Take the calling thread, and no other, into the network of *process* (a pidfd); sockets that it makes stay there."""
    setns(process.fileno(), NAMESPACE_TYPES["network"].flag)
