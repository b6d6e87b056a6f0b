"""OCI mount options, sorted by what the kernel does with them (OCI config.md, Linux mount options)."""

from __future__ import annotations

from pyrun.errors import SpecError
from pyrun.spec.oci import OciIdMapping
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.oci import OciMount

# An attribute of the mount, and whether the option sets it. With "r" before it the option is about every mount of a tree.
_ATTRIBUTES = {
    "ro": ("ro", True),
    "rw": ("ro", False),
    "nosuid": ("nosuid", True),
    "suid": ("nosuid", False),
    "nodev": ("nodev", True),
    "dev": ("nodev", False),
    "noexec": ("noexec", True),
    "exec": ("noexec", False),
    "nodiratime": ("nodiratime", True),
    "diratime": ("nodiratime", False),
    "nosymfollow": ("nosymfollow", True),
    "symfollow": ("nosymfollow", False),
}
# Access times are one attribute with three values. The options on the right take back one on the left that came before, and leave
# a bind as its source is; with "r" before them, they give it the kernel's own value.
_ACCESS_TIMES = {"noatime": "atime", "strictatime": "nostrictatime", "relatime": "norelatime"}
_NO_ACCESS_TIMES = {off: on for on, off in _ACCESS_TIMES.items()}
_PROPAGATION = {
    name: (kind, name.startswith("r"))
    for kind in ("private", "slave", "shared", "unbindable")
    for name in (kind, "r" + kind)
}
# Of the file system, wherever it is mounted: the flags that every type has.
_SUPER = frozenset(("sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand"))
# Flags of mount(2) that change nothing in a kernel that has the mount API: file systems with change counters and access lists
# have them on anyway, and "silent" is about the kernel's log.
_NOTHING = frozenset(("defaults", "silent", "loud", "iversion", "noiversion", "acl", "noacl"))
_ID_MAPS = ("idmap", "ridmap")
# The kernel's own name of what OCI calls a file system type.
_TYPES = {"cgroup": "cgroup2"}


class MountPlan(Value):
    """One mount: a bind of ``source`` (then ``type`` is ``""``), a new file system with ``data`` options, or with ``remount`` a
    change of what is there.

    ``attributes`` and ``clear`` are about the mount itself, ``all_attributes`` and ``all_clear`` about all of a tree;
    ``propagation`` is (mode, recursive). ``super_options`` are flags of the file system. ``id_map`` is the option that asks for
    mapped ids, with the mappings that it, or the mount, brings.
    """

    type: str
    source: str
    attributes: tuple[str, ...] = ()
    clear: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    recursive: bool = False
    propagation: tuple[str, bool] | None = None
    all_attributes: tuple[str, ...] = ()
    all_clear: tuple[str, ...] = ()
    super_options: tuple[str, ...] = ()
    remount: bool = False
    copy_up: bool = False
    copy_link: bool = False
    id_map: str = ""
    uid_mappings: tuple[OciIdMapping, ...] = ()
    gid_mappings: tuple[OciIdMapping, ...] = ()


class _Options:
    """What the options of one mount come to. The last of two that contradict each other holds."""

    def __init__(self, kind: str) -> None:
        self.bind = kind == "bind"
        self.recursive = False
        self.remount = False
        self.copy_up = False
        self.copy_link = False
        self.id_map = ""
        self.mappings: tuple[tuple[OciIdMapping, ...], tuple[OciIdMapping, ...]] = ((), ())
        self.own: dict[str, bool] = {}
        self.all: dict[str, bool] = {}
        self.propagation: tuple[str, bool] | None = None
        self.super: list[str] = []
        self.data: list[str] = []

    def add(self, option: str, pointer: str) -> None:
        name, equals, value = option.partition("=")
        if option in ("bind", "rbind"):
            self.bind, self.recursive = True, self.recursive or option == "rbind"
        elif option in _PROPAGATION:
            self.propagation = _PROPAGATION[option]
        elif option in _SUPER:
            self.super.append(option)
        elif option in ("remount", "tmpcopyup", "copy-symlink"):
            self.remount = self.remount or option == "remount"
            self.copy_up = self.copy_up or option == "tmpcopyup"
            self.copy_link = self.copy_link or option == "copy-symlink"
        elif name in _ID_MAPS:
            self.id_map = name
            self.mappings = _parse_mappings(value, pointer) if equals else self.mappings
        elif option not in _NOTHING and not self._add_attribute(option):
            self.data.append(option)

    def _add_attribute(self, option: str) -> bool:
        if _set_attribute(self.own, option):
            return True
        if not option.startswith("r"):
            return False
        name = "relatime" if option[1:] in _NO_ACCESS_TIMES else option[1:]
        return _set_attribute(self.all, name)


