"""System calls that a filter refers to a supervisor: SCMP_ACT_NOTIFY, ``listenerPath``, and what is sent there.

The process loads its filter before its last gate and keeps the listener in a slot of its plan; whoever created it takes it from
there, and sends it with the state of the container, as the runtime specification has it ("The Container Process State").
"""

from __future__ import annotations

from pyrun.container.seccomp_rules import POINTER, RET_NOTIFY, parse_rules
from pyrun.errors import KernelError, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrun.container.seccomp_rules import Rules
    from pyrun.kernel.spawn import Created

LISTENER = "seccomp listener"
DESCRIPTOR_NAME = "seccompFd"


def has_listener(profile: Mapping[str, object]) -> bool:
    """Whether a rule of *profile* refers calls to a supervisor. Raises :class:`SpecError` where that could not work."""
    if "listenerPath" not in profile and not _names_notify(profile):
        return False
    rules = parse_rules(profile)
    if rules.default == RET_NOTIFY:
        raise SpecError(f"{POINTER}/defaultAction", "SCMP_ACT_NOTIFY: the process could not tell that it has a filter")
    notified = _notified(rules)
    if "write" in notified:
        raise SpecError(
            f"{POINTER}/syscalls", "SCMP_ACT_NOTIFY for write: the process could not tell that it has a filter"
        )
    path = profile.get("listenerPath")
    if notified and not path:
        raise SpecError(f"{POINTER}/listenerPath", "required with SCMP_ACT_NOTIFY: nobody would answer")
    if path is not None and not isinstance(path, str):
        raise SpecError(f"{POINTER}/listenerPath", f"must be a string, not {path!r}")
    if profile.get("listenerMetadata") and not path:
        raise SpecError(f"{POINTER}/listenerMetadata", "is for listenerPath")
    return bool(notified)


def refuse_notified_capset(profile: Mapping[str, object]) -> None:
    """Raises :class:`SpecError` where a process that has to call capset(2) under its filter would wait for an answer of somebody
    who has not got the listener yet."""
    if "capset" in _notified(parse_rules(profile)):
        raise SpecError(f"{POINTER}/syscalls", "SCMP_ACT_NOTIFY for capset needs /process/noNewPrivileges")


def _notified(rules: Rules) -> set[str]:
    return {name for rule in rules.rules if rule.action == RET_NOTIFY for name in rule.names}


def _names_notify(profile: Mapping[str, object]) -> bool:
    syscalls = profile.get("syscalls")
    entries = syscalls if isinstance(syscalls, (list, tuple)) else ()
    actions = [entry.get("action") for entry in entries if isinstance(entry, dict)]
    return "SCMP_ACT_NOTIFY" in (*actions, profile.get("defaultAction")) or bool(profile.get("listenerMetadata"))


def send_listener(created: Created, profile: Mapping[str, object], state: Mapping[str, object]) -> None:
    """Take the listener of a process at its gate and send it to the supervisor; *state* is the container's (its ``pid`` and
    ``ociVersion`` among it). Raises :class:`KernelError` if nobody is there."""
    import json
    import socket

    path = str(profile.get("listenerPath"))
    message = {
        "ociVersion": state["ociVersion"],
        "fds": [DESCRIPTOR_NAME],
        "pid": created.process.pid,
        "metadata": profile.get("listenerMetadata") or "",
        "state": dict(state),
    }
    with created.take(LISTENER) as listener, socket.socket(socket.AF_UNIX) as supervisor:
        try:
            supervisor.connect(path)
            socket.send_fds(supervisor, [json.dumps(message).encode()], [listener.fileno()])
        except OSError as error:
            raise KernelError(error.errno or 0, "connect(2) to the seccomp listener", path) from None
