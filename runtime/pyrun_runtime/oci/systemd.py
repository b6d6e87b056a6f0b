"""Cgroups that systemd makes: ``--systemd-cgroup``, cgroupsPath ``slice:prefix:name``.

systemd owns the tree there, so a container gets a scope of its own, ``prefix-name.scope`` below the slice, and what is in it is
delegated to us. systemd makes a scope around a process that exists. A process of ours is born in its cgroup, which must be there
before; so a holder that does nothing is what the scope is made around, and it goes when the container's first process is there.

Here is what is asked of systemd, as values; :mod:`pyrun_runtime.oci.systemd_bus` says it.
Property names and types: org.freedesktop.systemd1(5), systemd.resource-control(5).
"""

from __future__ import annotations

from pyrun import NO_LIMIT, CpuMax, KernelError, Limits, PyrunError, SpecError, Unsupported, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol, TypeAlias

    from pyrun import Cgroup

    Variant: TypeAlias = tuple[str, object]
    """D-Bus signature and value."""
    Property: TypeAlias = tuple[str, Variant]

    class Bus(Protocol):
        """What :class:`Systemd` needs of a connection."""

        def call(self, method: str, signature: str, *arguments: object) -> tuple[object, ...]:
            """A method of systemd's manager object. Raises :class:`BusError`."""

        def wait_job(self, job: str, timeout_s: float) -> str:
            """Wait for the end of *job*, an object path that a call returned; its result, "done" when all is well."""

        def read_property(self, path: str, interface: str, name: str) -> object:
            """A property of the object at *path*."""


POINTER = "/linux/cgroupsPath"
SYSTEM_SLICE = "system.slice"
USER_SLICE = "user.slice"
INFINITY = 2**64 - 1
SECOND_US = 1_000_000
HIGHEST_CPU = 8191  # CONFIG_NR_CPUS goes no further
QUOTA_STEP_US = 10_000  # systemd keeps a quota as whole per cents of a processor
JOB_TIMEOUT_S = 30.0
MANAGER = "org.freedesktop.systemd1"
MANAGER_PATH = "/org/freedesktop/systemd1"
UNIT_EXISTS = f"{MANAGER}.UnitExists"
NO_SUCH_UNIT = f"{MANAGER}.NoSuchUnit"