def _set_attribute(attributes: dict[str, bool], option: str) -> bool:
    """Note what *option* is about in *attributes*; False if it is about none."""
    if option in _ATTRIBUTES:
        name, value = _ATTRIBUTES[option]
        attributes[name] = value
    elif option in _ACCESS_TIMES:
        for other in _ACCESS_TIMES:
            attributes.pop(other, None)
        attributes[option] = True
    elif option in _NO_ACCESS_TIMES:
        attributes.pop(_NO_ACCESS_TIMES[option], None)
    else:
        return False
    return True


def _parse_mappings(text: str, pointer: str) -> tuple[tuple[OciIdMapping, ...], tuple[OciIdMapping, ...]]:
    """``uids=0-1000-1#1-2000-5;gids=…``, as crun has it: the id on disk, the id that is seen, how many."""
    found: dict[str, tuple[OciIdMapping, ...]] = {"uids": (), "gids": ()}
    for part in text.split(";"):
        kind, _, ranges = part.partition("=")
        numbers = [each.split("-") for each in ranges.split("#")]
        if kind not in found or not all([len(each) == 3 and all(map(str.isdecimal, each)) for each in numbers]):
            raise SpecError(pointer, f"{part!r}: must be uids= or gids= and ranges such as 0-1000-1, joined by '#'")
        found[kind] = tuple([OciIdMapping(*[int(number) for number in each]) for each in numbers])
    return found["uids"], found["gids"]


def plan_mount(mount: OciMount, pointer: str) -> MountPlan:
    """Sort the options of *mount*. Raises :class:`SpecError` below *pointer* where they contradict each other."""
    options = _Options(mount.type)
    for i, option in enumerate(mount.options):
        options.add(option, f"{pointer}/options/{i}")
    _check(mount, options, pointer)
    new = not options.bind and not options.remount
    own = {**options.all, **options.own} if new else options.own
    uids, gids = options.mappings if any(options.mappings) else (mount.uid_mappings, mount.gid_mappings)
    return MountPlan(
        type="" if options.bind else _TYPES.get(mount.type, mount.type),
        source=mount.source,
        attributes=_names(own, True),
        clear=() if new else _names(own, False),
        data=tuple(options.data),
        recursive=options.recursive,
        propagation=options.propagation,
        all_attributes=() if new else _names(options.all, True),
        all_clear=() if new else _names(options.all, False),
        super_options=tuple(options.super),
        remount=options.remount,
        copy_up=options.copy_up,
        copy_link=options.copy_link,
        id_map=options.id_map or ("idmap" if uids else ""),
        uid_mappings=uids,
        gid_mappings=gids,
    )


def _names(attributes: dict[str, bool], value: bool) -> tuple[str, ...]:
    return tuple([name for name, is_set in attributes.items() if is_set is value])


def _check(mount: OciMount, options: _Options, pointer: str) -> None:
    if options.bind and options.data:
        text = ",".join(options.data)
        raise SpecError(f"{pointer}/options", f"a bind mount takes no file system options, but has {text!r}")
    if not options.bind and not options.remount and mount.type in ("", "none"):
        raise SpecError(f"{pointer}/type", "required, unless the mount is a bind or a remount")
    if options.copy_up and (options.bind or mount.type != "tmpfs"):
        raise SpecError(f"{pointer}/options", "tmpcopyup is for a tmpfs")
    for name, asked in (("copy-symlink", options.copy_link), (options.id_map, options.id_map)):
        if asked and not options.bind:
            raise SpecError(f"{pointer}/options", f"{name} is for a bind mount")
    if mount.uid_mappings and not options.bind:
        raise SpecError(f"{pointer}/uidMappings", "mapped ids are for a bind mount")
    if bool(mount.uid_mappings) != bool(mount.gid_mappings):
        raise SpecError(f"{pointer}/uidMappings", "uidMappings and gidMappings come together")
