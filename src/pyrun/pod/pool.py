"""Sandboxes that are ready before a pod asks for one: cgroup, namespaces, pause, network."""

from __future__ import annotations

import os
import threading
from collections import deque

from pyrun.container.lower import PARENT_CGROUP
from pyrun.errors import StateError, Unsupported
from pyrun.kernel.bare import bare_mount_namespace
from pyrun.kernel.cgroup import Cgroup
from pyrun.kernel.fd import Fd
from pyrun.kernel.program import program_fd
from pyrun.kernel.spawn import spawn
from pyrun.kernel.step import Duplicate, Exec, NewSession
from pyrun.kernel.undo import Undo
from pyrun.pod.machine import read_machine
from pyrun.pod.plan import plan_pause
from pyrun.pod.pod import new_uid
from pyrun.pod.sandbox import ACCOUNTED, Sandbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from pyrun.kernel.process import Process
    from pyrun.spec.pod import PodSpec

SIGKILL = 9
OWNER_FD, PARENT_FD = 3, 4


class SandboxPool:
    """Keeps *size* sandboxes ready for pods that need one like *template*'s, and makes new ones behind those it hands out::

        with SandboxPool(4, spec) as pool:
            with Pod.create(spec, directory=path, sandbox=pool.take()) as pod:
                ...

    A sandbox fits every pod whose plan of pause is the template's: the same host name, shared namespaces, time offsets and
    emptyDirs in memory. The pod gets the sandbox's uid, and its cgroup is below the pool's. All of them end with this program,
    however that ends: pyrun-sweep (csrc/sweep.c) then takes the pool's cgroup away. A child that was forked without an exec, and
    lives on, delays that.

    Threads may share a pool. Raises what :meth:`Pod.create` raises for a template that cannot be had here.
    """

    def __init__(self, size: int, template: PodSpec) -> None:
        if size < 1:
            raise ValueError(f"a pool of {size} sandboxes would never hand one out")
        if not template.host_users:
            raise Unsupported("a pool for hostUsers: false", "pods that are made one by one: each has ids of its own")
        name = f"{PARENT_CGROUP}/pool-{os.getpid()}-{os.urandom(4).hex()}"
        self._bare = bare_mount_namespace(worth=1)
        self._plan = plan_pause(template, read_machine(), SIGKILL, bare=True)
        self._size = size
        self._ready: deque[Sandbox] = deque()
        self._alive = 0  # made or being made, and not yet removed
        self._taken: set[str] = set()  # the uids of those among them that were handed out
        self._error: BaseException | None = None
        self._closed = False
        self._changed = threading.Condition()
        with Undo("pool of sandboxes") as undo:
            self._group = Cgroup.create(name, optional_controllers=ACCOUNTED)
            undo.push(f"remove cgroup {self._group.path}", self._group.destroy)
            self._owner, self._sweeper = _start_sweeper(self._group)
            undo.push("end pyrun-sweep", self._sweeper.end)
            undo.push("let go of the pool", self._owner.close)
            self._undo = undo
            # pause dies with the thread that made it, which therefore stays as long as any sandbox does.
            self._maker = threading.Thread(target=self._make, name="pyrun-pool", daemon=True)
            self._maker.start()

    def take(self) -> Sandbox:
        """A sandbox that is ready, for one :meth:`Pod.create`; waits if there is none just now.

        Raises :class:`StateError` once the pool is closed, and what kept the next sandbox from being made: asked again, it tries
        again.
        """
        with self._changed:
            while True:
                if self._closed:
                    raise StateError("the pool of sandboxes", "closed", "open")
                if sandbox := self._next_alive():
                    self._taken.add(sandbox.uid)
                    return sandbox
                if self._error is not None:
                    error, self._error = self._error, None
                    self._changed.notify_all()
                    raise error
                self._changed.wait()

    def close(self) -> None:
        """Remove what was not handed out. What was stays until it is removed, and the pool's cgroup with it. Idempotent."""
        with self._changed:
            self._closed = True
            left, self._ready = self._ready, deque()
            self._changed.notify_all()
        for sandbox in left:
            sandbox.remove()
        with self._changed:
            all_gone = not self._taken
        if all_gone:
            self._maker.join()

    def __enter__(self) -> SandboxPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _next_alive(self) -> Sandbox | None:
        """One whose pause nobody has killed meanwhile."""
        while self._ready:
            sandbox = self._ready.popleft()
            if sandbox.pause.process.poll() is None:
                # Last of all: from here on the maker has work, and competes with whoever is waiting for this sandbox.
                self._changed.notify_all()
                return sandbox
            sandbox.remove()
        return None

    # ---- the thread that makes them ----

    def _make(self) -> None:
        while self._wait_for_work():
            try:
                sandbox = self._make_one()
            except BaseException as error:
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                continue
            with self._changed:
                kept = not self._closed
                if kept:
                    self._ready.append(sandbox)
                    self._changed.notify_all()
            if not kept:
                sandbox.remove()
        self._undo.run()

    def _wait_for_work(self) -> bool:
        """False when the pool is closed and its last sandbox gone."""
        with self._changed:
            while True:
                if self._closed and not self._alive:
                    return False
                if not self._closed and self._error is None and len(self._ready) < self._size:
                    self._alive += 1
                    return True
                self._changed.wait()

    def _make_one(self) -> Sandbox:
        uid = new_uid()
        with Undo(f"sandbox of pod {uid}") as undo:
            undo.push("tell the pool", self._forget, uid)
            cgroup = self._group.child(f"pod{uid}")
            undo.push(f"remove cgroup {cgroup.path}", cgroup.destroy)
            sandbox = Sandbox.create(uid, self._plan, cgroup, undo, self._bare)
            sandbox.pause.wait_ready()
            return sandbox

    def _forget(self, uid: str) -> None:
        with self._changed:
            self._alive -= 1
            self._taken.discard(uid)
            self._changed.notify_all()


def _start_sweeper(group: Cgroup) -> tuple[Fd, Process]:
    """The end of the pipe whose closing ends the group, and who sees to it."""
    theirs, ours = [Fd.adopt(fd) for fd in os.pipe2(os.O_CLOEXEC)]
    try:
        directory, _, name = group.path.rpartition("/")
        argv = ("pyrun-sweep", str(OWNER_FD), str(PARENT_FD), name)
        plan = (NewSession(), Duplicate("owner", OWNER_FD), Duplicate("parent", PARENT_FD), Exec(argv, file="program"))
        with theirs, Fd.open(directory, os.O_RDONLY | os.O_DIRECTORY) as parent:
            return ours, spawn(plan, fds={"owner": theirs, "parent": parent, "program": program_fd("pyrun-sweep")})
    except BaseException:
        ours.close()
        raise
