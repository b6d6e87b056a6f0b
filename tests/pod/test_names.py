"""Network identity with real processes: what a container of the pod sees of it."""

from __future__ import annotations

from pathlib import Path

from fixtures.pods import pod_spec, run_pod, shell

SHOW = "hostname; echo $HOSTNAME; cat /proc/sys/kernel/hostname /etc/hostname; getent hosts foo.remote www; cat /etc/resolv.conf"


def test_a_pod_with_a_name_of_its_own(tmp_path: Path) -> None:
    spec = pod_spec(
        shell(SHOW),
        hostname="www",
        subdomain="web",
        setHostnameAsFQDN=True,
        hostAliases=[{"ip": "10.1.2.3", "hostnames": ["foo.remote", "bar.remote"]}],
        dnsPolicy="None",
        dnsConfig={"nameservers": ["192.0.2.1"], "searches": ["example"], "options": [{"name": "ndots", "value": "2"}]},
    )
    full = "www.web.default.svc.cluster.local"
    lines = run_pod(spec, tmp_path)["main"].splitlines()
    assert lines[:4] == [full] * 4
    assert lines[4].split() == ["10.1.2.3", "foo.remote", "bar.remote"]
    assert lines[5].split() == ["127.0.0.1", full, "www"]
    assert lines[6:] == ["search example", "nameserver 192.0.2.1", "options ndots:2"]
