"""Volumes whose files pyrun writes, as containers see them, and how they change: all old or all new, never some of each."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from fixtures.pods import FOREVER, document, mount, running, shell
from pyrun.errors import KernelError, SpecError
from pyrun.pod import volume_files
from pyrun.pod.volume_files import File, swap_files
from pyrun.spec.pod import PodSpec
from pyrun.spec.pod_parse import parse_pod
from pyrun.spec.source import ConfigObject

pytestmark = pytest.mark.root


def config(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": data}


def spec(pod: dict[str, Any], *objects: dict[str, Any]) -> PodSpec:
    return parse_pod({"kind": "List", "items": [*objects, pod]}, "test.json")


CONF = {"name": "conf", "configMap": {"name": "conf"}}


def test_files_modes_and_links_are_the_kubelets(tmp_path: Path) -> None:
    items = [{"key": "a", "path": "d/one", "mode": 0o400}]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"key": "hidden"}}
    volumes = [
        {
            "name": "v",
            "projected": {"sources": [{"configMap": {"name": "conf", "items": items}}, {"secret": {"name": "s"}}]},
        }
    ]
    script = """
        cat /v/d/one /v/key; echo
        stat -Lc '%a %n' /v/d/one /v/key
        readlink /v/d /v/key; readlink /v/..data | cut -c1-4
        stat -fc %T /v
        touch /v/x || echo no
    """
    pod = document(shell(script, volumeMounts=[mount("v", "/v")]), volumes=volumes)
    with running(spec(pod, config(a="1", b="2"), secret), tmp_path) as it:
        lines = it.output().splitlines()
    assert lines[:5] == ["1hidden", "400 /v/d/one", "644 /v/key", "..data/d", "..data/key"]
    assert lines[5].startswith("..2")
    assert lines[6] == "tmpfs"
    assert lines[-1] == "no"


def test_a_change_reaches_the_volume_but_no_sub_path(tmp_path: Path) -> None:
    script = """
        echo ready
        until [ "$(cat /v/a)" = new ]; do sleep 0.01; done
        ls /v; cat /one
    """
    mounts = [mount("conf", "/v"), mount("conf", "/one", subPath="a")]
    pod = document(shell(script, volumeMounts=mounts), volumes=[CONF])
    with running(spec(pod, config(a="old", b="gone")), tmp_path) as it:
        it.wait_for("ready")
        it.pod.update_objects((ConfigObject("ConfigMap", "conf", (("a", b"new"), ("c", b"3"))),))
        assert it.output().split() == ["ready", "a", "c", "old"]


def test_a_change_that_takes_away_what_is_needed_is_none(tmp_path: Path) -> None:
    with running(
        spec(document(shell("cat /v/a", volumeMounts=[mount("conf", "/v")]), volumes=[CONF]), config(a="1")), tmp_path
    ) as it:
        with pytest.raises(SpecError, match="there is no ConfigMap 'conf'"):
            it.pod.update_objects(())
        assert it.output() == "1"


def test_a_reader_sees_all_old_or_all_new(tmp_path: Path) -> None:
    """Two files that always say the same, swapped as fast as it goes under a reader that opens the directory once for both."""
    top = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    swap_files(top, {"a": File(b"0", 0o644), "b": File(b"0", 0o644)})
    stop = threading.Event()
    torn: list[tuple[str, str]] = []
    seen: set[str] = set()

    def read() -> None:
        while not stop.is_set():
            try:
                data = os.open(tmp_path / "..data", os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue  # it led to one that has just been removed
            try:
                found = tuple([Path(f"/proc/self/fd/{data}/{name}").read_text() for name in ("a", "b")])
            except FileNotFoundError:
                continue  # that directory has just been replaced and removed
            finally:
                os.close(data)
            seen.add(found[0])
            if found[0] != found[1]:
                torn.append(found)  # type: ignore[arg-type]

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(300):
            content = str(number).encode()
            swap_files(top, {"a": File(content, 0o644), "b": File(content, 0o644)})
    finally:
        stop.set()
        reader.join()
        os.close(top)
    assert torn == []
    assert seen
    assert len([name for name in os.listdir(tmp_path) if name.startswith("..2")]) == 1


def test_the_downward_api_in_a_volume(tmp_path: Path) -> None:
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "limit", "resourceFieldRef": {"containerName": "main", "resource": "requests.cpu", "divisor": "1m"}},
    ]
    body = shell("cat /v/labels; echo; cat /v/limit", volumeMounts=[mount("v", "/v")])
    pod = document(body, volumes=[{"name": "v", "downwardAPI": {"items": items}}])
    pod["metadata"]["labels"] = {"zone": "us", "app": "web"}
    with running(spec(pod), tmp_path) as it:
        assert it.output() == 'app="web"\nzone="us"\n0'


def test_an_image_as_a_volume_is_read_only(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.mkdir()
    (image / "tool").write_text("here")
    volumes = [{"name": "i", "image": {"reference": f"rootfs:{image}"}}]
    pod = document(shell("cat /i/tool; touch /i/x || echo no", volumeMounts=[mount("i", "/i")]), volumes=volumes)
    with running(spec(pod), tmp_path) as it:
        assert it.output().splitlines()[0] == "here" + "touch: cannot touch '/i/x': Read-only file system"
        assert it.read().endswith("no\n")
    assert os.listdir(image) == ["tool"]


def test_sub_path_with_variables(tmp_path: Path) -> None:
    env = [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    (tmp_path / "data").mkdir()
    volumes = [{"name": "h", "hostPath": {"path": str(tmp_path / "data")}}]
    mounts = [mount("h", "/h", subPathExpr="logs/$(POD)")]
    with running(spec(document(shell("echo x > /h/y", env=env, volumeMounts=mounts), volumes=volumes)), tmp_path) as it:
        it.output()
    assert (tmp_path / "data/logs/test/y").read_text() == "x\n"


@pytest.mark.parametrize(("value", "why"), [("../x", "must be a relative path"), ("/x", "must be a relative path")])
def test_sub_paths_that_lead_out(tmp_path: Path, value: str, why: str) -> None:
    body = shell("true", env=[{"name": "V", "value": value}], volumeMounts=[mount("e", "/e", subPathExpr="$(V)")])
    pod = spec(document(body, volumes=[{"name": "e", "emptyDir": {}}]))
    with pytest.raises(SpecError, match=why), running(pod, tmp_path):
        pass


def test_a_sub_path_of_an_unknown_variable(tmp_path: Path) -> None:
    body = shell("true", volumeMounts=[mount("e", "/e", subPathExpr="$(NAEM)")])
    pod = spec(document(body, volumes=[{"name": "e", "emptyDir": {}}]))
    with pytest.raises(SpecError, match=r"there is no variable 'NAEM'"), running(pod, tmp_path):
        pass


def test_the_mode_of_an_empty_dir(tmp_path: Path) -> None:
    volumes = [
        {"name": "disk", "emptyDir": {"mode": 0o1700}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "mode": 0o750}},
    ]
    mounts = [mount("disk", "/disk"), mount("memory", "/memory")]
    with running(
        spec(document(shell("stat -c %a /disk /memory", volumeMounts=mounts), volumes=volumes)), tmp_path
    ) as it:
        assert it.output().split() == ["1700", "750"]


def test_a_change_that_cannot_be_written_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two volumes the second cannot be: then the first has what it had, and nothing is left over in either."""
    write_file = volume_files._write_file

    def full(inside_fd: int, name: str, file: File, *owner: Any) -> None:
        if file.content == b"big":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_file(inside_fd, name, file, *owner)

    monkeypatch.setattr(volume_files, "_write_file", full)
    names = {"first": "a", "second": "b"}
    volumes = [
        {"name": name, "configMap": {"name": "conf", "items": [{"key": key, "path": key}]}}
        for name, key in names.items()
    ]
    pod = document(shell(FOREVER, volumeMounts=[mount(name, f"/{name}") for name in names]), volumes=volumes)
    with running(spec(pod, config(a="1", b="2")), tmp_path) as it:
        tops = [Path(f"{it.pod.sandbox.root}/volumes/{name}") for name in names]
        with pytest.raises(KernelError, match="ENOSPC"):
            it.pod.update_objects((ConfigObject("ConfigMap", "conf", (("a", b"new"), ("b", b"big"))),))
        assert [(top / key).read_bytes() for top, key in zip(tops, names.values(), strict=True)] == [b"1", b"2"]
        assert [len(list(top.glob("..2*"))) for top in tops] == [1, 1]
        it.pod.kill()
