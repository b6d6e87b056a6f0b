"""``pyrun-oci update``: other limits for a container that is there."""

from __future__ import annotations

from pyrun import load_oci_resources, update_resources
from pyrun_runtime.cli.message import UsageError
from pyrun_runtime.oci.cgroup import SYSTEMD
from pyrun_runtime.oci.container import STOPPED, read_status
from pyrun_runtime.oci.explain import NotRunning
from pyrun_runtime.oci.json_text import to_json
from pyrun_runtime.oci.options import container_id
from pyrun_runtime.oci.pause import need_cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import OciResources
    from pyrun_runtime.oci.main import Context
    from pyrun_runtime.oci.options import Options, OptionTable

# Option -> its object and field in linux.resources, and what it takes.
NUMBERS = {
    "cpu-period": ("cpu", "period", "MICROSECONDS"),
    "cpu-quota": ("cpu", "quota", "MICROSECONDS"),
    "cpu-burst": ("cpu", "burst", "MICROSECONDS"),
    "cpu-share": ("cpu", "shares", "SHARES"),
    "cpu-idle": ("cpu", "idle", "0|1"),
    "cpu-rt-period": ("cpu", "realtimePeriod", "MICROSECONDS"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", "MICROSECONDS"),
    "pids-limit": ("pids", "limit", "COUNT"),
    "blkio-weight": ("blockIO", "weight", "WEIGHT"),
}
SIZES = {
    "memory": ("memory", "limit", "BYTES"),
    "memory-reservation": ("memory", "reservation", "BYTES"),
    "memory-swap": ("memory", "swap", "BYTES"),
}
TEXTS = {
    "cpuset-cpus": ("cpu", "cpus", "LIST"),
    "cpuset-mems": ("cpu", "mems", "LIST"),
}
# runc and crun know them, and make nothing of them on cgroup v2.
IGNORED = ("kernel-memory", "kernel-memory-tcp")
REFUSED = ("l3-cache-schema", "mem-bw-schema")

OPTIONS: OptionTable = {
    "resources,r": "FILE",
    **{name: row[2] for table in (NUMBERS, SIZES, TEXTS) for name, row in table.items()},
    **dict.fromkeys(IGNORED, "BYTES"),
    **dict.fromkeys(REFUSED, "SCHEMA"),
}
IN_ORDER = False
HELP = """\
usage: pyrun-oci update [OPTION]... ID

Changes the limits of a container. What is not named stays as it is; -1 takes a limit away.

  -r, --resources FILE        linux.resources as JSON; - is standard input. Other options then mean nothing.
  --cpu-period MICROSECONDS   of processor time, the length of a period
  --cpu-quota MICROSECONDS    and how much of it may be used
  --cpu-burst MICROSECONDS    how much of what was not used may be used later
  --cpu-share SHARES          weight against others; 1024 is the usual one
  --cpu-idle 0|1              only when nobody else wants the processor
  --cpuset-cpus LIST          processors, such as 0-3,7
  --cpuset-mems LIST          memory nodes
  --memory BYTES              with k, m, g or t if you like
  --memory-reservation BYTES  what is protected
  --memory-swap BYTES         memory and swap together
  --pids-limit COUNT          processes and threads
  --blkio-weight WEIGHT       10 to 1000

--cpu-rt-period, --cpu-rt-runtime, --kernel-memory, --kernel-memory-tcp: cgroup v2 has nothing for them. --l3-cache-schema,
--mem-bw-schema: refused.
"""
UNITS = "kmgtp"
SIZE_MOST = 2**63 - 1


def run(context: Context, options: Options, arguments: list[str]) -> int:
    id = container_id(arguments)
    resources = read_resources(options)
    for name in IGNORED:
        if options.get(name):
            context.log.warn(f"--{name} means nothing with cgroup v2")
    with context.store.share(id) as entry:
        state = entry.read_state()
        if read_status(context.store, entry, state) == STOPPED:
            raise NotRunning(f"cannot update container {id!r}: container not running")
        with need_cgroup(state, "updated") as group:
            update_resources(group, resources, pointer="")
            if state.manager == SYSTEMD:
                from pyrun_runtime.oci.systemd_scope import update_scope

                update_scope(state, group)
                update_resources(group, resources, pointer="")  # exactly: systemd has rounded
    return 0


def read_resources(options: Options) -> OciResources:
    """What is asked for, from the file or from the other options."""
    path = options.get("resources")
    if path:
        return load_oci_resources(_read(path), "standard input" if path == "-" else path)
    for name in REFUSED:
        if options.get(name):
            raise UsageError(f"--{name}: Intel RDT is not supported")
    # The same way as a file, so that the same is checked.
    return load_oci_resources(to_json(resources_of(options)).encode(), "update")


def resources_of(options: Options) -> dict[str, dict[str, object]]:
    """``linux.resources`` with what the options name. As in runc, 0 processes and weight 0 are no wish."""
    found: dict[str, dict[str, object]] = {}
    for name, (part, field, _) in NUMBERS.items():
        if text := options.get(name):
            number = parse_number(name, text)
            if number or part == "cpu":
                found.setdefault(part, {})[field] = number
    for name, (part, field, _) in SIZES.items():
        if text := options.get(name):
            found.setdefault(part, {})[field] = parse_size(name, text)
    for name, (part, field, _) in TEXTS.items():
        if text := options.get(name):
            found.setdefault(part, {})[field] = text
    memory = found.get("memory", {})
    if memory.get("limit") == -1:
        # As in runc: without a limit on memory, one on memory and swap together would have no meaning.
        memory.setdefault("swap", -1)
    return found


def parse_number(name: str, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
        raise UsageError(f"--{name} {text}: not a number")
    return int(text)


def parse_size(name: str, text: str) -> int:
    """Bytes; ``512m``, ``1.5g`` and ``1GiB`` are powers of 1024, as runc has them."""
    if text == "-1":
        return -1
    number = text.lower().removesuffix("b").removesuffix("i")
    power = UNITS.find(number[-1:]) + 1 if number else 0
    digits = number[:-1] if power else number
    whole, _, part = digits.partition(".")
    if not (whole.isascii() and whole.isdecimal() and (part + "0").isascii() and (part + "0").isdecimal()):
        raise UsageError(f"--{name} {text}: not a number of bytes")
    size = int(float(digits) * 1024**power) if part else int(whole) * 1024**power
    if size > SIZE_MOST:
        raise UsageError(f"--{name} {text}: too large")
    return size


def _read(path: str) -> bytes:
    if path == "-":
        with open(0, "rb", closefd=False) as file:
            return file.read()
    with open(path, "rb") as file:
        return file.read()
