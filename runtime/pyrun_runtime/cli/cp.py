"""``pyrun cp``: files into a container and out of it."""

from __future__ import annotations

import os
import sys

from pyrun import Fd, describe_error, parse_entry, spawn, steps
from pyrun_runtime.cli.message import FAILED, CommandError, UsageError, describe_foreign, say
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS, find_directory
from pyrun_runtime.control import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun import Process
    from pyrun_runtime.cli.options import Options, OptionTable

OPTIONS: OptionTable = {"container,c": "NAME", **ROOT_OPTIONS}
HELP = f"""\
usage: pyrun cp [OPTION]... POD:PATH LOCAL
       pyrun cp [OPTION]... LOCAL POD:PATH
       pyrun cp [OPTION]... POD:PATH POD:PATH

Copies a file or a directory with all in it, as cp(1) does: into a directory that is there, else as that name. PATH/. is what is
in a directory. LOCAL may be -, for a tar archive on standard output or input, which is unpacked into the directory PATH. A LOCAL
with a colon needs a / before that: ./a:b. Nothing is needed in the container's image.

  -c, --container NAME   the container; else the one that the pod names as its default, else its first
{ROOT_HELP}
Owners are numbers, as the container sees them; modes and times are kept. Links are copied as links and never followed. What
comes out of a container has no set-user-id bits. Devices and sockets are left out, with a warning.

Exit status: 0 when all is copied; 1 if there is no such pod, container or file, or something could not be copied.
"""


class Place:
    """One end of a copy: ``word`` is the pod, empty for this machine."""

    def __init__(self, text: str) -> None:
        head, colon, path = text.partition(":")
        self.word = head if colon and head and head[0] not in "/." else ""
        self.path = path if self.word else text
        self.stream = text == "-"
        if not self.path:
            raise UsageError(f"{text!r}: a path is missing")


def run(options: Options, arguments: list[str]) -> int:
    if len(arguments) != 2:
        raise UsageError(f"expected where from and where to, found {len(arguments) or 'nothing'}")
    source, target = [Place(text) for text in arguments]
    if not source.word and not target.word:
        raise UsageError("neither is in a pod: POD:PATH")
    if target.stream and os.isatty(1):
        raise UsageError("an archive is nothing for a terminal: send it into a file")
    packing = _job(options, source, pack=True, whole=False)
    unpacking = _job(options, target, pack=False, whole=source.stream)
    if source.stream:
        return _wait([_begin(unpacking, 0, None)])
    if target.stream:
        return _wait([_begin(packing, None, 1)])
    reading, writing = [Fd.adopt(fd) for fd in os.pipe2(os.O_CLOEXEC)]
    with reading, writing:
        helpers: list[Process] = []
        if source.word:
            helpers.append(_begin(packing, None, writing.fileno()))
        if target.word:
            helpers.append(_begin(unpacking, reading.fileno(), None))
        failed = False
        if not target.word:
            writing.close()
            failed = _here(unpacking, reading)
        elif not source.word:
            reading.close()
            failed = _here(packing, writing)
        reading.close()
        writing.close()
        return _wait(helpers) or (FAILED if failed else 0)


def _job(options: Options, place: Place, pack: bool, whole: bool) -> dict[str, Any]:
    """What one side is to do."""
    job: dict[str, Any] = {"pack": pack, "path": place.path, "whole": whole}
    if not place.word:
        return {**job, "path": os.path.abspath(place.path) + _tail(place.path)} if not place.stream else job
    answer = ask(find_directory(options, place.word), {"verb": "enter", "container": options.get("container", "")})
    entry = parse_entry(answer["entry"])
    own = entry.oci.process
    path = place.path if place.path.startswith("/") else f"{own.cwd if own is not None else ''}/{place.path}"
    users = "user" in entry.kinds
    return {**job, "path": path, "name": entry.name, "pid": entry.pid, "start_ticks": entry.start_ticks, "users": users}


def _tail(path: str) -> str:
    """What abspath() takes away and has a meaning here."""
    if path.endswith(("/.", "/..")) or path in (".", ".."):
        return "/."
    return "/" if path.endswith("/") and path.strip("/") else ""


def _begin(job: dict[str, Any], stdin: int | None, stdout: int | None) -> Process:
    """The helper of a container's side."""
    import json

    # -P: what lies in the working directory is no module of ours.
    command = (sys.executable, "-P", "-m", "pyrun_runtime.copy_side", json.dumps(job))
    with Fd.open("/dev/null", os.O_RDWR) as null:
        ends = [null.fileno() if end is None else end for end in (stdin, stdout)]
        plan = (
            *[steps.Duplicate(slot, number) for number, slot in enumerate(("stdin", "stdout", "stderr"))],
            steps.Exec(command, tuple([f"{name}={value}" for name, value in os.environ.items()])),
        )
        return spawn(plan, fds={"stdin": ends[0], "stdout": ends[1], "stderr": 2})


def _here(job: dict[str, Any], end: Fd) -> bool:
    """This machine's side. Whether it has failed; where the other side has failed first, that tells why."""
    from pyrun_runtime.copy_side import NothingSent, work

    try:
        with (
            Fd.open("/", os.O_PATH | os.O_DIRECTORY) as root,
            open(end.fileno(), "wb" if job["pack"] else "rb", closefd=False) as stream,
        ):
            work(root, job, stream, set_ids=False)
    except (BrokenPipeError, NothingSent):
        return True
    except CommandError as error:
        say(str(error))
        return True
    except OSError as error:
        say(describe_error(error) if hasattr(error, "call") else describe_foreign(error))
        return True
    return False


def _wait(helpers: list[Process]) -> int:
    try:
        codes = [helper.wait_status().exit_code for helper in helpers]
    finally:
        for helper in helpers:
            helper.end()
    return FAILED if any(codes) else 0
