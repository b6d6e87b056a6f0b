"""The root of a container and what is in it: the part of :mod:`pyrun.container.plan` between the namespaces and the pivot.

Trees of the host are cloned before its mount namespace is left, detached, and attached once the root is there. Every target is
resolved below the root by the kernel. Propagation follows ``linux.rootfsPropagation``: what the configuration does not ask for is
private, so that nothing that is mounted inside reaches the host.
"""

from __future__ import annotations

import os

from pyrun.container.layout import OVERLAY_ANNOTATION, SCRATCH, SUB_PATH_MARK
from pyrun.container.mounts import MountPlan, plan_mount
from pyrun.errors import SpecError
from pyrun.kernel.step import (
    Attach,
    ChangeDirectory,
    ChangeRoot,
    CopyUp,
    MakeDirectory,
    MakeSymlink,
    MaskPath,
    NewMount,
    OpenDirectory,
    OpenTree,
    PivotRoot,
    ReadonlyPath,
    Reconfigure,
    SetMountAttributes,
    SetRootPropagation,
)
from pyrun.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrun.container.plan import Setting
    from pyrun.kernel.step import Step
    from pyrun.spec.oci import OciIdMapping, OciMount, OciSpec

ROOT = "root"
IMAGE = "image"
LAYERS = "layers"
USER_NAMESPACE = "namespace user"
# The root of a user namespace may mount these file systems only where they can be seen already, whole (mount_too_revealing of
# fs/namespace.c). A sandbox has none of them, so the host's are there while the container's are mounted, and go with the old
# root.
VISIBLE = ("/proc", "/sys")

# File systems without files of their own, or with labels of their own: they take no context.
UNLABELLED = ("proc", "sysfs", "cgroup2", "mqueue", "devpts")


class IdMap(Value):
    """Ids of a mount, mapped: ``slot`` is to hold a user namespace with these mappings while the plan runs."""

    slot: str
    uid_mappings: tuple[OciIdMapping, ...]
    gid_mappings: tuple[OciIdMapping, ...]


class Mount(Value):
    """One entry of ``mounts``, read: where it goes, and the slot of its tree."""

    target: str
    tree: str
    pointer: str
    plan: MountPlan

    @property
    def is_tree(self) -> bool:
        """Whether it is cloned from what is there already."""
        return not self.plan.type and not self.plan.remount

    @property
    def is_new(self) -> bool:
        return bool(self.plan.type) and not self.plan.remount

    @property
    def is_guarded(self) -> bool:
        """What masks and read-only paths are for, and what others are mounted into: a link in the image would put it
        elsewhere."""
        return self.is_new and (self.plan.type in ("proc", "sysfs") or self.target == "/dev")


def read_mounts(spec: OciSpec, setting: Setting) -> tuple[Mount, ...]:
    """The mounts of *spec*. Raises :class:`SpecError`."""
    kinds: list[str] = [namespace.type for namespace in spec.linux.namespaces]
    mounts = []
    for i, mount in enumerate(spec.mounts):
        plan = plan_mount(mount, f"/mounts/{i}")
        if "user" in kinds:
            plan = _without_privilege(plan, kinds, setting)
        if spec.linux.mount_label:
            plan = _labelled(plan, spec.linux.mount_label)
        mounts.append(Mount(clean_path(mount.destination), _tree_slot(i, mount), f"/mounts/{i}", plan))
    return tuple(mounts)


def clean_path(path: str) -> str:
    """*path* from the root on (the specification: a relative one is taken so), without what means nothing."""
    return "/" + "/".join([part for part in path.split("/") if part not in ("", ".")])


def has_user_namespace(spec: OciSpec) -> bool:
    return any([namespace.type == "user" for namespace in spec.linux.namespaces])


def _tree_slot(index: int, mount: OciMount) -> str:
    return f"{mount.destination}[{index}]"


def _without_privilege(plan: MountPlan, kinds: list[str], setting: Setting) -> MountPlan:
    """The root of a user namespace mounts these only for a namespace that is its own; the host's, bound, is what is left."""
    if plan.type == "sysfs" and "network" not in kinds:
        return replace(plan, type="", source="/sys", recursive=True, data=())
    if plan.type == "cgroup2" and "cgroup" not in kinds and setting.cgroup:
        return replace(plan, type="", source=setting.cgroup, data=())
    return plan


