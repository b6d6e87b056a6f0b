"""The monitor's messages: the Python side of csrc/monitor.h, and nothing but its tables and the bytes that they stand for."""

from __future__ import annotations

from struct import Struct

from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
NAME_BYTES = 64
OUTPUT_BYTES = 16384
MESSAGE_BYTES = OUTPUT_BYTES + 1024
FDS_MOST = 250
NO_FD = -1
UNKNOWN = 2**64 - 1

STDIN = 1
STDOUT = 2
STDERR = 4
CONSOLE = 8
STDIN_ONCE = 16

HEAD = Struct("=IIQ")  # kind, size of all, id


class Layout(Value):
    """What follows the head of a message: its number, the fields' names, and how they are packed."""

    number: int
    fields: tuple[str, ...] = ()
    format: str = ""


REQUESTS = {
    "HELLO": Layout(1, ("version",), "I4x"),
    "DESCRIPTORS": Layout(2),
    "SPAWN": Layout(
        3,
        ("clone_flags", "plan", "stage", "cgroup", "pid_namespace", "uid_map_bytes", "gid_map_bytes", "name"),
        "QiiiiII64s",
    ),
    "FIND": Layout(4),
    "LIST": Layout(5),
    "EXITS": Layout(6),
    "STREAMS": Layout(7, ("has", "number", "max_files", "max_bytes", "name"), "III4xQ64s"),
    "REOPEN": Layout(8),
    "ATTACH": Layout(9, ("has", "name"), "I4x64s"),
    "INPUT": Layout(10),
    "INPUT_END": Layout(11),
    "WINDOW": Layout(12, ("rows", "columns"), "HH4x"),
    "STATUS": Layout(13),
    "QUIT": Layout(14),
}
ANSWERS = {
    "WELCOME": Layout(64, ("version", "pid", "exits"), "IiQ"),
    "OK": Layout(65),
    "ERROR": Layout(66, ("error", "call"), "i60s"),
    "PROCESS": Layout(67, ("pid", "started_ns", "name"), "i4xQ64s"),
    "EXITED": Layout(
        68,
        (
            *("number", "id", "pid", "code", "status", "started_ns", "finished_ns", "finished_real_ns"),
            *("user_us", "system_us", "max_rss_kib", "oom_kill", "oom", "memory_max", "memory_peak", "name"),
        ),
        "QQiii4xQQQQQQQQQQ64s",
    ),
    "OUTPUT": Layout(69, ("stream",), "I4x"),
    "LOST": Layout(70, ("bytes",), "Q"),
    "ENDED": Layout(71),
    "STATUS_IS": Layout(
        72,
        (
            *("processes", "containers", "clients", "stalled", "last_error", "stalls"),
            *("read_bytes", "written_bytes", "lost_bytes", "orphans"),
        ),
        "IIIIiIQQQQ",
    ),
}
_BODIES = {name: Struct("=" + layout.format) for name, layout in (*REQUESTS.items(), *ANSWERS.items())}
_NAMES = {layout.number: name for name, layout in ANSWERS.items()}


class Answer(Value):
    """A message of the monitor's: its kind, the process that it is about, its fields, and what follows them."""

    kind: str
    id: int
    fields: dict[str, int | str]
    text: bytes = b""

    def number(self, field: str) -> int:
        """A field that is one."""
        value = self.fields[field]
        assert isinstance(value, int)
        return value


def pack_request(kind: str, fields: Mapping[str, int | str], id: int = 0, text: bytes = b"") -> bytes:
    """The bytes of a request. Raises ValueError for a name that is too long or has a NUL in it."""
    layout, body = REQUESTS[kind], _BODIES[kind]
    values = [_encode(fields[name]) for name in layout.fields]
    return HEAD.pack(layout.number, HEAD.size + body.size + len(text), id) + body.pack(*values) + text


def unpack_answer(data: bytes) -> Answer:
    """What the monitor said. Raises ValueError for what it would never say."""
    if len(data) < HEAD.size:
        raise ValueError(f"a message of {len(data)} bytes")
    number, size, id = HEAD.unpack_from(data)
    kind = _NAMES.get(number, "")
    if not kind or size != len(data) or size < HEAD.size + _BODIES[kind].size:
        raise ValueError(f"a message of kind {number} and {len(data)} bytes, which says {size}")
    values = [_decode(value) for value in _BODIES[kind].unpack_from(data, HEAD.size)]
    fields = dict(zip(ANSWERS[kind].fields, values, strict=True))
    return Answer(kind, id, fields, data[HEAD.size + _BODIES[kind].size :])


def _encode(value: int | str) -> int | bytes:
    if isinstance(value, int):
        return value
    data = value.encode()
    if len(data) >= NAME_BYTES or b"\0" in data:
        raise ValueError(f"{value!r} is no name of up to {NAME_BYTES - 1} bytes")
    return data


def _decode(value: int | bytes) -> int | str:
    return value if isinstance(value, int) else value.partition(b"\0")[0].decode(errors="replace")
