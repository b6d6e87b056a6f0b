"""All or nothing: whatever fails while a pod is made or started, nothing of it is left, and the error says what it was.

Each step of each plan is failed in turn, through the hook in the plan's header (csrc/plan.h, ``fail_step``), and each call by
which the launcher makes something. The leak check of conftest.py compares the machine as a whole; here the same is asked
after every single fault.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fixtures import leaks
from fixtures.pods import FOREVER, Document, created, host_path, mount, pod_spec, running, shell
from pyrun._core import lib
from pyrun.errors import (
    AlreadyExists,
    ExecError,
    KernelError,
    PyrunError,
    SpecError,
    StateError,
    StepError,
    Unsupported,
    describe_error,
)
from pyrun.kernel import pause as pause_module
from pyrun.kernel import spawn as spawn_module
from pyrun.kernel.cgroup import Cgroup
from pyrun.kernel.fd import Fd
from pyrun.kernel.pause import PauseProcess
from pyrun.pod import maker as maker_module
from pyrun.pod import volume as volume_module
from pyrun.pod.machine import read_machine
from pyrun.pod.plan import ProcessPlan, plan_containers, plan_pause
from pyrun.pod.pod import Pod
from pyrun.spec.pod import PodSpec
from pyrun.value import replace

pytestmark = pytest.mark.root

MOUNTS = [mount("disk", "/disk"), mount("memory", "/memory", subPath="x"), mount("host", "/host", readOnly=True)]


def full_spec(top: Path, **fields: Any) -> PodSpec:
    """Two containers with a volume of each sort, so that the plans have every kind of step that a pod can have."""
    volumes: list[Document] = [
        {"name": "disk"},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        host_path("host", top / "made/for/it", "DirectoryOrCreate"),
        host_path("file", top / "made-file", "FileOrCreate"),
    ]
    one = shell(f"touch {top}/ran; {FOREVER}", "one", volumeMounts=MOUNTS)
    two = shell(FOREVER, "two", volumeMounts=[*MOUNTS, mount("file", "/file")])
    return pod_spec(one, two, volumes=volumes, annotations={"pyrun.dev/time-offset-monotonic": "5"}, **fields)


def plans(spec: PodSpec) -> list[ProcessPlan]:
    """What is spawned, in this order: in a process that has made pods before, as tests/conftest.py sees to."""
    machine = read_machine()
    return [plan_pause(spec, machine, bare=True), *plan_containers(spec, spec.containers, "uid", "/nowhere", machine)]


# ---- the machine as it was -------------------------------------------------------------------------------------------


def files(top: Path) -> list[str]:
    return sorted(str(path) for path in top.rglob("*") if path.suffix != ".out")


@contextmanager
def nothing_left(top: Path) -> Iterator[None]:
    before, files_before = leaks.observe(), files(top)
    yield
    assert leaks.wait_until_settled(before) == []
    assert files(top) == files_before


@contextmanager
def fault(monkeypatch: pytest.MonkeyPatch, plan: int, step: int, error: int) -> Iterator[None]:
    """Let *step* of the *plan*-th process that is spawned from now on fail with *error*."""
    encode = spawn_module.encode_plan
    count = iter(range(1000))

    def encode_with_fault(*arguments: Any) -> bytes:
        *rest, _ = arguments
        return encode(*rest, (step, error) if next(count) == plan else None)

    with monkeypatch.context() as patch:
        patch.setattr(spawn_module, "encode_plan", encode_with_fault)
        yield


# ---- each step -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True], ids=["own-pid", "shared-pid"])
@pytest.mark.parametrize("who", [0, 1, 2], ids=["pause", "first", "second"])
def test_each_step_failed_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: int, shared: bool) -> None:
    spec = full_spec(tmp_path, shareProcessNamespace=shared)
    plan = plans(spec)[who]
    for index, step in enumerate(plan.steps):
        with nothing_left(tmp_path):
            told: str | None = None
            try:
                with fault(monkeypatch, who, index, errno.EXDEV), created(spec, tmp_path) as it:
                    it.pod.start()
                    told = "\n".join(it.pod.warnings)
            except (StepError, ExecError) as failure:
                told = describe_error(failure)
                assert failure.about == ("pause" if who == 0 else f"container {plan.name}")
                if isinstance(failure, StepError):
                    assert (failure.index, type(failure.step), failure.errno) == (index, type(step), errno.EXDEV)
            optional = step.flags & lib.PLAN_OPTIONAL
            assert told, f"{step.describe()} was failed, and nobody said so"
            assert "EXDEV" in told
            assert plan.name in told
            assert "could not be undone" not in told
            if optional:
                assert f"step {index}, {step.describe()}" in told
            # A fault before the gate of any container comes before any program.
            reached_gate = [s.kind for s in plan.steps].index("GATE") if who else len(plan.steps)
            assert optional or index > reached_gate or not (tmp_path / "ran").exists()
            for path in ("ran", "made-file"):
                (tmp_path / path).unlink(missing_ok=True)
            shutil.rmtree(tmp_path / "made", ignore_errors=True)


def test_a_step_that_may_be_missing_is_no_failure_when_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOENT of a path to be hidden: this kernel does not have it."""
    spec = full_spec(tmp_path)
    steps = plans(spec)[1].steps
    index = next(i for i, step in enumerate(steps) if step.kind == "MASK")
    with fault(monkeypatch, 1, index, errno.ENOENT), running(spec, tmp_path) as it:
        assert it["one"].state == "running"
        assert not any("mask" in warning for warning in it.pod.warnings)


