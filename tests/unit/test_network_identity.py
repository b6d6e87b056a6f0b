"""What a pod is called, and its /etc/hosts and /etc/resolv.conf."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.pods import pod_spec, shell
from pyrun.errors import SpecError
from pyrun.kernel.step import SetHostname
from pyrun.pod.machine import Machine
from pyrun.pod.names import HOSTS, etc_files
from pyrun.pod.plan import plan_pause, plan_pod
from pyrun.spec.pod import PodSpec
from pyrun.value import replace

MACHINE = Machine(
    hostname="node",
    hosts=b"10.0.0.1 node",
    resolv_conf=b"# by hand\ndomain old\nsearch a.example b.example\n"
    b"nameserver 1.1.1.1\nnameserver 2.2.2.2\noptions ndots:1 rotate\n",
)


def pod(**fields: Any) -> PodSpec:
    return pod_spec(shell("true"), **fields)


def hostname(spec: PodSpec) -> str:
    (step,) = [step for step in plan_pause(spec, MACHINE).steps if isinstance(step, SetHostname)]
    return step.name


def files(**fields: Any) -> dict[str, str]:
    return {name: content.decode() for name, content in etc_files(pod(**fields), MACHINE).items()}


# ---- names -----------------------------------------------------------------------------------------------------------


def test_a_full_name() -> None:
    """Kubernetes' page "DNS for Services and Pods": busybox-1.busybox-subdomain.my-namespace.svc.cluster-domain.example."""
    fields = {"hostname": "busybox-1", "subdomain": "busybox-subdomain"}
    full = "busybox-1.busybox-subdomain.default.svc.cluster.local"
    assert files(**fields)["hosts"] == f"{HOSTS.decode()}127.0.0.1\t{full}\tbusybox-1\n"
    assert files(**fields)["hostname"] == "busybox-1\n"
    assert hostname(pod(**fields)) == "busybox-1"
    other = etc_files(replace(pod(**fields), cluster_domain="example"), MACHINE)["hosts"]
    assert b"\tbusybox-1.busybox-subdomain.default.svc.example\t" in other


def test_the_full_name_as_host_name() -> None:
    spec = pod(hostname="h", subdomain="s", setHostnameAsFQDN=True)
    name = "h.s.default.svc.cluster.local"
    assert hostname(spec) == name
    assert etc_files(spec, MACHINE)["hostname"].decode() == f"{name}\n"
    plan = plan_pod(spec, "1", "/x", MACHINE)
    oci = plan.containers[0].oci
    assert oci is not None
    assert oci.process is not None
    assert oci.hostname == name
    assert f"HOSTNAME={name}" in oci.process.env
    assert hostname(pod(hostname="h", setHostnameAsFQDN=True)) == "h"


def test_a_full_name_that_is_too_long() -> None:
    fits = 64 - len(".s.default.svc.cluster.local")
    assert len(hostname(pod(hostname="h" * fits, subdomain="s", setHostnameAsFQDN=True))) == 64
    with pytest.raises(SpecError, match="65 characters") as caught:
        plan_pause(pod(hostname="h" * (fits + 1), subdomain="s", setHostnameAsFQDN=True), MACHINE)
    assert caught.value.pointer == "/spec/setHostnameAsFQDN"


def test_a_name_that_overrides() -> None:
    spec = pod(hostname="h", subdomain="s", hostnameOverride="www.example.com")
    assert hostname(spec) == "www.example.com"
    assert etc_files(spec, MACHINE)["hosts"] == HOSTS + b"127.0.0.1\twww.example.com\n"


def test_host_aliases() -> None:
    """hostaliases-pod.yaml."""
    aliases = [
        {"ip": "127.0.0.1", "hostnames": ["foo.local", "bar.local"]},
        {"ip": "10.1.2.3", "hostnames": ["foo.remote", "bar.remote"]},
    ]
    added = "\n# Entries added by HostAliases.\n127.0.0.1\tfoo.local\tbar.local\n10.1.2.3\tfoo.remote\tbar.remote\n"
    assert files(hostAliases=aliases)["hosts"] == f"{HOSTS.decode()}127.0.0.1\ttest\n{added}"
    assert files(hostAliases=aliases, hostNetwork=True)["hosts"] == f"10.0.0.1 node\n{added}"


# ---- resolv.conf -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [None, "Default", "ClusterFirst", "ClusterFirstWithHostNet"])
def test_the_machine_s_is_the_pod_s(policy: str | None) -> None:
    fields = {} if policy is None else {"dnsPolicy": policy}
    assert files(**fields)["resolv.conf"].encode() == MACHINE.resolv_conf
    told = [warning for warning in pod(**fields).warnings if "dnsPolicy" in warning]
    assert len(told) == (policy is not None and policy.startswith("ClusterFirst"))


