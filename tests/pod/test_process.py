"""What the manifest says about the program: its arguments, environment, directory and descriptors, and how its end is told."""

from __future__ import annotations

import os
import selectors
import signal
from pathlib import Path

import pytest

from fixtures.pods import FOREVER, created, document, mount, pod_spec, python, run_pod, running, shell
from pyrun.container.lower import DEFAULT_PATH
from pyrun.errors import ExecError, StateError, describe_error
from pyrun.pod.leftover import kill_pod, list_pods
from pyrun.pod.pod import Pod
from pyrun.spec.pod_parse import parse_pod

pytestmark = pytest.mark.root


# ---- arguments, environment, directory -------------------------------------------------------------------------------


def test_command_and_args_with_variables(tmp_path: Path) -> None:
    env = [{"name": "A", "value": "one"}, {"name": "B", "value": "$(A) and $(C)"}, {"name": "C", "value": "$$(A)"}]
    container = {
        "name": "main",
        "image": "host:",
        "command": ["printf", "%s\\n"],
        "args": ["$(A)", "$(B)", "$(C)", "$$(A)", "$(NONE)", "a b", "", "é\n"],
        "env": env,
    }
    printed = run_pod(pod_spec(container), tmp_path)["main"]
    assert printed == "one\none and $(C)\n$(A)\n$(A)\n$(NONE)\na b\n\né\n\n"


def test_environment(tmp_path: Path) -> None:
    """In the order of the manifest, behind what every runtime sets and may be set anew; nothing of the launcher's."""
    os.environ["PYRUN_TEST_SECRET"] = "secret"
    try:
        env = [
            {"name": "Z", "value": "26"},
            {"name": "HOME", "value": "/tmp"},
            {"name": "EMPTY"},
            {"name": "A", "value": "1"},
        ]
        seen = run_pod(pod_spec({"name": "main", "image": "host:", "command": ["env"], "env": env}), tmp_path)["main"]
    finally:
        del os.environ["PYRUN_TEST_SECRET"]
    assert seen.splitlines() == [f"PATH={DEFAULT_PATH}", "HOSTNAME=test", "HOME=/tmp", "Z=26", "EMPTY=", "A=1"]


def test_program_is_looked_up_in_the_containers_path(tmp_path: Path) -> None:
    env = [{"name": "PATH", "value": "/nowhere:/data"}]
    make = shell(
        "printf '#!/bin/sh\\necho found\\n' >/data/tool; chmod 755 /data/tool", volumeMounts=[mount("it", "/data")]
    )
    volumes = [{"name": "it", "hostPath": {"path": str(tmp_path)}}]
    run_pod(pod_spec(make, volumes=volumes), tmp_path)
    use = {"name": "main", "image": "host:", "command": ["tool"], "env": env, "volumeMounts": [mount("it", "/data")]}
    assert run_pod(pod_spec(use, volumes=volumes), tmp_path)["main"] == "found\n"


def test_a_program_with_a_slash_is_below_the_working_directory(tmp_path: Path) -> None:
    container = {"name": "main", "image": "host:", "command": ["./sh", "-c", "pwd"], "workingDir": "/usr/bin"}
    assert run_pod(pod_spec(container), tmp_path)["main"] == "/usr/bin\n"


def test_working_directory_is_created(tmp_path: Path) -> None:
    name = f"/pyrun-work-{os.getpid()}/a/b"
    assert run_pod(pod_spec(shell("pwd; stat -c %a .", workingDir=name)), tmp_path)["main"] == f"{name}\n755\n"
    assert not Path(name).exists()


def test_working_directory_in_a_volume(tmp_path: Path) -> None:
    spec = pod_spec(
        shell("pwd; echo text >file", workingDir="/data/new", volumeMounts=[mount("it", "/data")]),
        volumes=[{"name": "it", "hostPath": {"path": str(tmp_path)}}],
    )
    run_pod(spec, tmp_path)
    assert (tmp_path / "new/file").read_text() == "text\n"


# ---- descriptors -----------------------------------------------------------------------------------------------------


def test_no_other_descriptor_than_those_given(tmp_path: Path) -> None:
    kept = [os.open("/dev/zero", os.O_RDONLY) for _ in range(5)]
    for fd in kept:
        os.set_inheritable(fd, True)
    try:
        script = "import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))"
        assert run_pod(pod_spec(python(script)), tmp_path)["main"] == "[0, 1, 2, 3]\n"  # 3 is the listing itself
    finally:
        for fd in kept:
            os.close(fd)


