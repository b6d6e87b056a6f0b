"""Steps on files, directories and descriptors, below a directory that somebody hostile may have filled."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

import pytest

from fixtures.child import at_gate, run, shell
from pyrun.errors import StepError
from pyrun.kernel.fd import Fd
from pyrun.kernel.step import (
    ChangeDirectory,
    Close,
    CloseRange,
    Duplicate,
    Exec,
    MakeDirectory,
    MakeNode,
    MakeSymlink,
    OpenDirectory,
    SetSysctl,
    Step,
    WriteFile,
)

pytestmark = pytest.mark.root


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A directory of the host that is a container's root, with links that lead out of it."""
    path = tmp_path / "image"
    outside = tmp_path / "outside"
    (path / "dir").mkdir(parents=True)
    outside.mkdir()
    (outside / "file").write_text("host")
    (path / "absolute").symlink_to(outside)
    (path / "up").symlink_to(f"{'../' * 30}{outside}")
    (path / "file-absolute").symlink_to(outside / "file")
    (path / "file-up").symlink_to(f"{'../' * 30}{outside}/file")
    (path / "inner").symlink_to("/dir")
    return path


def within(image: Path, *steps: Step, **how: object) -> None:
    """Run steps on the image, which is slot "root"."""
    with at_gate(OpenDirectory(str(image), "root"), *steps, **how):
        pass


def failure(image: Path, *steps: Step) -> int:
    with pytest.raises(StepError) as caught:
        within(image, *steps)
    return caught.value.errno or 0


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ---- directories -----------------------------------------------------------------------------------------------------------


def test_mkdir_makes_parents_with_their_own_mode(image: Path) -> None:
    within(image, MakeDirectory("a//b/c/", "root", 0o1777), MakeDirectory("/dir", "root", 0o700))
    assert [mode(image / path) for path in ("a", "a/b", "a/b/c", "dir")] == [0o755, 0o755, 0o1777, 0o755]


def test_mkdir_by_the_childs_own_path(tmp_path: Path) -> None:
    with at_gate(
        MakeDirectory(str(tmp_path / "x/y"), mode=0o750), ChangeDirectory(str(tmp_path)), MakeDirectory("z/w")
    ):
        pass
    assert mode(tmp_path / "x/y") == 0o750
    assert (tmp_path / "z/w").is_dir()


def test_mkdir_follows_links_inside_the_root(image: Path) -> None:
    within(image, MakeDirectory("inner/x", "root"), MakeDirectory("dir/../inner/y", "root"))
    assert sorted(os.listdir(image / "dir")) == ["x", "y"]


@pytest.mark.parametrize("path", ["/", ".", "", "dir", "dir/", "dir/.."])
def test_mkdir_of_what_is_there(image: Path, path: str) -> None:
    within(image, MakeDirectory(path, "root"))


def test_mkdir_through_a_file(image: Path) -> None:
    (image / "file").touch()
    assert failure(image, MakeDirectory("file/x", "root")) == errno.ENOTDIR
    assert failure(image, MakeDirectory("file", "root")) == errno.ENOTDIR


def test_names_that_are_too_long(image: Path) -> None:
    assert failure(image, MakeDirectory("n" * 256, "root")) == errno.ENAMETOOLONG
    assert failure(image, MakeDirectory("n/" * 2048, "root")) == errno.ENAMETOOLONG
    within(image, MakeDirectory("/".join(["n" * 200] * 19), "root"))
    # A dangling link whose content makes the name too long.
    (image / "long").symlink_to("/".join(["m" * 200] * 19))
    assert failure(image, MakeDirectory("long/" + "n/" * 500, "root")) == errno.ENAMETOOLONG


@pytest.mark.parametrize("link", ["absolute", "up", "../outside", "dir/../../outside", "/../../outside"])
@pytest.mark.parametrize(
    "step",
    [
        lambda path: MakeDirectory(f"{path}/made", "root"),
        lambda path: OpenDirectory(f"{path}/made", "opened", "root", create_mode=0o755),
        lambda path: ChangeDirectory(f"{path}/made", "root", create_mode=0o755),
    ],
    ids=["mkdir", "open", "chdir"],
)
def test_a_link_that_leads_out_leads_to_a_place_inside(image: Path, link: str, step: object) -> None:
    within(image, step(link))  # type: ignore[operator]
    outside = image.parent / "outside"
    assert os.listdir(outside) == ["file"]
    assert [path for path in image.rglob("made") if path.is_dir()]


def test_a_chain_of_links_to_nothing(image: Path) -> None:
    for i in range(10):
        (image / f"l{i}").symlink_to(f"l{i + 1}/d")
    within(image, MakeDirectory("l0/x", "root"))
    assert [path for path in image.rglob("x") if path.is_dir() and not path.is_symlink()]
    (image / "loop").symlink_to("loop/x")
    assert failure(image, MakeDirectory("loop/y", "root")) == errno.ELOOP