def _labelled(plan: MountPlan, label: str) -> MountPlan:
    has_context = any([option.startswith("context=") for option in plan.data])
    if not plan.type or plan.remount or plan.type in UNLABELLED or has_context:
        return plan
    return replace(plan, data=(*plan.data, f"context={label}"))


# ---- trees of the host -----------------------------------------------------------------------------------------------


def open_root(spec: OciSpec, setting: Setting) -> list[Step]:
    """The directory of the root file system, detached: in slot ``root``, or as the lower layer of what will be the root."""
    path = _from_bundle(spec.root.path, setting, "/root/path")
    if _has_overlay(spec):
        mapped = USER_NAMESPACE if has_user_namespace(spec) else None
        image = OpenTree(path, IMAGE, recursive=False, id_map=mapped)
        return [image, *(_open_visible() if setting.joined and mapped else [])]
    return [OpenTree(path, ROOT, propagation="slave" if _base_propagation(spec) == "slave" else "private")]


def _open_visible() -> list[Step]:
    return [OpenTree(path, _visible_slot(path), recursive=False, propagation="private") for path in VISIBLE]


def _visible_slot(path: str) -> str:
    return f"the host's {path}"


def _has_overlay(spec: OciSpec) -> bool:
    return (OVERLAY_ANNOTATION, "overlay") in spec.annotations


def _from_bundle(path: str, setting: Setting, pointer: str) -> str:
    if path.startswith("/"):
        return path
    if not path or not setting.bundle:
        raise SpecError(pointer, f"{path!r}: must be an absolute path, or one relative to a bundle")
    return os.path.join(setting.bundle, path)


def open_sources(spec: OciSpec, mounts: tuple[Mount, ...], setting: Setting, sandbox: bool) -> list[Step]:
    """A clone of each source, of those in the sandbox or of the host's."""
    steps: list[Step] = []
    base = _base_propagation(spec)
    for mount in mounts:
        source = mount.plan.source
        inside = setting.sandbox and source.startswith(setting.sandbox + "/")
        if not mount.is_tree or bool(inside) != sandbox or _link_of(mount, setting):
            continue
        plan = _of_whole_tree(mount.plan) if setting.sandbox else mount.plan
        first, then = _propagation(base, plan.propagation)
        tree = OpenTree(
            "",
            mount.tree,
            recursive=plan.recursive,
            attributes=plan.all_attributes,
            clear=plan.all_clear,
            top_attributes=plan.attributes,
            top_clear=plan.clear,
            propagation=first,
            then=then,
            id_map=_id_map_slot(spec, mount),
            map_all=plan.id_map == "ridmap",
        )
        if inside:  # where the same name as on the host is another thing
            steps += _open_source(source[len(setting.sandbox) :], tree, {})
        else:
            source = _from_bundle(source, setting, f"{mount.pointer}/source")
            steps += (
                _open_source(source, tree, dict(setting.opened)) if setting.sandbox else [replace(tree, path=source)]
            )
    return steps


def _of_whole_tree(plan: MountPlan) -> MountPlan:
    """A pod's volume that is read-only on top only would be a hole. Its options do not say so: of other runtimes that know OCI's
    recursive ones, some refuse them for files."""
    return replace(
        plan,
        attributes=(),
        clear=(),
        all_attributes=(*plan.all_attributes, *plan.attributes),
        all_clear=(*plan.all_clear, *plan.clear),
    )


def _open_source(source: str, tree: OpenTree, opened: Mapping[str, str]) -> list[Step]:
    """Of a pod, whose sources may have a sub path."""
    base, mark, inner = source.partition(SUB_PATH_MARK)
    if base in opened:
        return [replace(tree, path=inner, at=opened[base], create_mode=0o755 if mark else 0)]
    if not mark:
        return [replace(tree, path=base)]
    base_slot = f"{tree.tree} base"
    # Not a clone of the base: before Linux 6.15 nothing can be cloned out of a tree that is detached.
    return [OpenDirectory(base, base_slot), replace(tree, path=inner, at=base_slot, create_mode=0o755)]


def _base_propagation(spec: OciSpec) -> str:
    """What the mounts of the container's namespace begin as. Shared means: with the host's, as far as those are."""
    mode = spec.linux.rootfs_propagation.removeprefix("r")
    return mode if mode in ("slave", "shared") else "private"


