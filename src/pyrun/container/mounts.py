"""OCI mount options, sorted by what the kernel does with them (OCI config.md, Linux mount options)."""

from __future__ import annotations

from pyrun.errors import SpecError
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.oci import OciMount

_SET = {
    "ro": "ro",
    "nosuid": "nosuid",
    "nodev": "nodev",
    "noexec": "noexec",
    "noatime": "noatime",
    "strictatime": "strictatime",
    "nodiratime": "nodiratime",
    "nosymfollow": "nosymfollow",
}
_CLEAR = {
    "rw": "ro",
    "suid": "nosuid",
    "dev": "nodev",
    "exec": "noexec",
    "diratime": "nodiratime",
    "symfollow": "nosymfollow",
}
_NOTHING = frozenset(("defaults", "relatime", "atime", "async", "nostrictatime"))
_PROPAGATION = {
    name: (kind, name.startswith("r"))
    for kind in ("private", "slave", "shared", "unbindable")
    for name in (kind, "r" + kind)
}
_LATER = frozenset(
    (
        "remount mand nomand sync dirsync iversion noiversion lazytime nolazytime silent loud idmap ridmap tmpcopyup acl"
        " noacl nofail user users _netdev loop copy-symlink rro rrw rnosuid rsuid rnodev rdev rnoexec rexec rnodiratime"
        " rdiratime rrelatime rnorelatime rnoatime ratime rstrictatime rnostrictatime rsymfollow rnosymfollow"
    ).split()
)
# The kernel's own name of what OCI calls a file system type.
_TYPES = {"cgroup": "cgroup2"}


class MountPlan(Value):
    """One mount: a bind of ``source`` (then ``type`` is ``""``), or a new file system with ``data`` options."""

    type: str
    source: str
    attributes: tuple[str, ...]
    clear: tuple[str, ...]
    data: tuple[str, ...]
    recursive: bool = False
    propagation: str | None = None


def plan_mount(mount: OciMount, pointer: str) -> MountPlan:
    """Sort the options of *mount*. Raises :class:`SpecError` below *pointer* for an option that is not built yet."""
    attributes: list[str] = []
    clear: list[str] = []
    data: list[str] = []
    propagation: str | None = None
    bind, recursive = mount.type == "bind", False
    for i, option in enumerate(mount.options):
        if option in ("bind", "rbind"):
            bind, recursive = True, recursive or option == "rbind"
        elif option in _SET:
            attributes.append(_SET[option])
        elif option in _CLEAR:
            clear.append(_CLEAR[option])
        elif option in _PROPAGATION:
            propagation = _PROPAGATION[option][0]
        elif option in _LATER:
            raise SpecError(f"{pointer}/options/{i}", f"mount option {option!r} is known to OCI but not built yet")
        elif option not in _NOTHING:
            data.append(option)
    if bind and data:
        raise SpecError(f"{pointer}/options", f"a bind mount takes no file system options, but has {','.join(data)!r}")
    return MountPlan(
        type="" if bind else _TYPES.get(mount.type, mount.type),
        source=mount.source,
        attributes=tuple(attributes),
        clear=tuple(clear) if bind else (),
        data=tuple(data),
        recursive=recursive,
        propagation=propagation,
    )