def test_without_stdio_a_container_reads_nothing_and_writes_where_the_launcher_does(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Pod.create(pod_spec(shell("cat; echo out; echo err >&2")), directory=str(tmp_path / "pod")) as pod:
        pod.start()
        assert pod.wait(30) is not None
    assert capfd.readouterr() == ("out\n", "err\n")


def test_each_container_has_its_own_output(tmp_path: Path) -> None:
    seen = run_pod(pod_spec(shell("echo one; echo oops >&2", "a"), shell("echo two", "b")), tmp_path)
    assert seen == {"a": "one\noops\n", "b": "two\n"}


def test_standard_input_is_what_is_given(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_text("given")
    with path.open("rb") as given, (tmp_path / "out").open("wb") as out:
        spec = pod_spec(shell("cat"))
        with running(spec, tmp_path, stdio=lambda _: (given.fileno(), out.fileno(), out.fileno())) as it:
            it.wait()
    assert (tmp_path / "out").read_text() == "given"


# ---- how it ended ----------------------------------------------------------------------------------------------------


def test_exit_codes_and_reasons(tmp_path: Path) -> None:
    codes = (0, 1, 3, 126, 127, 255)
    with running(pod_spec(*[shell(f"exit {code}", f"c{code}") for code in codes]), tmp_path) as it:
        statuses = it.wait()
    assert list(statuses) == [f"c{code}" for code in codes]
    for code in codes:
        status = statuses[f"c{code}"]
        assert (status.exit.code, status.exit.signal, status.exit.exit_code) == (code, None, code)
        assert status.reason == ("Completed" if code == 0 else "Error")
        assert status.name == f"c{code}"


def test_an_end_by_signal(tmp_path: Path) -> None:
    """PID 1 of a namespace ends by what it handles, and by SIGKILL from outside; all else the kernel keeps from it."""
    with running(pod_spec(shell(FOREVER)), tmp_path) as it:
        it["main"].process.signal(signal.SIGTERM)
        assert it["main"].process.wait(0.1) is None
        it["main"].process.signal(signal.SIGKILL)
        status = it.wait()["main"]
    assert (status.exit.code, status.exit.signal, status.exit.exit_code) == (None, signal.SIGKILL, 137)
    assert status.reason == "Error"


def test_a_signal_in_a_shared_process_namespace_ends_by_itself(tmp_path: Path) -> None:
    spec = pod_spec(shell("kill -SEGV $$", "a"), shell("kill -TERM $$", "b"), shareProcessNamespace=True)
    with running(spec, tmp_path) as it:
        statuses = it.wait()
    assert (statuses["a"].exit.signal, statuses["b"].exit.signal) == (signal.SIGSEGV, signal.SIGTERM)


def test_times_and_use(tmp_path: Path) -> None:
    with running(
        pod_spec(shell("sleep 0.2", "sleeps"), python("for _ in range(10**6): pass", "works")), tmp_path
    ) as it:
        assert it["sleeps"].state == "running"
        statuses = it.wait()
        assert it["sleeps"].state == "stopped"
    assert 0.2 <= statuses["sleeps"].run_time_s < 20
    assert statuses["works"].exit.cpu_s > 0.01
    assert statuses["works"].exit.max_rss_bytes > 1 << 20


def test_poll_tells_each_end_once(tmp_path: Path) -> None:
    with running(pod_spec(shell("true", "a"), shell(FOREVER, "b")), tmp_path) as it:
        it["a"].process.wait(20)
        assert [status.name for status in it.pod.poll()] == ["a"]
        assert it.pod.poll() == []
        assert it.pod.wait(0.05) is None
        assert it["a"].status is not None
        assert it["b"].status is None


def test_a_container_is_a_thing_to_wait_for(tmp_path: Path) -> None:
    with running(pod_spec(shell("sleep 0.1")), tmp_path) as it, selectors.DefaultSelector() as selector:
        selector.register(it["main"].process, selectors.EVENT_READ)
        assert selector.select(20)
        assert it.pod.poll()


# ---- programs that cannot be run -------------------------------------------------------------------------------------


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    (tmp_path / "not-executable").write_text("text")
    (tmp_path / "no-format").write_text("\x7fBAD" * 10)
    (tmp_path / "no-interpreter").write_text("#!/no/such/interpreter\n")
    (tmp_path / "directory").mkdir()
    for name in ("no-format", "no-interpreter"):
        (tmp_path / name).chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        ("nothing-of-this-name", 127, "command not found"),
        ("/no/such/program", 127, "command not found"),
        ("/etc/passwd/below", 127, "command not found"),
        ("/data/not-executable", 126, "cannot be executed"),
        ("/data/directory", 126, "cannot be executed"),
        ("/data/no-format", 126, "cannot be executed"),
        ("/data/no-interpreter", 126, "cannot be executed"),
        ("/" + "x" * 5000, 126, "cannot be executed"),
    ],
)
def test_a_program_that_cannot_be_run(tmp_path: Path, programs: Path, program: str, code: int, words: str) -> None:
    """Told with the container's name, and nothing is left; most of it before any container runs."""
    bad = {"name": "bad", "image": "host:", "command": [program], "volumeMounts": [mount("it", "/data")]}
    spec = pod_spec(shell(FOREVER, "good"), bad, volumes=[{"name": "it", "hostPath": {"path": str(programs)}}])
    with pytest.raises(ExecError) as caught, running(spec, tmp_path):
        pass
    assert caught.value.exit_code == code
    text = describe_error(caught.value)
    assert text.startswith(f"container bad: {program!r}: ")
    assert words in text
    assert "\n" not in text
    if "/" not in program:
        assert DEFAULT_PATH in text


