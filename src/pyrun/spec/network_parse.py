"""What a pod is called, and how it finds others: ``subdomain`` and what is beside it, ``hostAliases``, ``dnsPolicy``.

Rules and limits are those of Kubernetes' validation (core/validation, ValidatePodSpec and validatePodDNSConfig).
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton

from pyrun.spec.names import check_dns_label, check_dns_subdomain
from pyrun.spec.parse import quote
from pyrun.spec.pod import DnsConfig, HostAlias
from pyrun.spec.pod_fields import checked, object_of
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.parse import Fields, Reader
    from pyrun.spec.pod import DnsPolicy, PodSpec

DNS_POLICIES: tuple[DnsPolicy, ...] = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
MAX_NAMESERVERS = 3
MAX_SEARCHES = 32
MAX_SEARCH_LETTERS = 2048
MAX_KERNEL_HOSTNAME = 64  # __NEW_UTS_LEN of linux/utsname.h


def apply_network(pod: PodSpec, fields: Fields, warnings: list[str]) -> PodSpec:
    """*pod* with what *fields* of its spec say about its network identity."""
    subdomain = fields.get("subdomain")
    policy = fields.one_of("dnsPolicy", DNS_POLICIES, "ClusterFirst")
    if policy.startswith("ClusterFirst") and fields.get("dnsPolicy") is not None:
        told = "there is no DNS of a cluster here: the machine's resolv.conf holds, as with 'Default'"
        warnings.append(f"/spec/dnsPolicy: {policy}: {told}")
    pod = replace(
        pod,
        subdomain=checked(subdomain, check_dns_label) if subdomain is not None and subdomain.value != "" else "",
        set_hostname_as_fqdn=fields.boolean("setHostnameAsFQDN"),
        host_aliases=tuple([_read_alias(item) for item in fields.items("hostAliases")]),
        dns_policy=policy,
        dns_config=_read_dns(fields.get("dnsConfig")),
    )
    if policy == "None" and not pod.dns_config.nameservers:
        place = fields.get("dnsConfig") or fields.need("dnsPolicy")
        raise place.error("dnsPolicy 'None' needs at least one of dnsConfig.nameservers")
    override = fields.get("hostnameOverride")
    return pod if override is None or override.value == "" else _override(pod, override)


def _override(pod: PodSpec, reader: Reader) -> PodSpec:
    """The name of the pod, whatever else says one (KEP-4762)."""
    name = checked(reader, check_dns_subdomain)
    if len(name) > MAX_KERNEL_HOSTNAME:
        raise reader.error(f"{quote(name)} has {len(name)} characters; at most {MAX_KERNEL_HOSTNAME} are allowed")
    for field, is_set in (("hostNetwork", pod.host_network), ("setHostnameAsFQDN", pod.set_hostname_as_fqdn)):
        if is_set:
            raise reader.error(f"cannot be set while {field} is true")
    return replace(pod, hostname=name, subdomain="")


def _read_alias(reader: Reader) -> HostAlias:
    fields = object_of(reader, "HostAlias")
    names = tuple([checked(item, check_dns_subdomain) for item in fields.items("hostnames")])
    return HostAlias(read_ip(fields.need("ip")), names)


def _read_dns(reader: Reader | None) -> DnsConfig:
    if reader is None:
        return DnsConfig()
    fields = object_of(reader, "PodDNSConfig")
    servers = tuple([read_ip(item) for item in fields.items("nameservers")])
    if len(servers) > MAX_NAMESERVERS:
        raise fields.need("nameservers").error(f"{len(servers)} nameservers; at most {MAX_NAMESERVERS} are allowed")
    searches = tuple([_read_search(item) for item in fields.items("searches")])
    if len(searches) > MAX_SEARCHES:
        raise fields.need("searches").error(f"{len(searches)} domains; at most {MAX_SEARCHES} are allowed")
    if len(" ".join(searches)) > MAX_SEARCH_LETTERS:
        raise fields.need("searches").error(f"more than {MAX_SEARCH_LETTERS} characters, spaces included")
    return DnsConfig(servers, searches, tuple([_read_option(item) for item in fields.items("options")]))


def _read_search(reader: Reader) -> str:
    """A domain; ``.`` alone, and an underscore in its parts, are allowed (KEP-4427)."""
    text = reader.string()
    if text != ".":
        complaint = check_dns_subdomain(text.removesuffix(".").replace("_", "x"))
        if complaint is not None:
            raise reader.error(f"{quote(text)} is not a domain name in lower case")
    return text


def _read_option(reader: Reader) -> str:
    fields = object_of(reader, "PodDNSConfigOption")
    name, value = fields.need("name"), fields.string("value")
    for text, place in ((name.string(), name), (value, fields.get("value"))):
        if place is not None and (not text.isprintable() or " " in text):
            raise place.error(f"{quote(text)} must be one word")
    if not name.string():
        raise name.error("must not be empty")
    return f"{name.string()}:{value}" if value else name.string()


def read_ip(reader: Reader) -> str:
    """An address of IPv4 or IPv6."""
    text = reader.string()
    for family in (AF_INET, AF_INET6):
        try:
            inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return text
    raise reader.error(f"{quote(text)} is not an IP address")
