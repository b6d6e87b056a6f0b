"""Hearing of changes in directories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyrun.errors import KernelError
from pyrun.kernel.inotify import Inotify
from pyrun.linux import inotify


def test_files_that_come_change_and_go(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    with Inotify() as watch:
        assert watch.watch(str(one))
        assert watch.watch(str(two))
        assert watch.read() == set()
        (one / "a").write_text("x")
        (two / "b").touch()
        assert watch.read() == {(str(one), "a"), (str(two), "b")}
        assert watch.read() == set()
        os.rename(one / "a", two / "c")
        assert watch.read() == {(str(one), "a"), (str(two), "c")}
        (two / "b").unlink()
        assert watch.read() == {(str(two), "b")}


def test_a_directory_that_goes_is_told_once(tmp_path: Path) -> None:
    directory = tmp_path / "x"
    directory.mkdir()
    with Inotify() as watch:
        watch.watch(str(directory))
        directory.rmdir()
        assert (str(directory), "") in watch.read()
        directory.mkdir()
        (directory / "a").touch()
        assert watch.read() == set()
        assert watch.watch(str(directory))


def test_what_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Inotify() as watch:
        assert not watch.watch(str(tmp_path / "none"))
        assert not watch.watch(str(tmp_path / "file"))


def test_too_much_to_tell(tmp_path: Path) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with Inotify() as watch:
        watch.watch(str(tmp_path))
        for number in range(most // 2 + 100):
            (tmp_path / f"{number % 7}").touch()
            os.unlink(tmp_path / f"{number % 7}")
        assert (str(tmp_path), "") in watch.read()


def test_a_watch_that_is_none(tmp_path: Path) -> None:
    fd = inotify.inotify_init()
    try:
        with pytest.raises(KernelError, match="inotify_rm_watch"):
            inotify.inotify_rm_watch(fd, 1)
        number = inotify.inotify_add_watch(fd, tmp_path, inotify.IN_CREATE)
        inotify.inotify_rm_watch(fd, number)
        assert inotify.parse_events(os.read(fd, 100)) == [(number, inotify.IN_IGNORED, "")]
    finally:
        os.close(fd)
