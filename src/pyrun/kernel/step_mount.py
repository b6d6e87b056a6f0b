"""Steps that build and arrange mount trees."""

from __future__ import annotations

import errno

from pyrun._core import lib
from pyrun.kernel.step_base import Step, below, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.kernel.encode import Encoder
    from pyrun.kernel.step_base import Fields


PROPAGATION_FLAGS = {
    "private": lib.MS_PRIVATE,
    "slave": lib.MS_SLAVE,
    "shared": lib.MS_SHARED,
    "unbindable": lib.MS_UNBINDABLE,
}
ATTRIBUTE_NAMES = {
    "ro": lib.MOUNT_ATTR_RDONLY,
    "nosuid": lib.MOUNT_ATTR_NOSUID,
    "nodev": lib.MOUNT_ATTR_NODEV,
    "noexec": lib.MOUNT_ATTR_NOEXEC,
    "relatime": lib.MOUNT_ATTR_RELATIME,
    "noatime": lib.MOUNT_ATTR_NOATIME,
    "strictatime": lib.MOUNT_ATTR_STRICTATIME,
    "nodiratime": lib.MOUNT_ATTR_NODIRATIME,
    "nosymfollow": lib.MOUNT_ATTR_NOSYMFOLLOW,
}


def attribute_flags(names: tuple[str, ...]) -> int:
    """``MOUNT_ATTR_*`` of the names, or-ed."""
    flags = 0
    for name in names:
        flags |= ATTRIBUTE_NAMES[name]
    return flags


def attribute_change(names: tuple[str, ...], clear: tuple[str, ...]) -> tuple[int, int]:
    """(attr_set, attr_clr) of mount_setattr(2), where the access-time settings are one field: cleared, then set."""
    to_set, to_clear = attribute_flags(names), attribute_flags(clear)
    if (to_set | to_clear) & lib.MOUNT_ATTR__ATIME or "relatime" in names:
        to_clear |= lib.MOUNT_ATTR__ATIME
    return to_set, to_clear


def propagation_flags(mode: str, recursive: bool) -> int:
    """The ``MS_*`` flag of *mode*, with ``MS_REC`` for *recursive*."""
    return PROPAGATION_FLAGS[mode] | (lib.MS_REC if recursive else 0)


class SetPropagation(Step):
    """mount(2) with a propagation flag on an existing mount."""

    path: str
    mode: str
    recursive: bool = True
    kind = "PROPAGATION"
    reason = "or what is mounted and unmounted here would reach the host"

    def describe(self) -> str:
        return f"make {self.path} {'recursively ' if self.recursive else ''}{self.mode}"

    def fields(self, encoder: Encoder) -> Fields:
        return (), (encoder.text(self.path),), (propagation_flags(self.mode, self.recursive),)


class SetRootPropagation(Step):
    """mount(2) with a propagation flag on the root that the program gets."""

    mode: str
    recursive: bool = False
    kind = "PROPAGATION"
    reason = "as the configuration has it (rootfsPropagation)"

    def describe(self) -> str:
        return f"make the new root {'recursively ' if self.recursive else ''}{self.mode}"

    def fields(self, encoder: Encoder) -> Fields:
        return (), (encoder.text("/"),), (propagation_flags(self.mode, self.recursive),)


