"""From a bundle to a process that waits to be started: what ``create`` and ``run`` do alike.

Each thing that is made puts what takes it back on one stack, so a failure leaves nothing. A SIGKILL runs no stack: what there
can be by then is in state.json before it is made.
"""

from __future__ import annotations

import os
import time

from pyrun import (
    PyrunError,
    Setting,
    SpecError,
    Undo,
    apply_resources,
    create,
    load_oci,
    plan_container,
    read_start_ticks,
    replace,
)
from pyrun_runtime.oci.cgroup import destroy_cgroup, make_cgroup, place_cgroup
from pyrun_runtime.oci.store import CONFIG, State, with_process, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import Cgroup, Created, OciSpec, Process
    from pyrun_runtime.oci.main import Context
    from pyrun_runtime.oci.options import Options, OptionTable
    from pyrun_runtime.oci.store import Entry

OPTIONS: OptionTable = {
    "bundle,b": "DIR",
    "console-socket": "SOCKET",
    "pid-file": "FILE",
    "pidfd-socket": "SOCKET",
    "no-pivot": "",
    "no-new-keyring": "",
    "preserve-fds": "N",
}
OPTIONS_HELP = """\
  -b, --bundle DIR         where config.json is (the current directory)
  --pid-file FILE          write the pid of the container's first process there
  --console-socket SOCKET  send the terminal there, if the container has one
  --pidfd-socket SOCKET    send a pidfd of the first process there
  --preserve-fds N         hand N descriptors on, from 3
  --no-pivot               move the root instead of pivot_root(2): for a host that runs from a ramdisk
  --no-new-keyring         keep the session keyring of the caller
"""
GATE = "gate"


class Launched:
    """A container that waits to be started: its directory, locked, and its first process."""

    def __init__(self, entry: Entry, state: State, process: Process) -> None:
        self.entry = entry
        self.state = state
        self.process = process


def launch(context: Context, options: Options, id: str) -> Launched:
    """Make the container *id*. Its lock is held until the entry is closed."""
    bundle, data, spec = read_bundle(options.get("bundle") or ".")
    with Undo(f"container {id}") as undo:
        entry = context.store.make(id)
        undo.push(f"remove {entry.path}", entry.remove)
        state = _describe(context, id, bundle, spec)
        entry.write_state(state)
        entry.write(CONFIG, data)
        undo.push("remove the cgroup", destroy_cgroup, state)
        group = make_cgroup(state) if state.cgroup else None
        try:
            if group is not None:
                apply_resources(group, spec.linux.resources)
            created = _create(entry, spec, group)
        finally:
            if group is not None:
                group.close()
        undo.push("end the process", created.abandon)
        state = with_process(state, created.process.pid, read_start_ticks(created.process.pid))
        created.wait_created()
        for warning in created.warnings:
            context.log.warn(str(warning))
        entry.write_state(state)
        if options.get("pid-file"):
            write_file(options.get("pid-file"), str(state.pid).encode(), 0o644)
        return Launched(entry, state, created.release())


def read_bundle(directory: str) -> tuple[str, bytes, OciSpec]:
    """The bundle's absolute path, its configuration as bytes and as a value. It becomes the working directory: sources of mounts
    may be relative to it."""
    bundle = os.path.abspath(directory)
    os.chdir(bundle)
    path = f"{bundle}/{CONFIG}"
    with open(path, "rb") as file:
        data = file.read()
    spec = load_oci(data, path)
    if spec.process is None:
        raise SpecError("/process", "required: there is no program to run", path)
    return bundle, data, replace(spec, root=replace(spec.root, path=os.path.join(bundle, spec.root.path)))


def _describe(context: Context, id: str, bundle: str, spec: OciSpec) -> State:
    if context.cgroup_manager == "systemd":
        raise PyrunError("--cgroup-manager systemd is not built yet")
    cgroup_root, cgroup = place_cgroup(context.cgroup_manager, spec, id)
    now_ns = time.time_ns()
    created = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now_ns // 10**9))}.{now_ns % 10**9:09}Z"
    return State(
        id=id,
        bundle=bundle,
        rootfs=spec.root.path,
        oci_version=spec.oci_version,
        created=created,
        program=spec.process.args[0] if spec.process else "",
        manager=context.cgroup_manager,
        cgroup_root=cgroup_root,
        cgroup=cgroup,
        annotations=spec.annotations,
    )


def _create(entry: Entry, spec: OciSpec, group: Cgroup | None) -> Created:
    plan = plan_container(spec, Setting(gate=GATE))
    entry.door.make()
    with entry.door.open_gate() as gate:
        return create(
            plan.steps,
            namespaces=plan.clone_namespaces,
            cgroup=group,
            fds={"stdin": 0, "stdout": 1, "stderr": 2, GATE: gate},
            report=entry.door.open_report(),
        )