def _propagation(base: str, asked: tuple[str, bool] | None) -> tuple[str | None, tuple[str, bool] | None]:
    """``propagation`` and ``then`` of an OpenTree. A clone begins as its source's peer, so the base is made first."""
    first = None if base == "shared" else base
    if asked is None or asked[0] == first:
        return first, None
    if asked == ("private", True):
        return "private", None
    if asked[0] == "slave" and base == "private":
        return "slave", None  # of a private one nothing could be a slave any more
    return first, asked


# ---- ids that are mapped ---------------------------------------------------------------------------------------------


def id_maps(spec: OciSpec, mounts: tuple[Mount, ...]) -> tuple[IdMap, ...]:
    """The user namespaces that the mounts of *spec* need. Raises :class:`SpecError` where nothing says how ids are mapped."""
    found = []
    for mount in mounts:
        slot = _id_map_slot(spec, mount)
        if slot is None or slot == USER_NAMESPACE:
            continue
        uids, gids = mount.plan.uid_mappings, mount.plan.gid_mappings
        if not uids or not gids:
            raise SpecError(mount.pointer, "needs uidMappings and gidMappings, or a container with a user namespace")
        found.append(IdMap(slot, uids, gids))
    return tuple(found)


def _id_map_slot(spec: OciSpec, mount: Mount) -> str | None:
    if not mount.plan.id_map:
        return None
    as_container = not mount.plan.uid_mappings and has_user_namespace(spec)
    return USER_NAMESPACE if as_container else f"id map of {mount.tree}"


# ---- links that are copied instead of bound --------------------------------------------------------------------------


def read_links(spec: OciSpec, bundle: str) -> tuple[tuple[str, str], ...]:
    """(source, what it says) of the mounts with ``copy-symlink`` whose source is a symlink, for :class:`Setting`."""
    found = []
    for mount in spec.mounts:
        if "copy-symlink" in mount.options:
            try:
                found.append((mount.source, os.readlink(os.path.join(bundle, mount.source))))
            except OSError:
                pass  # none, or none that is a link: it is bound, and that says what is wrong
    return tuple(found)


def _link_of(mount: Mount, setting: Setting) -> str:
    return dict(setting.links).get(mount.plan.source, "") if mount.plan.copy_link else ""


# ---- the root --------------------------------------------------------------------------------------------------------


def make_overlay(spec: OciSpec, setting: Setting) -> list[Step]:
    """A fresh overlay above the image, in slot ``root``.

    Its layers must be attached somewhere while it is made (kernels before 6.15 take no detached ones). A tmpfs that holds the
    upper one serves for that. It goes with the old root, and does not lie over it: an unmount takes what is uppermost.
    """
    if not _has_overlay(spec):
        return []
    mapped = has_user_namespace(spec)
    # In a user namespace the overlay's own notes are attributes that its root may write (Linux 5.11).
    options = ("lowerdir=lower", "upperdir=upper", "workdir=work", *(("userxattr",) if mapped else ()))
    visible = VISIBLE if mapped and setting.joined else ()
    return [
        NewMount("tmpfs", LAYERS, ("mode=0755",), source="pyrun-layers"),
        Attach(LAYERS, SCRATCH),
        *[Attach(_visible_slot(path), path, at=LAYERS, create=True) for path in visible],
        Attach(IMAGE, "lower", at=LAYERS, create=True),
        MakeDirectory("upper", at=LAYERS),
        MakeDirectory("work", at=LAYERS),
        ChangeDirectory(".", at=LAYERS),
        # A device node that the image brings is none of the container's devices.
        NewMount("overlay", ROOT, options, ("nodev",), source="overlay"),
    ]


def mount_all(mounts: tuple[Mount, ...], setting: Setting, place: str = "/") -> list[Step]:
    """*place* is where the root is attached until it is entered."""
    steps: list[Step] = [Attach(ROOT, place)]
    guarded: dict[str, str] = {}
    for mount in mounts:
        link = _link_of(mount, setting)
        if link:
            parent = mount.target.rpartition("/")[0] or "/"
            steps += [MakeDirectory(parent, at=ROOT), MakeSymlink(mount.target, link, at=ROOT)]
        elif mount.plan.remount:
            steps += _remount(mount)
        else:
            steps += _mount(mount, guarded)
        if mount.is_guarded:
            guarded[mount.target] = mount.tree
    return steps