def test_open_directory_must_be_one(image: Path) -> None:
    (image / "file").touch()
    assert failure(image, OpenDirectory("file", "d", "root")) == errno.ENOTDIR
    assert failure(image, OpenDirectory("missing", "d", "root")) == errno.ENOENT
    assert failure(image, OpenDirectory("absolute", "d", "root")) == errno.ENOENT


def test_working_directory(image: Path) -> None:
    with at_gate(OpenDirectory(str(image), "root"), ChangeDirectory("inner", at="root")) as seen:
        assert os.readlink(seen.proc / "cwd") == str(image / "dir")
    with at_gate(ChangeDirectory(str(image / "new/work"), create_mode=0o700)) as seen:
        assert os.readlink(seen.proc / "cwd") == str(image / "new/work")
    assert failure(image, ChangeDirectory("missing", at="root")) == errno.ENOENT


# ---- nodes and links ---------------------------------------------------------------------------------------------------------


def test_device_that_works(image: Path) -> None:
    within(image, MakeNode("dir/null", stat.S_IFCHR | 0o666, 1, 3, at="root"))
    node = (image / "dir/null").stat()
    assert (stat.S_IFMT(node.st_mode), stat.S_IMODE(node.st_mode), node.st_rdev) == (
        stat.S_IFCHR,
        0o666,
        os.makedev(1, 3),
    )
    assert (image / "dir/null").write_bytes(b"x") == 1
    assert (image / "dir/null").read_bytes() == b""


def test_numbers_of_devices_beyond_eight_bits(image: Path) -> None:
    within(
        image,
        MakeNode("node", stat.S_IFBLK | 0o600, 511, 1_000_000, at="root"),
        MakeNode("pipe", stat.S_IFIFO | 0o622, 0, 0, at="root"),
    )
    assert (image / "node").stat().st_rdev == os.makedev(511, 1_000_000)
    assert stat.S_ISFIFO((image / "pipe").stat().st_mode)


def test_node_is_made_inside_and_new(image: Path) -> None:
    null = (stat.S_IFCHR | 0o666, 1, 3)
    assert failure(image, MakeNode("absolute/null", *null, at="root")) == errno.ENOENT
    assert failure(image, MakeNode("up/null", *null, at="root")) == errno.ENOENT
    assert failure(image, MakeNode("file-absolute", *null, at="root")) == errno.EEXIST
    assert failure(image, MakeNode("/", *null, at="root")) == errno.EEXIST
    assert failure(image, MakeNode("", *null, at="root")) == errno.ENOENT
    within(image, MakeNode("../../null", *null, at="root"))
    assert stat.S_ISCHR((image / "null").stat().st_mode)


def test_symlink(image: Path) -> None:
    within(image, MakeSymlink("dir/fd", "/proc/self/fd", at="root"), MakeSymlink("../x", "anything at all", at="root"))
    assert os.readlink(image / "dir/fd") == "/proc/self/fd"
    assert os.readlink(image / "x") == "anything at all"
    assert failure(image, MakeSymlink("absolute", "x", at="root")) == errno.EEXIST
    assert failure(image, MakeSymlink("up/x", "x", at="root")) == errno.ENOENT


# ---- files -----------------------------------------------------------------------------------------------------------------


def test_new_file(image: Path) -> None:
    content = bytes(range(256)) * 4096
    within(image, WriteFile("inner/file", content, at="root", create_mode=0o4640))
    assert (image / "dir/file").read_bytes() == content
    assert mode(image / "dir/file") == 0o4640


def test_empty_file(image: Path) -> None:
    within(image, WriteFile("file", b"", at="root", create_mode=0o600))
    assert (image / "file").read_bytes() == b""


def test_new_file_must_be_new(image: Path) -> None:
    """Or a link that the image has in its place would direct the write."""
    for path in ("file-absolute", "file-up", "dir"):
        assert failure(image, WriteFile(path, b"pwned", at="root", create_mode=0o600)) == errno.EEXIST
    for path in ("absolute/x", "up/x"):
        assert failure(image, WriteFile(path, b"pwned", at="root", create_mode=0o600)) == errno.ENOENT
    assert (image.parent / "outside/file").read_text() == "host"


def test_existing_file_gets_new_content_only(image: Path) -> None:
    (image / "file").write_bytes(b"something long")
    within(image, WriteFile("file", b"short", at="root"))
    assert (image / "file").read_bytes() == b"short"
    assert failure(image, WriteFile("missing", b"x", at="root")) == errno.ENOENT
    assert failure(image, WriteFile("file-absolute", b"pwned", at="root")) == errno.ENOENT
    assert failure(image, WriteFile("file-up", b"pwned", at="root")) == errno.ENOENT
    assert failure(image, WriteFile("dir", b"x", at="root")) == errno.EISDIR
    assert (image.parent / "outside/file").read_text() == "host"


