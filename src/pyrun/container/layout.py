"""The names inside a pod's sandbox, which lowering, planning and the driver share."""

from __future__ import annotations

from pyrun.value import Value

SHARED_MEMORY = "shm"
SCRATCH = "/tmp"  # a directory to mount on in passing, which a sandbox has as every machine does
MESSAGES = "messages"
MESSAGE_PATH = "/dev/termination-log"  # Kubernetes' default
ETC_FILES = ("hosts", "hostname", "resolv.conf")
SUB_PATH_MARK = "/./"  # in the source of a mount: what comes after it is looked up inside of what comes before
OVERLAY_ANNOTATION = "dev.pyrun.rootfs"  # "overlay": the root is an image, below a layer of the container's own


class PodPaths(Value):
    """Where a pod's things are.

    ``sandbox`` is a prefix for what lives in the mount namespace that pause holds: it is a name in OCI mounts, not a directory of
    the host. ``volumes`` is the host's directory with one subdirectory per emptyDir on disk.
    """

    sandbox: str
    volumes: str

    def shared_memory(self) -> str:
        return f"{self.sandbox}/{SHARED_MEMORY}"

    def etc_file(self, name: str) -> str:
        return f"{self.sandbox}/etc/{name}"

    def message_file(self, container: str) -> str:
        """What a container has at a terminationMessagePath of its own."""
        return f"{self.sandbox}/{MESSAGES}/{container}"

    def memory_volume(self, name: str) -> str:
        return f"{self.sandbox}/volumes/{name}"

    def disk_volume(self, name: str) -> str:
        return f"{self.volumes}/{name}"
