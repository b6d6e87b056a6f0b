"""How a pod lives, with real processes, as a user writes it: init containers, sidecars, restarts, hooks, the end. When, is
decided by the machine that tests/unit/test_lifecycle.py has on a clock of its own; here is seen that it is done."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import Done, Store
from fixtures.pods import FOREVER, document, mount, shell

pytestmark = pytest.mark.root

VOLUME = [{"name": "v", "emptyDir": {}}]
AT = [mount("v", "/v")]
UNTIL_TERM = "trap 'echo {0} ends; exit 0' TERM; echo {0} runs; while :; do sleep 0.02; done"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def lines(done: Done) -> list[str]:
    """What the containers printed, without the column of names."""
    return [line.partition("| ")[2] for line in done.out.splitlines()]


def status(done: Done) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.out)["status"]
    return found


def of(found: dict[str, Any], name: str) -> dict[str, Any]:
    every = [*found.get("initContainerStatuses", ()), *found["containerStatuses"]]
    return next(each for each in [*every, *found.get("ephemeralContainerStatuses", ())] if each["name"] == name)


def once(script: str, code: int) -> str:
    """*script* in the first run, which exits with *code*; the second one exits 0."""
    return f"if [ -e /v/done ]; then echo again; exit 0; fi; touch /v/done; {script}; exit {code}"


# ---- coming up ----


def test_init_containers_run_one_after_the_other(store: Store) -> None:
    inits = [shell("sleep 0.1; echo one", "one"), shell("echo two", "two")]
    done = store.run(store.manifest(shell("echo main"), initContainers=inits))
    assert lines(done) == ["one", "two", "main"]
    assert done.status == 0


def test_an_init_container_that_fails_is_tried_again(store: Store) -> None:
    inits = [shell(once("echo fails", 1), "init", volumeMounts=AT)]
    path = store.manifest(shell("echo main"), initContainers=inits, volumes=VOLUME, restartPolicy="OnFailure")
    done = store.run(path)
    assert lines(done) == ["fails", "again", "main"]
    assert "init" in done.err
    assert "(1 restart)" in done.err


def test_an_init_container_that_fails_for_good_fails_the_pod(store: Store) -> None:
    path = store.manifest(shell("echo never"), initContainers=[shell("exit 7", "init")])
    done = store.run(path, "--output", "json")
    found = status(done)
    assert done.status == 1
    assert found["phase"] == "Failed"
    assert of(found, "init")["state"]["terminated"]["exitCode"] == 7
    assert of(found, "main")["state"] == {"waiting": {"reason": "PodInitializing"}}


def test_a_sidecar_runs_beside_and_ends_last(store: Store) -> None:
    side = [shell(UNTIL_TERM.format(name), name, restartPolicy="Always") for name in ("s", "t")]
    path = store.manifest(shell("sleep 0.3; echo main ends"), initContainers=side)
    done = store.run(path)
    assert done.status == 0
    assert lines(done) == ["s runs", "t runs", "main ends", "t ends", "s ends"]


def test_the_next_waits_for_a_sidecars_startup_probe(store: Store) -> None:
    probe = {"exec": {"command": ["cat", "/v/up"]}, "periodSeconds": 1, "failureThreshold": 100}
    side = shell(
        "sleep 0.3; echo up; touch /v/up; exec sleep 1000",
        "s",
        restartPolicy="Always",
        startupProbe=probe,
        volumeMounts=AT,
    )
    path = store.manifest(shell("echo main"), initContainers=[side], volumes=VOLUME, terminationGracePeriodSeconds=1)
    assert lines(store.run(path)) == ["up", "main"]


def test_all_regular_containers_start_or_none(store: Store) -> None:
    path = store.manifest(
        shell("echo a > /v/a", "a", volumeMounts=AT),
        {"name": "b", "image": "host:", "command": ["/no/such/program"]},
        initContainers=[shell("echo init", "init")],
        volumes=VOLUME,
    )
    done = store.run(path)
    assert done.status == 1
    assert lines(done) == ["init"]
    assert "container b: '/no/such/program': command not found" in done.err
    assert "Traceback" not in done.err


# ---- restarts ----


@pytest.mark.parametrize(("policy", "code", "printed"), [
    ("Never", 1, ["first"]),
    ("OnFailure", 1, ["first", "again"]),
    ("OnFailure", 0, ["first"]),
])  # fmt: skip
def test_restart_policies(store: Store, policy: str, code: int, printed: list[str]) -> None:
    path = store.manifest(shell(once("echo first", code), volumeMounts=AT), volumes=VOLUME, restartPolicy=policy)
    assert lines(store.run(path)) == printed


def test_always_is_the_default_and_backs_off(store: Store) -> None:
    pod = document(shell("echo run"))
    del pod["spec"]["restartPolicy"]
    with store.running("--events", store.write(pod)) as command:
        command.wait_for("BackOff")
        command.process.terminate()
        done = command.finish()
    assert lines(done) == ["run", "run"]
    assert "back-off 10 s restarting failed container main" in done.err


def test_a_container_made_anew_has_a_fresh_root_and_keeps_its_volumes(store: Store) -> None:
    script = "ls /tmp/left 2>/dev/null || true; touch /tmp/left; " + once("echo first", 1)
    path = store.manifest(shell(script, volumeMounts=AT), volumes=VOLUME, restartPolicy="OnFailure")
    assert lines(store.run(path)) == ["first", "again"]


def test_a_rule_restarts_where_the_policy_would_not(store: Store) -> None:
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    body = shell(once("echo first", 42), restartPolicy="Never", restartPolicyRules=rules, volumeMounts=AT)
    assert lines(store.run(store.manifest(body, volumes=VOLUME))) == ["first", "again"]


def test_restart_all_containers(store: Store) -> None:
    rules = [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [88]}}]
    body = shell(once("echo first", 88), restartPolicy="Never", restartPolicyRules=rules, volumeMounts=AT)
    inits = [shell("echo init", "init")]
    done = store.run(store.manifest(body, initContainers=inits, volumes=VOLUME))
    assert lines(done) == ["init", "first", "init", "again"]


# ---- hooks ----


def test_post_start_and_pre_stop(store: Store) -> None:
    hooks = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo hello > /v/hook"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo stopping > /v/stop"]}},
    }
    wait = "until [ -e /v/hook ]; do sleep 0.02; done; echo hooked; while :; do sleep 0.02; done"
    script = f"trap 'cat /v/hook /v/stop; exit 0' TERM; {wait}"
    path = store.manifest(shell(script, lifecycle=hooks, volumeMounts=AT), volumes=VOLUME)
    with store.running("--events", path) as command:
        command.wait_for("hooked")
        command.process.terminate()
        done = command.finish()
    assert lines(done) == ["hooked", "hello", "stopping"]


def test_a_post_start_that_fails(store: Store) -> None:
    hooks = {"postStart": {"exec": {"command": ["sh", "-c", "echo broken; exit 3"]}}}
    path = store.manifest(shell(FOREVER, lifecycle=hooks), terminationGracePeriodSeconds=1)
    done = store.run("--events", path)
    assert done.status == 137  # its first process has no handler for SIGTERM, and is one of a namespace
    assert "FailedPostStartHook" in done.err
    assert "exit code 3: broken" in done.err


def test_the_stop_signal(store: Store) -> None:
    script = "trap 'echo usr1; exit 0' USR1; echo ready; while :; do sleep 0.02; done"
    path = store.manifest(shell(script, lifecycle={"stopSignal": "SIGUSR1"}))
    with store.running(path) as command:
        command.wait_for("ready")
        command.process.terminate()
        done = command.finish()
    assert lines(done) == ["ready", "usr1"]


# ---- probes ----


def test_liveness_restarts(store: Store) -> None:
    """Kubernetes' example of a liveness command: healthy while a file is there."""
    probe = {"exec": {"command": ["cat", "/v/healthy"]}, "initialDelaySeconds": 1, "failureThreshold": 1}
    script = "if [ -e /v/once ]; then echo again; exit 0; fi; touch /v/once; echo up; exec sleep 1000"
    body = shell(script, livenessProbe=probe, volumeMounts=AT)
    path = store.manifest(body, volumes=VOLUME, restartPolicy="OnFailure", terminationGracePeriodSeconds=1)
    done = store.run("--events", path)
    assert lines(done) == ["up", "again"]
    assert "Unhealthy" in done.err
    assert (
        "Liveness probe failed: command ended with exit code 1: cat: /v/healthy: No such file or directory" in done.err
    )


