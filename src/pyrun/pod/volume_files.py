"""The files of ConfigMaps, Secrets and the downward API in a pod's volumes, and how they change under its containers.

A volume's files are in a directory of their own, ``..<date>``, to which ``..data`` points; each name in the volume is a link into
``..data``. A change is a new directory and one rename of ``..data``: whoever reads sees all old or all new files, never some of
each. That is the kubelet's way (pkg/volume/util/atomic_writer.go), and programs that watch ``..data`` know it.

The volumes are small file systems in memory inside the sandbox, so that no secret comes to a disk; they are reached by way of
pause's root.
"""

from __future__ import annotations

import errno
import os
import time

from pyrun.container.lower import has_files
from pyrun.errors import KernelError
from pyrun.kernel.fd import Fd
from pyrun.linux.process import set_file_ids
from pyrun.pod.remove import remove_below
from pyrun.spec.environment import field_value, find_object, resource_value
from pyrun.spec.source import DownwardVolume, FieldRef, ObjectVolume, ProjectedVolume
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from pyrun.spec.environment import Facts
    from pyrun.spec.pod import PodSpec, Volume

    Files: TypeAlias = dict[str, "File"]

DATA = "..data"
DATA_NEXT = "..data_tmp"


class File(Value):
    """One file of a volume."""

    content: bytes
    mode: int


def files_of(pod: PodSpec, volume: Volume, facts: Facts) -> Files:
    """The files of a volume by their paths in it. Of two sources that have one path the later wins. Pure."""
    source = volume.source
    sources = source.sources if isinstance(source, ProjectedVolume) else (source,)
    files: Files = {}
    for each in sources:
        if isinstance(each, ObjectVolume):
            files |= _object_files(pod, each)
        elif isinstance(each, DownwardVolume):
            files |= _downward_files(pod, each, facts)
    return files


def _object_files(pod: PodSpec, source: ObjectVolume) -> Files:
    made = find_object(pod, source.kind, source.name)
    data = dict(made.data) if made is not None else {}
    if source.items is None:
        return {key: File(value, source.default_mode) for key, value in data.items()}
    return {
        item.path: File(data[item.key], source.default_mode if item.mode is None else item.mode)
        for item in source.items
        if item.key in data
    }


def _downward_files(pod: PodSpec, source: DownwardVolume, facts: Facts) -> Files:
    files: Files = {}
    for item in source.items:
        ref = item.ref
        text = field_value(pod, ref.path, facts) if isinstance(ref, FieldRef) else resource_value(pod, ref, facts)
        mode = source.default_mode if item.mode is None else item.mode
        files[item.path] = File(text.encode(errors="surrogateescape"), mode)
    return files


class as_owner:
    """In the block, new files are of the user and group *first_id*: on a file system of a pod with users of its own nobody else
    can have any. Behind it they are of *before* again."""

    def __init__(self, first_id: int, before: int = 0) -> None:
        self._ids = (first_id, before)

    def __enter__(self) -> None:
        self._change(*self._ids)

    def __exit__(self, *_error: object) -> None:
        self._change(*reversed(self._ids))

    def _change(self, to: int, now: int) -> None:
        if to != now:
            set_file_ids(to, to)


class VolumeFiles:
    """All volumes of a pod whose files pyrun writes. *root* is the sandbox's, as a directory of ours: ``/proc/<pause>/root``."""

    def __init__(self, root: str, facts: Facts) -> None:
        self._root = root
        self._facts = facts
        self._written: dict[str, Files] = {}

    def write(self, pod: PodSpec) -> None:
        """Bring the volumes to what *pod* says now; those that say the same stay as they are. Raises :class:`KernelError`."""
        for volume in pod.volumes:
            if not has_files(volume):
                continue
            files = files_of(pod, volume, self._facts)
            if self._written.get(volume.name) != files:
                first = 0 if pod.host_users else pod.user_range or 0  # the pod's root, as the machine knows it
                _write(f"{self._root}/volumes/{volume.name}", files, pod.security.fs_group, first)
                self._written[volume.name] = files


def _write(path: str, files: Files, group: int | None, first_id: int) -> None:
    try:
        with Fd.open(path, os.O_RDONLY | os.O_DIRECTORY) as top, as_owner(first_id):
            swap_files(top.fileno(), files, None if group is None else first_id + group, first_id)
    except OSError as error:
        if isinstance(error, KernelError):
            raise
        raise KernelError(error.errno or errno.EIO, "write(2)", path) from None


def swap_files(top_fd: int, files: Files, group: int | None = None, owner: int = 0) -> None:
    """Let the directory *top_fd* have *files* and no others, all at once. *group*, if given, owns and may read them; *owner* is
    whom :class:`as_owner` has made us."""
    old = _link_target(DATA, top_fd)
    new = _new_directory(top_fd)
    try:
        with Fd.adopt(os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=top_fd)) as inside:
            for name, file in files.items():
                _write_file(inside.fileno(), name, file, group, owner)
        os.symlink(new, DATA_NEXT, dir_fd=top_fd)
        os.rename(DATA_NEXT, DATA, src_dir_fd=top_fd, dst_dir_fd=top_fd)
    except BaseException:
        remove_below(new, top_fd)  # what did not fit would take the room of the next try
        raise
    names = {name.partition("/")[0] for name in files}
    for name in names:
        if _link_target(name, top_fd) is None:
            os.symlink(f"{DATA}/{name}", name, dir_fd=top_fd)
    for name in os.listdir(top_fd):
        if not name.startswith("..") and name not in names:
            os.unlink(name, dir_fd=top_fd)
    if old is not None:
        remove_below(old, top_fd)


def _new_directory(top_fd: int) -> str:
    stamp = time.strftime("..%Y_%m_%d_%H_%M_%S", time.gmtime())
    name = f"{stamp}.{int.from_bytes(os.urandom(4)) % 10**9}"
    os.mkdir(name, 0o755, dir_fd=top_fd)
    os.chmod(name, 0o755, dir_fd=top_fd)
    return name


def _write_file(inside_fd: int, name: str, file: File, group: int | None, owner: int) -> None:
    *parents, _last = name.split("/")
    for depth in range(1, len(parents) + 1):
        try:
            os.mkdir("/".join(parents[:depth]), 0o755, dir_fd=inside_fd)
            os.chmod("/".join(parents[:depth]), 0o755, dir_fd=inside_fd)
        except FileExistsError:
            pass
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=inside_fd)
    with open(fd, "wb") as stream:
        stream.write(file.content)
        if group is not None:
            with as_owner(0, before=owner):  # root alone may give to any group
                os.fchown(fd, -1, group)
        # As the kubelet: the group that owns a volume may read all of it.
        os.fchmod(fd, file.mode | 0o440 if group is not None else file.mode)


def _link_target(name: str, dir_fd: int) -> str | None:
    try:
        return os.readlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
