"""``pyrun attach``: our standard streams at those of a container that runs, in place of a new program beside it."""

from __future__ import annotations

import os
import select
import time

from pyrun import KernelError, Monitor, NotFound, StateError
from pyrun_runtime.cli.choice import check_container, container_statuses, default_container
from pyrun_runtime.cli.message import FAILED, CommandError, UsageError, say
from pyrun_runtime.cli.options import one_argument
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS, reach_status
from pyrun_runtime.ended import read_status
from pyrun_runtime.oci.foreground import Signals
from pyrun_runtime.terminal import RawInput, window_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals

    from pyrun_runtime.cli.options import Options, OptionTable
else:
    import _signal as signals

OPTIONS: OptionTable = {"container,c": "NAME", "stdin,i": "", "tty,t": "", "detach-keys": "KEYS", **ROOT_OPTIONS}
HELP = f"""\
usage: pyrun attach [OPTION]... POD

Shows what a container of a detached pod prints from now on, and with --stdin gives it our standard input. Any number may look on;
one at a time may write.

  -c, --container NAME   the container; else the one that the pod names as its default, else its first
  -i, --stdin            hand standard input on; its end is the end of the container's
  -t, --tty              the container has a terminal: ours becomes raw meanwhile, and its size that of the container's
  --detach-keys KEYS     what ends this command with --tty (ctrl-p,ctrl-q)
{ROOT_HELP}
Ctrl-C and SIGTERM end this command, and not the container; with --tty Ctrl-C goes to the container.

Exit status: that of the container if it has ended; 0 if only its output has, or we have left; 1 if it does not run, or somebody
else writes to it.
"""
KEYS = "ctrl-p,ctrl-q"
LEAVING = (signals.SIGINT, signals.SIGTERM, signals.SIGHUP, signals.SIGQUIT)
READ_BYTES = 4096
STATUS_S, LOOK_S = 1.0, 0.01  # how long the end of a container may take from that of its output
STDERR = 4


def run(options: Options, arguments: list[str]) -> int:
    word = one_argument(arguments, "POD")
    keys = parse_keys(options.get("detach-keys", KEYS))
    pods, failed = reach_status(options, [word])
    if failed:
        return FAILED
    ((pod, directory),) = pods
    given = options.get("container")
    name = check_container(pod, given) if given else default_container(pod)
    if "running" not in container_statuses(pod)[name]["state"]:
        raise CommandError(f"container {name} does not run")
    try:
        with Monitor.connect(directory) as monitor, Monitor.connect(directory) as other:
            return _Attached(monitor, other, directory, name, options, keys).run()
    except NotFound:
        raise CommandError(f"pod {word} runs in the foreground: its streams are those of its 'pyrun run'") from None


def parse_keys(text: str) -> bytes:
    """``ctrl-p,ctrl-q`` or ``a,ctrl-@``: the bytes that they send. Raises UsageError."""
    keys = b""
    for key in text.split(","):
        letter = key.removeprefix("ctrl-")
        if len(letter) != 1 or not letter.isascii():
            raise UsageError(f"--detach-keys {text}: not letters and ctrl-letters with commas between them")
        code = ord(letter.upper()) & 0x1F if letter != key else ord(letter)
        keys += bytes([code])
    return keys


class _Attached:
    """One time at a container's streams; *other* is a second connection, for questions."""

    def __init__(
        self, monitor: Monitor, other: Monitor, directory: str, name: str, options: Options, keys: bytes
    ) -> None:
        self._directory = directory
        self._monitor = monitor
        self._other = other
        self._name = name
        self._writes = "stdin" in options
        self._tty = "tty" in options
        self._keys = keys
        self._held = b""  # the beginning of the keys, which may turn out to be none
        self._reads = self._writes

    def run(self) -> int:
        before = max([record.number for record in self._other.exits()], default=0)
        try:
            self._monitor.attach(self._name, stdin=self._writes)
        except KernelError as error:
            raise CommandError(_refusal(self._name, error)) from None
        with Signals() as caught:
            if not (self._tty and self._writes):
                return self._attend(caught, before)
            with RawInput():
                self._resize()
                return self._attend(caught, before)

    def _attend(self, caught: Signals, before: int) -> int:
        while True:
            poll = select.poll()
            for fd in (self._monitor.fileno(), caught.fileno(), *([0] if self._reads else [])):
                poll.register(fd, select.POLLIN)
            ready = dict(poll.poll())
            if caught.fileno() in ready:
                for number in caught.read():
                    if number == signals.SIGWINCH:
                        self._resize()
                    elif number in LEAVING:
                        return 128 + number
            if self._monitor.fileno() in ready and not self._show():
                return self._status(before)
            if 0 in ready and not self._hand_on():
                return 0

    def _resize(self) -> None:
        size = window_size()
        if self._tty and size is not None:
            self._monitor.resize_terminal(*size)

    def _show(self) -> bool:
        """One message of the monitor's. Whether there can be more."""
        try:
            answer = self._monitor.read_output()
        except StateError:
            say("the pod's monitor has ended")
            return False
        if answer.kind == "OUTPUT":
            _write(2 if answer.number("stream") == STDERR else 1, answer.text)
        elif answer.kind == "LOST":
            say(f"{answer.number('bytes')} bytes were lost: this terminal or pipe took them too slowly")
        elif answer.kind == "ERROR":
            say(f"the container does not take its input any more: {os.strerror(answer.number('error'))}")
            self._reads = False
        return answer.kind != "ENDED"

    def _hand_on(self) -> bool:
        """What was typed. Whether we are to stay."""
        data = os.read(0, READ_BYTES)
        if not data:
            self._reads = False
            self._monitor.write_input(self._held)
            self._monitor.end_input()
            return True
        if not self._tty:
            self._monitor.write_input(data)
            return True
        passed, self._held, leave = split_keys(self._held + data, self._keys)
        self._monitor.write_input(passed)
        return not leave

    def _status(self, before: int) -> int:
        """How the container ended, if it did."""
        deadline_s = time.monotonic() + STATUS_S
        while time.monotonic() < deadline_s:
            code = self._exit_code(before)
            if code is not None:
                return code
            select.select([], [], [], LOOK_S)
        return 0

    def _exit_code(self, before: int) -> int | None:
        """As the monitor knows it, or, where that has gone with its pod, as the pod's status tells."""
        try:
            records = [record for record in self._other.exits(before) if record.name == self._name]
            return records[-1].status.exit_code if records else None
        except StateError:
            document = read_status(self._directory)
        if document is None:
            return None
        code = container_statuses(document)[self._name]["state"].get("terminated", {}).get("exitCode")
        return None if code is None else int(code)


def split_keys(data: bytes, keys: bytes) -> tuple[bytes, bytes, bool]:
    """Of what was typed: what is handed on, what may be the beginning of *keys*, and whether these were typed."""
    before, found, _ = data.partition(keys)
    if found:
        return before, b"", True
    for size in range(min(len(data), len(keys) - 1), 0, -1):
        if data.endswith(keys[:size]):
            return data[:-size], data[-size:], False
    return data, b"", False


def _refusal(name: str, error: KernelError) -> str:
    """Of the monitor's (:meth:`Monitor.attach`), in words."""
    import errno

    words = {
        errno.ESRCH: f"container {name} has just ended",
        errno.EBUSY: f"somebody else has the input of container {name}",
        errno.EBADF: f"container {name} has no standard input: stdin is not true in its manifest",
    }
    return words.get(error.errno or 0, str(error))


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
