"""Volumes: what is shared, what is whose, and that a path inside one never leads out of it."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from fixtures.pods import FOREVER, created, host_path, mount, pod_spec, python, run_pod, running, shell
from pyrun.errors import KernelError, PyrunError, SpecError, describe_error
from pyrun.kernel.undo import Undo
from pyrun.pod.volume import _make_directories
from pyrun.spec.pod import PodSpec

pytestmark = pytest.mark.root


def refused(spec: PodSpec, top: Path) -> str:
    """The one-line error of a pod that cannot be created."""
    with pytest.raises(PyrunError) as caught, created(spec, top):
        pass
    text = describe_error(caught.value)
    assert "\n" not in text
    return text


# ---- emptyDir --------------------------------------------------------------------------------------------------------

WAIT = "until [ -e /data/done ]; do sleep 0.01; done"
TELL = "stat -c '%d %a %U' /data; stat -c %a /data/made; cat /data/made"


@pytest.mark.parametrize("source", [{}, {"medium": "Memory"}, {"medium": "Memory", "sizeLimit": "1Mi"}])
def test_empty_dir_is_one_for_all_containers_and_world_writable(tmp_path: Path, source: dict[str, str]) -> None:
    data = [mount("data", "/data")]
    writer = shell(f"umask 0; echo text >/data/made; : >/data/done; {TELL}", "writer", volumeMounts=data)
    reader = shell(f"{WAIT}; {TELL}", "reader", volumeMounts=data)
    seen = run_pod(pod_spec(writer, reader, volumes=[{"name": "data", "emptyDir": source}]), tmp_path)
    assert seen["writer"] == seen["reader"]
    device, mode, owner, made_mode, text = seen["writer"].split()
    assert (mode, owner, made_mode, text) == ("777", "root", "666", "text")
    on_disk = int(device) == os.stat(tmp_path).st_dev
    assert on_disk == (not source)


def test_empty_dir_is_on_disk_in_the_pods_directory_and_goes_with_it(tmp_path: Path) -> None:
    spec = pod_spec(
        shell("echo text >/data/file; echo written; " + FOREVER, volumeMounts=[mount("data", "/data")]),
        volumes=[{"name": "data"}],
    )
    with running(spec, tmp_path) as it:
        it.wait_for("written")
        assert (it.directory / "volumes/data/file").read_text() == "text\n"
        assert stat.S_IMODE(it.directory.stat().st_mode) == 0o700  # nobody else on the host may look


def test_empty_dir_in_memory_ends_at_its_size_for_all_together(tmp_path: Path) -> None:
    script = """
