"""An OCI runtime specification as the steps that make it so. Pure.

The order of the steps is the whole of the matter, and it is the order of the functions in :func:`plan_container`:

1. in the host's mount namespace: what needs the host's /proc, and a clone of every tree of the host that the container gets;
2. into the namespaces that pause holds, all in one call, and out again of those that are the container's own;
3. the root is made and attached, and everything is mounted into it, each target resolved inside it;
4. pivot; then down: directory, capabilities, user, filter, exec.

:data:`pyrun.kernel.order.BEFORE` has the reasons, and a property test holds every plan against it.
"""

from __future__ import annotations

from pyrun.container.device_plan import make_devices, make_message_file, open_devices
from pyrun.container.process import (
    TERMINAL,
    become,
    before_namespaces,
    memory_and_personality,
    new_session,
    new_terminal,
    own_pipes,
    run_program,
    security_labels,
)
from pyrun.container.root_plan import (
    ROOT,
    enter_root,
    hide,
    id_maps,
    make_overlay,
    mount_all,
    open_root,
    open_sources,
    place,
    read_mounts,
)
from pyrun.container.security import ALL_CAPABILITIES_MASK, unknown_capabilities
from pyrun.container.sysctl import check_sysctl
from pyrun.errors import SpecError
from pyrun.kernel.step import (
    Attach,
    Await,
    BecomeNamespaceRoot,
    Checkpoint,
    EnterPidNamespace,
    JoinNamespaces,
    JoinUserNamespace,
    LoopbackUp,
    NewPidNamespace,
    NewTimeNamespace,
    OpenTree,
    SetDomainname,
    SetHostname,
    SetPropagation,
    SetSysctl,
    Unshare,
)
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.container.root_plan import IdMap, Mount
    from pyrun.kernel.step import Plan, Step
    from pyrun.spec.oci import OciProcess, OciSpec

PAUSE = "pause"
PAUSE_READY = "pause to be ready"
PLACED = "to be placed"
CONSOLE_TREE = "console device"
BORN = "born"
HOOKS = "hooks"


class Setting(Value):
    """What a container is planned into.

    ``joined`` are the namespaces that pause holds (slot ``pause``), empty without a sandbox; ``sandbox`` is the prefix of sources
    that live in pause's mount namespace; ``opened`` are the host paths that the launcher has opened, each with its slot;
    ``lacking`` are namespaces that this kernel does not have, or that need not be entered, and the container can do without;
    ``death_signal`` ends it with its launcher. ``gate`` is the slot of the FIFO at which it waits to be started, empty for the
    launcher's pipe; ``placed``: the launcher moves the process to its cgroup, or notes whose it is, before anything is done.

    ``namespaces`` are the kinds that are joined one by one, in this order, each with its slot (:func:`namespace_slot`);
    ``preserve_fds`` is how many descriptors from 3 on the program gets (:func:`preserved_slot`); ``console``: whether a terminal
    that it asks for is made here, its other end sent over the slot ``console``. Without ``new_keyring`` it keeps its launcher's;
    ``keyring_name`` is the new one's. ``grantable`` are the capabilities that we can hand on (a mask).

    ``bundle`` is what relative paths begin at; ``no_pivot`` takes chroot(2) for pivot_root(2); ``links`` are the sources that are
    symlinks, as :func:`~pyrun.container.root_plan.read_links` finds them; ``cgroup`` is the directory of the container's cgroup,
    for a container that may not mount cgroup2. With ``init`` the program is a child of pyrun-init, in the slot of
    that name; with ``message_file`` its /dev has one for Kubernetes' termination message.
    """

    joined: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    sandbox: str = ""
    opened: tuple[tuple[str, str], ...] = ()
    lacking: tuple[str, ...] = ()
    death_signal: int = 0
    gated: bool = True
    gate: str = ""
    placed: bool = False
    preserve_fds: int = 0
    console: bool = True
    new_keyring: bool = True
    keyring_name: str = ""
    grantable: int = ALL_CAPABILITIES_MASK
    bundle: str = ""
    no_pivot: bool = False
    links: tuple[tuple[str, str], ...] = ()
    cgroup: str = ""
    init: bool = False
    message_file: bool = False


