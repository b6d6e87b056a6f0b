"""Control groups of pyrun's that nobody looks after any more: found by what lives in them, without any record.

A pod has somebody as long as its pause or its monitor lives: pause ends with its launcher, and a monitor is whom the next
supervisor asks. What has neither, and is no pod that is just being made or taken away, was left by somebody who was killed.
"""

from __future__ import annotations

import os
import time

from pyrun.container.lower import CLASS_CGROUPS, PARENT_CGROUP
from pyrun.errors import NotFound
from pyrun.kernel.cgroup import Cgroup
from pyrun.kernel.cgroup_tree import names_below
from pyrun.kernel.monitor import EXITS
from pyrun.linux.cgroupfs import find_root
from pyrun.pod.plan import PAUSE_CGROUP
from pyrun.pod.pod import MONITOR_GROUP
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

# Groups that a program of pyrun's has made for itself; the pid of that is in their names.
PROGRAMS = ("pool-", "run-", "check-")
SETTLE_S = 1.0  # how long something is ownerless before it is taken for that: pods come and go


class Ownerless(Value):
    """A group below where cgroup v2 is mounted, and why nobody has it."""

    name: str
    why: str


def find_ownerless(known: Collection[str] = (), settle_s: float = SETTLE_S) -> list[Ownerless]:
    """Those that were ownerless for *settle_s* seconds. *known* are uids of pods that somebody has a record of: not these."""
    first = {each.name for each in _look(known)}
    if not first:
        return []
    time.sleep(settle_s)  # noqa: TID251 - time is all that is waited for
    return [each for each in _look(known) if each.name in first]


def remove_ownerless(found: Ownerless) -> None:
    """Kill who lives in it, and remove it. Idempotent; raises :class:`KernelError` if it stays."""
    try:
        cgroup = Cgroup.open(found.name)
    except NotFound:
        return
    cgroup.destroy()
    cgroup.close()


def _look(known: Collection[str]) -> list[Ownerless]:
    root = find_root()
    if root is None:
        return []
    found = []
    for parent in CLASS_CGROUPS.values():
        for entry in names_below(f"{root}/{parent}"):
            if entry.startswith("pod") and entry.removeprefix("pod") not in known:
                why = _why_pod(f"{root}/{parent}/{entry}")
                found += [Ownerless(f"{parent}/{entry}", why)] if why else []
    for entry in names_below(f"{root}/{PARENT_CGROUP}"):
        if entry.startswith(PROGRAMS) and not os.path.exists(f"/proc/{entry.split('-')[1]}"):
            found.append(
                Ownerless(f"{PARENT_CGROUP}/{entry}", f"process {entry.split('-')[1]}, which made it, has ended")
            )
    return found


def _why_pod(path: str) -> str:
    """Empty for one that somebody has."""
    monitors = _procs(f"{path}/{MONITOR_GROUP}")
    if monitors:
        return _why_monitor(monitors[0])
    if _procs(f"{path}/{PAUSE_CGROUP}"):
        return ""
    return "its pause has ended, and it has no monitor"


def _why_monitor(pid: int) -> str:
    """A monitor whose directory was removed can be reached by nobody: its records are in a file that has no name any more."""
    try:
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return ""  # it has just ended: the next look tells
    gone = [link for link in links if link.endswith(f"/{EXITS} (deleted)")]
    return f"the directory of its monitor was removed ({os.path.dirname(gone[0])})" if gone else ""


def _procs(path: str) -> list[int]:
    try:
        with open(f"{path}/cgroup.procs", encoding="ascii") as file:
            return [int(line) for line in file]
    except OSError:
        return []