def test_a_fault_in_the_last_container_after_the_first_one_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exec itself: all gates are open by then, so the first container may have run, and is ended."""
    spec = full_spec(tmp_path)
    last = len(plans(spec)[2].steps) - 1
    with nothing_left(tmp_path):
        with pytest.raises(ExecError) as caught, fault(monkeypatch, 2, last, errno.ETXTBSY), running(spec, tmp_path):
            pass
        assert caught.value.about == "container two"


def test_inject_fault_is_the_same_hook(tmp_path: Path) -> None:
    """pyrun.kernel.spawn.inject_fault, for whoever has no monkeypatch: it holds for every plan until it is taken back."""
    spec = full_spec(tmp_path)
    with nothing_left(tmp_path):
        spawn_module.inject_fault(3, errno.EXDEV)
        try:
            with pytest.raises(StepError) as caught, created(spec, tmp_path):
                pass
        finally:
            spawn_module.inject_fault(None)
        assert (caught.value.about, caught.value.index) == ("pause", 3)
    with created(spec, tmp_path):
        pass


# ---- each call of the launcher ---------------------------------------------------------------------------------------

Target = tuple[object, str]

CALLS: dict[str, Target] = {
    "make the pod's directory": (os, "mkdir"),
    "make an emptyDir": (os, "makedirs"),
    "set an emptyDir's mode": (os, "chmod"),
    "open a volume": (volume_module, "_open_host_path"),
    "make the pod's cgroup": (Cgroup, "create"),
    "write the pod's limits": (Cgroup, "apply_limits"),
    "read what controllers there are": (Cgroup, "read_available_controllers"),
    "make a leaf": (Cgroup, "child"),
    "spawn pause": (pause_module, "create"),
    "wait for pause": (PauseProcess, "wait_ready"),
    "spawn a container": (maker_module, "create"),
    "clone": (spawn_module, "clone3"),
    "write a plan": (spawn_module, "_plan_file"),
    "make a pipe": (os, "pipe2"),
    "make a memfd": (os, "memfd_create"),
}
# pause has no gate and a pipe to say that it is ready; a container has a pipe for reports and one for its gate.
TIMES = {
    "make a leaf": 3,
    "write the pod's limits": 3,
    "clone": 3,
    "write a plan": 3,
    "make a pipe": 6,
    "make a memfd": 3,
}
FAILURES = [(what, number) for what in CALLS for number in range(TIMES.get(what, 1))]


def failing(original: Callable[..., Any], number: int, how: BaseException) -> Callable[..., Any]:
    """*original*, whose call *number* raises."""
    count = iter(range(1000))

    def call(*arguments: Any, **named: Any) -> Any:
        if next(count) == number:
            raise how
        return original(*arguments, **named)

    return call


@pytest.mark.parametrize("how", ["kernel", "interrupt"])
@pytest.mark.parametrize(("what", "number"), FAILURES)
def test_each_call_of_the_launcher_failed_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, number: int, how: str
) -> None:
    """Also by a KeyboardInterrupt, which comes when it likes."""
    spec = full_spec(tmp_path)
    target, name = CALLS[what]
    error = KernelError(errno.ENOSPC, "test(2)") if how == "kernel" else KeyboardInterrupt()
    with nothing_left(tmp_path):
        directory, null = tmp_path / "pod", Fd.open("/dev/null", os.O_RDWR)
        with null, monkeypatch.context() as patch, pytest.raises(type(error)):
            patch.setattr(target, name, failing(getattr(target, name), number, error))
            with Pod.create(spec, directory=str(directory), stdio=lambda _: (null.fileno(),) * 3):
                pytest.fail(f"call {number} of {what} was never made")
        assert not hasattr(error, "__notes__"), describe_error(error)


def test_a_pod_that_is_removed_before_it_started(tmp_path: Path) -> None:
    with nothing_left(tmp_path), created(full_spec(tmp_path), tmp_path):
        assert (tmp_path / "made/for/it").is_dir()


def test_standard_descriptors_that_cannot_be_had(tmp_path: Path) -> None:
    def stdio(name: str) -> tuple[int, int, int]:
        raise LookupError(name)

    with nothing_left(tmp_path), pytest.raises(LookupError, match="one"):
        Pod.create(full_spec(tmp_path), directory=str(tmp_path / "pod"), stdio=stdio)


def test_a_directory_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "pod").mkdir()
    (tmp_path / "pod/precious").write_text("")
    with nothing_left(tmp_path), pytest.raises(PyrunError) as caught:
        Pod.create(full_spec(tmp_path), directory=str(tmp_path / "pod"))
    assert str(tmp_path / "pod") in describe_error(caught.value)


def test_a_directory_without_a_parent(tmp_path: Path) -> None:
    with nothing_left(tmp_path), pytest.raises(PyrunError) as caught:
        Pod.create(full_spec(tmp_path), directory=str(tmp_path / "none/pod"))
    assert str(tmp_path / "none/pod") in describe_error(caught.value)


def test_two_pods_of_one_uid(tmp_path: Path) -> None:
    spec = pod_spec(shell(FOREVER))
    spec = replace(spec, metadata=replace(spec.metadata, uid="00000000-0000-4000-8000-000000000000"))
    with running(spec, tmp_path) as first:
        with pytest.raises(AlreadyExists, match=r"cgroup .* exists already"), created(spec, tmp_path):
            pass
        assert first["main"].process.poll() is None


# ---- all, or none of them --------------------------------------------------------------------------------------------


def test_a_missing_command_keeps_the_other_container_from_running(tmp_path: Path) -> None:
    volumes = [host_path("it", tmp_path)]
    good = shell("touch /data/ran", "good", volumeMounts=[mount("it", "/data")])
    bad = {"name": "bad", "image": "host:", "command": ["nothing-of-this-name"]}
    for order in ((good, bad), (bad, good)):
        with (
            nothing_left(tmp_path),
            pytest.raises(ExecError) as caught,
            running(pod_spec(*order, volumes=volumes), tmp_path),
        ):
            pass
        assert caught.value.about == "container bad"
        assert not (tmp_path / "ran").exists()


def test_a_container_killed_at_its_gate(tmp_path: Path) -> None:
    with nothing_left(tmp_path):
        with pytest.raises(StepError, match="signal SIGKILL") as caught, created(full_spec(tmp_path), tmp_path) as it:
            it["two"].process.kill()
            it.pod.start()
        assert caught.value.about == "container two"


def test_pause_killed_before_the_containers_are_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No container can join the namespaces of a process that is gone; told is why, not that."""
    create = maker_module.create

    def kill_pause_first(*arguments: Any, fds: dict[str, Any], **named: Any) -> Any:
        if fds["pause"].process.poll() is None:
            fds["pause"].process.kill()
            fds["pause"].process.wait()
        return create(*arguments, fds=fds, **named)

    monkeypatch.setattr(maker_module, "create", kill_pause_first)
    with (
        nothing_left(tmp_path),
        pytest.raises((KernelError, StateError)) as caught,
        created(full_spec(tmp_path), tmp_path),
    ):
        pass
    assert caught.value.about == "pause"
    assert "SIGKILL" in describe_error(caught.value)