import errno, sys
try:
    with open("/data/" + sys.argv[1], "wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))
except OSError as error:
    print(errno.errorcode[error.errno])
import os, time
while len(os.listdir("/data")) < 2:
    time.sleep(0.01)
time.sleep(0.2)
print(sum(os.stat("/data/" + name).st_size for name in os.listdir("/data")))
"""
    data = [mount("data", "/data")]
    volume = {"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}}
    both = [python(script, name, name, volumeMounts=data) for name in ("one", "two")]
    seen = run_pod(pod_spec(*both, volumes=[volume]), tmp_path)
    for name in ("one", "two"):
        assert seen[name].split() == ["ENOSPC", str(4 << 20)]


def test_empty_dir_in_memory_is_not_on_the_host(tmp_path: Path) -> None:
    spec = pod_spec(
        shell(f"echo text >/data/file; echo written; {FOREVER}", volumeMounts=[mount("data", "/data")]),
        volumes=[{"name": "data", "emptyDir": {"medium": "Memory"}}],
    )
    with running(spec, tmp_path) as it:
        it.wait_for("written")
        assert not list(it.directory.rglob("file"))


def test_programs_run_from_an_empty_dir_and_devices_do_not_open(tmp_path: Path) -> None:
    script = "cp /bin/true /data/true; /data/true && echo ran"
    for source in ({}, {"medium": "Memory"}):
        spec = pod_spec(
            shell(script, volumeMounts=[mount("data", "/data")]), volumes=[{"name": "data", "emptyDir": source}]
        )
        assert run_pod(spec, tmp_path)["main"] == "ran\n"


# ---- hostPath --------------------------------------------------------------------------------------------------------


@pytest.fixture
def things(tmp_path: Path) -> dict[str, Path]:
    """One thing of each kind on the host."""
    made = {
        kind: tmp_path / "host" / kind.lower() for kind in ("Directory", "File", "Socket", "CharDevice", "BlockDevice")
    }
    made["Directory"].mkdir(parents=True)
    made["File"].write_text("text")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(made["Socket"]))
    os.mknod(made["CharDevice"], stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(made["BlockDevice"], stat.S_IFBLK | 0o666, os.makedev(7, 250))
    return made


KINDS = ("Directory", "File", "Socket", "CharDevice", "BlockDevice")
LETTERS = dict(zip(KINDS, "d-scb", strict=True))
WORDS = {
    "Directory": "a directory",
    "File": "a regular file",
    "Socket": "a socket",
    "CharDevice": "a character device",
    "BlockDevice": "a block device",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("checked", [True, False])
def test_host_path_of_each_kind(tmp_path: Path, things: dict[str, Path], kind: str, checked: bool) -> None:
    volume = host_path("it", things[kind], kind if checked else "")
    script = "stat -c %A /mnt/it | cut -c 1; stat -c '%d %i' /mnt/it"
    spec = pod_spec(shell(script, volumeMounts=[mount("it", "/mnt/it")]), volumes=[volume])
    letter, device, inode = run_pod(spec, tmp_path)["main"].split()
    assert letter == LETTERS[kind]
    assert (int(device), int(inode)) == (things[kind].stat().st_dev, things[kind].stat().st_ino)


@pytest.mark.parametrize(("wanted", "found"), [(a, b) for a in KINDS for b in KINDS if a != b])
def test_host_path_of_the_wrong_kind(tmp_path: Path, things: dict[str, Path], wanted: str, found: str) -> None:
    spec = pod_spec(shell("true"), volumes=[{"name": "first"}, host_path("it", things[found], wanted)])
    assert refused(spec, tmp_path) == f"/spec/volumes/1/hostPath/type: {things[found]} is not {WORDS[wanted]}"


@pytest.mark.parametrize("kind", ["", *KINDS])
def test_host_path_that_is_missing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "missing"
    text = refused(pod_spec(shell("true"), volumes=[host_path("it", path, kind)]), tmp_path)
    assert text == f"/spec/volumes/0/hostPath/path: {path}: No such file or directory"
    assert not path.exists()


def test_one_host_path_with_two_types_is_checked_for_both(tmp_path: Path, things: dict[str, Path]) -> None:
    volumes = [host_path("a", things["File"], "File"), host_path("b", things["File"], "Directory")]
    assert refused(pod_spec(shell("true"), volumes=volumes), tmp_path).startswith("/spec/volumes/1/hostPath/type: ")


@pytest.mark.parametrize("kind", ["DirectoryOrCreate", "FileOrCreate"])
def test_what_is_created_on_the_host_stays_with_what_is_in_it(tmp_path: Path, kind: str) -> None:
    """As in Kubernetes: the pod goes, the host's path is the host's."""
    path = tmp_path / "host" / "new"
    path.parent.mkdir()
    target = "/data/file" if kind == "DirectoryOrCreate" else "/data"
    spec = pod_spec(
        shell(f"echo text >{target}", volumeMounts=[mount("it", "/data")]), volumes=[host_path("it", path, kind)]
    )
    run_pod(spec, tmp_path)
    run_pod(spec, tmp_path)  # now it is there
    if kind == "DirectoryOrCreate":
        assert (path / "file").read_text() == "text\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
    else:
        assert path.read_text() == "text\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("umask", [0, 0o077])
def test_what_is_created_has_its_mode_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """As the kubelet's, whoever started it: what is on the host must not depend on who made it."""
    paths = {"d": tmp_path / "host/d", "f": tmp_path / "host/d/f"}
    volumes = [host_path("d", paths["d"], "DirectoryOrCreate"), host_path("f", paths["f"], "FileOrCreate")]
    spec = pod_spec(shell("true"), volumes=[*volumes, {"name": "e"}])
    previous = os.umask(umask)
    try:
        with running(spec, tmp_path) as it:
            assert stat.S_IMODE((it.directory / "volumes/e").stat().st_mode) == 0o777
    finally:
        os.umask(previous)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (paths["d"].parent, *paths.values())] == [0o755, 0o755, 0o644]