class ContainerPlan(Value):
    """Steps, the namespaces that have to be there from the clone on (they are for children only), the id maps whose slots
    :class:`~pyrun.container.id_map.IdMaps` fills, and what of the specification is left out, as it allows, each in a sentence."""

    steps: Plan
    clone_namespaces: tuple[str, ...]
    id_maps: tuple[IdMap, ...] = ()
    warnings: tuple[str, ...] = ()


def plan_container(spec: OciSpec, setting: Setting | None = None) -> ContainerPlan:
    """The plan of one container. Raises :class:`SpecError` with a pointer into the OCI specification."""
    setting = setting or Setting()
    process = spec.process
    if process is None or not process.args:
        raise SpecError("/process/args", "there is no program to run")
    if spec.linux.intel_rdt is not None:
        raise SpecError("/linux/intelRdt", "classes of Intel RDT are not supported: nothing here writes to resctrl")
    by_slot = _by_slot(spec, setting)
    own = _own_namespaces(spec, setting, by_slot)
    mounts = read_mounts(spec, setting)
    session = new_session(setting)
    goes_on = _goes_on_in_a_child(own, by_slot)
    steps: Plan = (
        *([Checkpoint(PLACED)] if setting.placed else []),
        *before_namespaces(process),
        *own_pipes(process, spec.linux.uid_mappings, setting),
        *(() if goes_on else session),
        *open_sources(spec, mounts, setting, sandbox=False),
        *open_devices(spec, mounts),
        *open_root(spec, setting),
        *_enter_namespaces(spec, setting, own, by_slot),
        *([Checkpoint(BORN)] if goes_on and setting.placed else ()),
        *(session if goes_on else ()),
        *memory_and_personality(spec.linux),
        *security_labels(process),
        *_furnish_namespaces(spec, own, by_slot),
        *open_sources(spec, mounts, setting, sandbox=True),
        *make_overlay(spec, setting),
        # Hooks know the root by its path on the host, and find it there only if it lies over itself.
        *mount_all(mounts, setting, spec.root.path if has_early_hooks(spec) else "/"),
        *make_devices(spec, mounts),
        *(make_message_file(mounts) if setting.message_file else ()),
        *_terminal(mounts, process, setting),
        *hide(spec, mounts, setting),
        *([Checkpoint(HOOKS)] if has_early_hooks(spec) else []),
        *enter_root(spec, setting),
        *become(process, setting, filtered=spec.linux.seccomp is not None),
        *run_program(spec.linux.seccomp, process, setting),
    )
    clone_namespaces = ("pid",) if "pid" in own and "user" not in by_slot else ()
    return ContainerPlan(steps, clone_namespaces, id_maps(spec, mounts), unknown_capabilities(process.capabilities))


def _goes_on_in_a_child(own: tuple[str, ...], by_slot: tuple[str, ...]) -> bool:
    """Whether another process ends the plan than began it: it has to be noted anew, and is the session's leader."""
    return "pid" in by_slot or ("pid" in own and "user" in by_slot)


def has_early_hooks(spec: OciSpec) -> bool:
    """Whether there are hooks that are run while the process waits before it pivots."""
    return bool(spec.hooks.prestart or spec.hooks.create_runtime or spec.hooks.create_container)


def namespace_slot(kind: str) -> str:
    """The slot of a namespace that is joined by a descriptor of its own."""
    return f"namespace {kind}"


def _by_slot(spec: OciSpec, setting: Setting) -> tuple[str, ...]:
    """The namespaces to join one by one. A new user namespace is among them: it is made, with its maps, before the container."""
    if setting.namespaces:
        return setting.namespaces
    kinds = [each.type for each in spec.linux.namespaces if each.path or each.type == "user"]
    kinds = [kind for kind in kinds if kind not in setting.lacking]
    return tuple(sorted(kinds, key=lambda kind: (kind == "mount", kind != "user")))