def _mount(mount: Mount, guarded: Mapping[str, str]) -> list[Step]:
    plan = mount.plan
    target, at = _below_guarded(mount.target, guarded)
    attach = Attach(mount.tree, target, at=at, create=True, links=not mount.is_guarded)
    if not mount.is_new:
        return [attach]
    attributes = tuple([name for name in plan.attributes if name != "ro" or not _is_read_only_later(mount)])
    # A disk that is mounted read-only is not written to by its own file system either, which would replay its journal.
    is_disk = "ro" in attributes and plan.source.startswith("/")
    options = (*plan.data, *plan.super_options, *(("ro",) if is_disk else ()))
    steps: list[Step] = [NewMount(plan.type, mount.tree, options, attributes, plan.source or None), attach]
    if plan.propagation not in (None, ("private", False), ("private", True)):
        steps.append(SetMountAttributes("", at=mount.tree, propagation=plan.propagation))
    own_mode = any([option.startswith("mode=") for option in plan.data])
    if plan.type != "tmpfs" or (own_mode and not plan.copy_up):
        return steps
    below = f"below {mount.tree}"
    copy = CopyUp(below, mount.tree, mode=not own_mode, content=plan.copy_up)
    return [OpenDirectory(target, below, at=at, if_exists=True), *steps, copy]


def _is_read_only_later(mount: Mount) -> bool:
    """A tmpfs is empty: places for what is mounted in it, nodes and copies come first."""
    return mount.is_new and mount.plan.type == "tmpfs"


def _remount(mount: Mount) -> list[Step]:
    plan = mount.plan
    steps: list[Step] = []
    options = (*plan.data, *plan.super_options)
    if options:
        steps.append(Reconfigure(mount.target, options, at=ROOT))
    own = (plan.attributes, plan.clear)
    if any(own) or plan.propagation:
        steps.append(SetMountAttributes(mount.target, ROOT, *own, propagation=plan.propagation))
    if plan.all_attributes or plan.all_clear:
        steps.append(SetMountAttributes(mount.target, ROOT, plan.all_attributes, plan.all_clear, recursive=True))
    return steps


def _below_guarded(path: str, guarded: Mapping[str, str]) -> tuple[str, str]:
    """*path* as a name in the mount that it is in, and that mount's slot, where it is one of ours alone: nobody has to look for
    it through the image."""
    above, _, name = path.rpartition("/")
    return (name, guarded[above]) if above in guarded else (path, ROOT)


# ---- what is hidden, and the root itself -----------------------------------------------------------------------------


def hide(spec: OciSpec, mounts: tuple[Mount, ...], setting: Setting) -> list[Step]:
    # What hides a file is the host's null device, where that is in sight: a container may have none, or not trust its own.
    null = ROOT if setting.joined else None
    steps: list[Step] = [ReadonlyPath(*place(mounts, setting, path)) for path in spec.linux.readonly_paths]
    steps += [MaskPath(*place(mounts, setting, path), root=null) for path in spec.linux.masked_paths]
    for mount in mounts:
        if _is_read_only_later(mount) and "ro" in mount.plan.attributes:
            steps.append(SetMountAttributes("", at=mount.tree, attributes=("ro",)))
    if spec.root.readonly:
        steps.append(SetMountAttributes("/", at=ROOT, attributes=("ro",)))
    return steps


def place(mounts: tuple[Mount, ...], setting: Setting, path: str) -> tuple[str, str]:
    """*path* as a name in the mount that covers it, and that mount's slot: the name of the mount may lead elsewhere by now."""
    found = ("", ROOT)
    for mount in mounts:
        above = mount.target.rstrip("/")
        covers = path.startswith(above) and path[len(above) :][:1] in ("", "/")
        # The nearest is the one with the longest name, of two equal ones the later.
        if covers and len(above) >= len(found[0]) and not mount.plan.remount and not _link_of(mount, setting):
            found = (above, mount.tree)
    return path[len(found[0]) :] or "/", found[1]


def enter_root(spec: OciSpec, setting: Setting) -> list[Step]:
    """The root becomes the process's, and then what ``rootfsPropagation`` says: not before, or the host would hear of it."""
    steps: list[Step] = [ChangeRoot(ROOT) if setting.no_pivot else PivotRoot(ROOT)]
    asked = spec.linux.rootfs_propagation
    mode = asked.removeprefix("r")
    if mode in ("shared", "unbindable"):
        steps.append(SetRootPropagation(mode, asked != mode))
    return steps
