"""One side of ``pyrun cp``: a process of its own for the files of a container.

It opens the container's root and, where the pod has users of its own, becomes root among those, which no thread of another
process could: so owners are what the container sees, and it may do no more than the container's root.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile

from pyrun import Fd, ForeignProcess, describe_error, join_users
from pyrun_runtime.cli.message import CommandError, describe_foreign, say
from pyrun_runtime.pack import Packer
from pyrun_runtime.unpack import Unpacker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class NothingSent(CommandError):
    """The other side has failed before it sent anything, and says why itself."""


def work(root: Fd, job: dict[str, Any], stream: Any, set_ids: bool) -> None:
    """*job* has ``pack``, ``path`` and ``whole``; *stream* is read or written."""
    os.umask(0)
    try:
        if job["pack"]:
            Packer(stream, say).pack(root, job["path"])
            stream.flush()
        else:
            Unpacker(stream, say, set_ids).unpack(root, job["path"], job["whole"])
            while stream.read(1 << 16):  # what pads an archive
                pass
    except tarfile.TarError as error:
        if str(error) == "empty file" and not job["whole"]:
            raise NothingSent from None
        raise CommandError(f"the archive is broken: {error}") from None


def _in_container(job: dict[str, Any]) -> None:
    first = ForeignProcess.find(job["pid"], job["start_ticks"])
    if first is None:
        raise CommandError(f"container {job['name']} has ended")
    with first, Fd.open(f"/proc/{first.pid}/root", os.O_PATH | os.O_DIRECTORY) as root:
        if first.wait_end(0):
            raise CommandError(f"container {job['name']} has ended")
        if job["users"]:
            join_users(first)
        with open(1 if job["pack"] else 0, "wb" if job["pack"] else "rb", closefd=False) as stream:
            work(root, job, stream, set_ids=True)
        if first.wait_end(0):
            raise CommandError(f"container {job['name']} has ended meanwhile: not everything may have been copied")


def main() -> int:
    """The exit status; an error is a line on standard error. The job is the argument, in JSON."""
    try:
        _in_container(json.loads(sys.argv[1]))
    except KeyboardInterrupt:
        return 130
    except (BrokenPipeError, NothingSent):
        return 1  # the other side has failed, and says why
    except CommandError as error:
        say(str(error))
        return 1
    except Exception as error:
        say(describe_error(error) if hasattr(error, "call") else describe_foreign(error))
        return 1
    return 0


if __name__ == "__main__":
    os._exit(main())
