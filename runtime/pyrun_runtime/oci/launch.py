"""From a bundle to a process that waits to be started: what ``create`` and ``run`` do alike.

Each thing that is made puts what takes it back on one stack, so a failure leaves nothing. A SIGKILL runs no stack: what there
can be by then is in state.json before it is made.
"""

from __future__ import annotations

import os
import time

from pyrun import (
    ALL_CAPABILITIES_MASK,
    IdMaps,
    JoinedNamespaces,
    Setting,
    SpecError,
    Undo,
    available_capabilities,
    complete_process,
    create,
    has_early_hooks,
    load_oci,
    plan_container,
    read_links,
    read_start_ticks,
    replace,
)
from pyrun_runtime.oci.cgroup import destroy_cgroup
from pyrun_runtime.oci.container import refer_calls
from pyrun_runtime.oci.descriptors import count_preserved, preserved_slots, send_pidfd, with_listen_fds
from pyrun_runtime.oci.new_cgroup import NewCgroup, place_cgroup
from pyrun_runtime.oci.notify import with_notify
from pyrun_runtime.oci.record import format_record
from pyrun_runtime.oci.store import CONFIG, RECORD, State, write_file
from pyrun_runtime.terminal import Console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import Cgroup, ContainerPlan, Created, Fd, Namespace, OciSpec, Process
    from pyrun_runtime.oci.main import Context
    from pyrun_runtime.oci.options import Options, OptionTable
    from pyrun_runtime.oci.store import Entry

OPTIONS: OptionTable = {
    "bundle,b": "DIR",
    "config,f": "FILE",
    "console-socket": "SOCKET",
    "pid-file": "FILE",
    "pidfd-socket": "SOCKET",
    "no-pivot": "",
    "no-new-keyring": "",
    "preserve-fds": "N",
}
OPTIONS_HELP = """\
  -b, --bundle DIR         where config.json is (the current directory)
  -f, --config FILE        the configuration, if it is not config.json in the bundle
  --pid-file FILE          write the pid of the container's first process there
  --console-socket SOCKET  send the terminal there, if the container has one
  --pidfd-socket SOCKET    send a pidfd of the first process there
  --preserve-fds N         hand N descriptors on, from 3
  --no-pivot               move the root instead of pivot_root(2): for a host that runs from a ramdisk
  --no-new-keyring         keep the session keyring of the caller
"""
GATE = "gate"
BORN = "born"


class Launched:
    """A container that waits to be started: its directory, locked, its first process, and the terminal if that is ours."""

    def __init__(self, entry: Entry, state: State, spec: OciSpec, process: Process, terminal: Fd | None) -> None:
        self.entry = entry
        self.state = state
        self.spec = spec
        self.process = process
        self.terminal = terminal

    def close(self) -> None:
        """Let go of all of it."""
        self.process.close()
        self.entry.close()
        if self.terminal is not None:
            self.terminal.close()


class Bundle:
    """A configuration: as it stands in ``directory``, and as a value."""

    def __init__(self, directory: str, data: bytes, spec: OciSpec) -> None:
        self.directory = directory
        self.data = data
        self.spec = spec


def launch(context: Context, options: Options, id: str, *, foreground: bool = False) -> Launched:
    """Make the container *id*. Its lock is held until the entry is closed."""
    preserved = count_preserved(options)  # before anything else is opened
    options.make_absolute(
        "config", "console-socket", "pid-file", "pidfd-socket"
    )  # before the working directory is another
    bundle = read_bundle(options.get("bundle") or ".", options.get("config"))
    assert bundle.spec.process is not None
    with Console(bundle.spec.process.terminal, options.get("console-socket"), foreground) as console:
        entry = context.store.make(id)
        with Undo(f"container {id}") as undo:
            made = _Launch(context, options, entry, bundle, undo)
            # At the bottom of the stack: these hooks wait for the end of all else.
            undo.push("run the poststop hooks", made.run_poststop)
            undo.push(f"remove {entry.path}", entry.remove)
            return made.run(console, preserved)


def read_bundle(directory: str, config: str = "") -> Bundle:
    """It becomes the working directory, since sources of mounts may be relative to it. *config* may be elsewhere."""
    path = os.path.abspath(directory)
    os.chdir(path)
    config = config or f"{path}/{CONFIG}"
    with open(config, "rb") as file:
        data = file.read()
    spec = load_oci(data, config)
    if spec.process is None:
        raise SpecError("/process", "required: there is no program to run", config)
    return Bundle(path, data, replace(spec, root=replace(spec.root, path=os.path.join(path, spec.root.path))))


