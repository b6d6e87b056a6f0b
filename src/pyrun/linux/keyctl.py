"""Session keyrings: keyctl(2), session-keyring(7)."""

from __future__ import annotations

from pyrun._core import ffi, lib
from pyrun.linux.call import check, encode_text


def join_session_keyring(name: str | None = None) -> int:
    """Leave the session keyring for a new one without a name or of this *name*; returns its serial number.

    One of this name that exists is joined instead if its permissions let the user search it; 0 is returned for the own one.

    Kernel: keyctl(2) KEYCTL_JOIN_SESSION_KEYRING.
    Affects: the calling thread and the children that it will have.
    Raises: EDQUOT if the user has too many keys; ENOSYS without CONFIG_KEYS; EPERM where a seccomp filter forbids it.
    """
    encoded = ffi.NULL if name is None else encode_text(name)
    return check(lib.sys_keyctl_join_session(encoded), "keyctl(2)")
