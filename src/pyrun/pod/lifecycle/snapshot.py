"""The lifecycle machine as a JSON document, and back: what it takes to go on in another process.

Times are CLOCK_MONOTONIC, in seconds, and so hold until the next boot. Each attribute of the machine is in a table here, either
with the kind of what it holds or among those that are not saved, with the reason; a test compares the tables with the classes.
"""

from __future__ import annotations

from pyrun.pod.lifecycle.backoff import Backoff
from pyrun.pod.lifecycle.container_life import ContainerLife
from pyrun.pod.lifecycle.pod_life import PodLife
from pyrun.pod.lifecycle.probing import PROBE_KINDS, Probing, probe_of
from pyrun.pod.lifecycle.record import (
    BOOLEAN,
    COUNT,
    INTEGER,
    SECONDS,
    TEXT,
    one_of,
    optional,
    read_fields,
    value_of,
    write_fields,
)
from pyrun.pod.lifecycle.status import Terminated, Waiting
from pyrun.spec.parse import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pyrun.pod.lifecycle.record import Table
    from pyrun.spec.pod import PodSpec

WAITING: Table = {"reason": TEXT, "message": TEXT}
TERMINATED: Table = {
    "exit_code": INTEGER,
    "reason": TEXT,
    "started_s": optional(SECONDS),
    "finished_s": SECONDS,
    "signal": optional(INTEGER),
    "message": TEXT,
    "detail": TEXT,
}
BACKOFF: Table = {"_next_s": SECONDS}
PROBING: Table = {
    "good": BOOLEAN,
    "asked_s": SECONDS,
    "waiting": BOOLEAN,
    "_same": COUNT,
    "_last_ok": optional(BOOLEAN),
}
_ENDED = optional(value_of(Terminated, TERMINATED))
CONTAINER: Table = {
    "stage": one_of("waiting", "starting", "running", "stopping", "done"),
    "waiting_for": value_of(Waiting, WAITING),
    "restart_count": COUNT,
    "started_s": SECONDS,
    "started": BOOLEAN,
    "begun": BOOLEAN,
    "was_up": BOOLEAN,
    "ended": _ENDED,
    "before": _ENDED,
    "hooking": one_of("", "postStart", "preStop"),
    "held": BOOLEAN,
    "signalled": BOOLEAN,
    "killed": BOOLEAN,
    "restart_anyway": BOOLEAN,
    "restart_at_once": BOOLEAN,
    "stop_deadline_s": SECONDS,
}
POD: Table = {
    "began_s": SECONDS,
    "initialized_s": optional(SECONDS),
    "ready_s": optional(SECONDS),
    "was_ready": BOOLEAN,
    "ending": BOOLEAN,
    "over": BOOLEAN,
    "failed": BOOLEAN,
    "reason": TEXT,
    "message": TEXT,
    "_restarting_all": BOOLEAN,
    "_again_at_s": SECONDS,
    "_stop_by_s": SECONDS,
}
# Parts that are mutable have functions of their own below.
PARTS: Mapping[type, tuple[str, ...]] = {PodLife: ("containers",), ContainerLife: ("backoff", "probings")}
SAVED: Mapping[type, Table] = {
    PodLife: POD,
    ContainerLife: CONTAINER,
    Probing: PROBING,
    Backoff: BACKOFF,
    Waiting: WAITING,
    Terminated: TERMINATED,
}
NOT_SAVED: Mapping[type, Mapping[str, str]] = {
    PodLife: {"spec": "who loads it has it", "_actions": "of one event; those not done yet are its driver's to keep"},
    ContainerLife: {
        "spec": "the pod's",
        "name": "the key",
        "role": "follows from where the spec has it",
        "policy": "follows from the spec",
    },
    Probing: {"kind": "the key", "probe": "the spec's"},
}


def life_document(life: PodLife) -> dict[str, Any]:
    """All that *life* knows besides the spec, as JSON values."""
    containers = {name: _container_document(each) for name, each in life.containers.items()}
    return {**write_fields(life, POD), "containers": containers}


def parse_life(spec: PodSpec, document: object) -> PodLife:
    """The machine that *document* was made of; *spec* is its pod's, with the ephemeral containers that have come since it began.

    Raises :class:`SpecError` with a pointer into *document* for what is no such document, or is another pod's.
    """
    return read_life(spec, Reader(document))


def read_life(spec: PodSpec, reader: Reader) -> PodLife:
    """As :func:`parse_life`, of one place in a document."""
    life = PodLife(spec)
    _set(life, read_fields(reader, POD, PARTS[PodLife]))
    place = reader.object((*_keys(POD), *PARTS[PodLife])).need("containers")
    members = {member.key: member for member in place.members()}
    for name in life.containers:
        if name not in members:
            raise place.member_error(name, "required, but missing: the pod has this container")
    ephemeral = {container.name: container for container in spec.ephemeral_containers}
    for name, member in members.items():
        if name not in life.containers:
            if name not in ephemeral:
                raise member.error("the pod has no such container")
            life._add(ephemeral[name], "ephemeral")
        _read_container(life.containers[name], member)
    return life


def _container_document(life: ContainerLife) -> dict[str, Any]:
    probings = {kind: write_fields(each, PROBING) for kind, each in life.probings.items()}
    return {**write_fields(life, CONTAINER), "backoff": write_fields(life.backoff, BACKOFF), "probings": probings}


def _read_container(life: ContainerLife, reader: Reader) -> None:
    parts = PARTS[ContainerLife]
    _set(life, read_fields(reader, CONTAINER, parts))
    fields = reader.object((*_keys(CONTAINER), *parts))
    _set(life.backoff, read_fields(fields.need("backoff"), BACKOFF))
    place = fields.need("probings")
    for member in place.members():
        kind = Reader(member.key, place, member.key).one_of(PROBE_KINDS)
        probe = probe_of(life.spec, kind)
        if probe is None:
            raise member.error(f"container {life.name} has no such probe")
        life.probings[kind] = Probing(kind, probe)
        _set(life.probings[kind], read_fields(member, PROBING))
    hooks = {"postStart": life.spec.lifecycle.post_start, "preStop": life.spec.lifecycle.pre_stop}
    if life.hooking and hooks[life.hooking] is None:
        raise fields.need("hooking").error(f"container {life.name} has no hook {life.hooking}")


def _keys(table: Table) -> list[str]:
    return [name.lstrip("_") for name in table]


def _set(thing: object, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(thing, name, value)