class OpenTree(Step):
    """open_tree(2) with a clone, and mount_setattr(2) on it: a detached bind mount in slot ``tree``.

    An empty path means what the slot ``at`` itself holds. ``create_mode`` makes a missing source as a directory. ``attributes``,
    ``clear`` and ``propagation`` hold for every mount of the tree; ``top_attributes`` and ``top_clear`` for the uppermost, and
    ``then`` is a further propagation, as (mode, recursive). Propagation holds unless the tree is attached below a shared mount:
    there the kernel makes it shared (mount_namespaces(7)). ``id_map`` is the slot of a user namespace by which ids are mapped, of
    every mount with ``map_all``.
    """

    path: str
    tree: str
    at: str | None = None
    recursive: bool = True
    attributes: tuple[str, ...] = ()
    clear: tuple[str, ...] = ()
    propagation: str | None = None
    create_mode: int = 0
    top_attributes: tuple[str, ...] = ()
    top_clear: tuple[str, ...] = ()
    then: tuple[str, bool] | None = None
    id_map: str | None = None
    map_all: bool = False
    kind = "OPEN_TREE"
    reason = "taken while it can be seen, attached later by descriptor"

    def describe(self) -> str:
        what = "tree" if self.recursive else "mount"
        return words(
            f"clone {what} {below(self.at, self.path)} -> {self.tree}",
            ",".join((*self.attributes, *self.top_attributes)),
            "with mapped ids" if self.id_map else "",
        )

    def hint(self, error: int) -> str:
        if self.id_map and error == errno.ENOSYS:
            return "mounts with mapped ids need Linux 5.12"
        if self.id_map and error == errno.EINVAL:
            return "the kernel maps no ids on this type of file system, or maps them already"
        return ""

    def fields(self, encoder: Encoder) -> Fields:
        first = PROPAGATION_FLAGS[self.propagation] if self.propagation else 0
        then = propagation_flags(*self.then) if self.then else 0
        to_set, to_clear = attribute_change(self.attributes, self.clear)
        top_set, top_clear = attribute_change(self.top_attributes, self.top_clear)
        top = lib.PLAN_TREE_TOP_SHIFT
        numbers = (self._how(), to_set | top_set << top, to_clear | top_clear << top, first | then << top)
        slots = (encoder.slot(self.at), encoder.fill(self.tree), encoder.slot(self.id_map))
        return slots, (encoder.text(self.path),), numbers

    def _how(self) -> int:
        flags = lib.PLAN_TREE_RECURSIVE if self.recursive else 0
        flags |= lib.PLAN_TREE_MAP_ALL if self.map_all else 0
        return flags | self.create_mode << lib.PLAN_TREE_MODE_SHIFT


class NewMount(Step):
    """fsopen(2), fsconfig(2), fsmount(2): a detached mount of a new file system in slot ``tree``."""

    type: str
    tree: str
    options: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    source: str | None = None
    kind = "NEW_MOUNT"
    reason = "a file system of its own"

    def describe(self) -> str:
        return words(f"new {self.type} -> {self.tree}", ",".join((*self.attributes, *self.options)))

    def hint(self, error: int) -> str:
        if error == errno.ENODEV:
            return f"this kernel has no file system of type {self.type!r}"
        if error == errno.EINVAL and any([option.startswith("context=") for option in self.options]):
            return "a mount label (context=) needs a kernel with SELinux"
        return ""

    def fields(self, encoder: Encoder) -> Fields:
        strings = (encoder.text(self.type), encoder.texts(self.options), encoder.text(self.source))
        return (
            (encoder.slot(None), encoder.fill(self.tree)),
            strings,
            (len(self.options), attribute_flags(self.attributes)),
        )


class Attach(Step):
    """move_mount(2): attach the tree in a slot.

    ``create`` makes a missing target: a directory, or for a file an empty file. With ``links`` false a symlink anywhere in the
    target is an error.
    """

    tree: str
    target: str
    at: str | None = None
    create: bool = False
    links: bool = True
    kind = "ATTACH"
    reason = "the target is resolved once, inside the root, and used by descriptor"

    def describe(self) -> str:
        how = words("(created if missing)" if self.create else "", "" if self.links else "(no symlink)")
        return words(f"attach {self.tree} at {below(self.at, self.target)}", how)

    def hint(self, error: int) -> str:
        if self.links or error not in (errno.ELOOP, errno.ENOTDIR):
            return ""
        return f"{self.target} must be a plain directory in the image, or be missing"

    def fields(self, encoder: Encoder) -> Fields:
        how = (lib.PLAN_CREATE if self.create else 0) | (0 if self.links else lib.PLAN_NO_LINKS)
        return (encoder.slot(self.tree), encoder.slot(self.at)), (encoder.text(self.target),), (how,)


