"""An OCI runtime specification as the steps that make it so. Pure.

The order of the steps is the whole of the matter, and it is the order of the functions in :func:`plan_container`:

1. in the host's mount namespace: what needs the host's /proc, and a clone of every tree of the host that the container gets;
2. into the namespaces that pause holds, all in one call, and out again of those that are the container's own;
3. the root is made and attached, and everything is mounted into it, each target resolved inside it;
4. pivot; then down: directory, capabilities, user, filter, exec.

:data:`pyrun.kernel.order.BEFORE` has the reasons, and a property test holds every plan against it.
"""

from __future__ import annotations

import stat

from pyrun.container.layout import SCRATCH
from pyrun.container.lower import OVERLAY_ANNOTATION, SUB_PATH_MARK
from pyrun.container.mounts import MountPlan, plan_mount
from pyrun.container.not_planned import refuse_not_planned
from pyrun.container.seccomp import seccomp_filter, seccomp_flags
from pyrun.container.security import capability_mask
from pyrun.container.sysctl import check_sysctl
from pyrun.errors import SpecError
from pyrun.kernel.step import (
    Attach,
    Await,
    BecomeNamespaceRoot,
    ChangeDirectory,
    Checkpoint,
    ControllingTerminal,
    Duplicate,
    Exec,
    FindProgram,
    Gate,
    JoinKeyring,
    JoinNamespaces,
    LimitBoundingSet,
    LoadFilter,
    LoopbackUp,
    MakeDirectory,
    MakeNode,
    MakeSymlink,
    MaskPath,
    NewMount,
    NewPidNamespace,
    NewSession,
    NewTerminal,
    NewTimeNamespace,
    NoNewPrivileges,
    OpenDirectory,
    OpenTree,
    ParentDeathSignal,
    PivotRoot,
    ReadonlyPath,
    SetCapabilities,
    SetDomainname,
    SetHostname,
    SetMountAttributes,
    SetOomScoreAdj,
    SetPropagation,
    SetRlimit,
    SetSysctl,
    SetUmask,
    SetUser,
    Unshare,
)
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrun.kernel.step import Plan, Step
    from pyrun.spec.oci import OciMount, OciProcess, OciSpec

ROOT = "root"
IMAGE = "image"
LAYERS = "layers"
PAUSE = "pause"
PAUSE_READY = "pause to be ready"
STDIO = ("stdin", "stdout", "stderr")
PLACED = "to be placed"
CONSOLE = "console"
TERMINAL = "terminal"
CONSOLE_TREE = "console device"
FIRST_PRESERVED = 3
HOOKS = "hooks"

NODE_MODE = stat.S_IFCHR | 0o666
NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
LINKS = (
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
)
# Numbers of getrlimit(2), the same on x86_64 and aarch64 (include/uapi/asm-generic/resource.h).
RLIMITS = (
    *("RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC"),
    *("RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE"),
    *("RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME"),
)


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
    ``keyring_name`` is the new one's.
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


class ContainerPlan(Value):
    """Steps, and the namespaces that have to be there from the clone on (they are for children only)."""

    steps: Plan
    clone_namespaces: tuple[str, ...]


def plan_container(spec: OciSpec, setting: Setting | None = None) -> ContainerPlan:
    """The plan of one container. Raises :class:`SpecError` with a pointer into the OCI specification."""
    setting = setting or Setting()
    process = spec.process
    if process is None or not process.args:
        raise SpecError("/process/args", "there is no program to run")
    refuse_not_planned(spec)
    by_slot = _by_slot(spec, setting)
    own = _own_namespaces(spec, setting, by_slot)
    mounts = [plan_mount(mount, f"/mounts/{i}") for i, mount in enumerate(spec.mounts)]
    session = new_session(setting)
    steps: Plan = (
        *([Checkpoint(PLACED)] if setting.placed else []),
        *before_namespaces(process),
        *(() if "user" in by_slot else session),
        *_source_trees(spec, mounts, setting, sandbox=False),
        *_root_tree(spec),
        *_enter_namespaces(spec, setting, own, by_slot),
        *(session if "user" in by_slot else ()),
        *_furnish_namespaces(spec, own, by_slot),
        *_source_trees(spec, mounts, setting, sandbox=True),
        *_overlay(spec),
        *_mount_all(spec, mounts),
        *_devices(spec, mounts),
        *_terminal(spec, process, setting),
        *_hide(spec),
        *([Checkpoint(HOOKS)] if has_early_hooks(spec) else []),
        PivotRoot(ROOT),
        *become(process, setting),
        *run_program(spec, process, setting),
    )
    return ContainerPlan(steps, ("pid",) if "pid" in own and "user" not in by_slot else ())


