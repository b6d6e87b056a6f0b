"""``pyrun manifests``: a pod for each manifest in a directory, as a kubelet's static pods."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import sys
import time

from pyrun import Inotify, PyrunError, describe_error, spawn, steps
from pyrun_runtime.cli.manifest import load_manifest_with, read_source
from pyrun_runtime.cli.message import CommandError, UsageError, say
from pyrun_runtime.cli.policy import POLICY_HELP, POLICY_OPTIONS
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS, reach, store_of, tell_errors
from pyrun_runtime.config import CONFIG
from pyrun_runtime.ended import remove_ended
from pyrun_runtime.store import LOG_ROOT, list_uids, read_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import Process
    from pyrun_runtime.cli.options import Options, OptionTable
    from pyrun_runtime.store import Store

DIRECTORY = "/etc/pyrun/manifests"
OPTIONS: OptionTable = {
    "dir": "DIR",
    "once": "",
    "apply": "FILE",
    "logs": "DIR",
    "config": "FILE",
    **ROOT_OPTIONS,
    **POLICY_OPTIONS,
}
HELP = f"""\
usage: pyrun manifests [OPTION]...

Runs a detached pod for each manifest (.yaml, .yml, .json) in a directory, and follows what changes there: a new file starts a
pod, a changed one stops that pod and starts the other, a removed one stops it and takes it away. A manifest that is wrong is told
about, and the pod of the one before goes on. Ends with SIGTERM or Ctrl-C; the pods live on, and are found again the next time.

  --dir DIR              where the manifests are ({DIRECTORY})
  --once                 bring the pods to what the directory says now, and end
  --apply FILE           the same for one file, which may be gone
  --logs DIR             where the pods' logs are (PYRUN_LOGS; {LOG_ROOT})
  --config FILE          what this node keeps for itself ({CONFIG}, if it exists)
{POLICY_HELP}{ROOT_HELP}
Exit status: 0; with --once and --apply 1 if something could not be done, 2 for a manifest that is wrong.
"""
SUFFIXES = (".yaml", ".yml", ".json")
QUIET_S = 0.2  # after a change: a file is written in pieces
LOOK_S = 10.0  # how often pods without a supervisor are looked for
RETRY_S, RETRY_MOST_S = 10.0, 300.0  # as a kubelet's back-off
HANDED_ON = ("logs", "config", *ROOT_OPTIONS, *POLICY_OPTIONS)


def run(options: Options, arguments: list[str]) -> int:
    if arguments:
        raise UsageError(f"unexpected {arguments[0]!r}")
    if os.geteuid() != 0:
        raise CommandError("pods need root to run: sudo pyrun manifests")
    if "apply" in options:
        return apply(options, os.path.abspath(options["apply"]))
    directory = os.path.abspath(options.get("dir", DIRECTORY))
    if "once" in options:
        statuses = [apply(options, path) for path in sorted(_wanted(options, directory))]
        return max(statuses, default=0)
    _Follower(options, directory).run()
    return 0


# ---- one file ----


def apply(options: Options, path: str) -> int:
    """Bring the pod of *path* to what is there now. The exit status; errors are told."""
    store = store_of(options)
    try:
        data = _read(path)
        current = pods_of(store, path)
        if data is not None:
            if hash_of(data) in current.values():
                return 0
            load_manifest_with((path, data), ())
        for uid in current:
            _take_away(options, store, uid)
        return 0 if data is None else _start(options, path)
    except (PyrunError, CommandError, OSError) as error:
        from pyrun_runtime.cli.main import explain

        text, status = explain(error)
        say(text)
        return status


def pods_of(store: Store, path: str) -> dict[str, str]:
    """The detached pods that were made of *path*: uid to the hash of what was in it."""
    facts = {uid: read_facts(store.run_root, uid) for uid in list_uids(store.run_root)}
    return {uid: str(each.get("source_hash", "")) for uid, each in facts.items() if each.get("source") == path}


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(path: str) -> bytes | None:
    if not os.path.exists(path):
        return None
    return read_source(path)[1]


def _take_away(options: Options, store: Store, uid: str) -> None:
    every = reach(options, [uid], {"verb": "stop", "grace": None})
    if tell_errors(every):
        raise CommandError(f"pod {uid} could not be stopped")
    remove_ended(store, uid)


def _start(options: Options, path: str) -> int:
    from pyrun_runtime.cli.run import run as run_pod

    return run_pod({**{name: options[name] for name in _handed_on() if name in options}, "detach": ""}, [path])


def _handed_on() -> list[str]:
    return [name.partition(",")[0] for name in HANDED_ON]


# ---- the directory ----


def _wanted(options: Options, directory: str) -> set[str]:
    """The files that matter: those that are there, and those of pods that were made of one."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        names = []
    except OSError as error:
        raise CommandError(f"{directory}: {error.strerror}") from None
    found = {f"{directory}/{name}" for name in names if name.endswith(SUFFIXES) and not name.startswith(".")}
    run_root = store_of(options).run_root
    sources = {str(read_facts(run_root, uid).get("source", "")) for uid in list_uids(run_root)}
    return found | {path for path in sources if os.path.dirname(path) == directory and path.endswith(SUFFIXES)}