class _Launch:
    """The making of one container, whose directory is there and empty."""

    def __init__(self, context: Context, options: Options, entry: Entry, bundle: Bundle, undo: Undo) -> None:
        self._context = context
        self._options = options
        self._entry = entry
        self._bundle = bundle
        self._undo = undo
        self._spec = bundle.spec
        self._has_process = False

    def run(self, console: Console, preserved: int) -> Launched:
        self._state = _describe(self._context, self._entry.id, self._bundle)
        self._entry.write_state(self._state)
        self._entry.write(CONFIG, self._bundle.data)
        self._spec = with_notify(self._spec, self._entry)
        assert self._spec.process is not None
        process = complete_process(self._spec.process, self._spec.root.path)
        self._spec = replace(self._spec, process=console.fit(with_listen_fds(process)))
        with NewCgroup(self._state, self._spec) as group:
            self._undo.push("remove the cgroup", destroy_cgroup, self._state)
            created = self._spawn(group, {**console.slots(), **preserved_slots(preserved)}, preserved)
            self._undo.push("end the process", created.abandon)
            self._pass_gates(created, group)
        self._note(created.process, complete=True)
        refer_calls(created, self._spec, self._state)
        for warning in created.warnings:
            self._context.log.warn(str(warning))
        self._record()
        return self._tell(created, console)

    def _spawn(self, group: Cgroup | None, given: dict[str, int], preserved: int) -> Created:
        with JoinedNamespaces.open(self._spec) as joined:
            plan = self._plan(joined, preserved, placed=group is None)
            for warning in plan.warnings:
                self._context.log.warn(warning)
            with IdMaps.open(plan.id_maps) as maps:
                return self._create(plan, group, {**joined.fds(), **maps.fds(), **given})

    def _plan(self, joined: JoinedNamespaces, preserved: int, placed: bool) -> ContainerPlan:
        directory = self._bundle.directory
        grantable = ALL_CAPABILITIES_MASK if "user" in joined.kinds else available_capabilities()
        setting = Setting(
            grantable=grantable,
            gate=GATE,
            namespaces=joined.kinds,
            lacking=joined.same,
            preserve_fds=preserved,
            new_keyring=not self._options.flag("no-new-keyring"),
            keyring_name=f"_ses.{self._entry.id}",
            placed=placed,
            bundle=directory,
            no_pivot=self._options.flag("no-pivot"),
            links=read_links(self._spec, directory),
            cgroup=f"{self._state.cgroup_root}/{self._state.cgroup}" if self._state.cgroup else "",
        )
        return plan_container(self._spec, setting)

    def _create(self, plan: ContainerPlan, group: Cgroup | None, slots: dict[str, Namespace | int]) -> Created:
        door = self._entry.door
        door.make()
        with door.open_gate() as gate:
            return create(
                plan.steps,
                namespaces=plan.clone_namespaces,
                cgroup=group,
                fds={"stdin": 0, "stdout": 1, "stderr": 2, GATE: gate, **slots},
                report=door.open_report(),
            )

    def run_poststop(self) -> None:
        """For a container that got as far as to have a process: OCI's runtime.md, lifecycle."""
        if self._has_process and self._spec.hooks.poststop:
            from pyrun_runtime.oci.hooks import run_poststop_hooks

            run_poststop_hooks(self._spec, self._state, self._context.log)

    def _pass_gates(self, created: Created, group: Cgroup | None) -> None:
        """Up to the last one."""
        if group is None:
            # Nothing but what is written down would find the process, so it waits until that is done.
            self._note(created.process)
            created.open_gate()
            if created.is_ahead(BORN):
                created.wait_gate(BORN)
                self._note(created.process)
                created.open_gate()
        if has_early_hooks(self._spec):
            from pyrun_runtime.oci.hooks import InContainer, run_early_hooks

            created.wait_gate("hooks")
            self._note(created.process)
            self._move_net_devices(created)
            run_early_hooks(self._spec, self._state, InContainer(self._spec, created.process, group))
            created.open_gate()
        created.wait_created()
        if not has_early_hooks(self._spec):
            self._move_net_devices(created)

    def _move_net_devices(self, created: Created) -> None:
        """Before the first hook, which may want to furnish them."""
        if self._spec.linux.net_devices:
            from pyrun import move_net_devices

            move_net_devices(self._spec.linux.net_devices, created.process)

    def _note(self, process: Process, *, complete: bool = False) -> None:
        self._has_process = True
        ticks = read_start_ticks(process.pid)
        self._state = replace(self._state, pid=process.pid, start_ticks=ticks, complete=complete)
        self._entry.write_state(self._state)

    def _record(self) -> None:
        """After all else that is in the directory: whoever finds the record needs to look at nothing more."""
        record = format_record(self._state, self._spec)
        if record:
            self._entry.write(RECORD, record)

    def _tell(self, created: Created, console: Console) -> Launched:
        """To everybody who wants to know of it."""
        terminal = console.receive()
        send_pidfd(self._options, created.process.fileno())
        if self._options.get("pid-file"):
            write_file(self._options.get("pid-file"), str(self._state.pid).encode(), 0o644)
        return Launched(self._entry, self._state, self._spec, created.release(), terminal)


def _describe(context: Context, id: str, bundle: Bundle) -> State:
    spec = bundle.spec
    assert spec.process is not None
    cgroup_root, cgroup = place_cgroup(context.cgroup_manager, spec, id)
    return State(
        id=id,
        bundle=bundle.directory,
        rootfs=spec.root.path,
        oci_version=spec.oci_version,
        created=_now(),
        program=spec.process.args[0],
        manager=context.cgroup_manager,
        cgroup_root=cgroup_root,
        cgroup=cgroup,
        shares_pids=not any([each.type == "pid" and not each.path for each in spec.linux.namespaces]),
        hooks=bool(spec.hooks.start_container or spec.hooks.poststart or spec.hooks.poststop),
        annotations=spec.annotations,
    )


def _now() -> str:
    """RFC 3339, as runc has it."""
    now_ns = time.time_ns()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now_ns // 10**9))}.{now_ns % 10**9:09}Z"