def test_a_pipe_in_the_files_place_does_not_hold_the_child_up(image: Path) -> None:
    os.mkfifo(image / "trap")
    assert failure(image, WriteFile("trap", b"x", at="root")) == errno.ENXIO


def test_sysctl_of_the_network_namespace() -> None:
    plan = (SetSysctl("net.ipv4.ip_unprivileged_port_start", "77"), SetSysctl("net/ipv4/ip_default_ttl", "33"))
    output = shell(
        "cd /proc/sys/net/ipv4; cat ip_unprivileged_port_start ip_default_ttl", *plan, namespaces=("network",)
    )
    assert output.split() == ["77", "33"]
    assert Path("/proc/sys/net/ipv4/ip_default_ttl").read_text() != "33\n"


def test_sysctl_that_is_refused() -> None:
    with (
        pytest.raises(StepError) as caught,
        at_gate(SetSysctl("net.ipv4.ip_default_ttl", "nonsense"), namespaces=("network",)),
    ):
        pass
    assert caught.value.errno == errno.EINVAL
    assert "sysctl net.ipv4.ip_default_ttl = nonsense" in str(caught.value)
    with pytest.raises(StepError) as caught, at_gate(SetSysctl("net.no_such", "1"), namespaces=("network",)):
        pass
    assert caught.value.errno == errno.ENOENT


# ---- descriptors -----------------------------------------------------------------------------------------------------------


def opened(output: str) -> dict[int, str]:
    """What `ls -l /proc/self/fd` printed, without the directory that ls itself reads."""
    pairs = re.findall(r"(\d+) -> (.*)$", output, re.MULTILINE)
    return {int(number): target for number, target in pairs if "/proc/" not in target}


LIST = Exec(("ls", "-l", "/proc/self/fd"), program="/bin/ls")


def test_one_descriptor_as_many(tmp_path: Path) -> None:
    with Fd.open(str(tmp_path)) as fd:
        status, output = run(Duplicate("d", 5), Duplicate("d", 70), Duplicate("d", fd.fileno()), LIST, fds={"d": fd})
        assert status.code == 0
        found = {number for number, target in opened(output).items() if target == str(tmp_path)}
        assert found == {5, 70, fd.fileno()}


def test_a_slot_may_be_closed_early(tmp_path: Path) -> None:
    with Fd.open(str(tmp_path)) as fd, at_gate(Close("d"), OpenDirectory("/", "e"), Close("e"), fds={"d": fd}) as seen:
        assert str(tmp_path) not in [os.readlink(path) for path in (seen.proc / "fd").iterdir()]


@pytest.mark.parametrize("on_exec", [False, True])
def test_closing_all_descriptors_leaves_the_way_to_the_launcher_open(on_exec: bool) -> None:
    """Without it a failure after this step would look like a program that has started."""
    with pytest.raises(StepError) as caught:
        run(CloseRange(3, on_exec=on_exec), WriteFile("/nonexistent", b""), LIST)
    assert (caught.value.index, caught.value.errno) == (2, errno.ENOENT)
    with at_gate(CloseRange(3, on_exec=on_exec)) as seen:
        kinds = sorted([os.readlink(path).split(":")[0] for path in (seen.proc / "fd").iterdir() if int(path.name) > 2])
        assert kinds[-2:] == ["pipe", "pipe"]
        assert on_exec or len(kinds) == 2
        process = seen.created.start()
        process.end()


def test_closing_some_descriptors(tmp_path: Path) -> None:
    with Fd.open(str(tmp_path)) as fd:
        numbers = [Duplicate("d", number) for number in (60, 61, 62)]
        plan = (*numbers, CloseRange(61, 61), CloseRange(62, 62, on_exec=True), LIST)
        status, output = run(*plan, fds={"d": fd})
        assert status.code == 0
        assert {number for number in opened(output) if number > 2} == {60}
    with pytest.raises(StepError) as caught:
        run(CloseRange(5, 4), LIST)
    assert caught.value.errno == errno.EINVAL


def test_a_slot_whose_descriptor_was_closed_is_empty(tmp_path: Path) -> None:
    """And is not, by its number, something that was opened since."""
    with Fd.open(str(tmp_path)) as fd:
        with pytest.raises(StepError) as caught:
            run(CloseRange(3), OpenDirectory("/", "other"), Duplicate("d", 9), LIST, fds={"d": fd})
        assert (caught.value.index, caught.value.errno) == (3, errno.EBADF)
        with pytest.raises(StepError) as caught:
            run(Close("d"), Exec(("x",), program="/bin/true", file="d"), fds={"d": fd})
        assert caught.value.errno == errno.EBADF
