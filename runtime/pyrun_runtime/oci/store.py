"""What is known of containers, below ``--root``: a directory each, made by ``create`` and removed by ``delete``.

::

    /run/pyrun/<id>/state.json     who it is; replaced as a whole
                    config.json    its configuration, as it was when it was created
                    gate, report   FIFOs to the process that waits to be started (pyrun.Door)
                    front          what the front in C needs of it (pyrun_runtime.oci.record)

The directory itself is the lock (flock(2)): whoever makes, starts or deletes the container has it alone, whoever runs something
in it shares it, and who only looks or signals needs none, because a process is found by its pid *and* its start time. state.json
is there before anything else is made, and says what there may be by then, so what a ``create`` leaves that was killed can be
removed.
"""

from __future__ import annotations

import errno
import fcntl
import os

from pyrun import AlreadyExists, Door, Fd, NotFound, PyrunError, Value, load_json
from pyrun_runtime.oci.json_text import to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

ROOT = "/run/pyrun"
STATE = "state.json"
CONFIG = "config.json"
RECORD = "front"
ID_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
RESERVED = (".", "..", "pods")  # the last: where `pyrun run` has its own, below the same root
ID_MOST = 1024


class State(Value):
    """state.json.

    ``created`` is when it was created (RFC 3339); ``program`` is for messages. ``cgroup_root`` is the part of its cgroup's path
    that was there before, ``cgroup`` the rest. ``pid`` is 0 until the process is there, and when that
    waits to be started all is ``complete``. ``hooks``: config.json has some for later. ``shares_pids``:
    its PID namespace is not its own, so its processes do not end with the first.
    """

    id: str
    bundle: str
    rootfs: str
    oci_version: str
    created: str
    program: str
    manager: str
    cgroup_root: str = ""
    cgroup: str = ""
    pid: int = 0
    complete: bool = False
    shares_pids: bool = False
    start_ticks: int = 0
    hooks: bool = False
    owner: str = ""
    annotations: tuple[tuple[str, str], ...] = ()


def default_root() -> str:
    """``/run/pyrun``, or below XDG_RUNTIME_DIR for a user who is not root."""
    directory = os.environ.get("XDG_RUNTIME_DIR", "")
    return f"{directory}/pyrun" if directory.startswith("/") and os.geteuid() != 0 else ROOT


def check_id(id: str) -> str:
    """*id*, if it can be one. It becomes a file's name, so a slash in it would be another directory's."""
    if not id or id in RESERVED or len(id) > ID_MOST or not ID_LETTERS.issuperset(id):
        raise PyrunError(f"{id!r} cannot be the ID of a container: letters, digits and _ + - . can be in it")
    return id


class Store:
    """The containers below *root*."""

    def __init__(self, root: str) -> None:
        self.root = root

    def make(self, id: str) -> Entry:
        """The directory of a new container, locked. Raises :class:`AlreadyExists`."""
        path = f"{self.root}/{check_id(id)}"
        os.makedirs(self.root, 0o700, exist_ok=True)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            raise AlreadyExists(f"container {id!r} already exists") from None
        entry = self._lock(id, fcntl.LOCK_EX)
        assert entry is not None
        return entry

    def open(self, id: str) -> Entry:
        """The container's directory, which nobody else changes meanwhile. Raises :class:`NotFound`."""
        return self._must(id, self._lock(id, fcntl.LOCK_EX))

    def share(self, id: str) -> Entry:
        """The same, which others may share and nobody removes meanwhile."""
        return self._must(id, self._lock(id, fcntl.LOCK_SH))

    def look(self, id: str) -> Entry:
        """The same without a lock. It may go at any time."""
        return self._must(id, self._open(id))

    def is_made(self, id: str) -> bool:
        """Whether somebody has it alone at the moment."""
        try:
            entry = self._lock(id, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        if entry is not None:
            entry.close()
        return False

    def ids(self) -> list[str]:
        """Those that there are, sorted."""
        try:
            names = os.listdir(self.root)
        except FileNotFoundError:
            return []
        return sorted([name for name in names if os.path.exists(f"{self.root}/{name}/{STATE}")])

    def _must(self, id: str, entry: Entry | None) -> Entry:
        if entry is None:
            raise NotFound(f"container {id!r} does not exist")
        return entry

    def _lock(self, id: str, how: int) -> Entry | None:
        """Who waited for a lock may have it on a directory that was removed meanwhile: then it looks again."""
        while (entry := self._open(id)) is not None:
            try:
                fcntl.flock(entry.fileno(), how)
                if entry.is_in_place():
                    entry.is_alone = not how & fcntl.LOCK_SH
                    return entry
            except BaseException:
                entry.close()
                raise
            entry.close()
        return None

    def _open(self, id: str) -> Entry | None:
        path = f"{self.root}/{check_id(id)}"
        try:
            return Entry(id, path, Fd.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            return None


class Entry:
    """One container's directory. As a context manager it lets go of the lock; ``is_alone`` while nobody else has one."""

    def __init__(self, id: str, path: str, fd: Fd) -> None:
        self.id = id
        self.path = path
        self.door = Door(path)
        self.is_alone = False
        self._fd = fd

    def fileno(self) -> int:
        return self._fd.fileno()

    def is_in_place(self) -> bool:
        """Whether the name still leads to what is open here."""
        try:
            there = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        ours = os.fstat(self.fileno())
        return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)

    def read_state(self) -> State:
        """Raises :class:`NotFound` where there is none: a ``create`` that has just begun, or was killed right then."""
        path = f"{self.path}/{STATE}"
        try:
            data = self._read(STATE)
        except FileNotFoundError:
            raise NotFound(f"container {self.id!r} does not exist") from None
        fields = load_json(data, path)
        if not isinstance(fields, dict):
            raise PyrunError(f"{path}: not the state of a container")
        try:
            annotations = tuple(fields.pop("annotations").items())
            return State(**fields, annotations=annotations)
        except (TypeError, AttributeError, KeyError):
            raise PyrunError(f"{path}: not the state of a container") from None

    def write_state(self, state: State) -> None:
        fields: dict[str, object] = {name: getattr(state, name) for name in State._fields}
        fields["annotations"] = dict(state.annotations)
        self.write(STATE, to_json(fields).encode())

    def read_config(self) -> bytes:
        return self._read(CONFIG)

    def write(self, name: str, data: bytes) -> None:
        """Replace a file as a whole: who reads it sees the old one or the new one."""
        write_file(f"{self.path}/{name}", data)

    def remove(self) -> None:
        """Remove the directory, its lock last."""
        # The record first and the state last: one without the other would tell of a container that is gone.
        for name in sorted(os.listdir(self.path), key=lambda name: (name != RECORD, name == STATE)):
            self._remove(f"{self.path}/{name}")
        os.rmdir(self.path)
        self.close()

    def _remove(self, path: str) -> None:
        if os.path.isdir(path) and not os.path.islink(path):
            for name in os.listdir(path):
                os.unlink(f"{path}/{name}")
            os.rmdir(path)
        else:
            os.unlink(path)

    def close(self) -> None:
        self._fd.close()

    def __enter__(self) -> Entry:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _read(self, name: str) -> bytes:
        with open(f"{self.path}/{name}", "rb") as file:
            return file.read()


def write_file(path: str, data: bytes, mode: int = 0o600) -> None:
    """Make or replace a file as a whole."""
    temporary = f"{path}.{os.getpid()}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with open(fd, "wb") as file:
            file.write(data)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
