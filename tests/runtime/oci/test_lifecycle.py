"""create, start, state, kill, delete, list: what a container goes through, and what is refused on the way."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from fixtures.oci_command import OciRuntime, wait_until

pytestmark = pytest.mark.root


def test_a_container_from_create_to_delete(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sh", "-c", "echo $0 started; exec sleep 60", annotations={"a": "b"})
    runtime.create("box", "--pid-file", runtime.top / "pid")
    state = runtime.state()
    assert state["status"] == "created"
    assert state["pid"] == int((runtime.top / "pid").read_text())
    assert (state["id"], state["bundle"]) == ("box", str(runtime.bundle))
    assert state["annotations"] == {"a": "b"}
    assert "started" not in runtime.output()
    runtime.ok("start", "box")
    wait_until(lambda: "started" in runtime.output())
    assert runtime.status() == "running"
    runtime.ok("kill", "box", "KILL")
    runtime.wait_stopped()
    assert runtime.state()["pid"] == 0
    runtime.ok("delete", "box")
    assert runtime.left() == []


@pytest.mark.parametrize("signal", ["TERM", "SIGTERM", "15", "term"])
def test_kill_takes_names_and_numbers(runtime: OciRuntime, signal: str) -> None:
    runtime.configure("/bin/sh", "-c", "trap 'echo heard; exit' TERM; echo ready; while :; do sleep 0.01; done")
    runtime.create()
    runtime.ok("start", "box")
    wait_until(lambda: "ready" in runtime.output())
    runtime.ok("kill", "box", signal)
    runtime.wait_stopped()
    assert "heard" in runtime.output()


def test_kill_reaches_all_processes(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sh", "-c", "trap 'wait' USR1; sleep 60 & echo ready; wait; echo slept; sleep 60")
    runtime.create()
    runtime.ok("start", "box")
    wait_until(lambda: "ready" in runtime.output())
    runtime.ok(
        "kill", "--all", "box", "TERM"
    )  # the first process of a PID namespace ignores what it has no handler for
    wait_until(lambda: "slept" in runtime.output())
    runtime.ok("kill", "--all", "box", "KILL")
    runtime.wait_stopped()


def test_kill_ends_all_where_the_pid_namespace_is_not_the_containers_own(runtime: OciRuntime) -> None:
    kinds = [{"type": kind} for kind in ("mount", "uts")]
    runtime.configure("/bin/sh", "-c", "sleep 60 & echo other $!; wait", linux={"namespaces": kinds})
    runtime.create()
    runtime.ok("start", "box")
    wait_until(lambda: "other" in runtime.output())
    pid = int(runtime.output().split("other")[1])
    assert os.path.exists(f"/proc/{pid}")
    runtime.ok("kill", "box", "9")
    wait_until(lambda: not os.path.exists(f"/proc/{pid}") or is_zombie(pid))


def is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("signal", ["NOPE", "0", "65", "-1", "SIGRTMAX+1", "9999999999"])
def test_a_signal_that_is_none(runtime: OciRuntime, signal: str) -> None:
    runtime.configure("/bin/sleep", "60")
    runtime.create()
    assert "signal" in runtime.call("kill", "box", "--", signal).error


def test_what_is_not_in_the_right_state(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sleep", "60")
    runtime.create()
    runtime.ok("start", "box")
    assert "is running, but must be created" in runtime.call("start", "box").error
    assert "is running, but must be stopped" in runtime.call("delete", "box").error
    assert "already exists" in runtime.call("create", "--bundle", runtime.bundle, "box").error
    runtime.ok("kill", "box", "KILL")
    runtime.wait_stopped()
    # The words that containerd and podman look for.
    assert "container not running" in runtime.call("kill", "box").error
    assert "is stopped" in runtime.call("start", "box").error


def test_a_container_that_does_not_exist(runtime: OciRuntime) -> None:
    for verb in ("state", "start", "kill", "delete"):
        assert "does not exist" in runtime.call(verb, "none").error
    runtime.ok("delete", "--force", "none")


@pytest.mark.parametrize("id", ["", "..", ".", "a/b", "../x", "a b", "é", "pods", "a\n"])
def test_an_id_that_could_be_a_path(runtime: OciRuntime, id: str) -> None:
    runtime.configure("/bin/true")
    assert "cannot be the ID" in runtime.call("create", "--bundle", runtime.bundle, "--", id).error


def test_delete_takes_one_that_was_never_started(runtime: OciRuntime) -> None:
    runtime.configure("/bin/true")
    runtime.create()
    runtime.ok("delete", "box")
    assert runtime.left() == []


def test_force_takes_one_that_runs(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sh", "-c", "sleep 60 & sleep 60")
    runtime.create()
    runtime.ok("start", "box")
    runtime.ok("delete", "--force", "box")
    assert runtime.left() == []


@pytest.mark.parametrize("manager", ["cgroupfs", "disabled"])
def test_run_in_the_foreground(runtime: OciRuntime, manager: str) -> None:
    runtime.configure("/bin/sh", "-c", "echo out; echo err >&2; exit 7")
    done = runtime.call("--cgroup-manager", manager, "run", "--bundle", runtime.bundle, "box")
    assert (done.status, done.out, done.err) == (7, "out\n", "err\n")
    assert runtime.left() == []


def test_run_hands_signals_on(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sh", "-c", "trap 'echo heard; exit 3' TERM; echo ready; while :; do sleep 0.01; done")
    command = runtime.command("run", "--bundle", runtime.bundle, "box")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.read() == "heard\n"
        assert process.wait() == 3
    assert runtime.left() == []


def test_run_keeps_what_is_to_be_kept(runtime: OciRuntime) -> None:
    runtime.configure("/bin/true")
    runtime.ok("run", "--keep", "--bundle", runtime.bundle, "box")
    assert runtime.status() == "stopped"


def test_run_detached(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sleep", "60")
    with (runtime.top / "output").open("wb") as output:
        subprocess.run(runtime.command("run", "--detach", "--bundle", runtime.bundle, "box"), stdout=output, check=True)
    assert runtime.status() == "running"


@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_program_that_is_not_there_leaves_nothing(runtime: OciRuntime, verb: str) -> None:
    runtime.configure("nonsense")
    error = runtime.call(verb, "--bundle", runtime.bundle, "box").error
    assert "executable file 'nonsense' not found in $PATH: No such file or directory" in error
    assert runtime.left() == []


def test_a_program_that_may_not_be_executed(runtime: OciRuntime) -> None:
    (runtime.bundle / "rootfs/bin/text").write_text("x")
    runtime.configure("/bin/text")
    assert "Permission denied" in runtime.call("create", "--bundle", runtime.bundle, "box").error
    assert runtime.left() == []


def test_a_cgroup_that_others_live_in_is_left_alone(runtime: OciRuntime) -> None:
    runtime.configure("/bin/sleep", "60")
    runtime.create()
    assert "in use by other processes" in runtime.call("create", "--bundle", runtime.bundle, "other").error
    assert runtime.status() == "created"
    assert [entry["id"] for entry in json.loads(runtime.ok("list", "--format", "json"))] == ["box"]


def test_list(runtime: OciRuntime) -> None:
    assert runtime.ok("list", "--format=json") == "[]\n"
    runtime.configure("/bin/sleep", "60")
    runtime.create()
    (entry,) = json.loads(runtime.ok("list", "--format=json"))
    assert {**runtime.state(), "owner": "root"} == entry
    heading, row = runtime.ok("list").splitlines()
    assert heading.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert row.split()[:3] == ["box", str(entry["pid"]), "created"]
    assert runtime.ok("list", "-q") == "box\n"


# ---- what is wrong with a bundle or a command line ---------------------------------------------------------------------


def test_a_bundle_without_a_configuration(runtime: OciRuntime) -> None:
    assert f"{runtime.bundle}/config.json: No such file" in runtime.call("create", "-b", runtime.bundle, "box").error


def test_a_configuration_that_is_wrong_is_told_with_its_place(runtime: OciRuntime) -> None:
    runtime.configure("/bin/true", linux={"namespaces": [{"type": "nonsense"}]})
    error = runtime.call("create", "-b", runtime.bundle, "box").error
    assert f"{runtime.bundle}/config.json: /linux/namespaces/0/type" in error
    assert runtime.left() == []


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "a verb is missing"),
        (("crate",), "did you mean 'create'"),
        (("create",), "the ID of a container is missing"),
        (("create", "a", "b"), "unexpected argument 'b'"),
        (("create", "--bundel", "x", "a"), "did you mean '--bundle'"),
        (("create", "a", "--bundle"), "--bundle needs a value"),
        (("--cgroup-manager", "x", "list"), "there are cgroupfs, systemd, disabled"),
        (("--log-format", "x", "list"), "there are text and json"),
        (("create", "--preserve-fds", "x", "a"), "not a number"),
        (("create", "--preserve-fds", "900", "a"), "is not open"),
    ],
)
def test_a_wrong_command_line(runtime: OciRuntime, words: tuple[str, ...], error: str) -> None:
    assert error in runtime.call(*words).error


@pytest.mark.parametrize("verb", ["create", "start", "run", "state", "kill", "delete", "exec", "list"])
def test_each_verb_has_a_help(runtime: OciRuntime, verb: str) -> None:
    assert runtime.ok(verb, "--help").startswith(f"usage: pyrun-oci {verb}")


def test_global_options_may_stand_behind_the_verb(runtime: OciRuntime, tmp_path: Path) -> None:
    assert "does not exist" in runtime.call("state", "--debug", "--root", tmp_path / "other", "none").error
    assert "does not exist" in runtime.call("--rootless=true", "--systemd-cgroup=false", "state", "none").error


@pytest.mark.parametrize("format", ["json", "text"])
def test_an_error_is_the_last_line_of_the_log(runtime: OciRuntime, format: str) -> None:
    log = runtime.top / "log"
    error = runtime.call("--log", log, "--log-format", format, "state", "none").error
    line = log.read_text().splitlines()[-1]
    if format == "json":
        found = json.loads(line)
        assert (found["level"], found["msg"]) == ("error", error)
        assert found["time"].endswith("Z")
    else:
        assert f"level=error msg={json.dumps(error)}" in line


@pytest.mark.parametrize("prefix", ["", "file:"])
def test_a_log_below_the_working_directory_of_the_caller(runtime: OciRuntime, prefix: str) -> None:
    """The bundle is another directory, and becomes ours before most errors."""
    runtime.configure("nonsense")
    runtime.call("--log", f"{prefix}log", "create", "-b", runtime.bundle, "box", cwd=runtime.top)
    assert "level=error" in (runtime.top / "log").read_text()


def test_a_configuration_elsewhere(runtime: OciRuntime) -> None:
    runtime.configure("/bin/echo", "here")
    (runtime.bundle / "config.json").rename(runtime.top / "other.json")
    assert runtime.ok("run", "-b", runtime.bundle, "--config", "other.json", "box", cwd=runtime.top) == "here\n"


def test_an_error_of_the_command_line_is_logged_as_well(runtime: OciRuntime) -> None:
    log = runtime.top / "log"
    runtime.call("--log", log, "--log-format", "json", "create")
    assert json.loads(log.read_text())["level"] == "error"


def test_the_state_directory_is_for_root_alone(runtime: OciRuntime) -> None:
    runtime.configure("/bin/true")
    runtime.create()
    for path in (runtime.root, runtime.root / "box", runtime.root / "box/state.json", runtime.root / "box/gate"):
        assert os.stat(path).st_mode & 0o077 == 0, path


@pytest.mark.parametrize(("options", "is_new"), [((), True), (("--no-new-keyring",), False)])
def test_the_session_keyring_is_new_unless_it_is_to_be_kept(
    runtime: OciRuntime, options: tuple[str, ...], is_new: bool
) -> None:
    runtime.configure("/bin/cat", "/proc/keys")
    id = f"box-{os.urandom(4).hex()}"  # the kernel is in no hurry to forget the keyrings of other tests
    assert (f"_ses.{id}" in runtime.ok("run", "-b", runtime.bundle, *options, id)) == is_new


def test_a_root_that_is_moved_instead_of_pivoted_to(runtime: OciRuntime) -> None:
    runtime.configure("/bin/ls", "/")
    assert runtime.ok("run", "--no-pivot", "-b", runtime.bundle, "box").split() == ["bin", "dev", "proc", "tmp"]