def test_a_configuration_alone() -> None:
    """custom-dns.yaml."""
    config = {
        "nameservers": ["192.0.2.1"],
        "searches": ["ns1.svc.cluster-domain.example", "my.dns.search.suffix"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }
    assert files(dnsPolicy="None", dnsConfig=config)["resolv.conf"] == (
        "search ns1.svc.cluster-domain.example my.dns.search.suffix\nnameserver 192.0.2.1\noptions ndots:2 edns0\n"
    )


def test_a_configuration_on_top() -> None:
    config = {
        "nameservers": ["2.2.2.2", "::1", "3.3.3.3"],
        "searches": ["b.example", "c.example"],
        "options": [{"name": "ndots", "value": "5"}],
    }
    assert files(dnsPolicy="Default", dnsConfig=config)["resolv.conf"] == (
        "# Left out, since resolvers take no more: 3.3.3.3\n"
        "search a.example b.example c.example\n"
        "nameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver ::1\n"
        "options ndots:5 rotate\n"
    )


def test_domains_that_are_too_many_together() -> None:
    config = {"searches": [f"d{i}.{'x' * 60}" for i in range(31)]}
    text = files(dnsConfig=config)["resolv.conf"]
    search = next(line for line in text.splitlines() if line.startswith("search "))
    assert len(search.removeprefix("search ")) <= 2048
    assert search.startswith("search a.example b.example d0.")
    assert text.startswith("# Left out")


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "pointer", "words"),
    [
        ({"subdomain": "a.b"}, "/spec/subdomain", "must be"),
        ({"hostnameOverride": "A"}, "/spec/hostnameOverride", "lower-case"),
        ({"hostnameOverride": "a" * 65}, "/spec/hostnameOverride", "65 characters"),
        ({"hostnameOverride": "a", "hostNetwork": True}, "/spec/hostnameOverride", "hostNetwork"),
        ({"hostnameOverride": "a", "setHostnameAsFQDN": True}, "/spec/hostnameOverride", "setHostnameAsFQDN"),
        ({"hostAliases": [{"hostnames": ["a"]}]}, "/spec/hostAliases/0/ip", "required"),
        ({"hostAliases": [{"ip": "1.2.3", "hostnames": ["a"]}]}, "/spec/hostAliases/0/ip", "not an IP address"),
        ({"hostAliases": [{"ip": "::1", "hostnames": ["a\nb"]}]}, "/spec/hostAliases/0/hostnames/0", "must be"),
        ({"dnsPolicy": "Cluster"}, "/spec/dnsPolicy", "none of"),
        ({"dnsPolicy": "None"}, "/spec/dnsPolicy", "nameservers"),
        ({"dnsPolicy": "None", "dnsConfig": {"searches": ["a"]}}, "/spec/dnsConfig", "nameservers"),
        ({"dnsConfig": {"nameservers": ["1.1.1.1"] * 4}}, "/spec/dnsConfig/nameservers", "at most 3"),
        ({"dnsConfig": {"nameservers": ["dns"]}}, "/spec/dnsConfig/nameservers/0", "not an IP address"),
        ({"dnsConfig": {"searches": ["a"] * 33}}, "/spec/dnsConfig/searches", "at most 32"),
        ({"dnsConfig": {"searches": ["a" * 63 + "." + "b" * 63] * 17}}, "/spec/dnsConfig/searches", "2048"),
        ({"dnsConfig": {"searches": ["a b"]}}, "/spec/dnsConfig/searches/0", "not a domain"),
        ({"dnsConfig": {"options": [{"value": "1"}]}}, "/spec/dnsConfig/options/0/name", "required"),
        ({"dnsConfig": {"options": [{"name": "a\nnameserver 6.6.6.6"}]}}, "/spec/dnsConfig/options/0/name", "one word"),
        ({"dnsConfig": {"options": [{"name": "a", "value": "1 b"}]}}, "/spec/dnsConfig/options/0/value", "one word"),
    ],
)
def test_what_is_no_name(fields: dict[str, Any], pointer: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        pod(**fields)
    assert caught.value.pointer == pointer
    assert words in str(caught.value)


def test_domains_with_dots_at_their_end_and_underscores() -> None:
    config = {"nameservers": ["1.1.1.1"], "searches": [".", "a_b.example."]}
    assert pod(dnsPolicy="None", dnsConfig=config).dns_config.searches == (".", "a_b.example.")


def test_an_address_of_a_port() -> None:
    def port(**fields: Any) -> Any:
        return pod_spec(shell("true", ports=[{"containerPort": 80, **fields}]), hostNetwork=True).containers[0].ports[0]

    assert port(hostPort=80, hostIP="127.0.0.1").host_ip == "127.0.0.1"
    with pytest.raises(SpecError, match="not an IP address"):
        port(hostIP="localhost")
