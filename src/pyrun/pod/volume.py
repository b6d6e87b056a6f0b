"""The host's side of volumes: directories and files of the host, opened once and used by descriptor."""

from __future__ import annotations

import errno
import os
import stat

from pyrun.errors import KernelError, SpecError
from pyrun.kernel.fd import Fd
from pyrun.spec.pod import EmptyDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.container.layout import PodPaths
    from pyrun.kernel.undo import Undo
    from pyrun.spec.pod import HostPath, PodSpec

_TYPE_CHECKS = {
    "Directory": stat.S_ISDIR,
    "DirectoryOrCreate": stat.S_ISDIR,
    "File": stat.S_ISREG,
    "FileOrCreate": stat.S_ISREG,
    "Socket": stat.S_ISSOCK,
    "CharDevice": stat.S_ISCHR,
    "BlockDevice": stat.S_ISBLK,
}
_TYPE_WORDS = {
    "Directory": "a directory",
    "DirectoryOrCreate": "a directory",
    "File": "a regular file",
    "FileOrCreate": "a regular file",
    "Socket": "a socket",
    "CharDevice": "a character device",
    "BlockDevice": "a block device",
}


def open_volumes(pod: PodSpec, paths: PodPaths, undo: Undo, made: Undo) -> dict[str, Fd]:
    """Make and open what the pod's volumes have on the host: path -> descriptor (O_PATH), closed by *undo*.

    *made* takes back what a hostPath of a type such as DirectoryOrCreate made: that belongs to the host, and goes only if
    the pod does not come to be. Raises :class:`SpecError` for a hostPath that is missing or of another type.
    """
    opened: dict[str, Fd] = {}
    for i, volume in enumerate(pod.volumes):
        source = volume.source
        if isinstance(source, EmptyDir):
            if not source.medium:
                path = paths.disk_volume(volume.name)
                _make_empty_directory(path)
                opened[path] = _own(Fd.open(path, os.O_PATH), undo)
        else:
            opened[source.path] = _own(_open_host_path(source, f"/spec/volumes/{i}/hostPath", made), undo)
    return opened


def has_disk_volumes(pod: PodSpec) -> bool:
    """Whether the pod has an emptyDir that is not in memory."""
    return any([isinstance(volume.source, EmptyDir) and not volume.source.medium for volume in pod.volumes])


def check_images(pod: PodSpec) -> None:
    """Raises :class:`SpecError` for an image that is no directory: the step that fails otherwise cannot say whose it is."""
    for i, container in enumerate(pod.containers):
        path = container.image.path
        try:
            is_directory = stat.S_ISDIR(os.stat(path).st_mode)
        except OSError as error:
            raise SpecError(f"/spec/containers/{i}/image", f"{path}: {error.strerror}") from error
        if not is_directory:
            raise SpecError(f"/spec/containers/{i}/image", f"{path} is not a directory")


def _own(fd: Fd, undo: Undo) -> Fd:
    undo.push("close a volume", fd.close)
    return fd


def _make_empty_directory(path: str) -> None:
    """World-writable, as Kubernetes makes an emptyDir: the containers may run as any user."""
    try:
        os.makedirs(path, 0o755)
        os.chmod(path, 0o777)
    except OSError as error:
        raise KernelError(error.errno or 0, "mkdir(2)", path) from None


def _open_host_path(source: HostPath, pointer: str, made: Undo) -> Fd:
    try:
        if source.type == "DirectoryOrCreate":
            _make_directories(source.path, made)
        elif source.type == "FileOrCreate":
            _make_file(source.path, made)
        fd = Fd.adopt(os.open(source.path, os.O_PATH | os.O_CLOEXEC))
    except OSError as error:
        raise SpecError(f"{pointer}/path", f"{source.path}: {error.strerror}") from error
    check = _TYPE_CHECKS.get(source.type)
    if check is not None and not check(os.fstat(fd.fileno()).st_mode):
        fd.close()
        raise SpecError(f"{pointer}/type", f"{source.path} is not {_TYPE_WORDS[source.type]}")
    return fd


def _make_directories(path: str, made: Undo) -> None:
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        os.mkdir(directory, 0o755)
        made.push(f"remove directory {directory}", _remove_if_empty, directory)
        _set_mode(directory, 0o755)


def _make_file(path: str, made: Undo) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    except FileExistsError:
        return
    made.push(f"remove file {path}", _remove_if_empty, path)
    _set_mode(path, 0o644)


def _set_mode(path: str, mode: int) -> None:
    """Give what has just been made its mode, whatever the umask, which is the whole process's and none of ours to change. By
    descriptor: somebody else's link may stand there by now."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _remove_if_empty(path: str) -> None:
    """What a container has already written stays: it may be all that tells why the pod failed."""
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.rmdir(path)
        elif os.lstat(path).st_size == 0:
            os.unlink(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
            raise


def remove_tree(path: str) -> None:
    """Remove a directory with all that is in it; nothing if it does not exist.

    Its content may be hostile: directories are never followed through links, and a tree of any depth takes neither recursion nor
    more than two descriptors, because each subdirectory is moved up to the top before it is emptied.
    """
    try:
        top_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        serial = 0
        while names := os.listdir(top_fd):
            for name in names:
                serial = _remove_entry(name, top_fd, serial)
    finally:
        os.close(top_fd)
    os.rmdir(path)


def _remove_entry(name: str, top_fd: int, serial: int) -> int:
    if not _is_directory(name, top_fd):
        os.unlink(name, dir_fd=top_fd)
        return serial
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top_fd)
    try:
        for inner in os.listdir(fd):
            if _is_directory(inner, fd):
                serial = _move_up(inner, fd, top_fd, serial)
            else:
                os.unlink(inner, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=top_fd)
    return serial


def _move_up(name: str, dir_fd: int, top_fd: int, serial: int) -> int:
    """Rename to a name that is free: whoever filled the tree may have guessed some of ours."""
    while True:
        serial += 1
        try:
            os.rename(name, f".pyrun-remove-{serial}", src_dir_fd=dir_fd, dst_dir_fd=top_fd)
            return serial
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise


def _is_directory(name: str, dir_fd: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode)
