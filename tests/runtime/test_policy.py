"""What the command line says about a pod besides its manifest: unsafe settings, profiles, the cluster's domain, users."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import Done, pyrun
from fixtures.pods import document, shell

MSGMAX = {"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]}
NO_MKDIR = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
}


def manifest(tmp_path: Path, script: str, security: dict[str, Any] | None = None, **spec: Any) -> Path:
    path = tmp_path / "pod.json"
    fields = {} if security is None else {"securityContext": security}
    path.write_text(json.dumps(document(shell(script, **fields), **spec)))
    return path


def run(tmp_path: Path, path: Path, *options: str) -> Done:
    return pyrun("run", "--root", tmp_path / "run", "--state", tmp_path / "state", *options, path)


@pytest.mark.root
def test_unsafe_settings_need_an_option(tmp_path: Path) -> None:
    path = manifest(tmp_path, "cat /proc/sys/kernel/msgmax", securityContext=MSGMAX)
    refused = run(tmp_path, path)
    assert refused.status == 2
    wanted = "/spec/securityContext/sysctls/0/name: 'kernel.msgmax' is an unsafe setting"
    assert refused.error == f"{path}: {wanted}: --allow-unsafe-sysctls kernel.msgmax allows it"
    allowed = run(tmp_path, path, "--allow-unsafe-sysctls", "net.*, kernel.msg*")
    assert (allowed.status, allowed.out) == (0, "main | 65536\n")
    assert pyrun("plan", path).status == 2
    planned = pyrun("plan", "--allow-unsafe-sysctls=kernel.msgmax", path)
    assert "sysctl kernel/msgmax = 65536" in planned.out


@pytest.mark.root
def test_profiles_are_below_a_directory(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/x.json").write_text(json.dumps(NO_MKDIR))
    profile = {"seccompProfile": {"type": "Localhost", "localhostProfile": "x.json"}}
    path = manifest(tmp_path, "mkdir /tmp/x 2>/dev/null || echo refused", profile)
    refused = run(tmp_path, path)
    assert refused.status == 2
    assert "/etc/pyrun/seccomp/x.json: No such file or directory" in refused.error
    done = run(tmp_path, path, "--seccomp-profiles", str(tmp_path / "profiles"))
    assert (done.status, done.out) == (0, "main | refused\n")


@pytest.mark.root
def test_the_cluster_s_domain(tmp_path: Path) -> None:
    path = manifest(tmp_path, "hostname", hostname="h", subdomain="s", setHostnameAsFQDN=True)
    assert run(tmp_path, path).out == "main | h.s.default.svc.cluster.local\n"
    assert run(tmp_path, path, "--cluster-domain", "x.example").out == "main | h.s.default.svc.x.example\n"
    wrong = run(tmp_path, path, "--cluster-domain", "x..y")
    assert wrong.status == 2
    assert "x..y: not a domain name" in wrong.err


@pytest.mark.root
def test_users_of_the_pod_s_own(tmp_path: Path) -> None:
    path = manifest(tmp_path, "cat /proc/self/uid_map; ls -ld / | cut -d' ' -f3", hostUsers=False)
    done = run(tmp_path, path)
    assert done.status == 0, done.err
    line, owner = done.out.splitlines()
    inside, _first, size = line.removeprefix("main | ").split()
    assert (inside, size) == ("0", "65536")
    assert owner == "main | root"
    assert list((tmp_path / "run/users").iterdir()) == []


@pytest.mark.root
def test_not_as_root(tmp_path: Path) -> None:
    path = manifest(tmp_path, "true", securityContext={"runAsNonRoot": True})
    refused = run(tmp_path, path)
    assert refused.status == 2
    assert "/spec/containers/0/securityContext/runAsNonRoot: the container must not run as root" in refused.error
    assert pyrun("validate", path).status == 2
