"""What a :class:`~pyrun.pod.driver.Driver` knows, as a JSON document for the driver of another process.

It is taken when the machine has decided and before anything of that is done. What was not done, or may have been, is not in it:
it follows from the machine's state and from what is found of the pod. A container that is starting is started unless it is found
to run; a hook or a probe that was under way runs again; a kill is done again. Signals alone are told, until they are sent: to
send one twice would be another thing.

Times are CLOCK_MONOTONIC, in seconds: the document holds until the next boot.
"""

from __future__ import annotations

from pyrun.pod.lifecycle.action import Signal
from pyrun.pod.lifecycle.event import ContainerExited, StartFailed, StopAsked
from pyrun.pod.lifecycle.record import INTEGER, SECONDS, TEXT, list_of, mapping_of, value_of
from pyrun.pod.lifecycle.snapshot import life_document, read_life
from pyrun.pod.usage import Usage
from pyrun.spec.parse import Reader
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.pod.lifecycle.pod_life import PodLife
    from pyrun.spec.pod import PodSpec

VERSION = 1
SIGNALS = list_of(value_of(Signal, {"name": TEXT, "number": INTEGER}))
TIMERS = mapping_of(SECONDS)
KEYS = ("version", "life", "timers", "signals", "usages")


class Saved(Value):
    """What is in a document. ``signals`` are those that were not sent yet, or just then."""

    life: PodLife
    timers: dict[str, float]
    signals: tuple[Signal, ...]
    usages: dict[str, Usage]


def write(saved: Saved) -> dict[str, Any]:
    """The document."""
    return {
        "version": VERSION,
        "life": life_document(saved.life),
        "timers": TIMERS.write(saved.timers),
        "signals": SIGNALS.write(saved.signals),
        "usages": {name: _write_usage(usage) for name, usage in saved.usages.items()},
    }


def read(spec: PodSpec, document: object) -> Saved:
    """What :func:`write` has made *document* of; *spec* is the pod's as it was then. Raises :class:`SpecError` with a pointer
    into it."""
    fields = Reader(document).object(KEYS)
    version = fields.need("version")
    if version.integer() != VERSION:
        raise version.error(f"only version {VERSION} can be read")
    usages = {member.key: _read_usage(member) for member in fields.need("usages").members()}
    return Saved(
        read_life(spec, fields.need("life")),
        TIMERS.read(fields.need("timers")),
        SIGNALS.read(fields.need("signals")),
        usages,
    )


def lost_life(
    spec: PodSpec, document: object, now_s: float, reason: str, message: str
) -> tuple[PodLife, dict[str, Usage]]:
    """The life of a pod whose driver has ended, and its monitor or its pause as well, over for *reason*: nobody knows how the
    containers that ran have ended, but that they did not go on. Other arguments and errors as for :func:`read`."""
    saved = read(spec, document)
    life = saved.life
    life.handle(StopAsked(0, reason, message), now_s)
    for each in list(life.containers.values()):
        if each.stage == "starting":
            life.handle(StartFailed(each.name, reason, message), now_s)
        elif each.alive:
            life.handle(ContainerExited(each.name, 137, 9, "ContainerStatusUnknown", message), now_s)
    return life, saved.usages


def _write_usage(usage: Usage) -> dict[str, Any]:
    fields = {name: getattr(usage, name) for name in Usage._fields}
    return {
        name: value for name, value in {**fields, "stalled_us": dict(usage.stalled_us)}.items() if value is not None
    }


def _read_usage(reader: Reader) -> Usage:
    fields = reader.object(Usage._fields)
    counts = {name: found.integer(0) for name in Usage._fields if name != "stalled_us" and (found := fields.get(name))}
    stalled = {member.key: member.integer(0) for member in fields.need("stalled_us").members()}
    return Usage(**counts, stalled_us=tuple(stalled.items()))