def has_early_hooks(spec: OciSpec) -> bool:
    """Whether there are hooks that are run while the process waits before it pivots."""
    return bool(spec.hooks.prestart or spec.hooks.create_runtime or spec.hooks.create_container)


def namespace_slot(kind: str) -> str:
    """The slot of a namespace that is joined by a descriptor of its own."""
    return f"namespace {kind}"


def preserved_slot(index: int) -> str:
    """The slot of a descriptor that the program gets as number 3 + *index*."""
    return f"preserved {index}"


def _by_slot(spec: OciSpec, setting: Setting) -> tuple[str, ...]:
    """The namespaces to join one by one. A new user namespace is among them: it is made, with its maps, before the container."""
    if setting.namespaces:
        return setting.namespaces
    kinds = [each.type for each in spec.linux.namespaces if each.path or each.type == "user"]
    kinds = [kind for kind in kinds if kind != "pid" and kind not in setting.lacking]
    return tuple(sorted(kinds, key=lambda kind: (kind == "mount", kind != "user")))


def _own_namespaces(spec: OciSpec, setting: Setting, by_slot: tuple[str, ...]) -> tuple[str, ...]:
    """The namespaces to make."""
    wanted = [each.type for each in spec.linux.namespaces]
    if "mount" not in wanted:
        raise SpecError("/linux/namespaces", "a container needs a mount namespace of its own")
    _check_user_namespace(spec)
    there = {*setting.joined, *setting.lacking, *by_slot}
    return tuple([each.type for each in spec.linux.namespaces if each.type not in there and not each.path])


def _check_user_namespace(spec: OciSpec) -> None:
    for i, each in enumerate(spec.linux.namespaces):
        if each.type != "user":
            continue
        for name, mappings in (("uidMappings", spec.linux.uid_mappings), ("gidMappings", spec.linux.gid_mappings)):
            if each.path and mappings:
                raise SpecError(f"/linux/{name}", f"the user namespace at /linux/namespaces/{i}/path has its mappings")
            if not each.path and not any([mapping.container_id == 0 for mapping in mappings]):
                raise SpecError(f"/linux/{name}", "a new user namespace needs a mapping of its root, containerID 0")


# ---- 1. in the host's mount namespace ----


def before_namespaces(process: OciProcess) -> list[Step]:
    steps: list[Step] = []
    if process.oom_score_adj is not None:
        steps.append(SetOomScoreAdj(process.oom_score_adj))
    for i, limit in enumerate(process.rlimits):
        if limit.type not in RLIMITS:
            raise SpecError(f"/process/rlimits/{i}/type", f"{limit.type!r} is not a resource limit")
        steps.append(SetRlimit(limit.type, RLIMITS.index(limit.type), limit.soft, limit.hard))
    return steps


def new_session(setting: Setting) -> list[Step]:
    if not setting.new_keyring:
        return [NewSession()]
    return [NewSession(), JoinKeyring(setting.keyring_name or None)]


def _root_tree(spec: OciSpec) -> list[Step]:
    """The directory of the root file system, detached: in slot ``root``, or as the lower layer of what will be the root."""
    if _has_overlay(spec):
        return [OpenTree(spec.root.path, IMAGE, recursive=False)]
    return [OpenTree(spec.root.path, ROOT)]


def _has_overlay(spec: OciSpec) -> bool:
    return (OVERLAY_ANNOTATION, "overlay") in spec.annotations


def _source_trees(spec: OciSpec, mounts: list[MountPlan], setting: Setting, sandbox: bool) -> list[Step]:
    steps: list[Step] = []
    for i, (mount, plan) in enumerate(zip(spec.mounts, mounts, strict=True)):
        inside = setting.sandbox and mount.source.startswith(setting.sandbox + "/")
        if plan.type or bool(inside) != sandbox:
            continue
        source = plan.source[len(setting.sandbox) :] if inside else plan.source
        opened = {} if inside else dict(setting.opened)  # the same name in the sandbox is another thing
        steps += _open_source(source, plan, opened, _tree_slot(i, mount), f"/mounts/{i}/source")
    return steps


