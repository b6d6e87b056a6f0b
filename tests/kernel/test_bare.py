"""kernel/bare.py: one mount, whatever the machine has, and made only where it pays."""

from __future__ import annotations

import os

import pytest

from fixtures.child import at_gate
from fixtures.interpreter import run_python
from fixtures.machine import ROOT
from pyrun.kernel.bare import bare_mount_namespace
from pyrun.kernel.step import JoinNamespaces, Unshare

pytestmark = pytest.mark.root


def test_it_has_one_mount_which_nobody_can_write_to() -> None:
    bare = bare_mount_namespace(worth=1)
    assert bare is not None
    with at_gate(JoinNamespaces("bare", ("mount",)), Unshare(("mount",)), fds={"bare": bare}) as seen:
        (mount,) = seen.mounts()
        assert (mount["target"], mount["type"], mount["propagation"]) == ("/", "tmpfs", "")
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(mount["options"].split(","))
        assert os.listdir(seen.root) == []


def test_it_is_made_once_and_for_whoever_asks_again() -> None:
    printed = run_python(
        """
        import sys, os
        sys.path.insert(0, sys.argv[1])
        from pyrun.kernel.bare import bare_mount_namespace
        first, second, third = [bare_mount_namespace() for _ in range(3)]
        print(first, second is third, os.readlink(f"/proc/self/fd/{second}").partition(":")[0])
        """,
        ROOT / "src",
    )
    assert printed == "None True mnt\n"
