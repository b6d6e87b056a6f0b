"""``securityContext.sysctls``: names, the namespaces they belong to, and which of them are safe."""

from __future__ import annotations

from pyrun.errors import SpecError
from pyrun.spec.parse import quote
from pyrun.spec.pod_fields import object_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from pyrun.spec.parse import Fields
    from pyrun.spec.pod import PodSpec

# The safe ones of Kubernetes 1.37 (pkg/kubelet/sysctl/safe_sysctls.go): of the pod's own namespaces, and harmless to others.
SAFE = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    )
)
# component-helpers' sysctl.GetNamespace: the namespace that a setting belongs to.
IPC_NAMES = ("kernel.sem",)
IPC_PREFIXES = ("kernel.shm", "kernel.msg", "fs.mqueue.")
NETWORK_PREFIX = "net."
MAX_NAME = 253
_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
POINTER = "/spec/securityContext/sysctls"


def read_sysctls(fields: Fields) -> tuple[tuple[str, str], ...]:
    """Name, with dots, and value. What belongs to no namespace of a pod is an error: it would be set for the whole machine."""
    found: dict[str, str] = {}
    for item in fields.items("sysctls"):
        one = object_of(item, "Sysctl")
        place = one.need("name")
        name = dotted(place.string())
        if len(name) > MAX_NAME or not all([_is_part(part) for part in name.replace("/", ".").split(".")]):
            raise place.error(f"{quote(name)} is not the name of a kernel setting, as net.ipv4.tcp_syncookies is")
        if name in found:
            raise place.error(f"{quote(name)} stands here twice")
        if namespace_of(name) is None:
            raise place.error(f"{quote(name)} belongs to no namespace of a pod: it would be set for the whole machine")
        found[name] = one.need("value").string()
    return tuple(found.items())


def _is_part(text: str) -> bool:
    return bool(text) and set(text) <= _ALNUM | {"-", "_"} and text[0] in _ALNUM and text[-1] in _ALNUM


def dotted(name: str) -> str:
    """With dots between its parts (sysctl.d(5)): where the first separator is a slash, dots and slashes change places."""
    at = next((letter for letter in name if letter in "./"), ".")
    return name if at == "." else name.translate(str.maketrans("./", "/."))


def namespace_of(name: str) -> str | None:
    """``ipc`` or ``network``; None for a setting of the whole machine."""
    if name in IPC_NAMES or name.startswith(IPC_PREFIXES):
        return "ipc"
    return "network" if name.startswith(NETWORK_PREFIX) else None


def check_host_namespaces(pod: PodSpec) -> None:
    """A setting of a namespace that the pod has from the machine would be the machine's."""
    for index, (name, _value) in enumerate(pod.security.sysctls):
        kind = namespace_of(name)
        field = {"ipc": "hostIPC", "network": "hostNetwork"}[kind or "network"]
        if pod.host_ipc if kind == "ipc" else pod.host_network:
            raise SpecError(f"{POINTER}/{index}/name", f"{quote(name)} cannot be set while {field} is true")


def check_safe(pod: PodSpec, allowed: Collection[str]) -> None:
    """Raises :class:`SpecError` for an unsafe setting that no pattern of *allowed* is for: a name, or a beginning with ``*``."""
    for index, (name, _value) in enumerate(pod.security.sysctls):
        if name not in SAFE and not any([_matches(name, pattern) for pattern in allowed]):
            hint = f"--allow-unsafe-sysctls {name} allows it"
            raise SpecError(f"{POINTER}/{index}/name", f"{quote(name)} is an unsafe setting: {hint}")


def _matches(name: str, pattern: str) -> bool:
    pattern = dotted(pattern)
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
