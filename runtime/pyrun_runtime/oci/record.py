"""The record of a container, for the front in C (csrc/oci_front.c), which needs no interpreter to start, signal or delete it."""

from __future__ import annotations

import os

from pyrun_runtime.oci.cgroup import SYSTEMD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import OciSpec
    from pyrun_runtime.oci.store import State

START, KILL, DELETE = "s", "k", "d"


def plain_verbs(state: State, spec: OciSpec) -> str:
    """The verbs that are no more, for this container, than what the front does."""
    verbs = ""
    if not (spec.hooks.start_container or spec.hooks.poststart):
        verbs += START
    if not state.shares_pids:  # else a SIGKILL is for all of its processes
        verbs += KILL
    if not spec.hooks.poststop and state.manager != SYSTEMD:  # which has to be told
        verbs += DELETE
    return verbs


def format_record(state: State, spec: OciSpec) -> bytes:
    """The text, whose form is in csrc/oci_front.c; empty for a container about which there is nothing to record."""
    verbs = plain_verbs(state, spec)
    if not verbs or "\n" in state.cgroup_root + state.cgroup:
        return b""
    first = f"1 {verbs} {state.pid} {state.start_ticks}"
    # Without a group there is no root of it either.
    return os.fsencode("\n".join([first, state.cgroup_root if state.cgroup else "", state.cgroup, ""]))
