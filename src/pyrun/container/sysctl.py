"""Which kernel settings a container may ask for: those of namespaces that it has for itself.

Any other would be set for the whole machine (CVE-2022-0811 let a pod set kernel.core_pattern). The list is runc's and crun's; the
kernel's is spread over its sources: ipc/ipc_sysctl.c, ipc/mq_sysctl.c, kernel/utsname_sysctl.c and net/.
"""

from __future__ import annotations

from pyrun.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

IPC = (
    *("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax"),
    *("kernel.shmmni", "kernel.shm_rmid_forced"),
)
PREFIXES = {"fs.mqueue.": "ipc", "net.": "network"}
OWN_FIELDS = {"kernel.hostname": "/hostname"}
DOMAIN_NAME = "kernel.domainname"


def check_sysctl(name: str, value: str, namespaces: Collection[str], domainname: str = "") -> None:
    """Raises :class:`SpecError` unless *name* belongs to one of *namespaces*."""
    pointer = "/linux/sysctl/" + name.replace("~", "~0").replace("/", "~1")
    dotted = _dotted(name, pointer)
    if dotted in OWN_FIELDS:
        raise SpecError(pointer, f"is set by {OWN_FIELDS[dotted]}")
    if dotted == DOMAIN_NAME and domainname and domainname != value:
        raise SpecError(pointer, f"is set by /domainname, to {domainname!r}")
    kind = _namespace_of(dotted)
    if kind is None:
        raise SpecError(pointer, "is not a setting of a namespace: it would be set for the whole machine")
    if kind not in namespaces:
        raise SpecError(pointer, f"needs a namespace of type {kind}: it would be set on the host")


def _dotted(name: str, pointer: str) -> str:
    """With dots between the parts. A name may have slashes instead (sysctl.d(5)), and a dot is then a part of a part."""
    parts = name.split("/" if "/" in name else ".")
    if any([part in ("", ".", "..") for part in parts]):
        raise SpecError(pointer, "is not the name of a setting")
    return ".".join(parts)


def _namespace_of(dotted: str) -> str | None:
    if dotted in IPC:
        return "ipc"
    if dotted == DOMAIN_NAME:
        return "uts"
    return next((kind for prefix, kind in PREFIXES.items() if dotted.startswith(prefix)), None)
