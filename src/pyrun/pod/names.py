"""How a pod is called, and what its /etc/hosts, /etc/hostname and /etc/resolv.conf say. Pure."""

from __future__ import annotations

from pyrun.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrun.pod.machine import Machine
    from pyrun.spec.pod import PodSpec

HOSTS = b"""\
# Made by pyrun for this pod.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
"""
# The kubelet's (pkg/apis/core/validation, MaxDNSNameservers and the others), which are those of glibc and musl.
MAX_NAMESERVERS = 3
MAX_SEARCHES = 32
MAX_SEARCH_LETTERS = 2048
MAX_KERNEL_HOSTNAME = 64  # __NEW_UTS_LEN of linux/utsname.h


def full_name(pod: PodSpec) -> str:
    """What the pod is called in its cluster: with a subdomain, one name in the namespace's (DNS for services and pods)."""
    if not pod.subdomain:
        return pod.hostname
    return f"{pod.hostname}.{pod.subdomain}.{pod.metadata.namespace}.svc.{pod.cluster_domain}"


def kernel_hostname(pod: PodSpec) -> str:
    """What sethostname(2) is given. Raises :class:`SpecError` for a full name that is too long for it."""
    if not pod.set_hostname_as_fqdn or not pod.hostname:
        return pod.hostname
    name = full_name(pod)
    if len(name) > MAX_KERNEL_HOSTNAME:
        told = f"{name} has {len(name)} characters, and the kernel takes {MAX_KERNEL_HOSTNAME}"
        raise SpecError("/spec/setHostnameAsFQDN", told)
    return name


def etc_files(pod: PodSpec, machine: Machine) -> dict[str, bytes]:
    """What /etc/hosts, /etc/hostname and /etc/resolv.conf of the pod say.

    A pod on the machine's network uses the machine's /etc/hosts, as in Kubernetes, and in it finds a name of its own, too; any
    other one knows itself and localhost.
    """
    hostname = kernel_hostname(pod) if pod.hostname else machine.hostname
    return {
        "hosts": _hosts(pod, machine),
        "hostname": hostname.encode(errors="surrogateescape") + b"\n",
        "resolv.conf": resolv_conf(pod, machine.resolv_conf),
    }


def _hosts(pod: PodSpec, machine: Machine) -> bytes:
    hosts = machine.hosts if pod.host_network else HOSTS
    if pod.hostname:
        names = dict.fromkeys((full_name(pod), pod.hostname))
        hosts = _whole_lines(hosts) + "\t".join(("127.0.0.1", *names)).encode() + b"\n"
    if not pod.host_aliases:
        return hosts
    aliases = ["\t".join((alias.ip, *alias.hostnames)) + "\n" for alias in pod.host_aliases]
    return _whole_lines(hosts) + b"\n# Entries added by HostAliases.\n" + "".join(aliases).encode()


def _whole_lines(text: bytes) -> bytes:
    """*text*, so that a line can be put behind it."""
    return text if not text or text.endswith(b"\n") else text + b"\n"


# ---- resolv.conf -----------------------------------------------------------------------------------------------------


def resolv_conf(pod: PodSpec, machine: bytes) -> bytes:
    """The machine's, or with a dnsConfig both put together as the kubelet does it (pkg/kubelet/network/dns), or with dnsPolicy
    None the dnsConfig alone."""
    config = pod.dns_config
    if pod.dns_policy != "None" and not (config.nameservers or config.searches or config.options):
        return machine
    base = _read(b"" if pod.dns_policy == "None" else machine)
    servers = _unique((*base["nameserver"], *config.nameservers))
    searches = _unique((*base["search"], *config.searches))
    return _write(servers, searches, _merged((*base["options"], *config.options)))


def _read(text: bytes) -> dict[str, tuple[str, ...]]:
    """The words of resolv.conf(5) that are kept; of ``search`` and ``domain`` the last line counts, ``nameserver`` adds up."""
    found: dict[str, tuple[str, ...]] = {"nameserver": (), "search": (), "options": ()}
    for line in text.decode(errors="surrogateescape").splitlines():
        word, *values = line.split() or [""]
        if word == "nameserver":
            found[word] += tuple(values[:1])
        elif word == "options":
            found[word] += tuple(values)
        elif word in ("search", "domain"):
            found["search"] = tuple(values)
    return found


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _merged(options: Iterable[str]) -> list[str]:
    """Of two options with one name the later."""
    return list({option.partition(":")[0]: option for option in options}.values())


def _write(servers: list[str], searches: list[str], options: list[str]) -> bytes:
    """What is too much for resolvers is left out, and told in a comment."""
    kept = _that_fit(searches)
    left_out = [*searches[len(kept) :], *servers[MAX_NAMESERVERS:]]
    lines = [f"# Left out, since resolvers take no more: {' '.join(left_out)}"] if left_out else []
    lines += [f"search {' '.join(kept)}"] if kept else []
    lines += [f"nameserver {server}" for server in servers[:MAX_NAMESERVERS]]
    lines += [f"options {' '.join(options)}"] if options else []
    return "".join([f"{line}\n" for line in lines]).encode(errors="surrogateescape")


def _that_fit(searches: list[str]) -> list[str]:
    kept = searches[:MAX_SEARCHES]
    while len(" ".join(kept)) > MAX_SEARCH_LETTERS:
        kept.pop()
    return kept
