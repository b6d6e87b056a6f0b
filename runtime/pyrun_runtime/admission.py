"""Whether the node has room for a pod, and the record of those that it has been given to.

::

    /run/pyrun/admitted/<uid>@pods=1,cpu=500,memory=67108864,qos=Burstable

A file per admitted pod, empty: its name is the record, so that a sum takes one look at the directory, and no reader ever sees
half a record. A lock (flock(2)) on the directory is held from the look to the making of the file: of many at once each sees all
before it, and a pod has all that it needs or nothing. The file goes with the pod's other files (:mod:`pyrun_runtime.store`),
which somebody else removes where the launcher was killed.
"""

from __future__ import annotations

import fcntl
import os

from pyrun import Fd, allocatable, find_shortages, read_capacity
from pyrun_runtime.cli.message import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrun import Shortage
    from pyrun_runtime.config import NodeConfig

ADMITTED = "/admitted"
MARK = "@"
BURSTABLE = ",qos=Burstable"


class NotAdmitted(CommandError):
    """The node has no room for the pod: ``reason`` and ``message`` are those of its status, whose phase is Failed."""

    def __init__(self, name: str, shortages: list[Shortage]) -> None:
        self.reason = shortages[0].reason
        self.message = f"Pod was rejected: {shortages[0].message}"
        super().__init__(f"pod {name}: {self.reason}: {self.message}")


class Admission:
    """The record below *run_root*. *storage* is a path of the file system that disk volumes are on."""

    def __init__(self, run_root: str, storage: str, config: NodeConfig) -> None:
        self._directory = run_root + ADMITTED
        self._storage = storage
        self._config = config

    def admit(self, uid: str, need: Mapping[str, int], qos_class: str = "") -> list[Shortage]:
        """Reserve all of *need* for pod *uid*, in place of what it has; or nothing, and say what does not suffice."""
        with self._locked():
            names = _names(self._directory)
            own = [name for name in names if name.startswith(uid + MARK)]
            used = total([parse_record(name) for name in names if name not in own])
            shortages = find_shortages(need, used, self.allocatable(need))
            if not shortages:
                self._replace(own, record_name(uid, need, qos_class))
        return shortages

    def burstable_cpu_milli(self) -> int:
        """The cpu that all admitted Burstable pods have requested together."""
        names = [name for name in _names(self._directory) if name.endswith(BURSTABLE)]
        return total([parse_record(name) for name in names]).get("cpu", 0)

    def reserved(self) -> dict[str, dict[str, int]]:
        """What each admitted pod has, by its uid."""
        return {name.partition(MARK)[0]: parse_record(name) for name in _names(self._directory)}

    def capacity(self, names: Mapping[str, int] | tuple[str, ...]) -> dict[str, int]:
        """What the machine has of *names*, or is said to have."""
        said = dict(self._config.capacity)
        measured = read_capacity([name for name in names if name not in said], self._storage)
        return {name: said[name] if name in said else measured[name] for name in names}

    def allocatable(self, names: Mapping[str, int] | tuple[str, ...]) -> dict[str, int]:
        """What of that is for pods."""
        return allocatable(self.capacity(names), dict(self._config.reserved))

    def _locked(self) -> Fd:
        """The directory, made where it is missing and locked until it is closed."""
        while True:
            try:
                fd = Fd.adopt(os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
                break
            except FileNotFoundError:
                os.makedirs(self._directory, 0o700, exist_ok=True)
        try:
            fcntl.flock(fd.fileno(), fcntl.LOCK_EX)
        except BaseException:
            fd.close()
            raise
        return fd

    def _replace(self, own: list[str], wanted: str) -> None:
        if own == [wanted]:
            return
        if own:
            os.rename(f"{self._directory}/{own[0]}", f"{self._directory}/{wanted}")
            return
        path = f"{self._directory}/{wanted}"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))


def release(run_root: str, uid: str) -> None:
    """Give back what pod *uid* has. Idempotent."""
    for name in _names(run_root + ADMITTED):
        if name.startswith(uid + MARK):
            _unlink(f"{run_root}{ADMITTED}/{name}")


def find_unowned(run_root: str) -> list[str]:
    """Uids that something is reserved for, and that no pod has: a launcher's directory is there before its reservation."""
    uids = {name.partition(MARK)[0] for name in _names(run_root + ADMITTED)}
    return sorted([uid for uid in uids if not os.path.isdir(f"{run_root}/pods/{uid}")])


def _names(directory: str) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if MARK in name]
    except FileNotFoundError:
        return []


def record_name(uid: str, need: Mapping[str, int], qos_class: str = "") -> str:
    amounts = [f"{name}={amount}" for name, amount in need.items()]
    return uid + MARK + ",".join([*amounts, *([f"qos={qos_class}"] if qos_class else [])])


def parse_record(name: str) -> dict[str, int]:
    """What :func:`record_name` was given; what is none of ours counts for nothing."""
    amounts = {}
    for part in name.partition(MARK)[2].split(","):
        resource, _, amount = part.partition("=")
        if amount.isascii() and amount.isdigit():
            amounts[resource] = int(amount)
    return amounts


def total(parts: list[dict[str, int]]) -> dict[str, int]:
    together: dict[str, int] = {}
    for part in parts:
        for name, amount in part.items():
            together[name] = together.get(name, 0) + amount
    return together


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