def test_a_limit_that_cannot_be_applied(tmp_path: Path) -> None:
    """On a machine without the controller: refused as a whole, in one line. See test_limits.py for one that has it."""
    spec = pod_spec(shell("true", resources={"limits": {"memory": "64Mi"}}))
    try:
        with nothing_left(tmp_path), running(spec, tmp_path) as it:
            assert it.output() == ""
    except Unsupported as error:
        text = describe_error(error)
        assert "memory.max is not available here" in text
        assert "\n" not in text
        assert error.about in ("pod test", "container main")


# ---- more than fits --------------------------------------------------------------------------------------------------


def test_what_the_kernel_does_not_run_keeps_the_other_container_from_running(tmp_path: Path) -> None:
    """Known before any gate is opened: a script without its interpreter, and more environment than an exec takes."""
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    env = [{"name": f"A{number}", "value": "x" * (100 << 10)} for number in range(30)]
    volumes, there = [host_path("it", tmp_path)], [mount("it", "/data")]
    bad = {"name": "bad", "image": "host:", "command": ["/data/script"], "volumeMounts": there}
    for container, message in (
        (bad, "interpreter that it names is missing"),
        (shell("true", "big", env=env), "too long"),
    ):
        with (
            nothing_left(tmp_path),
            pytest.raises(ExecError, match=message) as caught,
            running(pod_spec(shell("touch /data/ran", "a", volumeMounts=there), container, volumes=volumes), tmp_path),
        ):
            pass
        assert (caught.value.about, caught.value.exit_code) == (f"container {container['name']}", 126)
        assert not (tmp_path / "ran").exists()


