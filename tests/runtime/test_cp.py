"""``pyrun cp``: files into a container and out of it, whatever links and names it has laid out."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.command import PYRUN, Done, Running, Store, pyrun
from fixtures.machine import patience
from fixtures.pods import FOREVER, document, mount, shell
from pyrun import Fd
from pyrun_runtime.cli.message import CommandError
from pyrun_runtime.unpack import Unpacker

pytestmark = pytest.mark.root


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture(params=[{}, {"hostUsers": False}], ids=["machine's users", "users of its own"])
def pod(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    """Its image is the machine's root; the test's own directory is an empty one there."""
    script = f"mkdir /tree; cd /tree; echo ready; {FOREVER}"
    container = shell(script, volumeMounts=[mount("empty", str(tmp_path))])
    volumes = [{"name": "empty", "emptyDir": {}}]
    manifest = document(container, volumes=volumes, terminationGracePeriodSeconds=0, **request.param)
    with store.running(store.write(manifest)) as running:
        running.wait_for("ready")
        yield running
        running.signal(15)
        running.finish()


def cp(store: Store, *arguments: str | Path, stdin: bytes = b"") -> Done:
    return pyrun("cp", *arguments, env=store.environment, stdin=stdin)


def inside(store: Store, script: str) -> str:
    done = pyrun("exec", "test", "--", "sh", "-ec", script, env=store.environment)
    assert done.status == 0, done.err
    return done.out


def make_tree(top: Path) -> Path:
    tree = top / "tree-of-ours"
    (tree / "sub").mkdir(parents=True)
    (tree / "big").write_bytes(os.urandom(700_001))
    (tree / "empty").touch(0o640)
    (tree / "sub" / "run").write_text("#!/bin/sh\n")
    (tree / "sub" / "run").chmod(0o755)
    os.chown(tree / "sub" / "run", 123, 45)
    os.utime(tree / "sub" / "run", (1_000_000_000, 1_000_000_000))
    (tree / "link").symlink_to("/etc/passwd")
    os.link(tree / "big", tree / "same")
    (tree / "ümläut \udcff".encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")).touch()
    (tree / "sub").chmod(0o500)
    return tree


def facts(top: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in [top, *sorted(top.rglob("*"))]:
        status = path.lstat()
        body: object = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        mtime = None if path.is_symlink() else status.st_mtime
        key = os.fsdecode(path.relative_to(top))
        found[key] = (status.st_mode, status.st_uid, status.st_gid, mtime, status.st_nlink, body)
    return found


@pytest.mark.usefixtures("pod")
def test_there_and_back_is_the_same(store: Store, tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    assert cp(store, tree, "test:/tree") == Done(0, "", "")
    assert inside(store, "cd /tree; stat -c '%u:%g %a %Y' tree-of-ours/sub/run; readlink tree-of-ours/link") == (
        "123:45 755 1000000000\n/etc/passwd\n"
    ), "owners as the container sees them"
    assert cp(store, "test:/tree/tree-of-ours", tmp_path / "back") == Done(0, "", "")
    assert facts(tmp_path / "back") == facts(tree)


@pytest.mark.usefixtures("pod")
def test_where_it_goes(store: Store, tmp_path: Path) -> None:
    """As cp(1): into a directory that is there, else as that name; a relative path is below the working directory."""
    file = tmp_path / "file"
    file.write_text("one")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "inner").write_text("two")
    for source, target, wanted in (
        (file, "/tree", "/tree/file"),
        (file, "/tree/other", "/tree/other"),
        (file, "/tree/other", "/tree/other"),
        (tmp_path / "dir", "/tree", "/tree/dir/inner"),
        (f"{tmp_path}/dir/.", "/tree", "/tree/inner"),
        (f"{tmp_path}/dir/.", "/tree/new", "/tree/new/inner"),
    ):
        assert cp(store, source, f"test:{target}") == Done(0, "", ""), target
        assert inside(store, f"cat {wanted}") in ("one", "two")
    assert cp(store, "test:/tree/other", tmp_path / "dir") == Done(0, "", "")
    assert (tmp_path / "dir" / "other").read_text() == "one"
    assert cp(store, "test:/tree/new/", "test:/tree/copied").status == 0
    assert inside(store, "cat /tree/copied/inner") == "two"
    assert cp(store, file, "test:/etc/hosts").status == 0, "something is mounted there"
    assert inside(store, "cat /etc/hosts") == "one"


@pytest.mark.usefixtures("pod")
def test_archives(store: Store) -> None:
    inside(store, "mkdir /tree/a; echo hi > /tree/a/b")
    done = subprocess.run(
        [*PYRUN, "cp", "test:/tree/a", "-"],
        env=store.environment,
        capture_output=True,
        check=True,
        timeout=patience(30),
    )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        assert tar.getnames() == ["a", "a/b"]
    assert cp(store, "-", "test:/tree/a", stdin=done.stdout) == Done(0, "", "")
    assert inside(store, "cat /tree/a/a/b") == "hi\n"
    assert "archive is" in cp(store, "-", "test:/tree/a", stdin=b"no archive" * 100).error
    assert "archive is" in cp(store, "-", "test:/tree/a", stdin=done.stdout[:700]).error


@pytest.mark.usefixtures("pod")
def test_links_of_the_container_lead_nowhere_else(store: Store, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the machine")
    inside(
        store,
        f"ln -s / /tree/up; ln -s {secret} /tree/out; "
        f"ln -s ../../../../../..{tmp_path} /tree/dots; ln -s /proc/1/root /tree/magic",
    )
    for path in ("/tree/out/", "/tree/dots/secret", "/tree/up/../../../.." + str(secret)):
        done = cp(store, f"test:{path}", tmp_path / "stolen")
        assert done.status == 1, path
        assert not (tmp_path / "stolen").exists()
    # A link itself is copied as a link.
    assert cp(store, "test:/tree/out", tmp_path / "stolen").status == 0
    assert os.readlink(tmp_path / "stolen") == str(secret)
    file = tmp_path / "file"
    file.write_text("mine")
    cp(store, file, "test:/tree/dots/written")
    assert not (tmp_path / "written").exists()
    assert cp(store, file, "test:/tree/out").status == 0, "the link is replaced"
    assert secret.read_text() == "of the machine"
    assert cp(store, file, "test:/tree/magic/there").status == 1


@pytest.mark.usefixtures("pod")
def test_what_is_special(store: Store, tmp_path: Path) -> None:
    inside(store, "cp /bin/true /tree/suid; chmod 6755 /tree/suid; mkfifo -m 640 /tree/fifo")
    assert cp(store, "test:/tree/suid", tmp_path / "suid").status == 0
    assert stat.S_IMODE((tmp_path / "suid").stat().st_mode) == 0o755
    assert cp(store, "test:/tree/fifo", tmp_path / "fifo").status == 0
    assert stat.S_ISFIFO((tmp_path / "fifo").lstat().st_mode)
    done = cp(store, "test:/dev/null", tmp_path / "null")
    assert done.status == 1
    assert "a socket or device is not copied" in done.err
    inside(store, "cd /tree; i=0; while [ $i -lt 450 ]; do mkdir d; cd d; i=$((i+1)); done")
    assert "directories deep" in cp(store, "test:/tree/d", tmp_path / "deep").err


@pytest.mark.parametrize(
    ("arguments", "status", "wanted"),
    [
        (("a", "b"), 2, "neither is in a pod"),
        (("a",), 2, "expected where from"),
        (("nobody:/x", "/tmp"), 1, "nobody"),
        (("test:", "/tmp"), 2, "a path is missing"),
        (("-c", "no", "test:/x", "/tmp"), 1, "no container 'no'"),
        (("test:/no/such", "/tmp"), 1, "No such file or directory"),
        (("/no/such/file", "test:/tree"), 1, "No such file or directory"),
        (("/etc/passwd", "test:/no/such/"), 1, "No such file or directory"),
        (("/etc/passwd", "test:/etc/passwd/x"), 1, "Not a directory"),
    ],
)
@pytest.mark.parametrize("pod", [{}], indirect=True)
@pytest.mark.usefixtures("pod")
def test_what_cannot_be(store: Store, arguments: tuple[str, ...], status: int, wanted: str) -> None:
    done = cp(store, *arguments)
    assert done.status == status
    assert wanted in done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) == 1, done.err


@pytest.mark.parametrize("pod", [{}], indirect=True)
def test_a_container_that_ends_meanwhile(store: Store, pod: Running) -> None:
    """Its end is seen though its files can be reached yet: the archive is still being written as it ends."""
    inside(store, "mkdir /tree/t; i=0; while [ $i -lt 60 ]; do head -c 65536 /dev/zero > /tree/t/$i; i=$((i+1)); done")
    copying = subprocess.Popen(
        [*PYRUN, "cp", "test:/tree/t", "-"], env=store.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert copying.stdout is not None
    assert copying.stdout.read(65536)
    assert pyrun("kill", "test", env=store.environment).status == 0
    pod.finish()
    _, err = copying.communicate(timeout=patience(30))
    assert copying.returncode == 1
    assert b"Traceback" not in err
    assert err


@pytest.mark.parametrize("pod", [{}], indirect=True)
@pytest.mark.usefixtures("pod")
def test_who_copies_is_killed(store: Store) -> None:
    """The helper ends as well: its archive ends in the middle."""
    pipe = subprocess.PIPE
    copying = subprocess.Popen([*PYRUN, "cp", "-", "test:/tree"], env=store.environment, stdin=pipe, stderr=pipe)
    assert copying.stdin is not None
    assert copying.stderr is not None
    with tarfile.open(fileobj=copying.stdin, mode="w|") as tar:
        member = tarfile.TarInfo("x")
        member.size = 4 << 20  # far more than a pipe holds: when it is sent, the helper has read of it
        tar.addfile(member, io.BytesIO(bytes(member.size)))
        copying.kill()
        copying.wait()
    copying.stdin.close()
    copying.stderr.read()  # until the helper has closed it, too
    copying.stderr.close()


# ---- archives that mean harm ----


def archive(*members: tuple[str, bytes, str]) -> io.BytesIO:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode = kind, target, 0o777
            tar.addfile(member)
    data.seek(0)
    return data


def lead_out(outside: Path) -> list[tuple[tuple[str, bytes, str], ...]]:
    link, regular, hard, directory = tarfile.SYMTYPE, tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
    return [
        (("../x", regular, ""),),
        (("a/../../x", regular, ""),),
        (("a", link, str(outside)), ("a/x", regular, "")),
        (("a", link, str(outside)), ("a", directory, "")),
        (("a", link, ".."), ("a/outside/x", regular, "")),
        (("a", link, str(outside)), ("b", hard, "a/secret")),
        (("b", hard, "../outside/secret"),),
        (("b", hard, str(outside / "secret")),),
        (("/".join(["d"] * 600), directory, ""),),
    ]


@pytest.mark.parametrize("at", range(9))
def test_archives_that_lead_out(tmp_path: Path, at: int) -> None:
    outside, place = tmp_path / "outside", tmp_path / "place"
    outside.mkdir()
    place.mkdir()
    (outside / "secret").write_text("secret")
    before = facts(outside)
    warnings: list[str] = []
    with Fd.open("/", os.O_PATH | os.O_DIRECTORY) as root, pytest.raises((CommandError, OSError)):
        Unpacker(archive(*lead_out(outside)[at]), warnings.append, False).unpack(root, str(place), True)
    assert facts(outside) == before
    assert not (tmp_path / "x").exists()


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "a").symlink_to(tmp_path / "secret")
    warn: Callable[[str], object] = print
    with Fd.open("/", os.O_PATH | os.O_DIRECTORY) as root:
        Unpacker(archive(("a", tarfile.REGTYPE, "")), warn, False).unpack(root, str(tmp_path / "place"), True)
    assert (tmp_path / "secret").read_text() == "secret"
    assert not (tmp_path / "place" / "a").is_symlink()