def _open_source(source: str, plan: MountPlan, opened: dict[str, str], tree: str, pointer: str) -> list[Step]:
    base, mark, inner = source.partition(SUB_PATH_MARK)
    if not base.startswith("/"):
        raise SpecError(pointer, f"{source!r}: the source of a bind mount must be an absolute path")
    options = (plan.recursive, plan.attributes, plan.clear, plan.propagation)
    if base in opened:
        return [OpenTree(inner, tree, opened[base], *options, 0o755 if mark else 0)]
    if not mark:
        return [OpenTree(base, tree, None, *options)]
    base_slot = f"{tree} base"
    # Not a clone of the base: before Linux 6.15 nothing can be cloned out of a tree that is detached.
    return [OpenDirectory(base, base_slot), OpenTree(inner, tree, base_slot, *options, 0o755)]


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
        steps.append(JoinNamespaces(namespace_slot(kind), (kind,)))
        if kind == "user":
            steps.append(BecomeNamespaceRoot())
    new = tuple([kind for kind in own if kind not in ("pid", "time")])
    if new:
        steps.append(Unshare(new))
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


# ---- 3. the root and what is in it ----


def _overlay(spec: OciSpec) -> list[Step]:
    """A fresh overlay above the image, in slot ``root``.

    Its layers must be attached somewhere while it is made (kernels before 6.15 take no detached ones). A tmpfs that holds the
    upper one serves for that. It goes with the old root, and does not lie over it: an unmount takes what is uppermost.
    """
    if not _has_overlay(spec):
        return []
    return [
        NewMount("tmpfs", LAYERS, ("mode=0755",), source="pyrun-layers"),
        Attach(LAYERS, SCRATCH),
        Attach(IMAGE, "lower", at=LAYERS, create=True),
        MakeDirectory("upper", at=LAYERS),
        MakeDirectory("work", at=LAYERS),
        ChangeDirectory(".", at=LAYERS),
        # A device node that the image brings is none of the container's devices.
        NewMount("overlay", ROOT, ("lowerdir=lower", "upperdir=upper", "workdir=work"), ("nodev",), source="overlay"),
    ]


def _mount_all(spec: OciSpec, mounts: list[MountPlan]) -> list[Step]:
    # Hooks know the root by its path on the host, and find it there only if it lies over itself.
    steps: list[Step] = [Attach(ROOT, spec.root.path if has_early_hooks(spec) else "/")]
    guarded: dict[str, str] = {}
    for i, (mount, plan) in enumerate(zip(spec.mounts, mounts, strict=True)):
        tree = _tree_slot(i, mount)
        if plan.type:
            steps.append(NewMount(plan.type, tree, plan.data, plan.attributes, mount.source or None))
        target, at = _below_guarded(mount.destination, guarded)
        steps.append(Attach(tree, target, at=at, create=True, links=not _is_guarded(mount, plan)))
        if _is_guarded(mount, plan):
            guarded[mount.destination] = tree
    return steps


def _below_guarded(path: str, guarded: Mapping[str, str]) -> tuple[str, str]:
    """*path* as a name in the mount that it is in, and that mount's slot, where it is one of ours alone: nobody has to look for
    it through the image."""
    above, _, name = path.rpartition("/")
    return (name, guarded[above]) if above in guarded else (path, ROOT)


def _tree_slot(index: int, mount: OciMount) -> str:
    return f"{mount.destination}[{index}]"


def _is_guarded(mount: OciMount, plan: MountPlan) -> bool:
    """What masks and read-only paths are for, and what others are mounted into. A link in the image would put it elsewhere."""
    return plan.type in ("proc", "sysfs") or (mount.destination == "/dev" and bool(plan.type))


def _devices(spec: OciSpec, mounts: list[MountPlan]) -> list[Step]:
    """The nodes and links that OCI promises, in a /dev that we made; one that was bound in is left as it is."""
    ours = [
        _tree_slot(i, mount)
        for i, (mount, plan) in enumerate(zip(spec.mounts, mounts, strict=True))
        if mount.destination == "/dev" and plan.type
    ]
    taken = {mount.destination for mount in spec.mounts}
    if not ours:
        return []
    nodes: list[Step] = [
        MakeNode(name, NODE_MODE, major, minor, at=ours[-1])
        for name, major, minor in NODES
        if f"/dev/{name}" not in taken
    ]
    return nodes + [MakeSymlink(name, target, at=ours[-1]) for name, target in LINKS if f"/dev/{name}" not in taken]