def test_an_empty_directory_that_was_created_stays_too(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c"
    run_pod(pod_spec(shell("true"), volumes=[host_path("it", path, "DirectoryOrCreate")]), tmp_path)
    assert path.is_dir()


def test_what_was_created_on_the_host_goes_when_the_pod_does_not_come_to_be(tmp_path: Path) -> None:
    volumes = [
        host_path("d", tmp_path / "a/b/c", "DirectoryOrCreate"),
        host_path("f", tmp_path / "file", "FileOrCreate"),
    ]
    before = sorted(tmp_path.iterdir())
    assert "command not found" in refused(
        pod_spec({**shell("true"), "command": ["nothing-here"]}, volumes=volumes), tmp_path
    )
    assert [path for path in sorted(tmp_path.iterdir()) if path.suffix != ".out"] == before


@pytest.mark.parametrize(("kind", "there"), [("DirectoryOrCreate", "File"), ("FileOrCreate", "Directory")])
def test_or_create_does_not_replace_what_is_there(
    tmp_path: Path, things: dict[str, Path], kind: str, there: str
) -> None:
    text = refused(pod_spec(shell("true"), volumes=[host_path("it", things[there], kind)]), tmp_path)
    assert text == f"/spec/volumes/0/hostPath/type: {things[there]} is not {WORDS[kind.removesuffix('OrCreate')]}"


def test_directory_or_create_below_a_file(tmp_path: Path, things: dict[str, Path]) -> None:
    path = things["File"] / "below"
    text = refused(pod_spec(shell("true"), volumes=[host_path("it", path, "DirectoryOrCreate")]), tmp_path)
    assert text == f"/spec/volumes/0/hostPath/path: {path}: Not a directory"


def test_file_or_create_makes_no_parents(tmp_path: Path) -> None:
    path = tmp_path / "none" / "file"
    text = refused(pod_spec(shell("true"), volumes=[host_path("it", path, "FileOrCreate")]), tmp_path)
    assert text == f"/spec/volumes/0/hostPath/path: {path}: No such file or directory"


@pytest.mark.parametrize("kind", ["DirectoryOrCreate", "FileOrCreate", "", "File", "Directory"])
def test_a_link_that_leads_nowhere_is_missing(tmp_path: Path, kind: str) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    text = refused(pod_spec(shell("true"), volumes=[host_path("it", link, kind)]), tmp_path)
    assert text.startswith(f"/spec/volumes/0/hostPath/path: {link}: ")
    assert not (tmp_path / "nowhere").exists()


def test_a_link_to_a_directory_is_followed(tmp_path: Path, things: dict[str, Path]) -> None:
    (things["Directory"] / "file").write_text("text")
    link = tmp_path / "link"
    link.symlink_to(things["Directory"])
    spec = pod_spec(
        shell("cat /data/file", volumeMounts=[mount("it", "/data")]), volumes=[host_path("it", link, "Directory")]
    )
    assert run_pod(spec, tmp_path)["main"] == "text"


def test_writes_reach_the_host_unless_read_only(tmp_path: Path, things: dict[str, Path]) -> None:
    mounts = [mount("it", "/rw"), mount("it", "/ro", readOnly=True)]
    script = "echo a >/rw/a; ls /ro; if echo b >/ro/b; then echo wrote; fi; if rm /ro/a; then echo removed; fi"
    output = run_pod(
        pod_spec(shell(script, volumeMounts=mounts), volumes=[host_path("it", things["Directory"])]), tmp_path
    )
    assert output["main"].splitlines()[0] == "a"
    assert output["main"].count("Read-only file system") == 2
    assert (things["Directory"] / "a").read_text() == "a\n"


def test_read_only_cannot_be_undone_from_inside(tmp_path: Path, things: dict[str, Path]) -> None:
    spec = pod_spec(
        shell(
            "if mount -o remount,rw,bind /ro; then echo done; fi; if umount /ro; then echo done; fi",
            volumeMounts=[mount("it", "/ro", readOnly=True)],
        ),
        volumes=[host_path("it", things["Directory"])],
    )
    assert "done" not in run_pod(spec, tmp_path)["main"]


def test_a_file_over_a_file_of_the_image(tmp_path: Path, things: dict[str, Path]) -> None:
    spec = pod_spec(
        shell("cat /etc/passwd", volumeMounts=[mount("it", "/etc/passwd")]), volumes=[host_path("it", things["File"])]
    )
    assert run_pod(spec, tmp_path)["main"] == "text"
    assert Path("/etc/passwd").read_text() != "text"


def test_a_volume_may_take_the_place_of_what_is_there_by_default(tmp_path: Path, things: dict[str, Path]) -> None:
    """/etc/hosts, /dev/shm, and a whole /etc below which the pod's own files still are."""
    (things["Directory"] / "kept").write_text("kept")
    mounts = [mount("file", "/etc/hosts"), mount("memory", "/dev/shm")]
    volumes = [
        host_path("file", things["File"]),
        host_path("directory", things["Directory"]),
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]
    one = shell("cat /etc/hosts; df -k --output=size /dev/shm | tail -1", "one", volumeMounts=mounts)
    two = shell("ls /etc; cat /etc/hostname", "two", volumeMounts=[mount("directory", "/etc")])
    seen = run_pod(pod_spec(one, two, volumes=volumes), tmp_path)
    assert seen["one"].split() == ["text", "1024"] or seen["one"].split() == ["text1024"]
    assert seen["two"].split() == ["hostname", "hosts", "kept", "resolv.conf", "test"]


def test_volumes_inside_volumes_in_any_order_of_the_manifest(tmp_path: Path) -> None:
    mounts = [mount("c", "/a/b/c"), mount("a", "/a"), mount("b", "/a/b")]
    volumes = [{"name": name, "emptyDir": {"medium": "Memory"}} for name in "abc"]
    script = "for d in /a /a/b /a/b/c; do stat -c %d $d; done | sort -u | wc -l; ls /a /a/b"
    seen = run_pod(pod_spec(shell(script, volumeMounts=mounts), volumes=volumes), tmp_path)["main"]
    assert seen.split() == ["3", "/a:", "b", "/a/b:", "c"]


def test_names_with_spaces_colons_and_backslashes(tmp_path: Path) -> None:
    path = tmp_path / "a b\\c:d,e\n'\"é"
    path.mkdir()
    (path / "file").write_text("text")
    spec = pod_spec(
        shell("cat '/mnt/x y\\z/file'", volumeMounts=[mount("it", "/mnt/x y\\z")]), volumes=[host_path("it", path)]
    )
    assert run_pod(spec, tmp_path)["main"] == "text"


def test_mounts_below_a_host_path_come_with_it(tmp_path: Path) -> None:
    """/proc of the host below its root: a recursive bind, as in Kubernetes."""
    spec = pod_spec(
        shell(f"test -d /host/proc/{os.getpid()} && echo seen", volumeMounts=[mount("root", "/host", readOnly=True)]),
        volumes=[host_path("root", "/")],
    )
    assert run_pod(spec, tmp_path)["main"] == "seen\n"


# ---- subPath ---------------------------------------------------------------------------------------------------------


def sub(tmp_path: Path, path: str, script: str, **fields: bool) -> str:
    """Run *script* with /data as what *path* is in the volume ``tmp_path/volume``."""
    spec = pod_spec(
        shell(script, volumeMounts=[mount("it", "/data", subPath=path, **fields)]),
        volumes=[host_path("it", tmp_path / "volume")],
    )
    return run_pod(spec, tmp_path)["main"]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume with something in it, beside something that it must not lead to."""
    top = tmp_path / "volume"
    (top / "dir").mkdir(parents=True)
    (top / "dir/file").write_text("inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("outside")
    return top


def test_sub_path_is_a_directory_or_a_file(tmp_path: Path, volume: Path) -> None:
    assert sub(tmp_path, "dir", "ls /data") == "file\n"
    assert sub(tmp_path, "dir/file", "cat /data") == "inside"
    assert sub(tmp_path, "dir", "if echo x >/data/file; then echo wrote; fi", readOnly=True).count("wrote") == 0
    assert (volume / "dir/file").read_text() == "inside"


def test_sub_path_is_created_when_it_is_missing(tmp_path: Path, volume: Path) -> None:
    sub(tmp_path, "new/deeper", "echo text >/data/file")
    assert (volume / "new/deeper/file").read_text() == "text\n"


@pytest.mark.parametrize("source", [{}, {"medium": "Memory"}])
def test_sub_paths_of_an_empty_dir(tmp_path: Path, source: dict[str, str]) -> None:
    whole = shell(
        "until [ -e /all/x/y/done ]; do sleep 0.01; done; cat /all/x/y/file",
        "whole",
        volumeMounts=[mount("it", "/all")],
    )
    part = shell("echo text >/data/file; : >/data/done", "part", volumeMounts=[mount("it", "/data", subPath="x/y")])
    assert run_pod(pod_spec(whole, part, volumes=[{"name": "it", "emptyDir": source}]), tmp_path)["whole"] == "text\n"


@pytest.mark.parametrize(
    "link", ["{outside}", "../outside", "/../outside", "../../../../../../..{outside}", "/etc", ".."]
)
def test_a_link_in_a_volume_does_not_lead_out_of_it(tmp_path: Path, volume: Path, link: str) -> None:
    """Absolute or relative, it is resolved below the volume, where nothing of that name is: made there, or refused
    (CVE-2021-25741)."""
    (volume / "link").symlink_to(link.format(outside=tmp_path / "outside"))
    outside = sorted(os.listdir(tmp_path / "outside"))
    for path in ("link", "link/deeper"):
        try:
            sub(tmp_path, path, "if [ -e /data/passwd ]; then echo out; fi; ls /data; : >/data/written")
        except KernelError as error:
            assert error.errno
    assert sorted(os.listdir(tmp_path / "outside")) == outside
    assert not (tmp_path / "written").exists()
    assert not Path("/etc/written").exists()
    assert (tmp_path / "outside/file").read_text() == "outside"


def test_a_link_inside_a_volume_is_followed_inside(tmp_path: Path, volume: Path) -> None:
    (volume / "relative").symlink_to("dir")
    (volume / "absolute").symlink_to("/dir")
    assert sub(tmp_path, "relative", "cat /data/file") == "inside"
    assert sub(tmp_path, "absolute/file", "cat /data") == "inside"


def test_a_container_cannot_swap_a_sub_path_for_a_link_out(tmp_path: Path, volume: Path) -> None:
    """The other container of the pod turns the name to and fro while pods are created (CVE-2021-30465)."""
    flip = python(
        """
import os
def attempt(call, *arguments):
    try:
        call(*arguments)
    except OSError:
        pass
print("flipping", flush=True)
while True:
    attempt(os.symlink, "/etc", "/data/name")
    attempt(os.unlink, "/data/name")
    attempt(os.mkdir, "/data/name")
    attempt(os.rmdir, "/data/name")
""",
        volumeMounts=[mount("it", "/data")],
    )
    with running(pod_spec(flip, volumes=[host_path("it", volume)]), tmp_path) as attacker:
        attacker.wait_for("flipping")
        for _ in range(30):
            try:
                assert "passwd" not in sub(tmp_path, "name", "ls /data")
            except KernelError:
                pass
        attacker.pod.kill()


@pytest.mark.usefixtures("volume")
def test_sub_path_through_a_file(tmp_path: Path) -> None:
    with pytest.raises(KernelError) as caught:
        sub(tmp_path, "dir/file/below", "true")
    assert "Not a directory" in describe_error(caught.value)
    assert caught.value.about == "container main"


# ---- targets ---------------------------------------------------------------------------------------------------------


def test_targets_are_made_in_the_containers_own_layer(tmp_path: Path) -> None:
    name = f"pyrun-target-{os.getpid()}"
    spec = pod_spec(
        shell(f"stat -c %a /{name} /{name}/a; ls /{name}/a/b", volumeMounts=[mount("it", f"/{name}/a/b")]),
        volumes=[{"name": "it"}],
    )
    assert run_pod(spec, tmp_path)["main"].split() == ["755", "755"]
    assert not Path(f"/{name}").exists()


def test_a_target_that_is_no_directory(tmp_path: Path) -> None:
    spec = pod_spec(shell("true", volumeMounts=[mount("it", "/etc/passwd/below")]), volumes=[{"name": "it"}])
    assert "Not a directory" in refused(spec, tmp_path)


def test_a_spec_error_is_also_a_value_error(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="No such file"),
        created(pod_spec(shell("true"), volumes=[host_path("it", "/no")]), tmp_path),
    ):
        pass
    assert issubclass(SpecError, ValueError)


@pytest.mark.root
@pytest.mark.parametrize("name", ["hosts", "hostname", "resolv.conf"])
def test_a_host_path_that_the_sandbox_has_by_the_same_name(tmp_path: Path, name: str) -> None:
    """The pod's own /etc files lie at the same path in the sandbox; the host's is what was asked for."""
    there = Path("/etc", name)
    volumes = [host_path("it", there)]
    printed = run_pod(pod_spec(shell("cat /file", volumeMounts=[mount("it", "/file")]), volumes=volumes), tmp_path)
    assert printed["main"] == there.read_text()


def test_a_directory_that_another_pod_makes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pods with one claim that nobody has used before: both start, and only who made it takes it back."""
    mkdir, wanted = os.mkdir, tmp_path / "namespace/claim"

    def quicker(path: str, mode: int) -> None:
        if path == str(wanted.parent):
            mkdir(path, mode)
        mkdir(path, mode)

    monkeypatch.setattr(os, "mkdir", quicker)
    with Undo("pod") as made:
        _make_directories(str(wanted), made)
        assert wanted.is_dir()
        made.run()
    assert not wanted.exists()
    assert wanted.parent.is_dir()
