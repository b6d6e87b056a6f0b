"""What this node keeps for itself and what it has to say about limits: ``/etc/pyrun/config.toml`` (docs/node.md)."""

from __future__ import annotations

import os

from pyrun import LimitPolicy, SpecError, Value, parse_amount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG = "/etc/pyrun/config.toml"
RESOURCES = ("cpu", "memory", "ephemeral-storage", "pods", "pids")
TABLES = {
    "capacity": RESOURCES,
    "reserved": RESOURCES,
    "limits": ("pod-pids", "memory-throttling-factor", "memory-reservation"),
}


class NodeConfig(Value):
    """``capacity`` and ``reserved`` are pairs of resource and amount: what stands in place of what is measured, and what is not
    for pods. Without a file nothing is said, and 100 MiB of memory are reserved, as the kubelet does for its hard eviction."""

    capacity: tuple[tuple[str, int], ...] = ()
    reserved: tuple[tuple[str, int], ...] = (("memory", 100 << 20),)
    limits: LimitPolicy = LimitPolicy()


def load_config(path: str | None = None) -> NodeConfig:
    """The file at *path*, which must then exist; without, :data:`CONFIG` if it exists. Raises :class:`SpecError`."""
    try:
        with open(path or CONFIG, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        if path is None:
            return NodeConfig()
        raise
    return parse_config(data, path or CONFIG)


def parse_config(data: bytes, source: str) -> NodeConfig:
    """Of TOML; *source* names it in errors, whose pointers are ``/TABLE/KEY``."""
    import tomllib

    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError("", f"not TOML: {error}", source) from None
    try:
        return _read(document)
    except SpecError as error:
        raise error.located(source) from None


def _read(document: Mapping[str, object]) -> NodeConfig:
    tables: dict[str, Mapping[str, object]] = {}
    for name, table in document.items():
        if name not in TABLES:
            raise SpecError(f"/{name}", f"no such table; there is {', '.join(TABLES)}")
        if not isinstance(table, dict):
            raise SpecError(f"/{name}", "must be a table")
        for key in table:
            if key not in TABLES[name]:
                raise SpecError(f"/{name}/{key}", f"no such setting; there is {', '.join(TABLES[name])}")
        tables[name] = table
    reserved = dict(NodeConfig().reserved) | _amounts("reserved", tables.get("reserved", {}))
    return NodeConfig(
        capacity=tuple(_amounts("capacity", tables.get("capacity", {})).items()),
        reserved=tuple(reserved.items()),
        limits=_limits(tables.get("limits", {})),
    )


def _amounts(table: str, settings: Mapping[str, object]) -> dict[str, int]:
    amounts = {}
    for name, value in settings.items():
        try:
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise ValueError("expected a quantity such as '500m', '1Gi' or a number")
            amounts[name] = parse_amount(name, str(value))
        except ValueError as error:
            raise SpecError(f"/{table}/{name}", str(error)) from None
    return amounts


def _limits(settings: Mapping[str, object]) -> LimitPolicy:
    pids, factor = settings.get("pod-pids"), settings.get("memory-throttling-factor")
    if pids is not None and (isinstance(pids, bool) or not isinstance(pids, int) or not 0 < pids <= 2**22):
        raise SpecError("/limits/pod-pids", f"must be a whole number from 1 to {2**22}")
    if factor is not None and (isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor <= 1):
        raise SpecError("/limits/memory-throttling-factor", "must be above 0 and at most 1")
    reserve = settings.get("memory-reservation", False)
    if not isinstance(reserve, bool):
        raise SpecError("/limits/memory-reservation", "must be true or false")
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return LimitPolicy(pids, None if factor is None else float(factor), reserve, memory_bytes)
