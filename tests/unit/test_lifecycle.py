"""The lifecycle machine, on a virtual clock."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.pod_world import World
from pyrun.pod.lifecycle.action import Kill, RunHook, RunProbe, Signal, StartContainers
from pyrun.pod.lifecycle.event import EphemeralAdded, RestartAsked, TimerFired
from pyrun.pod.lifecycle.status import Terminated, Waiting, status_document
from pyrun.spec.handler import ExecAction, Lifecycle, Probe, SleepAction
from pyrun.spec.image import parse_image
from pyrun.spec.pod import Container, Metadata, PodSpec, RestartRule

TRUE = ExecAction(("true",))
IMAGE = parse_image("host:")


def container(name: str, **fields: Any) -> Container:
    return Container(name, IMAGE, **fields)


def pod(*containers: Container, init: tuple[Container, ...] = (), **fields: Any) -> World:
    return World(PodSpec(Metadata("p"), containers, init_containers=init, **fields))


def sidecar(name: str, **fields: Any) -> Container:
    return container(name, restart_policy="Always", **fields)


def phase(world: World) -> str:
    return world.life.status().phase


def state_of(world: World, name: str) -> Any:
    return next(each for each in world.life.status().containers if each.name == name)


# ---- restart policies ----


def test_all_regular_containers_start_as_one_unit() -> None:
    world = pod(container("a"), container("b"))
    assert [a.names for _, a in world.log if isinstance(a, StartContainers)] == [("a", "b")]
    assert phase(world) == "Running"


@pytest.mark.parametrize(("policy", "code", "again"), [
    ("Always", 0, True), ("Always", 3, True),
    ("OnFailure", 0, False), ("OnFailure", 3, True),
    ("Never", 0, False), ("Never", 3, False),
])  # fmt: skip
def test_the_policy_says_who_is_started_again(policy: Any, code: int, again: bool) -> None:
    world = pod(container("a"), container("b"), restart_policy=policy)
    world.exit("a", code)
    assert ("a" in world.running) is again
    assert state_of(world, "a").restart_count == again
    assert not world.over


@pytest.mark.parametrize(("codes", "ended"), [((0, 0), "Succeeded"), ((0, 1), "Failed")])
def test_a_pod_is_over_when_all_have_ended_for_good(codes: tuple[int, int], ended: str) -> None:
    world = pod(container("a"), container("b"), restart_policy="Never")
    world.exit("a", codes[0])
    assert phase(world) == "Running"
    world.exit("b", codes[1])
    assert world.over
    assert phase(world) == ended


def test_back_off_is_none_then_doubles_to_five_minutes() -> None:
    world = pod(container("a"))
    waits = []
    for _ in range(9):
        ended_s = world.now_s
        world.exit("a", 1)
        world.pass_time(300)
        waits.append(world.times_of(StartContainers, "a")[-1] - ended_s)
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300, 300]


def test_ten_clean_minutes_forgive_all() -> None:
    world = pod(container("a"))
    for _ in range(4):
        world.exit("a", 1)
        world.pass_time(40)
    world.pass_time(600)
    world.exit("a", 1)
    assert world.times_of(StartContainers, "a")[-1] == world.now_s
    world.exit("a", 1)
    world.pass_time(9.999)
    assert "a" not in world.running
    world.pass_time(0.001)
    assert "a" in world.running


def test_just_short_of_ten_minutes_forgives_nothing() -> None:
    world = pod(container("a"))
    world.exit("a", 1)
    world.exit("a", 1)
    world.pass_time(10 + 599.9)
    world.exit("a", 1)
    world.pass_time(19.9)
    assert "a" not in world.running


def test_a_container_in_back_off_waits_and_tells_so() -> None:
    world = pod(container("a"))
    world.exit("a", 1)
    world.exit("a", 7)
    seen = state_of(world, "a")
    assert isinstance(seen.state, Waiting)
    assert seen.state.reason == "CrashLoopBackOff"
    assert seen.last.exit_code == 7
    assert "BackOff" in world.reasons("a")
    assert phase(world) == "Running"


def test_a_container_has_a_policy_of_its_own() -> None:
    world = pod(container("a", restart_policy="Never"), container("b"))
    world.exit("a", 1)
    assert "a" not in world.running
    world.exit("b", 1)
    assert "b" in world.running


@pytest.mark.parametrize(("rule", "code", "again"), [
    (RestartRule("Restart", (42,)), 42, True),
    (RestartRule("Restart", (42,)), 41, False),
    (RestartRule("Restart", (42,), negated=True), 42, False),
    (RestartRule("Restart", (42,), negated=True), 0, True),
])  # fmt: skip
def test_rules_come_before_the_policy(rule: RestartRule, code: int, again: bool) -> None:
    world = pod(container("a", restart_policy="Never", restart_rules=(rule,)), container("b"))
    world.exit("a", code)
    assert ("a" in world.running) is again


def test_who_is_asked_for_is_started_again_at_once_whatever_the_policy_is() -> None:
    world = pod(container("a"), container("b"), restart_policy="Never")
    for again in (1, 2, 3):
        world.tell(RestartAsked("a", "asked", always=True))
        assert "a" in world.running
        assert state_of(world, "a").restart_count == again
    world.exit("a", 0)
    assert "a" not in world.running
    world.tell(RestartAsked("a", "asked", always=True))
    assert "a" in world.running


def test_who_is_asked_for_does_not_wait_for_its_back_off() -> None:
    world = pod(container("a"))
    for _ in range(2):
        world.exit("a", 1)
    assert "restart/a" in world.timers
    world.tell(RestartAsked("a", "asked", always=True))
    assert "a" in world.running
    assert "restart/a" not in world.timers


def test_a_stop_outdoes_a_restart() -> None:
    world = pod(container("a"), restart_policy="Always")
    world.ignores_signals = {"a"}
    world.tell(RestartAsked("a", "asked", always=True))
    world.stop(1)
    world.pass_time(1)
    assert world.over


def test_restart_all_containers_begins_from_the_first() -> None:
    rule = RestartRule("RestartAllContainers", (88,))
    world = pod(container("a", restart_rules=(rule,)), container("b"), init=(container("i"), sidecar("s")))
    world.exit("i")
    world.log.clear()
    world.exit("a", 88)
    assert world.order_of(Kill) == ["s", "b"]
    assert world.running == {"i"}
    world.exit("i")
    assert world.running == {"s", "a", "b"}
    assert {state_of(world, name).restart_count for name in ("i", "s", "a", "b")} == {1}


# ---- init containers and sidecars ----


def test_init_containers_run_one_after_the_other() -> None:
    world = pod(container("a"), init=(container("i"), container("j")))
    assert world.running == {"i"}
    assert phase(world) == "Pending"
    world.exit("i")
    assert world.running == {"j"}
    world.exit("j")
    assert world.running == {"a"}
    assert phase(world) == "Running"


def test_a_timer_of_a_restart_starts_nobody_whose_turn_has_not_come() -> None:
    world = pod(container("c"), init=(container("i"),))
    world.tell(TimerFired("restart/c"))
    assert world.order_of_starts() == [("i",)]
    world.exit("i")
    assert world.order_of_starts() == [("i",), ("c",)]


def test_an_init_container_that_fails_is_tried_again() -> None:
    world = pod(container("a"), init=(container("i"),))
    world.exit("i", 1)
    assert world.running == {"i"}
    world.exit("i", 1)
    assert world.running == set()
    world.pass_time(10)
    world.exit("i", 0)
    assert world.running == {"a"}


def test_an_init_container_that_fails_for_good_fails_the_pod() -> None:
    world = pod(container("a"), init=(sidecar("s"), container("i")), restart_policy="Never")
    world.exit("i", 1)
    assert world.order_of(Signal) == ["s"]
    assert world.over
    assert phase(world) == "Failed"
    assert not world.times_of(StartContainers, "a")


def test_the_next_waits_until_a_sidecar_has_started() -> None:
    probe = Probe(TRUE, period_s=5, failure_threshold=3)
    world = pod(container("a"), init=(sidecar("s", startup_probe=probe), container("i")))
    assert world.running == {"s"}
    world.pass_time(0)
    world.answer("s", "startup", ok=False)
    world.pass_time(5)
    assert world.running == {"s"}
    world.answer("s", "startup", ok=True)
    assert world.running == {"s", "i"}
    world.exit("i")
    assert world.running == {"s", "a"}


def test_a_sidecar_is_always_started_again() -> None:
    world = pod(container("a"), init=(sidecar("s"), container("i")), restart_policy="Never")
    world.exit("s", 0)
    assert world.running == {"s", "i"}
    world.exit("i")
    world.exit("s", 1)
    world.pass_time(10)
    assert world.running == {"s", "a"}


def test_sidecars_end_last_and_in_reverse_order() -> None:
    world = pod(container("a"), container("b"), init=(sidecar("s"), sidecar("t"), sidecar("u")))
    world.ignores_signals = {"b", "t"}
    world.stop(30)
    assert world.order_of(Signal) == ["a", "b"]
    world.exit("b")
    assert world.order_of(Signal) == ["a", "b", "u", "t"]
    world.exit("t")
    assert world.order_of(Signal) == ["a", "b", "u", "t", "s"]
    assert world.over


def test_sidecars_share_what_is_left_of_the_grace_period() -> None:
    world = pod(container("a"), init=(sidecar("s"), sidecar("t")))
    world.ignores_signals = {"a", "s", "t"}
    began_s = world.now_s
    world.stop(30)
    world.pass_time(60)
    assert world.times_of(Kill, "a") == [began_s + 30]
    assert world.times_of(Signal, "t") == [began_s + 30]
    assert world.times_of(Signal, "s") == [began_s + 30]
    assert world.times_of(Kill, "t") == [began_s + 32]
    assert world.times_of(Kill, "s") == [began_s + 32]
    assert world.over


def test_a_pod_is_over_without_its_sidecars_and_they_do_not_count() -> None:
    world = pod(container("a"), init=(sidecar("s"),), restart_policy="Never")
    world.exit("a", 0)
    assert world.order_of(Signal) == ["s"]
    assert world.over
    assert phase(world) == "Succeeded"


# ---- hooks ----


def test_after_post_start_it_is_up() -> None:
    hooks = Lifecycle(post_start=TRUE)
    world = pod(container("a"), init=(sidecar("s", lifecycle=hooks),))
    assert world.running == {"s"}
    assert not state_of(world, "s").started
    world.finish_hook("s", "postStart")
    assert world.running == {"s", "a"}


def test_a_post_start_that_fails_ends_the_container() -> None:
    world = pod(container("a", lifecycle=Lifecycle(post_start=TRUE)))
    world.finish_hook("a", "postStart", ok=False)
    assert "FailedPostStartHook" in world.reasons("a")
    assert world.order_of(Signal) == ["a"]
    assert state_of(world, "a").restart_count == 1


def test_pre_stop_comes_before_the_signal() -> None:
    world = pod(container("a", lifecycle=Lifecycle(pre_stop=SleepAction(5), stop_signal=3)))
    world.stop(30)
    assert world.order_of(RunHook) == ["a"]
    assert world.order_of(Signal) == []
    world.finish_hook("a", "preStop")
    assert [a.number for _, a in world.log if isinstance(a, Signal)] == [3]
    assert world.over


def test_a_pre_stop_that_takes_all_the_time_leaves_two_seconds() -> None:
    world = pod(container("a", lifecycle=Lifecycle(pre_stop=TRUE)))
    world.ignores_signals = {"a"}
    began_s = world.now_s
    world.stop(30)
    world.pass_time(100)
    assert world.times_of(Signal, "a") == [began_s + 30]
    assert world.times_of(Kill, "a") == [began_s + 32]


def test_the_grace_period_is_kept() -> None:
    world = pod(container("a"), termination_grace_period_s=7)
    world.ignores_signals = {"a"}
    began_s = world.now_s
    world.stop()
    world.pass_time(6.9)
    assert world.times_of(Kill, "a") == []
    world.pass_time(0.1)
    assert world.times_of(Kill, "a") == [began_s + 7]


def test_asked_twice_the_shorter_time_counts() -> None:
    world = pod(container("a"))
    world.ignores_signals = {"a"}
    world.stop(30)
    world.stop(60)
    world.pass_time(1)
    assert not world.over
    world.stop(0)
    assert world.over
    assert world.order_of(Kill) == ["a"]


def test_no_grace_kills_at_once_and_runs_no_hook() -> None:
    world = pod(container("a", lifecycle=Lifecycle(pre_stop=TRUE)), init=(sidecar("s"),))
    world.stop(0)
    assert world.over
    assert world.order_of(RunHook) == world.order_of(Signal) == []


def test_what_waits_to_be_started_again_is_not_when_the_pod_ends() -> None:
    world = pod(container("a"), container("b"))
    world.exit("a", 1)
    world.exit("a", 1)
    world.stop()
    world.pass_time(1000)
    assert world.over
    assert len(world.times_of(StartContainers, "a")) == 2


# ---- probes ----


def test_liveness_ends_and_restarts_after_so_many_failures() -> None:
    probe = Probe(TRUE, initial_delay_s=3, period_s=10, failure_threshold=2, grace_period_s=4)
    world = pod(container("a", liveness_probe=probe))
    world.ignores_signals = {"a"}
    began_s = world.now_s
    world.pass_time(3)
    world.answer("a", "liveness", ok=False)
    assert world.order_of(Signal) == []
    world.pass_time(10)
    assert world.times_of(RunProbe, "a") == [began_s + 3, began_s + 13]
    world.answer("a", "liveness", ok=False)
    assert world.order_of(Signal) == ["a"]
    world.pass_time(4)
    assert world.times_of(Kill, "a") == [began_s + 17]
    assert state_of(world, "a").restart_count == 1
    assert world.reasons("a").count("Unhealthy") == 2


def test_a_success_between_failures_counts_from_the_start_again() -> None:
    world = pod(container("a", liveness_probe=Probe(TRUE, period_s=1, failure_threshold=2)))
    for ok in (False, True, False, True, False):
        world.pass_time(1)
        world.answer("a", "liveness", ok=ok)
    assert world.order_of(Signal) == []


def test_liveness_under_never_ends_without_a_restart() -> None:
    world = pod(container("a", liveness_probe=Probe(TRUE, failure_threshold=1)), restart_policy="Never")
    world.pass_time(0)
    world.answer("a", "liveness", ok=False)
    assert world.over
    assert phase(world) == "Failed"


def test_startup_holds_the_others_off() -> None:
    slow = Probe(TRUE, period_s=10, failure_threshold=30)
    world = pod(container("a", startup_probe=slow, liveness_probe=Probe(TRUE), readiness_probe=Probe(TRUE)))
    world.pass_time(0)
    assert world.probes == {("a", "startup")}
    assert not state_of(world, "a").started
    world.answer("a", "startup", ok=True)
    world.pass_time(0)
    assert world.probes == {("a", "liveness"), ("a", "readiness")}
    assert state_of(world, "a").started
    assert not state_of(world, "a").ready
    world.answer("a", "readiness", ok=True)
    assert state_of(world, "a").ready
    assert next(each for each in world.life.status().conditions if each.type == "Ready").status


def test_a_slow_answer_does_not_overlap_the_next_question() -> None:
    world = pod(container("a", liveness_probe=Probe(TRUE, period_s=1, timeout_s=9)))
    world.pass_time(5)
    assert len(world.times_of(RunProbe, "a")) == 1
    world.answer("a", "liveness", ok=True)
    world.pass_time(0)
    assert len(world.times_of(RunProbe, "a")) == 2


def test_readiness_has_two_thresholds() -> None:
    world = pod(container("a", readiness_probe=Probe(TRUE, period_s=1, success_threshold=2, failure_threshold=2)))
    seen = []
    for ok in (True, True, False, True, False, False):
        world.pass_time(1)
        world.answer("a", "readiness", ok=ok)
        seen.append(state_of(world, "a").ready)
    assert seen == [False, True, True, True, True, False]
    assert world.running == {"a"}


# ---- deadlines, mistakes, ephemeral containers ----


def test_the_active_deadline_fails_the_pod() -> None:
    world = pod(container("a"), active_deadline_s=60)
    world.ignores_signals = {"a"}
    world.pass_time(60)
    assert world.order_of(Signal) == ["a"]
    world.pass_time(30)
    status = world.life.status()
    assert (status.phase, status.reason) == ("Failed", "DeadlineExceeded")


def test_what_can_not_be_started_fails_the_pod() -> None:
    spec = PodSpec(Metadata("p"), (container("a"), container("b")), init_containers=(container("i"),))
    world = World(spec)
    world.cannot_start = {"b"}
    world.exit("i")
    assert world.over
    status = world.life.status()
    assert (status.phase, status.reason) == ("Failed", "StartError")
    assert isinstance(state_of(world, "b").state, Terminated)


def test_a_restart_that_fails_counts_as_an_exit() -> None:
    world = pod(container("a"))
    world.cannot_start = {"a"}
    world.exit("a", 1)
    assert not world.over
    world.cannot_start = set()
    world.pass_time(10)
    assert "a" in world.running


def test_an_eviction_fails_the_pod() -> None:
    world = pod(container("a"))
    world.stop(0, "Evicted")
    status = world.life.status()
    assert (status.phase, status.reason) == ("Failed", "Evicted")


def test_an_ephemeral_container_changes_nothing_for_the_pod() -> None:
    world = pod(container("a"), restart_policy="Never")
    world.tell(EphemeralAdded(container("e")))
    assert world.running == {"a", "e"}
    world.exit("e", 1)
    assert world.running == {"a"}
    world.exit("a", 0)
    assert phase(world) == "Succeeded"


def test_an_ephemeral_container_ends_with_the_pod() -> None:
    world = pod(container("a"), restart_policy="Never")
    world.tell(EphemeralAdded(container("e")))
    world.exit("a", 0)
    assert world.order_of(Signal) == ["e"]
    assert world.over


def test_the_document_is_shaped_as_kubernetes_shapes_it() -> None:
    world = pod(container("a"), init=(container("i"),), restart_policy="Never")
    world.exit("i")
    world.pass_time(2)
    world.exit("a", 3)
    document = status_document(world.life.status(), lambda seconds: f"t{seconds:g}")
    assert document["phase"] == "Failed"
    assert document["containerStatuses"] == [{
        "name": "a",
        "state": {"terminated": {"exitCode": 3, "reason": "Error", "startedAt": "t1000", "finishedAt": "t1002"}},
        "lastState": {}, "ready": False, "started": False, "restartCount": 0,
    }]  # fmt: skip
    assert document["initContainerStatuses"][0]["ready"] is True
    assert {each["type"]: each["status"] for each in document["conditions"]} == {
        "PodScheduled": "True",
        "PodReadyToStartContainers": "False",
        "Initialized": "True",
        "ContainersReady": "False",
        "Ready": "False",
    }
