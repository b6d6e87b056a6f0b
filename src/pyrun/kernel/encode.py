"""A plan as the bytes that the child maps: the Python side of csrc/plan.h."""

from __future__ import annotations

from struct import Struct
from struct import error as StructError

from pyrun._core import lib
from pyrun.errors import PyrunError
from pyrun.kernel.step_process import Gate
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pyrun.kernel.step_base import Plan, Step

HEADER = Struct("=IIIIIiiIii")  # struct plan_header
STEP = Struct("=II3i3I4Q")  # struct plan_step
STAMP = Struct("=QQ")  # struct plan_stamp
SLOT = Struct("=iI")  # struct plan_slot
U64 = 2**64 - 1


class Encoder:
    """Collects the data of the steps and gives slots their numbers, in the order in which the steps run."""

    def __init__(self, given: Iterable[str]) -> None:
        self._slots = {name: index for index, name in enumerate(given)}
        self._data = bytearray()
        self._known: dict[bytes, int] = {}

    def slot(self, name: str | None) -> int:
        """The number of a slot that the step uses; PLAN_NO_SLOT for None. An empty one would only be noticed in the child."""
        if name is None:
            return lib.PLAN_NO_SLOT
        if name not in self._slots:
            raise PyrunError(f"slot {name!r} is used, but no descriptor was given for it and no earlier step fills it")
        return self._slots[name]

    def fill(self, name: str) -> int:
        """The number of a slot that the step puts a descriptor into."""
        if name not in self._slots:
            self._slots[name] = len(self._slots)
        return self._slots[name]

    def text(self, value: str | None) -> int:
        """A string; 0 for None."""
        return 0 if value is None else self.texts((value,))

    def texts(self, values: Sequence[str]) -> int:
        """Strings one after the other, each with its NUL; 0 for none."""
        if not values:
            return 0
        joined = "\0".join(values)
        if joined.count("\0") != len(values) - 1:
            bad = next(value for value in values if "\0" in value)
            raise PyrunError(f"a string for the kernel cannot hold a NUL character: {bad!r}")
        return self.data(joined.encode("utf-8", "surrogateescape") + b"\0")

    def data(self, value: bytes) -> int:
        """Bytes, aligned so that the child may read numbers from them. Equal ones are stored once."""
        if value not in self._known:
            self._data += b"\0" * (-len(self._data) % 8)
            self._known[value] = len(self._data) + 1
            self._data += value or b"\0"
        return self._known[value]

    @property
    def slot_names(self) -> tuple[str, ...]:
        return tuple(self._slots)

    def block(self) -> bytes:
        return bytes(self._data)


ABSENT = ((lib.PLAN_NO_SLOT,) * 3, (0,) * 3, (0,) * 4)
_kinds: dict[str, int] = {}


def encode_step(step: Step, encoder: Encoder) -> bytes:
    """One ``struct plan_step``; what the step leaves out is absent or 0."""
    try:
        fds, strings, numbers = step.fields(encoder)
    except PyrunError as error:
        raise PyrunError(f"{step.describe()}: {error}") from None
    kind = _kinds.get(step.kind) or _kinds.setdefault(step.kind, getattr(lib, "PLAN_" + step.kind))
    fds, strings, numbers = (fds + ABSENT[0])[:3], (strings + ABSENT[1])[:3], (numbers + ABSENT[2])[:4]
    try:
        return STEP.pack(kind, step.flags, *fds, *strings, *numbers)
    except StructError:  # a negative number, in two's complement
        return STEP.pack(kind, step.flags, *fds, *strings, *[number & U64 for number in numbers])


class _Encoded(Value):
    """A plan without the numbers that differ from one spawn to the next: the descriptors."""

    plan: Plan
    names: tuple[str, ...]
    steps: bytes
    slots: tuple[str, ...]
    data: bytes
    gates: tuple[Gate, ...]


_remembered: dict[int, _Encoded] = {}
REMEMBERED_MOST = 64


def _encode(steps: Plan, names: tuple[str, ...]) -> _Encoded:
    """*steps* with slots for *names*. What was encoded before is remembered: by the tuple itself, which cannot change, and which
    the memory keeps alive, so that no other has its id."""
    found = _remembered.get(id(steps))
    if found is not None and found.plan is steps and found.names == names:
        return found
    encoder = Encoder(names)
    encoded = b"".join([encode_step(step, encoder) for step in steps])
    gates = tuple([step for step in steps if isinstance(step, Gate)])
    if len({gate.name for gate in gates}) < len(gates):
        raise PyrunError("two gates of a plan have one name: the launcher could not tell which one it opens")
    found = _Encoded(steps, names, encoded, encoder.slot_names, encoder.block(), gates)
    _check(found)
    if len(_remembered) >= REMEMBERED_MOST:
        _remembered.clear()
    _remembered[id(steps)] = found
    return found


def gates_of(steps: Plan, names: Iterable[str]) -> tuple[Gate, ...]:
    """The gates of *steps*, in order; *names* are the slots that :func:`encode_plan` will be given."""
    return _encode(steps, tuple(names)).gates


def encode_plan(
    steps: Plan,
    given: Mapping[str, int],
    report_fd: int,
    gate_fd: int,
    fault: tuple[int, int] | None = None,
) -> bytes:
    """The whole block. *given* has a descriptor for each slot that no step fills; *fault* is (index, errno) for the test hook."""
    for name, fd in given.items():
        if fd < 0:
            raise PyrunError(f"slot {name!r} was given {fd}, which is no descriptor")
    encoded = _encode(steps, tuple(given))
    descriptors = [*given.values(), *[-1] * (len(encoded.slots) - len(given))]
    slots = b"".join([SLOT.pack(fd, 0) for fd in descriptors])
    stamps = bytes(STAMP.size * len(steps))
    size = HEADER.size + len(encoded.steps) + len(stamps) + len(slots) + len(encoded.data)
    fail_step, fail_errno = fault or (lib.PLAN_NO_STEP, 0)
    counts = (lib.PLAN_MAGIC, size, len(steps), len(encoded.slots), len(encoded.data))
    header = HEADER.pack(*counts, report_fd, gate_fd, fail_step, fail_errno, 0)
    return header + encoded.steps + stamps + slots + encoded.data


def _check(encoded: _Encoded) -> None:
    """What the child would refuse."""
    if len(encoded.plan) > lib.PLAN_MAX_STEPS or len(encoded.slots) > lib.PLAN_MAX_SLOTS:
        raise PyrunError(
            f"{len(encoded.plan)} steps with {len(encoded.slots)} slots are more than a plan holds "
            f"({lib.PLAN_MAX_STEPS} and {lib.PLAN_MAX_SLOTS})"
        )


def stamps_offset(step_count: int) -> tuple[int, int]:
    """Where in the block the stamps are, and how many bytes."""
    return HEADER.size + STEP.size * step_count, STAMP.size * step_count


def slot_offset(steps: Plan, names: Iterable[str], slot: str) -> int:
    """Where in the block of *steps* the descriptor of *slot* is; *names* are the slots that :func:`encode_plan` was given."""
    encoded = _encode(steps, tuple(names))
    if slot not in encoded.slots:
        raise PyrunError(f"the plan has no slot {slot!r}")
    return sum(stamps_offset(len(steps))) + SLOT.size * encoded.slots.index(slot)


BORN_PID_OFFSET = HEADER.size - 4


def decode_stamps(data: bytes) -> list[tuple[int, int]]:
    """(begin, end) of each step in nanoseconds of CLOCK_MONOTONIC; 0: not reached; 1: reached, but under the filter."""
    return list(STAMP.iter_unpack(data))