def test_more_mounts_than_a_plan_holds(tmp_path: Path) -> None:
    volumes = [{"name": "it"}]
    many = [mount("it", f"/m/{number}") for number in range(100)]
    with running(pod_spec(shell("ls /m | wc -l", volumeMounts=many), volumes=volumes), tmp_path) as it:
        assert it.output() == "100\n"
    too_many = [mount("it", f"/m/{number}") for number in range(5000)]
    spec = pod_spec(shell("true", volumeMounts=too_many), volumes=volumes)
    with (
        nothing_left(tmp_path),
        pytest.raises(PyrunError, match="more than a plan holds") as caught,
        created(spec, tmp_path),
    ):
        pass
    assert caught.value.about == "container main"


def test_no_descriptors_left(tmp_path: Path) -> None:
    """EMFILE at each point where a pod opens something: the limit is lowered by one until nothing can be opened."""
    spec = full_spec(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    first_free = os.dup(0)
    os.close(first_free)
    failures = 0
    with nothing_left(tmp_path):
        for limit in range(first_free, first_free + 60):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            try:
                with created(spec, tmp_path):
                    pass
            except (OSError, SpecError) as error:
                failures += 1
                assert "Too many open files" in describe_error(error)
                assert not hasattr(error, "__notes__"), describe_error(error)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert 10 < failures < 60
