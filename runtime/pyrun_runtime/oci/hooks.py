"""The hooks of a container: programs of the caller's at six points of its life.

=================  =========================  ==================================  ================================
hook               when                       where                               if it fails
=================  =========================  ==================================  ================================
prestart           created, before the pivot  beside the runtime                  the container is not created
createRuntime      the same                   beside the runtime                  the container is not created
createContainer    the same                   the host's files, in the            the container is not created
                                              container's namespaces
startContainer     before the program runs    a program of the container          the container is killed
poststart          when it runs               beside the runtime                  the container is killed
poststop           all else is gone           beside the runtime                  a warning; the next one is run
=================  =========================  ==================================  ================================

Each gets the state on its standard input. What it prints is not ours to hand on, for our standard output may be the container's:
its last line is in the error.
"""

from __future__ import annotations

import os

from pyrun import CONTAINER, PyrunError, describe_error, plan_container_hook, plan_host_hook, spawn
from pyrun_runtime.oci.container import describe_state, kinds_to_join
from pyrun_runtime.oci.json_text import to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from pyrun import Cgroup, OciHook, OciSpec, Plan, Process
    from pyrun_runtime.oci.log import Log
    from pyrun_runtime.oci.store import State

    class HasFileno(Protocol):
        def fileno(self) -> int: ...


SAID_MOST = 4096


class HookError(PyrunError):
    """A hook failed."""


class InContainer:
    """The process whose namespaces hooks are run in, and its cgroup."""

    def __init__(self, spec: OciSpec, process: HasFileno, group: Cgroup | None) -> None:
        self.spec = spec
        self.process = process
        self.group = group
        self.kinds = kinds_to_join(spec, process)


def run_early_hooks(spec: OciSpec, state: State, inside: InContainer) -> None:
    """prestart, createRuntime, createContainer. Raises :class:`HookError` for the first that fails."""
    told = _encode(state, "creating")
    for name, hooks in (("prestart", spec.hooks.prestart), ("createRuntime", spec.hooks.create_runtime)):
        _run_all(name, hooks, told)
    for i, hook in enumerate(spec.hooks.create_container):
        _run(f"createContainer[{i}]", hook, plan_host_hook(hook, _environment(), inside.kinds), told, inside)


def run_start_hooks(state: State, inside: InContainer) -> None:
    """startContainer. Raises :class:`HookError`."""
    told = _encode(state, "created")
    for i, hook in enumerate(inside.spec.hooks.start_container):
        _run(f"startContainer[{i}]", hook, plan_container_hook(inside.spec, hook, inside.kinds), told, inside)


def run_poststart_hooks(spec: OciSpec, state: State) -> None:
    """Raises :class:`HookError`."""
    _run_all("poststart", spec.hooks.poststart, _encode(state, "running"))


def run_poststop_hooks(spec: OciSpec, state: State, log: Log) -> None:
    """Each is run, and one that fails is a warning."""
    told = _encode(state, "stopped")
    for i, hook in enumerate(spec.hooks.poststop):
        try:
            _run(f"poststop[{i}]", hook, plan_host_hook(hook, _environment()), told)
        except PyrunError as error:
            log.warn(describe_error(error))


def _encode(state: State, status: str) -> bytes:
    return to_json(describe_state(state, status), "").encode()


def _environment() -> list[str]:
    return [f"{name}={value}" for name, value in os.environ.items()]


def _run_all(name: str, hooks: Sequence[OciHook], told: bytes) -> None:
    for i, hook in enumerate(hooks):
        _run(f"{name}[{i}]", hook, plan_host_hook(hook, _environment()), told)


def _run(name: str, hook: OciHook, plan: Plan, told: bytes, inside: InContainer | None = None) -> None:
    about = f"hook {name} {hook.path!r}"
    stdin, output = _file("state", told), _file("output", b"")
    try:
        fds: dict[str, HasFileno | int] = {"stdin": stdin, "stdout": output, "stderr": output}
        if inside is not None:
            fds[CONTAINER] = inside.process
        try:
            process = _spawn(plan, fds, inside)
        except PyrunError as error:
            raise HookError(f"{about}: {describe_error(error)}") from None
        with process:
            status = process.wait(hook.timeout_s)
        if status is None:
            raise HookError(f"{about}: still ran after {hook.timeout_s} s, and was killed")
        if status.code != 0:
            raise HookError(f"{about}: {status.describe()}{_last_line(output)}")
    finally:
        os.close(stdin)
        os.close(output)


def _spawn(plan: Plan, fds: dict[str, HasFileno | int], inside: InContainer | None) -> Process:
    if inside is None:
        return spawn(plan, fds=fds)
    return spawn(plan, fds=fds, cgroup=inside.group)


def _file(name: str, content: bytes) -> int:
    """A file in memory, to be read from its start: a pipe would hold a page or sixteen, and a state has no limit."""
    fd = os.memfd_create(f"pyrun-hook-{name}", os.MFD_CLOEXEC)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _last_line(output: int) -> str:
    size = os.fstat(output).st_size
    text = os.pread(output, SAID_MOST, max(0, size - SAID_MOST)).decode(errors="replace").strip()
    return f": {text.splitlines()[-1]}" if text else ""