# ---- the end ----


def test_the_active_deadline(store: Store) -> None:
    path = store.manifest(shell(FOREVER), activeDeadlineSeconds=1, terminationGracePeriodSeconds=1)
    done = store.run("--output", "json", path)
    found = status(done)
    assert (found["phase"], found["reason"]) == ("Failed", "DeadlineExceeded")
    assert done.status == 137


def test_the_status_is_shaped_as_kubernetes_shapes_it(store: Store) -> None:
    path = store.manifest(shell("echo out"), nodeSelector={"a": "b"})
    done = store.run(path, "--output", "json")
    document = json.loads(done.out)
    assert (document["apiVersion"], document["kind"], document["metadata"]["name"]) == ("v1", "Pod", "test")
    found = document["status"]
    assert found["phase"] == "Succeeded"
    assert found["ignoredFields"] == ["nodeSelector"]
    assert found["qosClass"] == "BestEffort"
    terminated = of(found, "main")["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (0, "Completed")
    assert terminated["startedAt"] <= terminated["finishedAt"]
    assert of(found, "main")["usage"]["cpuMicroseconds"] > 0
    assert "main | out" in done.err


def test_the_status_as_yaml(store: Store) -> None:
    yaml = pytest.importorskip("yaml")
    path = store.manifest(shell("exit 3"))
    done = store.run(path, "--output", "yaml")
    assert yaml.safe_load(done.out)["status"]["phase"] == "Failed"
    assert done.status == 3


def test_nothing_is_left_of_a_killed_launcher_while_a_container_is_restarted(store: Store) -> None:
    path = store.manifest(shell("sleep 0.01; exit 1"), shell(FOREVER, "b"), restartPolicy="OnFailure")
    with store.running("--events", path) as command:
        command.wait_for("BackOff")
        os.kill(command.process.pid, 9)
        command.process.wait()
    done = store.run(store.manifest(shell("true")))
    assert done.status == 0
    assert "removed what was left of pod" in done.err


def test_an_ephemeral_container_sees_its_target_and_changes_nothing(store: Store) -> None:
    debugger = shell(
        "until tr '\\0' ' ' < /proc/1/cmdline | grep -q sleep; do sleep 0.02; done; echo seen; exit 3", "debug"
    )
    debugger["targetContainerName"] = "main"
    body = shell("exec sleep 1000")
    inits = [shell("true", "init")]
    path = store.manifest(body, ephemeralContainers=[debugger], initContainers=inits, terminationGracePeriodSeconds=1)
    with store.running("--output", "json", path) as command:
        command.wait_for("debug | seen")
        command.process.terminate()
        done = command.finish()
    found = of(status(done), "debug")
    assert found["state"]["terminated"]["exitCode"] == 3
    assert of(status(done), "main")["restartCount"] == 0