@pytest.mark.usefixtures("programs")
def test_a_relative_entry_in_path_and_an_empty_one(tmp_path: Path) -> None:
    env = [{"name": "PATH", "value": "::relative:/usr/bin:/bin"}]
    container = {"name": "main", "image": "host:", "command": ["true"], "env": env}
    assert run_pod(pod_spec(container), tmp_path)["main"] == ""


def test_a_directory_of_the_name_in_path_is_passed_over(tmp_path: Path, programs: Path) -> None:
    (programs / "true").mkdir()
    env = [{"name": "PATH", "value": "/data:/usr/bin:/bin"}]
    container = {
        "name": "main",
        "image": "host:",
        "command": ["true"],
        "env": env,
        "volumeMounts": [mount("it", "/data")],
    }
    run_pod(pod_spec(container, volumes=[{"name": "it", "hostPath": {"path": str(programs)}}]), tmp_path)


# ---- the pod as an object --------------------------------------------------------------------------------------------


def test_a_pod_starts_once(tmp_path: Path) -> None:
    with running(pod_spec(shell(FOREVER)), tmp_path) as it:
        with pytest.raises(StateError, match="is started, but must be created"):
            it.pod.start()
        assert it["main"].state == "running"


def test_remove_is_idempotent_and_ends_what_was_never_started(tmp_path: Path) -> None:
    with created(pod_spec(shell(FOREVER), shell(FOREVER, "b")), tmp_path) as it:
        pids = [it["main"].process.pid, it["b"].process.pid, it.pod.sandbox.pause.process.pid]
        it.pod.remove()
        it.pod.remove()
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_warnings_are_sentences_with_the_container(tmp_path: Path) -> None:
    """A machine whose root may not lower oom_score_adj says so, and runs the pod."""
    limits = {"requests": {"memory": "1Mi"}}
    with running(pod_spec(shell(FOREVER, resources=limits)), tmp_path) as it:
        for warning in it.pod.warnings:
            assert warning.startswith(("pause: step ", "container main: step "))
            assert "oom_score_adj" in warning
            assert "\n" not in warning


def test_uid_of_the_manifest_names_the_cgroup(tmp_path: Path) -> None:
    made = document(shell(FOREVER))
    uid = f"12345678-0000-4000-8000-{os.getpid():012d}"
    made["metadata"]["uid"] = uid
    with running(parse_pod(made, "x"), tmp_path) as it:
        assert it.pod.uid == uid
        group = f"pyrun/besteffort/pod{uid}"
        assert it.pod.cgroup.name == group
        assert Path(f"/proc/{it['main'].process.pid}/cgroup").read_text().splitlines()[-1] == f"0::/{group}/main"
        assert (it.pause_proc() / "cgroup").read_text().splitlines()[-1] == f"0::/{group}/_pause"


@pytest.mark.parametrize(
    ("requests", "limits", "parent"),
    [({"memory": "1Mi"}, {}, "pyrun/burstable"), ({}, {}, "pyrun/besteffort")],
)
def test_pods_of_a_class_are_together(
    tmp_path: Path, requests: dict[str, str], limits: dict[str, str], parent: str
) -> None:
    spec = pod_spec(shell(FOREVER, resources={"requests": requests, "limits": limits}))
    with running(spec, tmp_path) as it:
        assert it.pod.cgroup.name == f"{parent}/pod{it.pod.uid}"
        assert it.pod.uid in list_pods()
        kill_pod(it.pod.uid)
        assert it.wait()["main"].exit.signal == 9
