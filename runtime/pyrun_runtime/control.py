"""Asking the ``pyrun run`` of a pod for something: other commands reach it by a pipe in the pod's directory.

::

    /run/pyrun/pods/<uid>/control        a FIFO, read by the launcher; a line in it is the ID of a request
                          request-ID     what is asked, in JSON: {"verb": …}
                          reply-ID       a FIFO, made by who asks, for the answer in JSON: {} or {"error": …, "status": …}

Pipes and not a socket, because a pod that nobody asks anything should not pay for the module (1.5 ms): the launcher makes a
FIFO and polls it. A line is written at once (pipe(7), PIPE_BUF), so that lines of several who ask do not mix. The directory is
root's alone.

A handler answers at once, or with a :class:`Later`, which is looked at whenever something has happened. Who asks waits for the
answer, and for the end of the launcher: a FIFO that nobody reads any more has POLLERR (poll(2)).
"""

from __future__ import annotations

import math
import os
import select
import time

from pyrun import Fd
from pyrun_runtime.cli.message import FAILED, CommandError, naming

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    Request: TypeAlias = Mapping[str, Any]
    Answer: TypeAlias = Mapping[str, Any]
    Handler: TypeAlias = Callable[[Request], "Answer | Later | None"]
    Explain: TypeAlias = Callable[[Exception], tuple[str, int]]

CONTROL = "control"
# The verbs of pyrun_runtime.act, which is loaded when one is asked for.
ACTS = ("stop", "kill", "restart", "wait", "enter")
READ_BYTES = 65536
PIPE_BYTES = 65536  # what one takes without being asked (pipe(7))
ANSWER_S = 60.0


