"""Making and removing groups below a root that others use at the same time.

A group's name is a path below its *root*. The root and what is above it belong to somebody else and are never removed; what is
between root and group is made when it is missing and goes when it is empty. So another pod's end may take a parent away at any
moment: a descriptor of it then answers ENOENT or ENODEV to everything, and the walk begins again at the root.
"""

from __future__ import annotations

import errno
import os
import select
import time

from pyrun.errors import KernelError, StateError, Unsupported
from pyrun.kernel.fd import Fd
from pyrun.kernel.poll import poll_ms
from pyrun.linux.cgroupfs import (
    UNIFIED_ROOT,
    explain_missing,
    make_cgroup,
    open_cgroup,
    parse_flat,
    parse_words,
    read_file,
    read_layout,
    remove_cgroup,
    write_file,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyrun.linux.cgroupfs import CgroupLayout

GONE = (errno.ENOENT, errno.ENODEV)
# Each new attempt means that another pod's parent was removed in between: with so many of them one gets through.
WALKS = 1000
# The kernel tells of a change of cgroup.events at once unless it told of one in the last 10 ms
# (CGROUP_FILE_NOTIFY_MIN_INTV); then up to 10 ms late. A process that lives shorter than that must not cost them, so the
# first looks do not wait for a notification.
FIRST_LOOKS_S = (0.001, 0.001, 0.002, 0.004, 0.008)


def split_name(name: str) -> tuple[str, ...]:
    """The parts of a group's name. A leading slash means nothing: OCI's cgroupsPath has one."""
    parts = tuple(name.strip("/").split("/"))
    if any([part in ("", ".", "..") or "\0" in part or "\n" in part for part in parts]):
        raise ValueError(f"{name!r} is not the name of a cgroup")
    return parts


def walk(
    root: str,
    parts: Sequence[str],
    needed: Mapping[str, str],
    optional: frozenset[str] = frozenset(),
    *,
    make: bool = True,
) -> Fd:
    """Go from *root* down to the group *parts*, enable controllers for children on the way, and open it.

    *needed* are controllers that must be there, each with what it is needed for; *optional* ones are enabled where they can be.
    With *make*, missing groups are made. Raises :class:`KernelError` (ENOENT) if the group vanished or was never there.
    """
    here = Fd.adopt(open_cgroup(root))
    try:
        for part in parts:
            enable(here, root, needed, optional)
            if make:
                _make_missing(part, here)
            above, here = here, Fd.adopt(open_cgroup(part, here.fileno()))
            above.close()
    except BaseException:
        here.close()
        raise
    return here


def make_leaf(root: str, parts: Sequence[str], needed: Mapping[str, str], optional: frozenset[str]) -> Fd:
    """Make the group *parts*, which must not exist, and what is missing above it. Raises :class:`KernelError` (EEXIST)."""
    for _ in range(WALKS):
        try:
            above = walk(root, parts[:-1], needed, optional)
            with above:
                return make_below(above, parts[-1], root, needed, optional)
        except KernelError as error:
            if error.errno not in GONE or not os.path.isdir(root):
                prune(root, parts[:-1])
                raise
        except BaseException:
            prune(root, parts[:-1])
            raise
    raise StateError(f"cgroup {root}/{'/'.join(parts[:-1])}", "removed again and again by others", "left alone")


def make_below(above: Fd, name: str, root: str, needed: Mapping[str, str], optional: frozenset[str]) -> Fd:
    """Make one group below *above*, which must not exist, with its controllers."""
    enable(above, root, needed, optional)
    make_cgroup(name, above.fileno())
    return Fd.adopt(open_cgroup(name, above.fileno()))


def _make_missing(name: str, above: Fd) -> None:
    try:
        make_cgroup(name, above.fileno())
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise


# ---- controllers -----------------------------------------------------------------------------------------------------


def enable(group: Fd, root: str, needed: Mapping[str, str], optional: frozenset[str] = frozenset()) -> None:
    """Let the children of *group* have controllers: those that they do not have yet, and no others."""
    wanted = optional.union(needed)
    if not wanted:
        return
    missing = wanted.difference(parse_words(read_file(group.fileno(), "cgroup.subtree_control")))
    if not missing:
        return
    available = parse_words(read_file(group.fileno(), "cgroup.controllers"))
    for controller in sorted(missing.intersection(needed)):
        if controller not in available:
            raise unsupported(controller, needed[controller], root)
    _write_enabled(group, sorted(missing.intersection(needed)))
    try:
        _write_enabled(group, sorted(missing.difference(needed).intersection(available)))
    except StateError:
        pass


def _write_enabled(group: Fd, names: list[str]) -> None:
    if not names:
        return
    try:
        write_file(group.fileno(), "cgroup.subtree_control", " ".join([f"+{name}" for name in names]))
    except KernelError as error:
        if error.errno != errno.EBUSY:
            raise
        # The rule of no internal processes, cgroup-v2.rst: who has controllers for children has no process but the root.
        path = os.path.dirname(error.filename or "")
        wanted = f"without any, for the {' and '.join(names)} controller of the groups below it: move them to a leaf"
        raise StateError(f"cgroup {path}", "one with processes of its own", wanted) from None


def unsupported(controller: str, feature: str, root: str, layout: CgroupLayout | None = None) -> Unsupported:
    """The error for *feature*, which needs *controller*; tells the true reason."""
    layout = layout or read_layout()
    if controller in layout.controllers:
        why = f"it is not delegated to {root}; name it in cgroup.subtree_control of the group above"
    else:
        why = explain_missing(controller, layout)
    if feature == controller_feature(controller):
        return Unsupported(feature, f"{why} (cgroup v2)")
    return Unsupported(
        feature, f"{controller} controller is not available in cgroup v2 here: {why}, or remove the limit"
    )


def controller_feature(controller: str) -> str:
    """What a controller is needed for when no limit needs it."""
    return f"{controller} controller"


def no_cgroup2() -> Unsupported:
    """The error for a machine without cgroup v2."""
    needs = f"boot with systemd.unified_cgroup_hierarchy=1, or mount it: mount -t cgroup2 none {UNIFIED_ROOT}/unified"
    return Unsupported("cgroup v2", needs)


# ---- removing --------------------------------------------------------------------------------------------------------


def is_gone(group: Fd) -> bool:
    """Whether the group behind the descriptor has been removed: another one may have its name."""
    try:
        read_file(group.fileno(), "cgroup.controllers")
    except KernelError as error:
        return error.errno in GONE
    return False


def remove_tree(path: str) -> bool:
    """Remove a group and all below it, from the leaves up. False if a process, or a group made meanwhile, is in the way."""
    kept = []  # each before those below it
    found = [path]
    for group in found:  # which grows meanwhile
        if not _remove_one(group):
            kept.append(group)
            found += [f"{group}/{name}" for name in names_below(group)]
    return all([_remove_one(group) for group in reversed(kept)])


def names_below(path: str) -> list[str]:
    """The groups directly below; none below one that has just gone."""
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in GONE:
            return []
        raise KernelError(error.errno or 0, "getdents(2)", path) from None


def prune(root: str, parts: Sequence[str]) -> None:
    """Remove the group *parts* and those above it, below *root*, as far as they are empty."""
    for count in range(len(parts), 0, -1):
        try:
            if not _remove_one("/".join([root, *parts[:count]])):
                return
        except KernelError:
            return


def _remove_one(path: str) -> bool:
    try:
        remove_cgroup(path)
    except KernelError as error:
        if error.errno in GONE:
            return True
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


# ---- waiting ---------------------------------------------------------------------------------------------------------


def wait_event(group: Fd, field: str, value: int, timeout_s: float | None) -> bool:
    """Wait until *field* of ``cgroup.events`` is *value*. False when *timeout_s* has run out first.

    One removed meanwhile is empty: then *value* is taken to be reached. Raises :class:`KernelError` if it was gone before.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    with Fd.open("cgroup.events", dir_fd=group.fileno()) as events:
        poll = select.poll()
        poll.register(events.fileno(), select.POLLPRI)
        looks = list(FIRST_LOOKS_S)
        while _read_event(events, field) not in (value, None):
            left_s = None if deadline is None else deadline - time.monotonic()
            if left_s is not None and left_s <= 0:
                return False
            waits_s = [wait_s for wait_s in (left_s, looks.pop(0) if looks else None) if wait_s is not None]
            poll.poll(poll_ms(min(waits_s, default=None)))
    return True


def _read_event(events: Fd, field: str) -> int | None:
    try:
        # From the start each time: that also arms the next notification.
        return parse_flat(os.pread(events.fileno(), 4096, 0))[field]
    except OSError as error:
        if error.errno in GONE:
            return None
        raise KernelError(error.errno or 0, "pread(2)", "cgroup.events") from None