class SetMountAttributes(Step):
    """mount_setattr(2) on a mount that is attached. ``propagation`` is (mode, recursive)."""

    path: str
    at: str | None = None
    attributes: tuple[str, ...] = ()
    clear: tuple[str, ...] = ()
    recursive: bool = False
    propagation: tuple[str, bool] | None = None
    kind = "SET_ATTRIBUTES"
    reason = "after what had to be made in it is made"

    def describe(self) -> str:
        changes = [*self.attributes, *[f"not {name}" for name in self.clear]]
        if self.propagation:
            changes.append(("r" if self.propagation[1] else "") + self.propagation[0])
        return f"set {','.join(changes)} on {below(self.at, self.path)}"

    def fields(self, encoder: Encoder) -> Fields:
        propagation = propagation_flags(*self.propagation) if self.propagation else 0
        numbers = (int(self.recursive), *attribute_change(self.attributes, self.clear), propagation)
        return (encoder.slot(self.at),), (encoder.text(self.path),), numbers


class Reconfigure(Step):
    """fspick(2), fsconfig(2): options of a file system that is mounted; they hold wherever else it is mounted."""

    path: str
    options: tuple[str, ...]
    at: str | None = None
    kind = "RECONFIGURE"
    reason = "a mount that is there already is to be changed (remount)"

    def describe(self) -> str:
        return f"reconfigure {below(self.at, self.path)} {','.join(self.options)}"

    def hint(self, error: int) -> str:
        return "nothing is mounted there" if error == errno.EINVAL else ""

    def fields(self, encoder: Encoder) -> Fields:
        strings = (encoder.text(self.path), encoder.texts(self.options))
        return (encoder.slot(self.at),), strings, (len(self.options),)


class CopyUp(Step):
    """Copy the ``content`` of a directory, or the ``mode`` of it, into the tree that lies over it; nothing if slot ``directory``
    is empty."""

    directory: str
    tree: str
    mode: bool = True
    content: bool = False
    kind = "COPY_UP"
    reason = "what is mounted there looks as the image has it"

    def describe(self) -> str:
        what = " and ".join([*(["mode"] if self.mode else []), *(["content"] if self.content else [])])
        return f"copy {what} of {self.directory} -> {self.tree}"

    def fields(self, encoder: Encoder) -> Fields:
        what = (lib.PLAN_COPY_MODE if self.mode else 0) | (lib.PLAN_COPY_CONTENT if self.content else 0)
        return (encoder.slot(self.directory), encoder.slot(self.tree)), (), (what,)


class MaskPath(Step):
    """Hide a path: an empty read-only tmpfs over a directory, over a file the /dev/null below ``root``; nothing if it does not
    exist."""

    path: str
    at: str | None = None
    root: str | None = None
    kind = "MASK"
    flags = lib.PLAN_IF_EXISTS
    reason = "tells or changes more of the host than a container should"

    def describe(self) -> str:
        return f"mask {below(self.at, self.path)}"

    def hint(self, error: int) -> str:
        return "a file is hidden by the container's /dev/null, and there is none" if error == errno.ENODEV else ""

    def fields(self, encoder: Encoder) -> Fields:
        return (encoder.slot(self.at), encoder.slot(self.root)), (encoder.text(self.path),), ()


class ReadonlyPath(Step):
    """Bind a path over itself, read-only; nothing if it does not exist."""

    path: str
    at: str | None = None
    kind = "READONLY"
    flags = lib.PLAN_IF_EXISTS
    reason = "to be read, not written"

    def describe(self) -> str:
        return f"make read-only {below(self.at, self.path)}"

    def fields(self, encoder: Encoder) -> Fields:
        return (encoder.slot(self.at),), (encoder.text(self.path),), ()


class ChangeRoot(Step):
    """chroot(2) into the root in a slot, which lies over the old one; /proc and /sys of the old one go."""

    root: str
    kind = "CHROOT"
    reason = "instead of a pivot, which the initial ramfs does not allow"

    def describe(self) -> str:
        return f"chroot into {self.root}"

    def fields(self, encoder: Encoder) -> Fields:
        return (encoder.slot(self.root),), (), ()


class PivotRoot(Step):
    """pivot_root(2) into the directory in a slot, and the old root away."""

    root: str
    kind = "PIVOT_ROOT"
    reason = "the mount namespace keeps nothing of what was there before; a chroot would"

    def describe(self) -> str:
        return f"pivot into {self.root}"

    def fields(self, encoder: Encoder) -> Fields:
        return (encoder.slot(self.root),), (), ()
