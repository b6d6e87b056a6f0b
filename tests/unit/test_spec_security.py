"""securityContext: what is read, what a container has from its pod, what is refused and where."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.pods import pod_spec, shell
from pyrun.container.lower import lower_container
from pyrun.container.security import DEFAULT_CAPABILITIES, MASKED_PATHS, capability_mask
from pyrun.errors import SpecError, Unsupported
from pyrun.pod.plan import pod_paths
from pyrun.pod.security import SecurityPolicy
from pyrun.spec.oci import OciSpec
from pyrun.spec.pod import PodSpec
from pyrun.spec.security import PodSecurity, Profile, SecurityContext, SeLinuxOptions
from pyrun.spec.sysctl_parse import check_safe, dotted, namespace_of

ALL = 2**41 - 1


def parse(container: dict[str, Any] | None = None, pod: dict[str, Any] | None = None, **spec: Any) -> PodSpec:
    fields = {} if container is None else {"securityContext": container}
    return pod_spec(shell("true", **fields), **({} if pod is None else {"securityContext": pod}), **spec)


def lower(container: dict[str, Any], pod: dict[str, Any] | None = None, available: int = ALL) -> OciSpec:
    spec = parse(container, pod)
    return lower_container(spec, spec.containers[0], "1", pod_paths("/x"), 1 << 30, available)


def bounding(container: dict[str, Any], available: int = ALL) -> set[str]:
    process = lower(container, available=available).process
    assert process is not None
    assert process.capabilities is not None
    assert process.capabilities.bounding == process.capabilities.permitted == process.capabilities.effective
    return set(process.capabilities.bounding)


def test_every_field() -> None:
    spec = parse(
        {
            "runAsUser": 1,
            "runAsGroup": 2,
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["net_admin", "CAP_CHOWN"], "drop": ["ALL"]},
            "privileged": False,
            "procMount": "Default",
            "seccompProfile": {"type": "Localhost", "localhostProfile": "a/b.json"},
            "appArmorProfile": {"type": "Unconfined"},
            "seLinuxOptions": {"user": "u", "role": "r", "type": "t", "level": "s0:c1,c2"},
        },
        {
            "fsGroup": 3,
            "fsGroupChangePolicy": "OnRootMismatch",
            "supplementalGroups": [4, 5],
            "supplementalGroupsPolicy": "Strict",
            "seLinuxChangePolicy": "Recursive",
            "sysctls": [{"name": "net/ipv4/conf/eth0.1/rp_filter", "value": "0"}],
        },
    )
    assert spec.containers[0].security == SecurityContext(
        run_as_user=1,
        run_as_group=2,
        run_as_non_root=True,
        read_only_root=True,
        allow_privilege_escalation=False,
        capabilities_add=("NET_ADMIN", "CHOWN"),
        capabilities_drop=("ALL",),
        seccomp=Profile("Localhost", "a/b.json"),
        app_armor=Profile("Unconfined"),
        se_linux=SeLinuxOptions("u", "r", "t", "s0:c1,c2"),
    )
    sysctls = (("net.ipv4.conf.eth0/1.rp_filter", "0"),)
    assert spec.security == PodSecurity(3, "OnRootMismatch", (4, 5), "Strict", sysctls)


def test_a_container_has_what_its_pod_says_unless_it_says_otherwise() -> None:
    of_pod = {"runAsUser": 1, "runAsGroup": 2, "runAsNonRoot": True, "seccompProfile": {"type": "Unconfined"}}
    assert parse(None, of_pod).containers[0].security == SecurityContext(1, 2, True, seccomp=Profile("Unconfined"))
    own = {"runAsUser": 7, "runAsNonRoot": False, "seccompProfile": {"type": "RuntimeDefault"}}
    found = parse(own, of_pod).containers[0].security
    assert found == SecurityContext(7, 2, False, seccomp=Profile("RuntimeDefault"))


@pytest.mark.parametrize(
    ("container", "pointer", "words"),
    [
        ({"runAsUser": -1}, "runAsUser", "between 0 and 2147483647"),
        ({"runAsUser": 2**31}, "runAsUser", "between 0 and 2147483647"),
        ({"runAsGroup": "1"}, "runAsGroup", "an integer"),
        ({"privileged": True, "allowPrivilegeEscalation": False}, "allowPrivilegeEscalation", "privileged"),
        (
            {"capabilities": {"add": ["CAP_SYS_ADMIN"]}, "allowPrivilegeEscalation": False},
            "allowPrivilegeEscalation",
            "CAP_SYS_ADMIN",
        ),
        ({"procMount": "Unmasked"}, "procMount", "hostUsers"),
        ({"procMount": "unmasked"}, "procMount", "did you mean 'Unmasked'"),
        ({"capabilities": {"add": [""]}}, "capabilities/add/0", "not the name"),
        ({"capabilities": {"ad": []}}, "capabilities/ad", "did you mean 'add'"),
        ({"seccompProfile": {}}, "seccompProfile/type", "required"),
        ({"seccompProfile": {"type": "Localhost"}}, "seccompProfile/localhostProfile", "required"),
        (
            {"seccompProfile": {"type": "Unconfined", "localhostProfile": "x"}},
            "seccompProfile/localhostProfile",
            "only where type is 'Localhost'",
        ),
        (
            {"seccompProfile": {"type": "Localhost", "localhostProfile": "/x"}},
            "seccompProfile/localhostProfile",
            "relative",
        ),
        (
            {"seccompProfile": {"type": "Localhost", "localhostProfile": "a/../../x"}},
            "seccompProfile/localhostProfile",
            "without '..'",
        ),
        (
            {"appArmorProfile": {"type": "Localhost", "localhostProfile": " x"}},
            "appArmorProfile/localhostProfile",
            "without spaces",
        ),
        ({"seLinuxOptions": {"type": "a:b"}}, "seLinuxOptions/type", "label"),
        ({"windowsOptions": {}}, "windowsOptions", "runs linux"),
        ({"fsGroup": 1}, "fsGroup", "no such field"),
    ],
)
def test_what_a_container_may_not_say(container: dict[str, Any], pointer: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(container)
    assert caught.value.pointer == f"/spec/containers/0/securityContext/{pointer}"
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("pod", "pointer", "words"),
    [
        ({"fsGroup": -1}, "fsGroup", "between"),
        ({"supplementalGroups": [1, 2**31]}, "supplementalGroups/1", "between"),
        ({"supplementalGroupsPolicy": "None"}, "supplementalGroupsPolicy", "none of"),
        ({"fsGroupChangePolicy": ""}, "fsGroupChangePolicy", "none of"),
        ({"sysctls": [{"name": "kernel.core_pattern", "value": "|/x"}]}, "sysctls/0/name", "whole machine"),
        ({"sysctls": [{"name": "vm.swappiness", "value": "1"}]}, "sysctls/0/name", "whole machine"),
        ({"sysctls": [{"name": "net..x", "value": "1"}]}, "sysctls/0/name", "not the name"),
        ({"sysctls": [{"name": "net.ipv4/../../kernel/x", "value": "1"}]}, "sysctls/0/name", "not the name"),
        ({"sysctls": [{"name": "net/../kernel/core_pattern", "value": "1"}]}, "sysctls/0/name", "not the name"),
        ({"sysctls": [{"name": "net.x", "value": "1"}] * 2}, "sysctls/1/name", "twice"),
        ({"sysctls": [{"name": "net.x"}]}, "sysctls/0/value", "required"),
        ({"privileged": True}, "privileged", "no such field"),
    ],
)
def test_what_a_pod_may_not_say(pod: dict[str, Any], pointer: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(None, pod)
    assert caught.value.pointer == f"/spec/securityContext/{pointer}"
    assert words in str(caught.value)


@pytest.mark.parametrize(("field", "name"), [("hostNetwork", "net.ipv4.tcp_rmem"), ("hostIPC", "kernel.shmmax")])
def test_no_setting_of_a_namespace_of_the_machine(field: str, name: str) -> None:
    pod = {"sysctls": [{"name": name, "value": "1"}]}
    with pytest.raises(SpecError, match=field) as caught:
        parse(None, pod, **{field: True})
    assert caught.value.pointer == "/spec/securityContext/sysctls/0/name"
    other = "hostIPC" if field == "hostNetwork" else "hostNetwork"
    assert parse(None, pod, **{other: True}).security.sysctls


@pytest.mark.parametrize(
    ("name", "dots", "kind"),
    [
        ("kernel.sem", "kernel.sem", "ipc"),
        ("kernel/shmall", "kernel.shmall", "ipc"),
        ("fs.mqueue.msg_max", "fs.mqueue.msg_max", "ipc"),
        ("net/ipv4/conf/a.b/x", "net.ipv4.conf.a/b.x", "network"),
        ("kernel.semx", "kernel.semx", None),
        ("netx.a", "netx.a", None),
    ],
)
def test_names_of_settings(name: str, dots: str, kind: str | None) -> None:
    assert dotted(name) == dots
    assert namespace_of(dots) == kind


def test_unsafe_settings_are_allowed_by_pattern() -> None:
    pod = parse(None, {"sysctls": [{"name": n, "value": "1"} for n in ("net.ipv4.tcp_rmem", "net.core.somaxconn")]})
    for allowed in (("net.core.*",), ("net.core.somaxconn",), ("net/core/*",), ("x", "*")):
        check_safe(pod, allowed)
    for refused in ((), ("net.core",), ("net.core.somaxcon",), ("*.somaxconn",)):
        with pytest.raises(SpecError) as caught:
            check_safe(pod, refused)
        assert caught.value.pointer == "/spec/securityContext/sysctls/1/name"
    assert SecurityPolicy().unsafe_sysctls == ()


# ---- lowered ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ([], [], set(DEFAULT_CAPABILITIES)),
        (["SYS_TIME"], [], {*DEFAULT_CAPABILITIES, "CAP_SYS_TIME"}),
        ([], ["NET_RAW"], set(DEFAULT_CAPABILITIES) - {"CAP_NET_RAW"}),
        ([], ["ALL"], set()),
        (["CHOWN"], ["ALL"], {"CAP_CHOWN"}),
        (["CHOWN"], ["ALL", "CHOWN"], set()),
        (["ALL"], ["ALL"], set()),
    ],
)
def test_capabilities(add: list[str], drop: list[str], expected: set[str]) -> None:
    assert bounding({"capabilities": {"add": add, "drop": drop}}) == expected


def test_capabilities_are_cut_to_what_there_is() -> None:
    available = capability_mask(("CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"))
    assert bounding({"capabilities": {"add": ["ALL"]}}, available) == {"CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"}
    assert bounding({"privileged": True}, available) == {"CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"}
    assert bounding({}, available) == {"CAP_CHOWN", "CAP_KILL"}
    with pytest.raises(Unsupported, match="SYS_TIME"):
        bounding({"capabilities": {"add": ["SYS_TIME"]}}, available)
    # What is dropped need not be there.
    assert bounding({"capabilities": {"drop": ["SYS_TIME"]}}, available) == {"CAP_CHOWN", "CAP_KILL"}


def test_names_that_are_none_are_refused_wherever_they_stand() -> None:
    for place in ("add", "drop"):
        with pytest.raises(SpecError, match="'FLY' is not a capability"):
            bounding({"capabilities": {place: ["FLY"]}})


def test_privileged_is_everything() -> None:
    spec = lower({"privileged": True})
    assert spec.linux.seccomp is None
    assert spec.linux.masked_paths == spec.linux.readonly_paths == ()
    options = {mount.destination: mount.options for mount in spec.mounts}
    assert "ro" not in options["/sys"]
    assert "ro" not in options["/sys/fs/cgroup"]
    plain = lower({})
    assert plain.linux.masked_paths == MASKED_PATHS
    assert "ro" in {mount.destination: mount.options for mount in plain.mounts}["/sys"]


def test_user_and_groups() -> None:
    user = lower({"runAsUser": 5, "runAsGroup": 6}, {"supplementalGroups": [7, 6], "fsGroup": 8})
    assert user.process is not None
    assert (user.process.user.uid, user.process.user.gid, user.process.user.additional_gids) == (5, 6, (6, 7, 8))
    assert "HOME=/" in user.process.env


def test_escalation_is_allowed_unless_it_is_not() -> None:
    for security, expected in (({}, False), ({"allowPrivilegeEscalation": False}, True), ({"privileged": True}, False)):
        process = lower(security).process
        assert process is not None
        assert process.no_new_privileges is expected


# ---- AppArmor's annotations ------------------------------------------------------------------------------------------

BETA = "container.apparmor.security.beta.kubernetes.io/"


def test_annotations_stand_in_for_the_field() -> None:
    own = {"appArmorProfile": {"type": "Unconfined"}}
    containers = [shell("true", "a"), shell("true", "b", securityContext=own), shell("true", "c"), shell("true", "d")]
    annotations = {BETA + "a": "localhost/k8s-apparmor-example-deny-write", BETA + "b": "runtime/default"}
    spec = pod_spec(*containers, annotations={**annotations, BETA + "c": "unconfined"})
    assert [each.security.app_armor for each in spec.containers] == [
        Profile("Localhost", "k8s-apparmor-example-deny-write"),
        Profile("Unconfined"),
        Profile("Unconfined"),
        None,
    ]


@pytest.mark.parametrize(
    ("name", "value", "words"), [("x", "unconfined", "no container 'x'"), ("main", "x", "none of")]
)
def test_annotations_that_mean_nothing(name: str, value: str, words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        pod_spec(shell("true"), annotations={BETA + name: value})
    assert caught.value.pointer == "/metadata/annotations/" + (BETA + name).replace("/", "~1")
