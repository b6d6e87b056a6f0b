"""A range of the machine's user and group ids for one pod, for its user namespace: none that another live pod has.

A range is taken by locking a file (flock(2)) that has its number for a name. The kernel lets go of it when the last descriptor is
closed, whatever ends the launcher, so a range never has to be given back after a crash; the file is all that may be left.
"""

from __future__ import annotations

import fcntl
import os

from pyrun.errors import KernelError, Unsupported
from pyrun.kernel.fd import Fd
from pyrun.value import Value

RANGE_IDS = 65536  # a pod's: what the ids of an image, 0 to 65534 and nobody, need
# The kubelet's where no subordinate ids say otherwise: 110 ranges above the machine's own (KEP-127).
DEFAULT_FIRST = 65536
DEFAULT_COUNT = 110
OWNERS = ("pyrun", "kubelet")


class UserRanges(Value):
    """Ids that pods may be given: *count* ranges of 65536 from *first* on; ``locks`` is the directory of their locks."""

    locks: str
    first: int = DEFAULT_FIRST
    count: int = DEFAULT_COUNT


class UserRange:
    """One range, held until :meth:`release`. Its lock can be given to who is to hold it, too (``fileno()``)."""

    def __init__(self, first: int, lock: Fd, path: str) -> None:
        self.first = first
        self.locks = os.path.dirname(path)
        self._lock = lock
        self._path = path

    def fileno(self) -> int:
        return self._lock.fileno()

    def release(self) -> None:
        """Idempotent."""
        if self._lock.closed:
            return
        try:
            os.unlink(self._path)  # while it is ours: whoever has it open looks whether it is still there
        except FileNotFoundError:
            pass
        self._lock.close()


def take_user_range(ranges: UserRanges) -> UserRange:
    """The first range that nobody has. Raises :class:`Unsupported` when all are taken."""
    try:
        os.makedirs(ranges.locks, 0o700, exist_ok=True)
        for number in range(ranges.count):
            path = os.path.join(ranges.locks, str(ranges.first + number * RANGE_IDS))
            lock = _lock(path)
            if lock is not None:
                return UserRange(ranges.first + number * RANGE_IDS, lock, path)
    except OSError as error:
        raise KernelError(error.errno or 0, "flock(2)", ranges.locks) from None
    raise Unsupported("hostUsers: false", f"a free range of ids: all {ranges.count} are taken")


def release_user_range(locks: str, first: int) -> None:
    """Give back a range that another process has taken, unless it is held. Idempotent."""
    path = os.path.join(locks, str(first))
    lock = _lock(path) if os.path.exists(path) else None
    if lock is not None:
        UserRange(first, lock, path).release()


def collect_user_ranges(locks: str) -> None:
    """Remove the locks in the directory *locks* that nobody holds: of launchers that were killed. Idempotent."""
    try:
        names = os.listdir(locks)
        for path in [os.path.join(locks, name) for name in names if name.isdecimal()]:
            lock = _lock(path)
            if lock is not None:
                UserRange(int(os.path.basename(path)), lock, path).release()
    except FileNotFoundError:
        return
    except OSError as error:
        raise KernelError(error.errno or 0, "flock(2)", locks) from None


def _lock(path: str) -> Fd | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its last owner may have removed it between our open and our lock: then the next one would lock another file.
        if os.fstat(fd).st_nlink:
            return Fd.adopt(fd)
    except BlockingIOError:
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def read_user_ranges(locks: str, subuid: str = "/etc/subuid", subgid: str = "/etc/subgid") -> UserRanges:
    """The ranges of this machine: the subordinate ids (subuid(5)) of ``pyrun`` or ``kubelet``, if both files give one of them the
    same, else the kubelet's default."""
    users, groups = _read(subuid), _read(subgid)
    for owner in OWNERS:
        found = users.get(owner)
        if found is not None and found == groups.get(owner) and found[1] >= RANGE_IDS:
            return UserRanges(locks, found[0], found[1] // RANGE_IDS)
    return UserRanges(locks)


def _read(path: str) -> dict[str, tuple[int, int]]:
    """Owner → first id and how many, the first line of each."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip().split(":") for line in file]
    except OSError:
        return {}
    found: dict[str, tuple[int, int]] = {}
    for line in lines:
        if len(line) == 3 and line[1].isdecimal() and line[2].isdecimal():
            found.setdefault(line[0], (int(line[1]), int(line[2])))
    return found
