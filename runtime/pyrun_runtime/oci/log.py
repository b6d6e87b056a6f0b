"""What goes wrong, as callers read it: a line on standard error, and with ``--log`` one at the end of that file."""

from __future__ import annotations

import os
import time

from pyrun_runtime.cli.message import UsageError, one_line
from pyrun_runtime.oci.json_text import to_json

FORMATS = ("text", "json")


class Log:
    """Where messages go. ``path`` is empty without ``--log``."""

    def __init__(self, path: str = "", format: str = "text", debug: bool = False) -> None:
        if format not in FORMATS:
            raise UsageError(f"--log-format {format}: there are {' and '.join(FORMATS)}")
        self._path = path
        self._json = format == "json"
        self._debug = debug

    def error(self, text: str) -> None:
        self._say(text)
        self._write("error", text)

    def warn(self, text: str) -> None:
        if not self._path:
            self._say(f"warning: {text}")
        self._write("warning", text)

    def debug(self, text: str) -> None:
        if self._debug:
            if not self._path:
                self._say(text)
            self._write("debug", text)

    def _say(self, text: str) -> None:
        try:
            os.write(2, f"pyrun-oci: {one_line(text)}\n".encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # nobody listens; the exit status still tells

    def _write(self, level: str, text: str) -> None:
        if not self._path:
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._json:
            line = to_json({"level": level, "msg": text, "time": now}, "")
        else:
            line = f"time={to_json(now)} level={level} msg={to_json(text)}"
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            return  # standard error has had it
        try:
            os.write(fd, f"{line}\n".encode())
        except OSError:
            pass
        finally:
            os.close(fd)