class Refused(CommandError):
    """The launcher's own words, and the exit status that they lead to."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class NoLauncher(CommandError):
    """Nobody runs this pod: it is over, or its launcher was killed."""


class Later:
    """An answer that is not there yet: *look* gives it once it is, and *at_end* when the pod is over and removed. Either may
    raise what is then told."""

    def __init__(self, look: Callable[[], Answer | None], at_end: Callable[[], Answer]) -> None:
        self.look = look
        self.at_end = at_end


class Control:
    """The launcher's end. *handlers* are by verb: each is given the request, and what it returns is the answer; an error of it is
    told to who asked, by *explain*, and goes no further."""

    def __init__(self, directory: str, handlers: Mapping[str, Handler], explain: Explain) -> None:
        self.handlers = handlers
        self._directory = directory
        self._explain = explain
        self._later: list[tuple[Fd, Later]] = []
        with naming(f"{directory}/{CONTROL}"):  # mkfifo(3) does not say of what
            os.mkfifo(f"{directory}/{CONTROL}", 0o600)
        # For writing as well: without a writer of its own it would be at its end whenever nobody asks.
        self._fd = Fd.adopt(os.open(f"{directory}/{CONTROL}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))

    def fileno(self) -> int:
        """Readable when somebody asks: then :meth:`turn`."""
        return self._fd.fileno()

    def turn(self) -> None:
        """Answer those who ask."""
        try:
            lines = os.read(self.fileno(), READ_BYTES)
        except BlockingIOError:
            return
        for line in lines.decode("ascii", "replace").split():
            if line.isalnum():
                self._answer(line)

    def look(self) -> None:
        """Something has happened: give the answers that are there now."""
        waiting, self._later = self._later, []
        for reply, later in waiting:
            if _is_alone(reply):
                reply.close()
            elif not self._settle(reply, later.look):
                self._later.append((reply, later))

    def close(self, error: Exception | None = None) -> None:
        """The pod is over and removed, or *error* is why not: tell who still waits. Idempotent. The directory's owner removes the
        files."""
        waiting, self._later = self._later, []
        for reply, later in waiting:
            self._settle(reply, later.at_end if error is None else _raiser(error))
            reply.close()
        self._fd.close()

    def _answer(self, id: str) -> None:
        import json

        reply = self._open_reply(id)
        if reply is None:
            return  # who asked has gone

        def handle() -> Answer:
            path = f"{self._directory}/request-{id}"
            with open(path, "rb") as file:
                request = json.loads(file.read())
            os.unlink(path)
            answer = self.handlers[request["verb"]](request) or {}
            if isinstance(answer, Later):
                self._later.append((reply, answer))
                return {}
            return answer

        before = len(self._later)
        text = self._evaluate(handle)
        if len(self._later) == before:
            _write(reply, text)
            reply.close()

    def _open_reply(self, id: str) -> Fd | None:
        """It goes from the directory at once, so that nothing stays there of somebody who is killed."""
        path = f"{self._directory}/reply-{id}"
        try:
            reply = Fd.adopt(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC))
        except OSError:
            reply = None
        for name in (path, *([f"{self._directory}/request-{id}"] if reply is None else [])):
            _unlink(name)
        return reply

    def _settle(self, reply: Fd, look: Callable[[], Answer | None]) -> bool:
        """Whether *look* had something to tell."""
        text = self._evaluate(look)
        if text is None:
            return False
        _write(reply, text)
        reply.close()
        return True

    def _evaluate(self, look: Callable[[], Answer | None]) -> str | None:
        import json

        try:
            answer = look()
            return None if answer is None else json.dumps(answer)
        except Exception as error:
            message, status = self._explain(error)
            return json.dumps({"error": message, "status": status})

    def __enter__(self) -> Control:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.close(error if isinstance(error, Exception) or error is None else CommandError("its launcher was stopped"))


def _raiser(error: Exception) -> Callable[[], Answer]:
    def fail() -> Answer:
        raise error

    return fail


def _write(reply: Fd, text: str | None) -> None:
    """A whole answer or none: the pipe is made as large as it is long."""
    data = f"{text}\n".encode()
    try:
        if len(data) > PIPE_BYTES:
            import fcntl

            fcntl.fcntl(reply.fileno(), fcntl.F_SETPIPE_SZ, len(data))
        os.write(reply.fileno(), data)
    except OSError:
        pass  # who asked has gone


def _is_alone(reply: Fd) -> bool:
    poll = select.poll()
    poll.register(reply.fileno(), 0)
    return bool(poll.poll(0))


class Question:
    """Something asked of the launcher of the pod whose run directory is *directory*, and not answered yet.

    Raises :class:`NoLauncher`.
    """

    def __init__(self, directory: str, request: Request) -> None:
        import json

        self._directory = directory
        self._line = b""
        id = os.urandom(8).hex()
        self._files = (f"{directory}/request-{id}", f"{directory}/reply-{id}")
        self._reply: Fd | None = None
        self._control: Fd | None = None
        try:
            os.mkfifo(self._files[1], 0o600)
            with open(self._files[0], "xb") as file:
                file.write(json.dumps(dict(request)).encode())
            self._reply = Fd.adopt(os.open(self._files[1], os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
            self._control = _open_control(directory)
            os.write(self._control.fileno(), f"{id}\n".encode())
        except FileNotFoundError:
            self.close()
            raise NoLauncher(f"{directory}: the pod is over") from None
        except BaseException:
            self.close()
            raise

    def interests(self) -> list[tuple[int, int]]:
        """What to poll for; then :meth:`turn`."""
        assert self._reply is not None
        assert self._control is not None
        return [(self._reply.fileno(), select.POLLIN), (self._control.fileno(), 0)]

    def turn(self, ready: Mapping[int, int]) -> Answer | None:
        """The answer once it is there. Raises :class:`Refused` with what the launcher says against it, :class:`NoLauncher` when
        that has ended without one."""
        import json

        assert self._reply is not None
        assert self._control is not None
        try:
            while not self._line.endswith(b"\n"):
                self._line += os.read(self._reply.fileno(), READ_BYTES)
        except BlockingIOError:
            if self._control.fileno() in ready:
                raise NoLauncher(f"{self._directory}: the pod's launcher has ended") from None
            return None
        answer = json.loads(self._line)
        if "error" in answer:
            raise Refused(answer["error"], answer.get("status", FAILED))
        return dict(answer)

    def close(self) -> None:
        """Idempotent."""
        for fd in (self._reply, self._control):
            if fd is not None:
                fd.close()
        for path in self._files:
            _unlink(path)

    def __enter__(self) -> Question:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def ask(directory: str, request: Request, timeout_s: float = ANSWER_S) -> Mapping[str, Any]:
    """The answer of the launcher of the pod whose run directory is *directory*. Raises :class:`Refused` with what it says against
    it, and :class:`CommandError` where there is none, or none answers."""
    try:
        with Question(directory, request) as question:
            (answer,) = wait_answers([question], timeout_s)
    except NoLauncher as error:
        answer = error
    if isinstance(answer, NoLauncher):
        from pyrun_runtime.ended import answer_of

        return answer_of(directory, request) or _raiser(answer)()
    if answer is None:
        raise CommandError(f"{directory}: no answer from the pod's launcher")
    if isinstance(answer, Exception):
        raise answer
    return answer


def wait_answers(questions: list[Question], timeout_s: float | None) -> list[Answer | CommandError | None]:
    """The answer to each, or why there is none; None where the time, which is that of all, has run out first."""
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    answers: dict[int, Answer | CommandError] = {}
    while open_ones := [at for at in range(len(questions)) if at not in answers]:
        poll = select.poll()
        for at in open_ones:
            for fd, events in questions[at].interests():
                poll.register(fd, events)
        left_ms = None if deadline_s is None else math.ceil(max(0.0, deadline_s - time.monotonic()) * 1000)
        ready = dict(poll.poll(left_ms))
        if not ready:
            break
        for at in open_ones:
            try:
                answer = questions[at].turn(ready)
            except CommandError as error:
                answers[at] = error
            else:
                answers |= {} if answer is None else {at: answer}
    return [answers.get(at) for at in range(len(questions))]


def _open_control(directory: str) -> Fd:
    try:
        return Fd.adopt(os.open(f"{directory}/{CONTROL}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:  # ENXIO: a FIFO that nobody reads
        raise NoLauncher(f"{directory}: nobody runs this pod any more, or it is just starting") from None


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
