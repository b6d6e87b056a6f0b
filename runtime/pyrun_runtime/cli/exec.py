"""``pyrun exec``: another program in a container that runs."""

from __future__ import annotations

import os

from pyrun import ExecError, Fd, describe_error, enter, open_first, parse_entry, replace, resolve_user
from pyrun_runtime.cli.message import CommandError, UsageError, say
from pyrun_runtime.cli.options import values_of
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS, find_directory
from pyrun_runtime.control import ask
from pyrun_runtime.oci.foreground import Signals
from pyrun_runtime.relay import Stream, drain, pipe_for, poll_for
from pyrun_runtime.terminal import Console, RawInput, copy_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals

    from pyrun import ContainerEntry, ForeignProcess, OciProcess, Process
    from pyrun_runtime.cli.options import Options, OptionTable
else:
    import _signal as signals

OPTIONS: OptionTable = {
    "container,c": "NAME",
    "stdin,i": "",
    "tty,t": "",
    "env,e": "NAME=VALUE...",
    "workdir,w": "DIR",
    "user,u": "USER[:GROUP]",
    **ROOT_OPTIONS,
}
HELP = f"""\
usage: pyrun exec [OPTION]... POD -- COMMAND [ARGUMENT]...

Runs COMMAND in a container of POD: in its namespaces and its cgroup, with its variables, its capabilities and its filter.

  -c, --container NAME   the container; else the one that the pod names as its default, else its first
  -i, --stdin            hand standard input on; its end is the end of the program's
  -t, --tty              give it a terminal of its own; ours becomes raw meanwhile
  -e, --env NAME=VALUE   one more variable; may be repeated
  -w, --workdir DIR      its working directory
  -u, --user USER[:GROUP]  run it as this user of the container, by name or number
{ROOT_HELP}
Signals are handed on. If this command is killed the program is killed as well, and its terminal hangs up; what it has started
itself in the background goes on until the container's end.

Exit status: that of the program, 128+N if signal N ended it; 127 if there is no such program, 126 if it cannot be executed.
1 also if there is no such pod or container, or it does not run.
"""
END_OF_FILE = b"\x04"  # what a terminal takes for it (termios(3), VEOF)


class NotStarted(CommandError):
    """The program does not run, and the shell's status for that."""

    def __init__(self, error: ExecError) -> None:
        super().__init__(describe_error(error))
        self.status = error.exit_code


def run(options: Options, arguments: list[str]) -> int:
    word, *command = arguments or [""]
    if not word or not command:
        raise UsageError("expected a POD, and behind -- a COMMAND")
    directory = find_directory(options, word)
    answer = ask(directory, {"verb": "enter", "container": options.get("container", "")})
    entry = parse_entry(answer["entry"])
    if "container" not in options and len(answer["containers"]) > 1:
        say(f"defaulted container {entry.name!r} out of: {', '.join(answer['containers'])}")
    with Signals() as caught, open_first(entry) as first:
        process = _process(options, entry, first, command)
        try:
            if process.terminal:
                return _with_terminal(entry, first, process, "stdin" in options, caught)
            return _with_pipes(entry, first, process, "stdin" in options, caught)
        except ExecError as error:
            raise NotStarted(error) from error


def _process(options: Options, entry: ContainerEntry, first: ForeignProcess, command: list[str]) -> OciProcess:
    """The container's own, with what the options say instead."""
    own = entry.oci.process
    assert own is not None
    variables = {each.partition("=")[0]: each for each in own.env}
    user, tty = own.user, "tty" in options
    if tty:
        variables.setdefault("TERM", f"TERM={os.environ.get('TERM') or 'xterm'}")
    if "user" in options:
        user, home = resolve_user(f"/proc/{first.pid}/root", options["user"], user)
        variables["HOME"] = f"HOME={home}"
    for each in values_of(options, "env"):
        if each.find("=") < 1:
            raise UsageError(f"--env {each}: not NAME=VALUE")
        variables[each.partition("=")[0]] = each
    return replace(
        own,
        args=tuple(command),
        env=tuple(variables.values()),
        cwd=_directory(options.get("workdir") or own.cwd),
        user=user,
        terminal=tty,
        console_size=None,
    )


def _directory(path: str) -> str:
    if not path.startswith("/"):
        raise UsageError(f"--workdir {path}: not an absolute path")
    return path


def _with_pipes(
    entry: ContainerEntry, first: ForeignProcess, process: OciProcess, with_input: bool, caught: Signals
) -> int:
    owned: list[Fd] = []
    try:
        out, their_out = pipe_for(owned, 0)
        err, their_err = pipe_for(owned, 0)
        streams = [Stream(out.fileno(), 1, out.close), Stream(err.fileno(), 2, err.close)]
        if with_input:
            their_in, inward = pipe_for(owned, 1)
            streams.append(Stream(0, inward.fileno(), inward.close))
        else:
            their_in = Fd.open("/dev/null", os.O_RDONLY)
            owned.append(their_in)
        fds = {"stdin": their_in.fileno(), "stdout": their_out.fileno(), "stderr": their_err.fileno()}
        with enter(entry, first, process, fds) as program:
            for end in (their_in, their_out, their_err):
                end.close()
            return _attend(program, streams, streams[:2], caught, None)
    finally:
        for fd in owned:
            fd.close()


def _with_terminal(
    entry: ContainerEntry, first: ForeignProcess, process: OciProcess, with_input: bool, caught: Signals
) -> int:
    if with_input and not os.isatty(0):
        say("standard input is no terminal: it is handed on as it is")
    with Console(True, "", True) as console, enter(entry, first, console.fit(process), console.slots()) as program:
        terminal = console.receive()
        assert terminal is not None
        with terminal:
            os.set_blocking(terminal.fileno(), False)
            copy_size(terminal)
            outward = Stream(terminal.fileno(), 1)
            inward = [Stream(0, terminal.fileno(), last=END_OF_FILE)] if with_input else []
            if not with_input:
                return _attend(program, [outward], [outward], caught, terminal)
            with RawInput():
                return _attend(program, [outward, *inward], [outward], caught, terminal)


def _attend(
    program: Process, streams: list[Stream], outward: list[Stream], caught: Signals, terminal: Fd | None
) -> int:
    """Until the program has ended, and what it has said is told: its exit status."""
    while True:
        interests = [pair for stream in streams for pair in stream.interests()]
        ready = poll_for([*interests, (program.fileno(), 1), (caught.fileno(), 1)])
        if caught.fileno() in ready:
            _hand_on(program, caught, terminal)
        for stream in streams:
            stream.turn(ready)
        if program.fileno() in ready:
            break
    drain(outward, caught.fileno())
    return program.wait_status().exit_code


def _hand_on(program: Process, caught: Signals, terminal: Fd | None) -> None:
    for number in caught.read():
        if number == signals.SIGWINCH and terminal is not None:
            copy_size(terminal)
        else:
            program.signal(number)
