"""A container that is there: its status, and what is told about it."""

from __future__ import annotations

from pyrun import ForeignProcess, NotFound
from pyrun_runtime.oci.cgroup import open_cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from pyrun import Created, OciSpec
    from pyrun_runtime.oci.store import Entry, State, Store

    class HasFileno(Protocol):
        def fileno(self) -> int: ...


CREATING, CREATED, RUNNING, PAUSED, STOPPED = "creating", "created", "running", "paused", "stopped"


def find_process(state: State) -> ForeignProcess | None:
    """The first process of the container; None if it has ended or was never there."""
    return ForeignProcess.find(state.pid, state.start_ticks) if state.pid else None


def read_status(store: Store, entry: Entry, state: State) -> str:
    """One of the five words above; nobody wrote it down, it is what the kernel says."""
    if not state.complete:
        # While the lock is held, somebody makes it; else whoever did was killed.
        return CREATING if not entry.is_alone and store.is_made(entry.id) else STOPPED
    process = find_process(state)
    if process is None:
        return STOPPED
    process.close()
    if is_frozen(state):
        return PAUSED
    return CREATED if entry.door.is_awaited() else RUNNING


def is_frozen(state: State) -> bool:
    group = open_cgroup(state)
    if group is None:
        return False
    try:
        return group.read_file("cgroup.freeze").strip() == "1"
    except OSError:  # gone meanwhile
        return False
    finally:
        group.close()


def describe_state(state: State, status: str) -> dict[str, object]:
    """The state as the specification has it: for hooks, and for ``state`` with what runc and crun add."""
    fields: dict[str, object] = {"ociVersion": state.oci_version, "id": state.id, "status": status}
    if status != STOPPED:
        fields["pid"] = state.pid
    return {**fields, "bundle": state.bundle, "annotations": dict(state.annotations)}


def need_process(state: State, what: str) -> ForeignProcess:
    """The first process. Raises :class:`NotFound` with words that callers look for."""
    process = find_process(state)
    if process is None:
        raise NotFound(f"cannot {what} container {state.id!r}: container not running")
    return process


def refer_calls(created: Created, spec: OciSpec, state: State, status: str = CREATING) -> None:
    """Send the listener of a process at its gate to who answers for the system calls that its filter refers to a supervisor."""
    seccomp = spec.linux.seccomp
    if seccomp is None or "listenerPath" not in seccomp:
        return
    from pyrun import has_listener, send_listener

    if has_listener(seccomp):
        send_listener(created, seccomp, describe_state(state, status))


def kinds_to_join(spec: OciSpec, init: HasFileno) -> list[str]:
    """The container's namespaces, but no user namespace that we are in: setns(2) does not enter it again."""
    kinds = [namespace.type for namespace in spec.linux.namespaces]
    if "user" in kinds:
        from pyrun import Namespace

        with Namespace.open("user") as ours, Namespace.open("user", init) as theirs:
            return [str(kind) for kind in kinds if kind != "user" or ours != theirs]
    return [str(kind) for kind in kinds]
