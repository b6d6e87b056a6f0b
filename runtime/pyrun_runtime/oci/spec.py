"""``pyrun-oci spec``: a ``config.json`` to begin with."""

from __future__ import annotations

import os

from pyrun import AlreadyExists
from pyrun_runtime.cli.message import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun_runtime.oci.main import Context
    from pyrun_runtime.oci.options import Options, OptionTable

    Config = dict[str, Any]

# --rootless is a flag here, and not the global option of that name.
OPTIONS: OptionTable = {"bundle,b": "DIR", "file,f": "FILE", "rootless": ""}
IN_ORDER = False
HELP = """\
usage: pyrun-oci spec [OPTION]...

Writes a config.json to begin with: a shell, on a root file system in the directory rootfs beside it.

  -b, --bundle DIR  where to write it; here without it
  -f, --file FILE   its name; config.json without it
  --rootless        for a user who is not root
"""

FILE = "config.json"
VERSION = "1.2.0"
CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
NAMESPACES = ("pid", "network", "ipc", "uts", "mount", "cgroup")
MOUNTS = (
    ("/proc", "proc", "proc", ""),
    ("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
    ("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
    ("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
    ("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
    ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
)
# A new sysfs needs a network namespace of one's own, which a user without rights on the host's network has no use for.
ROOTLESS_SYS = ("/sys", "none", "/sys", "rbind nosuid noexec nodev ro")
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/tpm",
    "/sys/devices/virtual/powercap",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def run(_context: Context, options: Options, arguments: list[str]) -> int:
    if arguments:
        raise UsageError(f"unexpected argument {arguments[0]!r}")
    path = os.path.join(options.get("bundle") or ".", options.get("file") or FILE)
    config = rootless_config(os.geteuid(), os.getegid()) if options.flag("rootless") else default_config()
    try:
        write_config(path, config)
    except FileExistsError:
        raise AlreadyExists(f"{path} exists already: remove it first") from None
    return 0


def default_config() -> Config:
    """A shell in all namespaces, with few capabilities, on a read-only root ``rootfs`` beside the file."""
    return {
        "ociVersion": VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {kind: list(CAPABILITIES) for kind in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "pyrun",
        "mounts": [_mount(*row) for row in MOUNTS],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in NAMESPACES],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READ_ONLY),
        },
    }


def rootless_config(uid: int, gid: int) -> Config:
    """The same for *uid*: root inside is *uid* outside, the network is the host's, and there are no limits."""
    config = default_config()
    rows = [ROOTLESS_SYS if row[0] == "/sys" else row for row in MOUNTS]
    config["mounts"] = [_mount(*row) for row in rows]
    for mount in config["mounts"]:
        options = mount.get("options", [])
        # Groups and users that the one mapped id does not cover cannot own anything.
        options[:] = [option for option in options if not option.startswith(("gid=", "uid="))]
    linux = config["linux"]
    del linux["resources"]
    kinds = [kind for kind in NAMESPACES if kind != "network"]
    linux["namespaces"] = [{"type": kind} for kind in [*kinds, "user"]]
    linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    return config


def _mount(destination: str, kind: str, source: str, options: str) -> Config:
    mount: Config = {"destination": destination, "type": kind, "source": source}
    return {**mount, "options": options.split()} if options else mount


def write_config(path: str, config: Config) -> None:
    """Raises FileExistsError: somebody's configuration is not ours to replace."""
    import json

    text = json.dumps(config, indent="\t")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