class _Task:
    """What is to be done about one file: a process that does it, and when it is tried again."""

    def __init__(self) -> None:
        self.process: Process | None = None
        self.due_s = 0.0
        self.backoff_s = RETRY_S


class _Follower:
    """Follows the directory. Each file has a process of its own while something is done about it: one that takes its time to stop
    holds up no other."""

    def __init__(self, options: Options, directory: str) -> None:
        self._options = options
        self._directory = directory
        self._tasks: dict[str, _Task] = {}
        self._changed = True
        self._quiet_s = 0.0
        self._look_s = 0.0

    def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writing)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: None)
        with Inotify() as watch:
            self._watch(watch)
            notify("READY=1")
            while True:
                self._turn()
                poll = select.poll()
                poll.register(watch.fileno(), select.POLLIN)
                poll.register(reading, select.POLLIN)
                for task in self._tasks.values():
                    if task.process is not None:
                        poll.register(task.process.fileno(), select.POLLIN)
                ready = dict(poll.poll(max(1, round(self._wait_s() * 1000))))
                if reading in ready and {signal.SIGTERM, signal.SIGINT} & set(os.read(reading, 64)):
                    notify("STOPPING=1")
                    return
                if watch.fileno() in ready and watch.read():
                    self._watch(watch)
                    self._changed, self._quiet_s = True, time.monotonic() + QUIET_S

    def _watch(self, watch: Inotify) -> None:
        """The directory, or as long as it is not there the one above, in which it may come to be."""
        if not watch.watch(self._directory):
            watch.watch(os.path.dirname(self._directory))

    def _turn(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._look_s:
            from pyrun_runtime.cli.detached import adopt_orphans

            self._look_s = now_s + LOOK_S
            adopt_orphans(store_of(self._options))
        if self._changed and now_s >= self._quiet_s:
            self._changed = False
            for path in _wanted(self._options, self._directory) | set(self._tasks):
                task = self._tasks.setdefault(path, _Task())
                task.due_s, task.backoff_s = now_s, RETRY_S
        for path, task in list(self._tasks.items()):
            self._see_to(path, task, now_s)

    def _see_to(self, path: str, task: _Task, now_s: float) -> None:
        if task.process is not None:
            status = task.process.poll()
            if status is None:
                return
            task.process.close()
            task.process = None
            if status.exit_code:
                task.due_s, task.backoff_s = (
                    max(task.due_s, now_s + task.backoff_s),
                    min(task.backoff_s * 2, RETRY_MOST_S),
                )
            elif not os.path.exists(path):
                del self._tasks[path]
                return
        if task.due_s <= now_s:
            task.due_s = float("inf")
            task.process = spawn((steps.Exec(self._command(path), _environment()),))

    def _command(self, path: str) -> tuple[str, ...]:
        options = [f"--{name}={self._options[name]}" for name in _handed_on() if name in self._options]
        return (sys.executable, "-m", "pyrun_runtime.cli.main", "manifests", f"--apply={path}", *options)

    def _wait_s(self) -> float:
        now_s = time.monotonic()
        times = [self._look_s, *[task.due_s for task in self._tasks.values() if task.process is None]]
        if self._changed:
            times.append(self._quiet_s)
        return max(0.0, min(min(times) - now_s, LOOK_S))


def _environment() -> tuple[str, ...]:
    return tuple([f"{name}={value}" for name, value in os.environ.items() if name != "NOTIFY_SOCKET"])


def notify(text: str) -> None:
    """Tell systemd, if it wants to know (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    import socket

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto(text.encode(), f"\0{path[1:]}" if path.startswith("@") else path)
    except OSError as error:
        say(f"{path}: {describe_error(error)}")
