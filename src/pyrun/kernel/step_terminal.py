"""The step that makes a container's terminal."""

from __future__ import annotations

import errno

from pyrun.kernel.step_base import Step, below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.kernel.encode import Encoder
    from pyrun.kernel.step_base import Fields


class NewTerminal(Step):
    """A new terminal of the devpts behind ``path``, in slot ``terminal``; the other end goes to ``socket`` (SCM_RIGHTS)."""

    path: str
    socket: str
    terminal: str
    at: str | None = None
    rows: int = 0
    columns: int = 0
    kind = "TERMINAL"
    reason = "of the container's own devpts, so that its name means the same inside"

    def describe(self) -> str:
        size = f" {self.rows}x{self.columns}" if self.rows or self.columns else ""
        return f"new terminal{size} of {below(self.at, self.path)} -> {self.terminal}, the other end to {self.socket}"

    def hint(self, error: int) -> str:
        if error in (errno.ENOENT, errno.ENOTTY):
            return "a terminal needs a devpts mounted at /dev/pts"
        return "nobody listens at the console socket" if error == errno.EPIPE else ""

    def fields(self, encoder: Encoder) -> Fields:
        slots = (encoder.slot(self.at), encoder.slot(self.socket), encoder.fill(self.terminal))
        return slots, (encoder.text(self.path),), (self.rows, self.columns)
