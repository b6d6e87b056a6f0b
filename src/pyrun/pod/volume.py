"""The host's side of volumes: directories and files of the host, opened once and used by descriptor."""

from __future__ import annotations

import errno
import os
import stat

from pyrun.errors import KernelError, SpecError
from pyrun.kernel.fd import Fd
from pyrun.pod.ownership import give_to_group
from pyrun.spec.pod_check import placed_containers
from pyrun.spec.source import ClaimVolume, EmptyDir, HostPath, ImageVolume
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrun.container.layout import PodPaths
    from pyrun.kernel.undo import Undo
    from pyrun.spec.pod import Container, PodSpec, Volume

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
                _make_empty_directory(path, source.mode)
                give_to_group(path, pod.security)
                opened[path] = _own(Fd.open(path, os.O_PATH), undo)
        elif isinstance(source, HostPath):
            opened[source.path] = _own(_open_host_path(source, f"/spec/volumes/{i}/hostPath", made), undo)
            if source.claimed:
                give_to_group(source.path, pod.security)
        elif isinstance(source, ImageVolume):
            image = HostPath(source.reference.path, "Directory")
            opened[image.path] = _own(_open_host_path(image, f"/spec/volumes/{i}/image", made, "reference"), undo)
        elif isinstance(source, ClaimVolume):
            raise SpecError(
                f"/spec/volumes/{i}/persistentVolumeClaim", "there is no directory for claims (bind_claims)"
            )
    return opened


def reopen_volumes(paths: Iterable[str], undo: Undo) -> dict[str, Fd]:
    """What :func:`open_volumes` has opened, of a pod that is taken up again: nothing is made. What somebody has removed meanwhile
    is missing when a container asks for it."""
    opened: dict[str, Fd] = {}
    for path in paths:
        try:
            opened[path] = _own(Fd.open(path, os.O_PATH), undo)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
    return opened


def bind_claims(pod: PodSpec, directory: str) -> PodSpec:
    """*pod* with a directory in place of each claim: ``<directory>/<namespace>/<claim>``, made when it is first used. It stays
    when the pod goes, and the next pod with such a claim finds in it what this one has left."""
    if not any([isinstance(volume.source, ClaimVolume) for volume in pod.volumes]):
        return pod
    read_only = {each.name for each in pod.volumes if isinstance(each.source, ClaimVolume) and each.source.read_only}

    def bound(volume: Volume) -> Volume:
        if not isinstance(volume.source, ClaimVolume):
            return volume
        path = f"{directory}/{pod.metadata.namespace}/{volume.source.claim_name}"
        return replace(volume, source=HostPath(path, "DirectoryOrCreate", claimed=True))

    def mounted(container: Container) -> Container:
        mounts = [
            replace(mount, read_only=True) if mount.name in read_only else mount for mount in container.volume_mounts
        ]
        return replace(container, volume_mounts=tuple(mounts))

    return replace(
        pod,
        volumes=tuple([bound(volume) for volume in pod.volumes]),
        containers=tuple([mounted(each) for each in pod.containers]),
        init_containers=tuple([mounted(each) for each in pod.init_containers]),
        ephemeral_containers=tuple([mounted(each) for each in pod.ephemeral_containers]),
    )


def has_disk_volumes(pod: PodSpec) -> bool:
    """Whether the pod has an emptyDir that is not in memory."""
    return any([isinstance(volume.source, EmptyDir) and not volume.source.medium for volume in pod.volumes])


def check_images(pod: PodSpec) -> None:
    """Raises :class:`SpecError` for an image that is no directory: the step that fails otherwise cannot say whose it is."""
    for pointer, container in placed_containers(pod):
        path = container.image.path
        try:
            is_directory = stat.S_ISDIR(os.stat(path).st_mode)
        except OSError as error:
            raise SpecError(f"{pointer}/image", f"{path}: {error.strerror}") from error
        if not is_directory:
            raise SpecError(f"{pointer}/image", f"{path} is not a directory")


def _own(fd: Fd, undo: Undo) -> Fd:
    undo.push("close a volume", fd.close)
    return fd


def _make_empty_directory(path: str, mode: int) -> None:
    """With its mode whatever the umask: unless a manifest says otherwise everybody may write into an emptyDir."""
    try:
        os.makedirs(path, 0o755)
        os.chmod(path, mode)
    except OSError as error:
        raise KernelError(error.errno or 0, "mkdir(2)", path) from None


def _open_host_path(source: HostPath, pointer: str, made: Undo, field: str = "path") -> Fd:
    try:
        if source.type == "DirectoryOrCreate":
            _make_directories(source.path, made)
        elif source.type == "FileOrCreate":
            _make_file(source.path, made)
        fd = Fd.adopt(os.open(source.path, os.O_PATH | os.O_CLOEXEC))
    except OSError as error:
        raise SpecError(f"{pointer}/{field}", f"{source.path}: {error.strerror}") from error
    check = _TYPE_CHECKS.get(source.type)
    if check is not None and not check(os.fstat(fd.fileno()).st_mode):
        fd.close()
        raise SpecError(
            f"{pointer}/{'type' if field == 'path' else field}", f"{source.path} is not {_TYPE_WORDS[source.type]}"
        )
    return fd


def _make_directories(path: str, made: Undo) -> None:
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        try:
            os.mkdir(directory, 0o755)
        except FileExistsError:
            continue  # another pod with the same claim or path was quicker: it is theirs to take back
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
