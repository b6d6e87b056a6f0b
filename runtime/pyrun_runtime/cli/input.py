"""Our standard input, handed on to a container that wants it, and its terminal, if it has one.

Loaded for a pod that has a container with ``stdin`` or ``tty``. The first container of the manifest with ``stdin`` gets it,
in each of its runs; any other one waits for an input that never comes, as in a cluster where nobody attaches.
"""

from __future__ import annotations

import os
import select

from pyrun import Fd, PyrunError
from pyrun_runtime.cli.message import naming
from pyrun_runtime.terminal import RawInput, copy_size
from pyrun_runtime.unix_socket import receive_fd, socket_pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals

    from pyrun import PodSpec
    from pyrun_runtime.unix_socket import Socket
else:
    import _signal as signals

READ_BYTES = 4096


class Input:
    """Standard input on its way to one container. As a context manager it gives our terminal back as it was."""

    def __init__(self, spec: PodSpec) -> None:
        every = (*spec.init_containers, *spec.containers, *spec.ephemeral_containers)
        wanting = [each for each in every if each.stdin]
        self._once = bool(wanting) and wanting[0].stdin_once
        self._name = wanting[0].name if wanting else ""
        self._reading = {each.name for each in wanting}
        self._held: list[Fd] = []  # the ends that nobody will write to
        self._with_tty = {each.name for each in every if each.tty}
        self._target: Fd | None = None
        self._buffer = b""
        self._ended = False
        self._consoles: dict[str, tuple[Socket, Socket]] = {}
        self._terminals: dict[str, Fd] = {}
        self._raw = RawInput() if self._name in self._with_tty else None

    # ---- what containers are given ----

    def pipe(self, name: str) -> int | None:
        """The reading end of a new pipe for container *name*, which is the caller's; None if it is not to have one."""
        if name not in self._reading or name in self._with_tty:
            return None
        with naming(f"a pipe for container {name}"):
            reading, writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(writing, False)
        if name == self._name:
            self._aim(Fd.adopt(writing))
        else:
            self._held.append(Fd.adopt(writing))
        return reading

    def console(self, name: str) -> int:
        """A socket to which the terminal of container *name* is to be sent."""
        self._close_console(name)
        self._consoles[name] = socket_pair()
        return self._consoles[name][1].fileno()

    def take_terminal(self, name: str) -> Fd | None:
        """The terminal of container *name*, which has just started, for its output; it stays ours for its input and its size."""
        if name not in self._consoles:
            return None
        terminal = receive_fd(self._consoles[name][0])
        self._close_console(name)
        if terminal is None:
            raise PyrunError(f"container {name} has sent no terminal")
        os.set_blocking(terminal.fileno(), False)
        if name in self._terminals:
            self._terminals[name].close()
        self._terminals[name] = Fd.adopt(os.dup(terminal.fileno()))
        copy_size(terminal)
        if name == self._name:
            self._aim(Fd.adopt(os.dup(terminal.fileno())))
        return terminal

    def _aim(self, target: Fd) -> None:
        """From now on input goes to *target*."""
        if self._target is not None:
            self._target.close()
        self._target, self._buffer = target, b""
        if self._ended and self._once:
            self._close_target()

    # ---- in the loop ----

    def interests(self) -> list[tuple[int, int]]:
        """What to poll for."""
        if self._target is None:
            return []
        if self._buffer:
            return [(self._target.fileno(), select.POLLOUT)]
        return [] if self._ended else [(0, select.POLLIN)]

    def handle(self, ready: dict[int, int]) -> None:
        """Do what *ready* allows."""
        if self._target is None:
            return
        if not self._buffer and not self._ended and 0 in ready:
            self._read()
        if self._buffer:
            self._write()

    def _read(self) -> None:
        try:
            self._buffer = os.read(0, READ_BYTES)
        except OSError:  # closed, or a terminal that is gone
            self._buffer = b""
        if not self._buffer:
            self._ended = True
            if self._once:
                self._close_target()

    def _write(self) -> None:
        assert self._target is not None
        try:
            self._buffer = self._buffer[os.write(self._target.fileno(), self._buffer) :]
        except BlockingIOError:
            pass
        except OSError:  # nobody reads it any more
            self._close_target()

    def _close_target(self) -> None:
        if self._target is not None:
            self._target.close()
        self._target, self._buffer = None, b""

    # ---- our own terminal ----

    def _resized(self, _number: int, _frame: object) -> None:
        for terminal in self._terminals.values():
            copy_size(terminal)

    def __enter__(self) -> Input:
        if self._raw is not None:
            self._raw.__enter__()
        self._before = signals.signal(signals.SIGWINCH, self._resized)
        return self

    def __exit__(self, *_error: object) -> None:
        signals.signal(signals.SIGWINCH, self._before)
        if self._raw is not None:
            self._raw.__exit__()
        self._close_target()
        for fd in (*self._held, *self._terminals.values()):
            fd.close()
        for name in list(self._consoles):
            self._close_console(name)

    def _close_console(self, name: str) -> None:
        for end in self._consoles.pop(name, ()):
            end.close()
