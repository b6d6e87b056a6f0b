"""Names of the machine as the UTS namespace has them: uts_namespaces(7). Reading them is :func:`os.uname`."""

from __future__ import annotations

from pyrun._core import lib
from pyrun.linux.call import check, encode_text


def sethostname(name: str) -> None:
    """Set the host name.

    Kernel: sethostname(2).
    Affects: the UTS namespace of the calling thread, so every process in it.
    Raises: EPERM without CAP_SYS_ADMIN in the user namespace that owns the UTS namespace; EINVAL for more than 64 bytes.
    """
    encoded = encode_text(name)
    check(lib.sys_sethostname(encoded, len(encoded)), "sethostname(2)")


def setdomainname(name: str) -> None:
    """Set the NIS domain name, which is no DNS name.

    Kernel: setdomainname(2).
    Affects: the UTS namespace of the calling thread, so every process in it.
    Raises: EPERM without CAP_SYS_ADMIN in the user namespace that owns the UTS namespace; EINVAL for more than 64 bytes.
    """
    encoded = encode_text(name)
    check(lib.sys_setdomainname(encoded, len(encoded)), "setdomainname(2)")
