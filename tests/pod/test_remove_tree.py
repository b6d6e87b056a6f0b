"""remove_tree: what a container leaves in a volume is hostile until proven otherwise."""

from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrun.pod.remove import remove_tree


def deep(top: Path, levels: int, name: str = "d") -> None:
    """*levels* directories, one in the other, below *top*: too long a path for any one call."""
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=fd)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    top.mkdir()
    return top


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_nothing_is_no_error(tmp_path: Path) -> None:
    remove_tree(str(tmp_path / "none"))


@pytest.mark.usefixtures("few_descriptors")
def test_a_deep_tree(tree: Path) -> None:
    deep(tree, 5000)
    remove_tree(str(tree))
    assert not tree.exists()


@pytest.mark.usefixtures("few_descriptors")
def test_a_deep_tree_of_long_names(tree: Path) -> None:
    deep(tree, 300, "x" * 255)
    deep(tree, 300, "y" * 255)
    remove_tree(str(tree))
    assert not tree.exists()


def test_a_wide_tree(tree: Path) -> None:
    for i in range(300):
        (tree / f"{i}").mkdir()
        for j in range(5):
            (tree / f"{i}/{j}").mkdir()
            (tree / f"{i}/{j}/file").write_text("")
    remove_tree(str(tree))
    assert not tree.exists()


NAMES = [
    "a b",
    "new\nline",
    "-rf",
    "*",
    "é",
    ".hidden",
    "...",
    "\\",
    "'",
    '"',
    "x" * 255,
    ".pyrun-remove-1",
    ".pyrun-remove-2",
]


@pytest.mark.parametrize("kind", ["file", "directory", "full directory", "link"])
def test_hostile_names(tree: Path, kind: str) -> None:
    """Among them those that are used for moving directories up, as files, directories and links."""
    names = [os.fsencode(name) for name in NAMES] + [b"\xff\xfe"]
    for name in names:
        path = os.path.join(os.fsencode(tree), name)
        if kind == "file":
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        elif kind == "link":
            os.symlink("/etc", path)
        else:
            os.mkdir(path)
        if kind == "full directory":
            for inner in names:
                os.mkdir(os.path.join(path, inner))
                os.close(os.open(os.path.join(path, inner, b"file"), os.O_CREAT))
    remove_tree(str(tree))
    assert not tree.exists()


def test_links_are_not_followed(tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "dir").mkdir(parents=True)
    (outside / "dir/file").write_text("kept")
    (tree / "to-directory").symlink_to(outside)
    (tree / "to-file").symlink_to(outside / "dir/file")
    (tree / "up").symlink_to("../outside")
    (tree / "sub").mkdir()
    (tree / "sub/loop").symlink_to(".")
    os.link(outside / "dir/file", tree / "hard")
    remove_tree(str(tree))
    assert not tree.exists()
    assert (outside / "dir/file").read_text() == "kept"


def test_the_top_is_not_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(NotADirectoryError):
        remove_tree(str(tmp_path / "link"))
    assert (tmp_path / "outside/file").read_text() == "kept"


def test_other_kinds_and_modes(tree: Path) -> None:
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tree / "socket"))
    (tree / "locked").mkdir()
    (tree / "locked/file").write_text("")
    (tree / "locked").chmod(0)
    (tree / "sticky").mkdir(mode=0o1777)
    if os.geteuid() == 0:
        remove_tree(str(tree))
        assert not tree.exists()
    else:
        (tree / "locked").chmod(0o700)
        remove_tree(str(tree))


def test_somebody_else_removes_too(tree: Path) -> None:
    """Two at once, as when a launcher that was thought dead comes back: either may find a name gone."""
    for i in range(200):
        (tree / f"{i}/a/b").mkdir(parents=True)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            remove_tree(str(tree))
        except FileNotFoundError:
            pass
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    remove_tree(str(tree))
    assert errors == []
    assert not tree.exists()


def test_a_directory_swapped_for_a_link_while_it_is_removed(tree: Path, tmp_path: Path) -> None:
    """What is opened is opened without following, so the worst is an error."""
    outside = tmp_path / "outside"
    outside.mkdir()
    for i in range(50):
        (outside / f"{i}").write_text("kept")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for call, arguments in (
                (os.mkdir, (tree / "name",)),
                (os.rmdir, (tree / "name",)),
                (os.symlink, (outside, tree / "name")),
                (os.unlink, (tree / "name",)),
            ):
                try:
                    call(*arguments)
                except OSError:
                    pass

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(200):
            tree.mkdir(exist_ok=True)
            try:
                remove_tree(str(tree))
            except OSError:
                pass
    finally:
        stop.set()
        thread.join()
    assert len(os.listdir(outside)) == 50
    if tree.exists():
        remove_tree(str(tree))
