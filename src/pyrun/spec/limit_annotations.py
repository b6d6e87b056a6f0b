"""The little languages of those annotations that set limits: ``ulimits``, ``io-max``, ``io-weight``, ``pids-limit``."""

from __future__ import annotations

from pyrun.spec.parse import did_you_mean, quote
from pyrun.spec.pod import IoLimit, Rlimit
from pyrun.spec.quantity import parse_quantity, to_units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.parse import Reader

INFINITY = 2**64 - 1
UNLIMITED = ("unlimited", "infinity", "-1")
# getrlimit(2); in lower case as docker and limits.conf(5) write them.
ULIMITS = tuple(
    "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
IO_KEYS = {
    "rbps": "read_bytes_per_s",
    "wbps": "write_bytes_per_s",
    "riops": "read_operations_per_s",
    "wiops": "write_operations_per_s",
}
# cgroup-v2.rst: io.weight; kernel.pid_max is never more than 2**22 (proc(5)).
MAX_WEIGHT = 10_000
MAX_PIDS = 2**22


def read_ulimits(reader: Reader) -> tuple[Rlimit, ...]:
    """``nofile=1024:4096, core=0``: soft and hard, or one for both."""
    found: dict[str, Rlimit] = {}
    for word in reader.string().replace(",", " ").split():
        name, equals, value = word.partition("=")
        if not equals or name not in ULIMITS:
            raise reader.error(f"{quote(word)}: expected NAME=SOFT[:HARD] with a name such as nofile{_hint(name)}")
        soft, colon, hard = value.partition(":")
        limit = Rlimit(f"RLIMIT_{name.upper()}", _amount(reader, soft), _amount(reader, hard if colon else soft))
        if limit.soft > limit.hard:
            raise reader.error(f"{quote(word)}: the soft limit is above the hard one")
        if limit.resource in found:
            raise reader.error(f"{name} is there twice")
        found[limit.resource] = limit
    return tuple(found.values())


def _hint(name: str) -> str:
    return did_you_mean(name, ULIMITS)


def _amount(reader: Reader, text: str) -> int:
    return INFINITY if text in UNLIMITED else _number(reader, text, INFINITY)


def read_io_max(reader: Reader) -> tuple[IoLimit, ...]:
    """``/dev/vda rbps=10M wiops=100; /data wbps=1Mi``: a device, or any path of a file system that is on one."""
    limits = [_read_io_limit(reader, part.split()) for part in reader.string().split(";") if part.strip()]
    paths = [limit.path for limit in limits]
    for path in paths:
        if paths.count(path) > 1:
            raise reader.error(f"{quote(path)} is there twice")
    return tuple(limits)


def _read_io_limit(reader: Reader, words: list[str]) -> IoLimit:
    path, *settings = words
    if not path.startswith("/") or not settings:
        example = "'/dev/vda rbps=10M wiops=100'"
        raise reader.error(f"{quote(' '.join(words))}: expected a path and what is limited, as in {example}")
    amounts: dict[str, int] = {}
    for word in settings:
        name, _, value = word.partition("=")
        if name not in IO_KEYS:
            raise reader.error(f"{quote(word)}: expected one of {', '.join(IO_KEYS)}{did_you_mean(name, IO_KEYS)}")
        if IO_KEYS[name] in amounts:
            raise reader.error(f"{name} is there twice for {path}")
        amounts[IO_KEYS[name]] = _quantity(reader, value)
    return IoLimit(path, **amounts)


def _quantity(reader: Reader, text: str) -> int:
    try:
        amount = to_units(parse_quantity(text))
    except ValueError as error:
        raise reader.error(str(error)) from None
    if amount == 0:
        raise reader.error(f"{quote(text)}: nothing would be read or written at all")
    return amount


def read_weight(reader: Reader) -> int:
    """1 to 10000; 100 is what everybody has."""
    return _number(reader, reader.string(), MAX_WEIGHT, 1)


def read_pids_limit(reader: Reader) -> int:
    """Processes and threads."""
    return _number(reader, reader.string(), MAX_PIDS, 1)


def _number(reader: Reader, text: str, most: int, least: int = 0) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and least <= int(text) <= most):
        raise reader.error(f"{quote(text)}: expected a whole number from {least} to {most}")
    return int(text)
