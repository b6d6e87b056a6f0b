"""The command ``pyrun``: finds the verb, runs it, and makes of every error one line and an exit status.

Exit status: 0 done, 1 failed, 2 bad input (command line or manifest), 130 Ctrl-C; ``run`` has more, see its help.
``PYRUN_DEBUG=1`` shows tracebacks.
"""

from __future__ import annotations

import os
import sys

from pyrun_runtime.cli.message import (
    BAD_INPUT,
    BROKEN_PIPE,
    FAILED,
    INTERRUPTED,
    CommandError,
    UsageError,
    describe_foreign,
    did_you_mean,
    flush,
    say,
    show,
)
from pyrun_runtime.cli.options import options_of, parse_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from pyrun_runtime.cli.options import Options, OptionTable

    class Verb(Protocol):
        """What a verb's module has."""

        HELP: str
        OPTIONS: OptionTable

        def run(self, options: Options, arguments: list[str]) -> int: ...


# Each is the module of that name beside this one.
VERBS = {
    "run": ("SPEC", "run a pod in the foreground"),
    "plan": ("SPEC", "show what would be done, step by step and why; or the OCI config.json"),
    "validate": ("SPEC...", "check manifests"),
    "ps": ("[POD...]", "list the pods that run"),
    "status": ("POD...", "tell how pods are: containers, conditions, what has happened"),
    "inspect": ("POD...", "print all that is known of pods"),
    "events": ("[POD...]", "list what has happened to pods, or follow what happens"),
    "stats": ("[POD...]", "show what pods use: processors, memory, pids, io, pressure"),
    "top": ("[POD...]", "show that on a full screen, as it changes"),
    "metrics": ("", "tell that to Prometheus"),
    "attach": ("POD", "be at the standard streams of a container of a detached pod"),
    "logs": ("POD...", "print what containers of detached pods have printed"),
    "cp": ("FROM TO", "copy files into a container or out of it"),
    "port-forward": ("POD [LOCAL:]REMOTE...", "hand connections to ports of this machine on to a pod"),
    "exec": ("POD -- COMMAND...", "run another program in a container"),
    "wait": ("POD...", "wait until pods are over, ready, or in a phase; print exit codes"),
    "stop": ("POD...", "let pods end, and wait until nothing is left of them"),
    "kill": ("POD...", "send a signal to containers"),
    "supervise": ("POD", "look after a detached pod whose supervisor was killed"),
    "restart": ("POD...", "end containers and start them again"),
    "rm": ("POD...", "remove what is left of pods"),
    "resize": ("POD", "give a container of a running pod other cpu and memory"),
    "debug": ("POD -- COMMAND...", "start one more container in a running pod, to look at the others"),
    "node": ("", "show what this machine has for pods, and what of it is taken"),
    "completion": ("SHELL", "print what bash, zsh or fish needs to complete command lines"),
    "man": ("[VERB]", "print a manual page"),
    "manifests": ("", "run a pod for each manifest in a directory, and follow what changes there"),
    "units": ("", "print units for systemd"),
    "gc": ("", "find and remove what nobody has any more"),
    "check": ("", "say what this machine offers to pods, what is missing and how to mend it"),
}

USAGE = """\
usage: pyrun VERB [OPTION]... [SPEC]
       pyrun VERB --help
       pyrun --version

Runs Kubernetes Pods on this machine, without a daemon.

{verbs}

SPEC is a file with a v1 Pod in JSON or YAML; - is standard input.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command. With *argv* returns the exit status; without, as the program ``pyrun``, it does not return."""
    if argv is not None:
        return guarded(argv)
    _open_standard_descriptors()
    _write_any_text()
    status = guarded(sys.argv[1:])
    _flush()
    # Not sys.exit: taking the interpreter down costs 1 to 5 ms, and everything that matters has been closed and flushed.
    os._exit(status)


def guarded(argv: list[str]) -> int:
    """The exit status of the command; errors become a line on standard error."""
    try:
        status = dispatch(argv)
        flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError as error:
        return _failed(error) if error.filename else BROKEN_PIPE
    except Exception as error:
        return _failed(error)


def dispatch(argv: list[str]) -> int:
    word, rest = (argv[0], argv[1:]) if argv else ("", [])
    if word in ("-h", "--help", "help"):
        show(usage(), end="")
        return 0
    if word == "--version":
        import pyrun

        show(f"pyrun {pyrun.__version__}")
        return 0
    if word not in VERBS:
        raise UsageError(_unknown(word))
    verb = load_verb(word)
    try:
        options, arguments = parse_options(rest, verb.OPTIONS)
        if "help" in options:
            show(verb.HELP, end="")
            return 0
        return verb.run(options, arguments)
    except UsageError as error:
        raise UsageError(f"{error}; see 'pyrun {word} --help'") from None


def usage() -> str:
    rows = [(f"{name} {takes}".rstrip(), what) for name, (takes, what) in VERBS.items()]
    width = max([len(left) for left, _ in rows])
    return USAGE.format(verbs="\n".join([f"  {left:{width}}  {what}" for left, what in rows]))


def _unknown(word: str) -> str:
    if not word:
        return f"a verb is missing: {', '.join(VERBS)}; see 'pyrun --help'"
    known = [*VERBS, *options_of({"version": ""})]
    what = "option" if word.startswith("-") else "verb"
    return f"unknown {what} {word!r}{did_you_mean(word, known)}; see 'pyrun --help'"


def load_verb(name: str) -> Verb:
    # The import statement itself: importlib would be one more module to load.
    return __import__(f"pyrun_runtime.cli.{name.replace('-', '_')}", fromlist=["run"])


def _failed(error: Exception) -> int:
    if os.environ.get("PYRUN_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    text, status = explain(error)
    _flush()
    say(text)
    return status


def explain(error: Exception) -> tuple[str, int]:
    """One line about *error*, and the exit status it leads to."""
    if isinstance(error, CommandError):
        return str(error), error.status
    from pyrun import PyrunError, SpecError, describe_error

    if isinstance(error, PyrunError):
        return describe_error(error), BAD_INPUT if isinstance(error, SpecError) else FAILED
    return describe_foreign(error), FAILED


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            pass


def _open_standard_descriptors() -> None:
    """Fill 0, 1 and 2 where they are closed: else the next pipe or file would get such a number, and output would go into it."""
    try:
        while (fd := os.open("/dev/null", os.O_RDWR)) <= 2:
            pass
    except OSError:  # a /dev without null: they are most likely open, and a verb that needs it will say so
        return
    os.close(fd)


def _write_any_text() -> None:
    """A letter that the terminal's encoding lacks (LANG, PYTHONIOENCODING) is shown as its escape, as in our messages."""
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # nobody has replaced it yet


if __name__ == "__main__":
    main()