def _terminal(spec: OciSpec, process: OciProcess, setting: Setting) -> list[Step]:
    """A terminal in the container's own devpts, which is also its /dev/console."""
    if not (process.terminal and setting.console):
        return []
    places = _covering(spec)
    path, slot = _place(places, "/dev/pts/ptmx")
    return [
        new_terminal(process, path, slot),
        OpenTree("", CONSOLE_TREE, TERMINAL, recursive=False),
        Attach(CONSOLE_TREE, "/dev/console", at=ROOT, create=True),
    ]


def new_terminal(process: OciProcess, path: str, at: str) -> NewTerminal:
    size = process.console_size
    rows, columns = (size.height, size.width) if size is not None else (0, 0)
    return NewTerminal(path, CONSOLE, TERMINAL, at, rows, columns)


def _hide(spec: OciSpec) -> list[Step]:
    places = _covering(spec)
    steps: list[Step] = [ReadonlyPath(*_place(places, path)) for path in spec.linux.readonly_paths]
    steps += [MaskPath(*_place(places, path), root=ROOT) for path in spec.linux.masked_paths]
    if spec.root.readonly:
        steps.append(SetMountAttributes("/", at=ROOT, attributes=("ro",)))
    return steps


def _covering(spec: OciSpec) -> list[tuple[str, str]]:
    """Destination and slot of each mount, the nearest to a path first: the longest, of two equal ones the later."""
    found = [(mount.destination.rstrip("/"), _tree_slot(i, mount)) for i, mount in enumerate(spec.mounts)]
    found.sort(key=lambda place: len(place[0]))
    return found[::-1]


def _place(places: list[tuple[str, str]], path: str) -> tuple[str, str]:
    """*path* as a name in the mount that covers it, and that mount's slot: the name of the mount may lead elsewhere by now."""
    for destination, slot in places:
        if path.startswith(destination) and path[len(destination) :][:1] in ("", "/"):
            return path[len(destination) :] or "/", slot
    return path, ROOT


# ---- 4. what the program is and may ----


def become(process: OciProcess, setting: Setting) -> list[Step]:
    steps: list[Step] = [ChangeDirectory(process.cwd, at=ROOT, create_mode=0o755)]
    user, capabilities = process.user, process.capabilities
    if capabilities is not None:
        steps.append(LimitBoundingSet(capability_mask(capabilities.bounding, "/process/capabilities/bounding")))
    steps.append(SetUser(user.uid, user.gid, user.additional_gids))
    if capabilities is not None:
        sets = ("effective", "permitted", "inheritable", "ambient")
        steps.append(
            SetCapabilities(*[capability_mask(getattr(capabilities, s), f"/process/capabilities/{s}") for s in sets])
        )
    if process.no_new_privileges:
        steps.append(NoNewPrivileges())
    if setting.death_signal:
        steps.append(ParentDeathSignal(setting.death_signal))
    return steps


def _descriptors(process: OciProcess, setting: Setting) -> list[Step]:
    terminal = process.terminal and setting.console
    steps: list[Step] = [ControllingTerminal(TERMINAL)] if terminal else []
    # Descriptors to keep first: theirs are the numbers that are in nobody's way yet.
    steps += [Duplicate(preserved_slot(i), FIRST_PRESERVED + i) for i in range(setting.preserve_fds)]
    return steps + [Duplicate(TERMINAL if terminal else name, number) for number, name in enumerate(STDIO)]


def run_program(spec: OciSpec, process: OciProcess, setting: Setting) -> list[Step]:
    search = next((entry[5:] for entry in process.env if entry.startswith("PATH=")), "/bin:/usr/bin")
    steps: list[Step] = [*_descriptors(process, setting)]
    if process.user.umask is not None:
        steps.append(SetUmask(process.user.umask))
    if setting.gated:
        steps += [FindProgram(process.args[0], search), Gate(source=setting.gate or None)]
    elif "/" not in process.args[0]:  # without a gate, the exec is as early to tell of a program that is none
        steps.append(FindProgram(process.args[0], search))
    if spec.linux.seccomp is not None:
        steps.append(LoadFilter(seccomp_filter(spec.linux.seccomp), seccomp_flags(spec.linux.seccomp)))
    return [*steps, Exec(process.args, process.env)]
