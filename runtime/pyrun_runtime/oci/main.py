"""The command ``pyrun-oci``: an OCI runtime as podman, containerd and CRI-O call it.

Exit status: 0 done, 1 failed; that of the program for ``run`` and ``exec`` in the foreground. ``PYRUN_DEBUG=1`` shows tracebacks.
"""

from __future__ import annotations

import os
import sys

from pyrun_runtime.cli.message import INTERRUPTED, UsageError, did_you_mean, flush, show
from pyrun_runtime.oci.log import Log
from pyrun_runtime.oci.options import Options, parse_options
from pyrun_runtime.oci.store import Store, default_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals
    from typing import Protocol

    from pyrun_runtime.oci.options import OptionTable

    class Verb(Protocol):
        """What a verb's module has. ``IN_ORDER``: the first argument ends the options."""

        HELP: str
        OPTIONS: OptionTable
        IN_ORDER: bool

        def run(self, context: Context, options: Options, arguments: list[str]) -> int: ...
else:
    import _signal as signals  # the built-in part: the module signal makes enums, which costs some milliseconds


# Each is the module of that name beside this one.
VERBS = {
    "create": ("ID", "make a container that waits to be started"),
    "start": ("ID", "start the program of a container that was created"),
    "run": ("ID", "create and start a container"),
    "state": ("ID", "show the state of a container"),
    "kill": ("ID [SIGNAL]", "send a signal to the first process of a container"),
    "delete": ("ID", "remove a container that has stopped"),
    "exec": ("ID COMMAND...", "run another program in a container"),
    "list": ("", "list the containers"),
    "ps": ("ID", "list the processes of a container"),
    "pause": ("ID", "stop all processes of a container"),
    "resume": ("ID", "let the processes of a paused container go on"),
    "update": ("ID", "change the limits of a container"),
    "events": ("ID", "show what a container uses, and when it runs out of memory"),
    "spec": ("", "write a configuration to begin with"),
    "features": ("", "show what of the specification is understood"),
}
GLOBAL_OPTIONS: OptionTable = {
    "root": "DIR",
    "log": "FILE",
    "log-format": "text|json",
    "log-level": "error|warning|debug",
    "debug": "",
    "systemd-cgroup": "",
    "cgroup-manager": "cgroupfs|systemd|disabled",
    "rootless": "true|false|auto",
    "help,h": "",
    "version,v": "",
}
MANAGERS = ("cgroupfs", "systemd", "disabled")

USAGE = """\
usage: pyrun-oci [GLOBAL OPTION]... VERB [OPTION]... [ARGUMENT]...
       pyrun-oci VERB --help

An OCI runtime: runs containers from bundles, a directory with config.json and a root file system.

{verbs}

Global options:
  --root DIR            where the state of containers is ({root})
  --log FILE            also write messages to FILE
  --log-format FORMAT   text or json
  --log-level LEVEL     debug is the same as --debug; error and warning are accepted
  --debug               say more
  --systemd-cgroup      the same as --cgroup-manager systemd
  --cgroup-manager M    cgroupfs, systemd or disabled
  --rootless BOOL       accepted; who calls is who runs
  --version             show the version
"""


class Context:
    """What the global options say."""

    def __init__(self, options: Options) -> None:
        self.store = Store(os.path.abspath(options.get("root") or default_root()))
        options.make_absolute("log")  # before the working directory is another
        debug = options.flag("debug") or options.get("log-level") == "debug"
        self.log = Log(options.get("log"), options.get("log-format", "text"), debug)
        self.cgroup_manager = options.get("cgroup-manager", "cgroupfs")
        if self.cgroup_manager not in MANAGERS:
            raise UsageError(f"--cgroup-manager {self.cgroup_manager}: there are {', '.join(MANAGERS)}")
        if options.flag("systemd-cgroup"):
            self.cgroup_manager = "systemd"


def main(argv: list[str] | None = None) -> int:
    """Run the command. With *argv* returns the exit status; without, as the program ``pyrun-oci``, it does not return."""
    if argv is not None:
        return guarded(argv)
    _open_standard_descriptors()
    # Whoever ignores it hands that on, and the kernel would reap what we wait for.
    signals.signal(signals.SIGCHLD, signals.SIG_DFL)
    status = guarded(sys.argv[1:])
    # Not sys.exit: taking the interpreter down costs 1 to 5 ms, and everything that matters has been closed and flushed.
    os._exit(status)


def guarded(argv: list[str]) -> int:
    """The exit status of the command; errors become a line on standard error, and one in the log."""
    options = Options()
    try:
        status = dispatch(argv, options)
        flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return _failed(error, options)


def dispatch(argv: list[str], options: Options) -> int:
    """*options* are filled as they are read, so that an error after ``--log`` reaches the log."""
    words = parse_options(argv, GLOBAL_OPTIONS, options, in_order=True)
    if options.flag("version"):
        return _show_version()
    if options.flag("help") or words[:1] == ["help"]:
        show(usage(), end="")
        return 0
    if not words or words[0] not in VERBS:
        raise UsageError(_unknown(words))
    verb = _load(words[0])
    try:
        arguments = parse_options(words[1:], {**GLOBAL_OPTIONS, **verb.OPTIONS}, options, verb.IN_ORDER)
        if options.flag("help"):
            show(verb.HELP, end="")
            return 0
        return verb.run(Context(options), options, arguments)
    except UsageError as error:
        raise UsageError(f"{error}; see 'pyrun-oci {words[0]} --help'") from None


def usage() -> str:
    rows = [(f"{name} {takes}".rstrip(), what) for name, (takes, what) in VERBS.items()]
    width = max([len(left) for left, _ in rows])
    verbs = "\n".join([f"  {left:{width}}  {what}" for left, what in rows])
    return USAGE.format(verbs=verbs, root=default_root())


def _show_version() -> int:
    import pyrun

    show(f"pyrun-oci version {pyrun.__version__}\nspec: 1.2.0")
    return 0


def _unknown(words: list[str]) -> str:
    if not words:
        return "a verb is missing; see 'pyrun-oci --help'"
    return f"unknown verb {words[0]!r}{did_you_mean(words[0], VERBS)}; see 'pyrun-oci --help'"


def _load(name: str) -> Verb:
    # The import statement itself: importlib would be one more module to load.
    return __import__(f"pyrun_runtime.oci.{name}", fromlist=["run"])


def _failed(error: Exception, options: Options) -> int:
    if os.environ.get("PYRUN_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    from pyrun_runtime.oci.explain import explain

    text, status = explain(error)
    try:
        log = Log(options.get("log"), options.get("log-format", "text"))
    except UsageError:
        log = Log(options.get("log"))
    log.error(text)
    return status


def _open_standard_descriptors() -> None:
    """Fill 0, 1 and 2 where they are closed: else the next pipe or file would get such a number, and output would go into it."""
    try:
        while (fd := os.open("/dev/null", os.O_RDWR)) <= 2:
            pass
    except OSError:
        return
    os.close(fd)


if __name__ == "__main__":
    main()