def _own_namespaces(spec: OciSpec, setting: Setting, by_slot: tuple[str, ...]) -> tuple[str, ...]:
    """The namespaces to make."""
    wanted = [each.type for each in spec.linux.namespaces]
    if "mount" not in wanted:
        raise SpecError("/linux/namespaces", "a container needs a mount namespace of its own")
    check_user_namespace(spec)
    there = {*setting.joined, *setting.lacking, *by_slot}
    return tuple([each.type for each in spec.linux.namespaces if each.type not in there and not each.path])


def check_user_namespace(spec: OciSpec) -> None:
    """Its mappings: raises :class:`SpecError`."""
    for i, each in enumerate(spec.linux.namespaces):
        if each.type != "user":
            continue
        for name, mappings in (("uidMappings", spec.linux.uid_mappings), ("gidMappings", spec.linux.gid_mappings)):
            if each.path and mappings:
                raise SpecError(f"/linux/{name}", f"the user namespace at /linux/namespaces/{i}/path has its mappings")
            if not each.path and not any([mapping.container_id == 0 for mapping in mappings]):
                raise SpecError(f"/linux/{name}", "a new user namespace needs a mapping of its root, containerID 0")


# ---- 2. namespaces ----


def _enter_namespaces(spec: OciSpec, setting: Setting, own: tuple[str, ...], by_slot: tuple[str, ...]) -> list[Step]:
    steps: list[Step] = []
    if setting.joined:
        steps.append(Await(PAUSE_READY))
        # pause's mount namespace has one mount; what is unshared from it below costs the same however many the host has.
        steps.append(JoinNamespaces(PAUSE, ("mount", *[kind for kind in setting.joined if kind != "pid"])))
    if "time" in own:
        offsets = {offset.clock: offset.secs * 10**9 + offset.nanosecs for offset in spec.linux.time_offsets}
        steps.append(NewTimeNamespace(offsets.get("monotonic", 0), offsets.get("boottime", 0)))
    for kind in by_slot:
        if kind == "user":
            steps += [JoinUserNamespace(namespace_slot(kind), (kind,)), BecomeNamespaceRoot()]
        else:
            steps.append(JoinNamespaces(namespace_slot(kind), (kind,)))
    new = tuple([kind for kind in own if kind not in ("pid", "time")])
    if new:
        steps.append(Unshare(new))
    if "pid" in by_slot:
        steps.append(EnterPidNamespace())
    if "pid" in own and "user" in by_slot:
        steps.append(NewPidNamespace())
    return steps


def _furnish_namespaces(spec: OciSpec, own: tuple[str, ...], by_slot: tuple[str, ...]) -> list[Step]:
    steps: list[Step] = [SetPropagation("/", "private")]
    if "network" in own:
        steps.append(LoopbackUp())
    if spec.hostname and "uts" in (*own, *by_slot):
        steps.append(SetHostname(spec.hostname))
    if spec.domainname and "uts" in (*own, *by_slot):
        steps.append(SetDomainname(spec.domainname))
    kinds = [each.type for each in spec.linux.namespaces]
    for name, value in spec.linux.sysctl:
        check_sysctl(name, value, kinds, spec.domainname)
        steps.append(SetSysctl(name, value))
    return steps


# ---- 3. the terminal ----


def _terminal(mounts: tuple[Mount, ...], process: OciProcess, setting: Setting) -> list[Step]:
    """A terminal in the container's own devpts, which is also its /dev/console."""
    if not (process.terminal and setting.console):
        return []
    path, slot = place(mounts, setting, "/dev/pts/ptmx")
    return [
        new_terminal(process, path, slot),
        OpenTree("", CONSOLE_TREE, TERMINAL, recursive=False),
        Attach(CONSOLE_TREE, "/dev/console", at=ROOT, create=True),
    ]
