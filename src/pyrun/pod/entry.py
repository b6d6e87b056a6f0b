"""A container that another process runs, entered from this one: what has to be known of it, and another program in it.

Who drives the pod tells it as a document (:func:`entry_document`). The process that it names is looked up by pid and start time,
so nobody enters one that has taken the pid since.
"""

from __future__ import annotations

import errno

from pyrun.container.exec import CONTAINER, plan_exec
from pyrun.container.seccomp import DefaultProfile
from pyrun.errors import KernelError, NotFound, StateError
from pyrun.kernel.cgroup import Cgroup
from pyrun.kernel.foreign import ForeignProcess, read_start_ticks
from pyrun.kernel.process import SIGKILL
from pyrun.kernel.spawn import spawn
from pyrun.spec.oci import OciLinux, OciSpec
from pyrun.spec.oci_parse import oci_to_json, parse_oci
from pyrun.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pyrun.kernel.process import Process
    from pyrun.kernel.spawn import HasFileno
    from pyrun.pod.container import PodContainer
    from pyrun.spec.oci import OciProcess


class ContainerEntry(Value):
    """The way into a container that runs: its first process, its cgroup, the namespaces to join, and of its specification what
    other programs in it have as well."""

    name: str
    pid: int
    start_ticks: int
    cgroup: str
    cgroup_root: str
    kinds: tuple[str, ...]
    oci: OciSpec


def entry_document(container: PodContainer) -> dict[str, object]:
    """What :func:`parse_entry` reads, ready for ``json.dumps``. Raises :class:`StateError` unless the container runs."""
    oci = container.plan.oci
    assert oci is not None
    if container.state != "running":
        raise StateError(f"container {container.name}", container.state, "running")
    try:
        ticks = read_start_ticks(container.process.pid)
    except NotFound:
        raise _not_running(container.name) from None
    seccomp = oci.linux.seccomp
    # The default filter was compiled when the package was built; as rules it would be sent, and compiled, each time.
    default = seccomp.capabilities if isinstance(seccomp, DefaultProfile) else None
    linux = OciLinux(
        uid_mappings=oci.linux.uid_mappings,
        gid_mappings=oci.linux.gid_mappings,
        namespaces=oci.linux.namespaces,
        seccomp=None if default is not None else seccomp,
        memory_policy=oci.linux.memory_policy,
        personality=oci.linux.personality,
    )
    return {
        "name": container.name,
        "pid": container.process.pid,
        "startTicks": ticks,
        "cgroup": container.cgroup.name,
        "cgroupRoot": container.cgroup.root,
        "namespaces": container.namespaces,
        "defaultSeccomp": default,
        "oci": oci_to_json(OciSpec(oci.root, oci.process, linux=linux)),
    }


def parse_entry(document: Mapping[str, Any]) -> ContainerEntry:
    """What :func:`entry_document` has written. Raises :class:`SpecError` for what is no OCI specification."""
    oci = parse_oci(document["oci"], "entry")
    if document["defaultSeccomp"] is not None:
        oci = replace(oci, linux=replace(oci.linux, seccomp=DefaultProfile(document["defaultSeccomp"])))
    return ContainerEntry(
        document["name"],
        document["pid"],
        document["startTicks"],
        document["cgroup"],
        document["cgroupRoot"],
        tuple(document["namespaces"]),
        oci,
    )


def open_first(entry: ContainerEntry) -> ForeignProcess:
    """The container's first process. Raises :class:`StateError` if it has ended."""
    process = ForeignProcess.find(entry.pid, entry.start_ticks)
    if process is None:
        raise _not_running(entry.name)
    return process


def enter(
    entry: ContainerEntry, first: ForeignProcess, process: OciProcess, fds: Mapping[str, HasFileno | int]
) -> Process:
    """Run *process* in the container of *entry*, whose first process is *first*: a child of ours, in its namespaces and cgroup,
    with its filter. It is killed when this process ends. *fds* are ``stdin``, ``stdout`` and ``stderr``; or, for a process with a
    terminal, ``console``, the socket that this is sent to.

    Raises :class:`StateError` if the container has ended meanwhile, :class:`ExecError` if there is no such program.
    """
    plan = plan_exec(entry.oci, process, entry.kinds, SIGKILL)
    try:
        with Cgroup.open(entry.cgroup, root=entry.cgroup_root) as group:
            return spawn(plan, cgroup=group, pid_namespace=first, fds={CONTAINER: first, **fds})
    except NotFound:
        raise _not_running(entry.name) from None
    except KernelError as error:
        if error.errno in (errno.ESRCH, errno.ENODEV, errno.ENOMEM) and first.wait_end(0):
            raise _not_running(entry.name) from None
        raise


def _not_running(name: str) -> StateError:
    return StateError(f"container {name}", "stopped", "running")