class BusError(PyrunError):
    """systemd's answer is an error; ``name`` is its D-Bus name."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"systemd: {message or name}")
        self.name = name


class Unit(Value):
    """A scope and the slice that it is in."""

    slice: str
    name: str


# ---- names -----------------------------------------------------------------------------------------------------------


def parse_unit(cgroups_path: str, container: str, default_slice: str = SYSTEM_SLICE) -> Unit:
    """The unit that ``linux.cgroupsPath`` names; without one, a scope named after *container*."""
    if not cgroups_path:
        return Unit(default_slice, f"pyrun-{container}.scope")
    parts = cgroups_path.split(":")
    if len(parts) != 3:
        raise SpecError(POINTER, f"must be 'slice:prefix:name' for systemd cgroups, not {cgroups_path!r}")
    slice_name, prefix, name = parts
    if not name or "/" in cgroups_path:
        raise SpecError(POINTER, f"{cgroups_path!r}: prefix and name make the name of a unit")
    if name.endswith(".slice"):
        raise SpecError(POINTER, f"{name!r} is a slice, in which no process can live")
    slice_name = slice_name or default_slice
    _check_slice(slice_name)
    return Unit(slice_name, f"{prefix}-{name}.scope" if prefix else f"{name}.scope")


def _check_slice(name: str) -> None:
    """``a-b.slice`` is below ``a.slice``, so each part must be something; ``-.slice`` is the root."""
    stem = name.removesuffix(".slice")
    if stem == name or (stem != "-" and "" in stem.split("-")):
        raise SpecError(POINTER, f"{name!r} is not the name of a slice")


def expand_slice(name: str) -> str:
    """The path of a slice: that of ``a-b.slice`` is ``/a.slice/a-b.slice``, that of the root is empty."""
    stem = name.removesuffix(".slice")
    if stem == "-":
        return ""
    parts = stem.split("-")
    return "".join([f"/{'-'.join(parts[:count])}.slice" for count in range(1, len(parts) + 1)])


# ---- properties ------------------------------------------------------------------------------------------------------


def scope_properties(unit: Unit, container: str, pid: int) -> list[Property]:
    """A delegated scope around *pid*, with accounting of everything, which no order between units stops."""
    switches = ("MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting")
    return [
        ("Description", ("s", f"pyrun container {container}")),
        ("Slice", ("s", unit.slice)),
        ("PIDs", ("au", [pid])),
        ("Delegate", ("b", True)),
        *[(name, ("b", True)) for name in switches],
        ("DefaultDependencies", ("b", False)),
    ]


def limit_properties(limits: Limits) -> list[Property]:
    """*limits* as systemd keeps them.

    They are written into the group's files as well, exactly; but what systemd does not know of, it would put back to nothing the
    next time that it looks at the unit. What it has no property for, it leaves alone.
    """
    numbers = (
        ("CPUWeight", 0 if limits.cpu_idle else limits.cpu_weight),
        ("MemoryMin", limits.memory_min_bytes),
        ("MemoryLow", limits.memory_low_bytes),
        ("MemoryHigh", limits.memory_high_bytes),
        ("MemoryMax", limits.memory_max_bytes),
        ("MemorySwapMax", limits.memory_swap_max_bytes),
        ("TasksMax", limits.pids_max),
        ("IOWeight", limits.io_weight),
    )
    found: list[Property] = [(name, _number(value)) for name, value in numbers if value is not None]
    if limits.cpu_max is not None:
        found += _quota(limits.cpu_max)
    sets = (("AllowedCPUs", limits.cpuset_cpus), ("AllowedMemoryNodes", limits.cpuset_mems))
    found += [(name, ("ay", _bitmap(text))) for name, text in sets if text]
    # A file named in linux.resources.unified is the last word.
    return list(dict([*found, *_unified(limits.unified)]).items())


def limits_in_force(group: Cgroup) -> Limits:
    """Those that systemd keeps, as the group has them now."""

    def read(file: str) -> str | None:
        try:
            return group.read_file(file).strip() or None
        except KernelError:
            return None  # without the controller

    return Limits(unified=tuple([(file, text) for file in KEPT if (text := read(file)) is not None]))


def _number(value: int) -> Variant:
    return "t", INFINITY if value == NO_LIMIT else value


def _quota(cpu_max: CpuMax) -> list[Property]:
    quota, period = cpu_max.quota_us, cpu_max.period_us
    per_second = INFINITY
    if quota != NO_LIMIT:
        # Up to the next whole per cent: rounded down, a child's quota would be above its parent's.
        per_second = -(-(quota * SECOND_US // period) // QUOTA_STEP_US) * QUOTA_STEP_US
    return [("CPUQuotaPeriodUSec", ("t", period)), ("CPUQuotaPerSecUSec", ("t", per_second))]


def _bitmap(ranges: str) -> bytes:
    """``0-2,9`` as bits, the lowest first."""
    bits = 0
    for part in ranges.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first + last).isdecimal() or not first or not last or int(last) > HIGHEST_CPU:
            raise SpecError("/linux/resources/cpu", f"{ranges!r} is not a list of numbers and ranges")
        for number in range(int(first), int(last) + 1):
            bits |= 1 << number
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


UNIFIED = {
    "cpu.weight": "CPUWeight",
    "memory.min": "MemoryMin",
    "memory.low": "MemoryLow",
    "memory.high": "MemoryHigh",
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
}
UNIFIED_SETS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}
KEPT = (*UNIFIED, *UNIFIED_SETS, "cpu.max")


def _unified(pairs: Iterable[tuple[str, str]]) -> list[Property]:
    found: list[Property] = []
    for file, text in pairs:
        words = text.split()
        if file in UNIFIED and words and (words[0] == "max" or words[0].isdecimal()):
            found.append((UNIFIED[file], ("t", INFINITY if words[0] == "max" else int(words[0]))))
        elif file in UNIFIED_SETS and words:
            found.append((UNIFIED_SETS[file], ("ay", _bitmap(text))))
        elif file == "cpu.max" and words and all([word == "max" or word.isdecimal() for word in words]):
            quota = NO_LIMIT if words[0] == "max" else int(words[0])
            found += _quota(CpuMax(quota, int(words[1])) if words[1:] else CpuMax(quota))
    return found


# ---- annotations -----------------------------------------------------------------------------------------------------

ANNOTATION = "org.systemd.property."
_INTEGERS = {
    "byte": ("y", 0, 2**8 - 1),
    "int16": ("n", -(2**15), 2**15 - 1),
    "uint16": ("q", 0, 2**16 - 1),
    "int32": ("i", -(2**31), 2**31 - 1),
    "uint32": ("u", 0, 2**32 - 1),
    "int64": ("x", -(2**63), 2**63 - 1),
    "uint64": ("t", 0, 2**64 - 1),
}


def annotation_properties(annotations: Iterable[tuple[str, str]]) -> list[Property]:
    """Properties that the configuration asks for: ``org.systemd.property.TimeoutStopUSec: uint64 5000000``.

    Values are GVariant text, of which numbers, booleans, strings and lists of strings are understood. A property in ``Sec`` is
    given in seconds, and is systemd's of the same name in ``USec``.
    """
    found: list[Property] = []
    for key, text in annotations:
        if not key.startswith(ANNOTATION):
            continue
        name = key.removeprefix(ANNOTATION)
        if len(name) < 3 or not (name.isascii() and name.isalpha()):
            raise _annotation_error(key, "this is not the name of a property")
        value = _parse_variant(text.strip())
        if value is None:
            raise _annotation_error(key, f"{text!r} is no number, true, false, 'string' or list of strings")
        found.append(_in_microseconds(key, name, value) if _is_in_seconds(name) else (name, value))
    return found


def _annotation_error(key: str, message: str) -> SpecError:
    return SpecError(f"/annotations/{key.replace('~', '~0').replace('/', '~1')}", message)


def _is_in_seconds(name: str) -> bool:
    return name.endswith("Sec") and not name.endswith("USec")


def _in_microseconds(key: str, name: str, value: Variant) -> Property:
    seconds = value[1]
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 0 <= seconds < INFINITY // SECOND_US:
        raise _annotation_error(key, "must be a number of seconds")
    return f"{name.removesuffix('Sec')}USec", ("t", int(seconds * SECOND_US))


def _parse_variant(text: str) -> Variant | None:
    if text in ("true", "false"):
        return "b", text == "true"
    if text.startswith("["):
        return _parse_list(text)
    string = _parse_string(text)
    if string is not None:
        return "s", string
    kind, _, number = text.rpartition(" ")
    return _parse_number(kind.strip() or "", number)


def _parse_number(kind: str, text: str) -> Variant | None:
    try:
        if kind == "double" or (not kind and "." in text):
            return "d", float(text)
        signature, low, high = _INTEGERS[kind or "int32"]
        number = int(text, 0)
    except (KeyError, ValueError):
        return None
    return (signature, number) if low <= number <= high else None


def _parse_string(text: str) -> str | None:
    """In either quotes; one with a quote or a backslash inside is more than a property of ours needs."""
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"":
        return None
    inner = text[1:-1]
    return None if text[0] in inner or "\\" in inner else inner


def _parse_list(text: str) -> Variant | None:
    if not text.endswith("]"):
        return None
    strings = [_parse_string(part.strip()) for part in text[1:-1].split(",")]
    return None if None in strings else ("as", strings)


# ---- the manager -----------------------------------------------------------------------------------------------------


class Systemd:
    """Units over a connection to systemd."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def start(self, unit: Unit, properties: list[Property]) -> None:
        """Make *unit*. One of that name that failed is in the way only until somebody says that it may go."""
        try:
            self._start(unit, properties)
        except BusError as error:
            if error.name != UNIT_EXISTS:
                raise
            self._reset_failed(unit.name)
            self._start(unit, properties)

    def _start(self, unit: Unit, properties: list[Property]) -> None:
        (job,) = self._bus.call("StartTransientUnit", "ssa(sv)a(sa(sv))", unit.name, "replace", properties, [])
        result = self._bus.wait_job(str(job), JOB_TIMEOUT_S)
        if result != "done":
            self._reset_failed(unit.name)
            raise BusError(f"job {result}", f"could not start {unit.name}: its job ended with {result!r}")

    def root(self) -> str:
        """The cgroup below which systemd has its units; empty for the root."""
        group = str(self._bus.read_property(MANAGER_PATH, f"{MANAGER}.Manager", "ControlGroup"))
        return group.rstrip("/")

    def set_properties(self, unit: str, properties: list[Property]) -> None:
        """Change a unit that runs, until it ends."""
        self._bus.call("SetUnitProperties", "sba(sv)", unit, True, properties)

    def stop(self, unit: str) -> None:
        """Kill what is in the unit and let it go. Nothing to do for one that is gone."""
        try:
            (job,) = self._bus.call("StopUnit", "ss", unit, "replace")
            self._bus.wait_job(str(job), JOB_TIMEOUT_S)
        except BusError as error:
            if error.name != NO_SUCH_UNIT:
                raise
        self._reset_failed(unit)

    def _reset_failed(self, unit: str) -> None:
        try:
            self._bus.call("ResetFailedUnit", "s", unit)
        except BusError:
            pass  # it had not failed, or is gone


def unavailable(why: str) -> Unsupported:
    return Unsupported("the systemd cgroup manager", f"{why}; use --cgroup-manager=cgroupfs")
