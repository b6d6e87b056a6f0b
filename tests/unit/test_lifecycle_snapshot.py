"""A lifecycle machine that is saved and loaded goes on as if nothing had been."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import settings

from fixtures.any_life import AnyLife
from fixtures.pod_world import World
from pyrun.errors import SpecError
from pyrun.pod.lifecycle.action import Action
from pyrun.pod.lifecycle.backoff import Backoff
from pyrun.pod.lifecycle.container_life import ContainerLife
from pyrun.pod.lifecycle.event import EphemeralAdded, Event
from pyrun.pod.lifecycle.pod_life import PodLife
from pyrun.pod.lifecycle.probing import Probing
from pyrun.pod.lifecycle.snapshot import NOT_SAVED, PARTS, SAVED, life_document, parse_life
from pyrun.spec.handler import ExecAction, Lifecycle, Probe
from pyrun.spec.image import parse_image
from pyrun.spec.parse import load_json
from pyrun.spec.pod import Container, Metadata, PodSpec
from pyrun.value import Value, replace

IMAGE = parse_image("host:")
TRUE = ExecAction(("true",))
POD = PodSpec(
    metadata=Metadata("p"),
    init_containers=(Container("i", IMAGE),),
    containers=(Container("c", IMAGE, liveness_probe=Probe(TRUE), lifecycle=Lifecycle(pre_stop=TRUE)),),
)


def through_text(document: object) -> object:
    return load_json(json.dumps(document).encode(), "life.json")


class TwiceLived(PodLife):
    """A machine, and beside it one that is loaded anew from the other's document before each event. They have to agree."""

    def __init__(self, spec: PodSpec) -> None:
        super().__init__(spec)
        self.whole = spec

    def handle(self, event: Event, now_s: float) -> list[Action]:
        loaded = parse_life(self.whole, through_text(life_document(self)))
        assert life_document(loaded) == life_document(self)
        assert loaded.status() == self.status()
        if isinstance(event, EphemeralAdded) and event.container not in self.whole.ephemeral_containers:
            added = (*self.whole.ephemeral_containers, event.container)
            self.whole = replace(self.whole, ephemeral_containers=added)
        wanted = super().handle(event, now_s)
        assert loaded.handle(event, now_s) == wanted
        assert loaded.status() == self.status()
        assert life_document(loaded) == life_document(self)
        return wanted


class SavedLife(AnyLife):
    """Everything that can happen to a pod, which is saved and loaded all the time."""

    def make_world(self, spec: PodSpec) -> World:
        return World(spec, TwiceLived(spec))


TestSavedLife = SavedLife.TestCase
TestSavedLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def probed() -> World:
    """A pod whose probe has been asked and not answered."""
    world = World(POD)
    world.exit("i")
    world.pass_time(1)
    return world


@pytest.mark.parametrize("cls", [*SAVED])
def test_each_attribute_is_saved_or_is_said_not_to_be(cls: type) -> None:
    world = probed()
    life = world.life.containers["c"]
    examples = {each.__class__: each for each in (world.life, life, life.backoff, life.probings["liveness"])}
    names = set(cls._fields) if issubclass(cls, Value) else set(vars(examples[cls]))
    told = [*SAVED[cls], *PARTS.get(cls, ()), *NOT_SAVED.get(cls, ())]
    assert names == set(told), "an attribute is new or gone: what is to become of it in a snapshot?"
    assert len(told) == len(set(told))


def test_the_tables_are_of_all_the_machine() -> None:
    assert {PodLife, ContainerLife, Backoff, Probing} <= set(SAVED)


WRONG: dict[str, tuple[list[str], Any, str]] = {
    "stage": (["containers", "c", "stage"], "runing", "/containers/c/stage"),
    "time": (["began_s"], "noon", "/began_s"),
    "not finite": (["began_s"], float("nan"), "/began_s"),
    "count": (["containers", "c", "restart_count"], -1, "/containers/c/restart_count"),
    "truth": (["over"], 0, "/over"),
    "probe": (["containers", "c", "probings", "startup"], {}, "/containers/c/probings/startup"),
    "probe's name": (["containers", "c", "probings", "odd"], {}, "/containers/c/probings/odd"),
    "hook": (["containers", "i", "hooking"], "preStop", "/containers/i/hooking"),
    "container": (["containers", "other"], {}, "/containers/other"),
    "unknown": (["more"], 1, "/more"),
    "end": (["containers", "i", "ended", "exit_code"], "0", "/containers/i/ended/exit_code"),
    "containers": (["containers"], [], "/containers"),
    "back-off": (["containers", "c", "backoff"], None, "/containers/c/backoff"),
}


@pytest.mark.parametrize(("path", "value", "pointer"), WRONG.values(), ids=WRONG)
def test_a_corrupt_document_is_told_with_the_place(path: list[str], value: Any, pointer: str) -> None:
    document = life_document(probed().life)
    parse_life(POD, copy.deepcopy(document))
    place: Any = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(SpecError) as caught:
        parse_life(POD, document)
    assert caught.value.pointer == pointer


def test_whatever_is_missing_or_of_another_type_is_told() -> None:
    document = life_document(probed().life)
    tried = 0

    def walk(place: dict[str, Any]) -> None:
        nonlocal tried
        for name, good in list(place.items()):
            if isinstance(good, dict):
                walk(good)
            for bad in ([], 10**400 if isinstance(good, dict) else {}):
                place[name] = bad
                if bad == good:
                    continue
                with pytest.raises(SpecError):
                    parse_life(POD, document)
                tried += 1
            place[name] = good

    walk(document)
    assert tried > 80
    parse_life(POD, document)


def test_a_message_may_hold_any_text_and_a_time_may_be_never() -> None:
    world = probed()
    world.life.message = "\0\ud800\u2028"
    world.life.containers["c"].stop_deadline_s = float("inf")
    loaded = parse_life(POD, through_text(life_document(world.life)))
    assert loaded.message == world.life.message
    assert loaded.containers["c"].stop_deadline_s == float("inf")
