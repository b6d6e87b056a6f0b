"""What an OCI runtime gives a program beyond its configuration, as crun and runc do: engines leave it to them."""

from __future__ import annotations

import os
import stat

from pyrun.errors import KernelError
from pyrun.linux.file import RESOLVE_IN_ROOT, openat2
from pyrun.spec.oci import OciCapabilities
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.oci import OciProcess

PASSWD = "etc/passwd"
PASSWD_BYTES_MAX = 1 << 20
NO_HOME = "/"


def complete_process(process: OciProcess, root: str) -> OciProcess:
    """*process* with no capabilities if it names none, with a ``HOME`` from the passwd file below *root*, and with each variable
    once: the last one counts."""
    env = {entry.partition("=")[0]: entry for entry in process.env}
    if "HOME" not in env:
        env["HOME"] = f"HOME={_read_home(root, process.user.uid)}"
    return replace(process, env=tuple(env.values()), capabilities=process.capabilities or OciCapabilities())


def _read_home(root: str, uid: int) -> str:
    for line in _read_passwd(root).split("\n"):
        fields = line.split(":")
        if len(fields) >= 6 and fields[2] == str(uid) and fields[5].startswith("/"):
            return fields[5]
    return NO_HOME


def _read_passwd(root: str) -> str:
    """The image made it: it may be a link that leads out, a device, a pipe that nobody writes to, or endless."""
    try:
        directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ""  # whoever needs the root says so better
    try:
        found = openat2(directory, PASSWD, os.O_PATH, resolve=RESOLVE_IN_ROOT)
    except KernelError:
        return ""
    finally:
        os.close(directory)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            return ""
        with open(f"/proc/self/fd/{found}", "rb", buffering=0) as file:
            return (file.read(PASSWD_BYTES_MAX) or b"").decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(found)
