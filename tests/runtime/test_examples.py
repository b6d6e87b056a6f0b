"""The examples, run as a user would run them: with the commands of examples/README.md, looked at from outside."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.machine import ROOT, has_complete_cgroup2, patience

EXAMPLES = ROOT / "examples"
MANIFESTS = sorted([*EXAMPLES.glob("*.json"), *EXAMPLES.glob("*.yaml")])
LIMIT_S = 30.0
CODE_LINES = {"judge.py": 10, "own_pod.py": 20}
# The host's root may lack CAP_SYS_RESOURCE, and then pause cannot be protected from the OOM killer: said, and no failure.
MAY_WARN = "oom_score_adj"
CLIENT = """
import http.client, sys
port, agent = sys.argv[1:]
connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
connection.request("GET", "/", headers={"User-Agent": agent})
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


def pyrun_command() -> list[str]:
    """The console script of this environment; without an installed one, what it calls."""
    script = Path(sys.executable).with_name("pyrun")
    return [str(script)] if script.exists() else [sys.executable, "-m", "pyrun_runtime.cli.main"]


class RunningPod:
    """`pyrun run` of an example, and its output as it comes. At the end of the block it has ended."""

    def __init__(self, manifest: str) -> None:
        self.out: list[str] = []
        self.err: list[str] = []
        command = [*pyrun_command(), "run", f"examples/{manifest}"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        streams = ((self.process.stdout, self.out), (self.process.stderr, self.err))
        self._readers = [threading.Thread(target=self._read, args=stream) for stream in streams]
        for reader in self._readers:
            reader.start()

    def _read(self, stream, lines: list[str]) -> None:
        with stream:
            for line in stream:
                lines.append(line.rstrip("\n"))

    def wait_for_line(self, pattern: str) -> str:
        """The first line of standard output that matches."""
        return wait_for(lambda: next((line for line in self.out if re.search(pattern, line)), None), pattern, self)

    def fetch(self, port: int, agent: str = "test") -> str:
        """What a process in the pod's network gets; the exit status of nobody there is an empty answer."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if not children:
            return ""
        command = ["nsenter", f"--net=/proc/{children[0]}/ns/net", sys.executable, "-I", "-c", CLIENT, str(port), agent]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=patience(LIMIT_S)).stdout

    def fetch_until(self, text: str, port: int, agent: str = "test") -> str:
        """The first answer that has *text* in it."""

        def look() -> str | None:
            answer = self.fetch(port, agent)
            return answer if text in answer else None

        return wait_for(look, f"an answer with {text!r}", self)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        status = self.process.wait(patience(LIMIT_S))
        for reader in self._readers:
            reader.join()
        return status

    def __enter__(self) -> RunningPod:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.wait()
        for reader in self._readers:
            reader.join()

    def messages(self) -> list[str]:
        """What pyrun itself said, but for what a host without privileges makes it say."""
        return [line for line in self.err if line.startswith("pyrun: ") and MAY_WARN not in line]

    def table(self) -> dict[str, tuple[str, str]]:
        """The closing table: container -> exit code and reason."""
        rows = self.err[next(i for i, line in enumerate(self.err) if line.startswith("CONTAINER ")) + 1 :]
        return {name: (code, reason) for name, code, reason, *_ in [row.split() for row in rows]}


def wait_for(look: Callable[[], str | None], what: str, pod: RunningPod) -> str:
    deadline = time.monotonic() + patience(LIMIT_S)
    while (found := look()) is None:
        shown = "\n".join([f"{what} did not come", *pod.out, *pod.err])
        assert pod.process.poll() is None, shown
        assert time.monotonic() < deadline, shown
        time.sleep(0.02)
    return found


def run_python(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, f"examples/{name}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=patience(LIMIT_S))


# ---- the manifests ---------------------------------------------------------------------------------------------------


def test_manifests_are_valid_without_warnings() -> None:
    paths = [f"examples/{path.name}" for path in MANIFESTS]
    command = [*pyrun_command(), "validate", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"{path}: ok" for path in paths]


@pytest.mark.root
@pytest.mark.smoke
def test_nginx_logs() -> None:
    agent = f"test-{os.getpid()}"
    with RunningPod("nginx-logs.json") as pod:
        assert "<title>Welcome to nginx!</title>" in pod.fetch_until("200", 80, agent)
        line = pod.wait_for_line(agent)
        assert pod.stop() == 0
    assert re.fullmatch(rf'shipper \| access-log: 127\.0\.0\.1 - - .* "GET / HTTP/1\.1" 200 \d+ "-" "{agent}"', line)
    assert pod.table() == {"nginx": ("0", "Completed"), "shipper": ("0", "Completed")}
    assert [message for message in pod.messages() if "warning" in message] == []
    # rsyslog says on standard error that it knows that it runs in a container, and complains about nothing.
    assert [text for text in pod.err if text.startswith("shipper | ") and "running as pid 1" not in text] == []


@pytest.mark.root
@pytest.mark.smoke
def test_nginx_reload() -> None:
    with RunningPod("nginx-reload.json") as pod:
        pod.fetch_until("200 before the reload", 8080)
        pod.fetch_until("200 after the reload", 8080)
        pod.wait_for_line("the page says: after the reload")
        assert pod.stop() == 0
    said = ["the page says: before the reload", "sent SIGHUP to nginx", "the page says: after the reload"]
    assert pod.out == [f"watcher | {line}" for line in said]
    assert pod.table() == {"nginx": ("0", "Completed"), "watcher": ("0", "Completed")}


@pytest.mark.root
@pytest.mark.smoke
def test_shm() -> None:
    with RunningPod("shm.json") as pod:
        assert pod.wait() == 0
    lines = ["reader | read: hello from the writer", "writer | the reader has read it"]
    assert sorted(pod.out) == [*lines, "writer | wrote a greeting into shared memory"]
    assert pod.messages() == []


@pytest.mark.cgroup2
def test_limits() -> None:
    with RunningPod("limits.yaml") as pod:
        assert pod.wait() == 1
    # 100m are 102 shares; cpu.weight of that is 17 (tests/unit/test_resources.py has the formula).
    assert "frugal | memory.max 33554432, cpu.max 50000 100000, cpu.weight 17" in pod.out
    assert "greedy | taking 1 GiB" in pod.out
    assert pod.table() == {"frugal": ("0", "Completed"), "greedy": ("137", "OOMKilled")}


@pytest.mark.root
def test_limits_are_kept_or_refused() -> None:
    with RunningPod("limits.yaml") as pod:
        assert pod.wait() == 1
    if has_complete_cgroup2():
        assert pod.table()["greedy"] == ("137", "OOMKilled")
    else:
        (message,) = pod.messages()
        assert "controller is not available in cgroup v2 here" in message
        assert pod.out == []


# ---- the programs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "most"), CODE_LINES.items())
def test_program_is_as_short_as_it_says(name: str, most: int) -> None:
    text = (EXAMPLES / name).read_text()
    first = ast.parse(text).body[0].end_lineno  # the docstring's last
    code = [line for line in text.splitlines()[first:] if line.strip() and not line.lstrip().startswith("#")]
    assert 0 < len(code) <= most


@pytest.mark.root
@pytest.mark.smoke
def test_own_pod() -> None:
    done = run_python("own_pod.py")
    assert (done.returncode, done.stderr) == (0, "")
    greeting, *ends = done.stdout.splitlines()
    assert greeting == "hello from the server"
    assert [re.sub(r"\d+\.\d\d s", "N s", end) for end in ends] == [
        "server: Completed after N s",
        "client: Completed after N s",
    ]


def test_judge_without_a_program() -> None:
    done = run_python("judge.py")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "usage: judge.py PROGRAM [ARGUMENT]...\n")


@pytest.mark.root
def test_judge_runs_or_says_in_one_line_what_is_missing() -> None:
    done = run_python("judge.py", "true")
    if has_complete_cgroup2():
        assert done.stdout.startswith("exit code 0, ")
    else:
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert re.fullmatch(r"judge: memory\.\S+ is not available here: memory controller is not available .*", line)


@pytest.mark.cgroup2
@pytest.mark.parametrize(
    ("argv", "code", "memory", "timed_out"),
    [
        pytest.param(["sh", "-c", "exit 7"], 7, False, False, id="exit-code"),
        # Quick to start: in an emulated machine an interpreter alone may take the whole time-out.
        pytest.param(["dd", "if=/dev/zero", "of=/dev/null", "bs=1G", "count=1"], 137, True, False, id="memory"),
        pytest.param(["sleep", "1000"], 137, False, True, id="time"),
    ],
)
def test_judge(argv: list[str], code: int, memory: bool, timed_out: bool) -> None:
    done = run_python("judge.py", *argv)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert re.fullmatch(rf"exit code {code}, cpu \d+\.\d+ s, peak memory \d+ bytes", first)
    assert second == f"killed for memory: {memory}, killed for time: {timed_out}"


@pytest.mark.cgroup2
def test_judge_measures_peak_memory() -> None:
    # sh alone takes less than 8 MiB; dd's one block is all that it has.
    done = run_python("judge.py", "dd", "if=/dev/zero", "of=/dev/null", "bs=24M", "count=1", "status=none")
    found = re.search(r"peak memory (\d+) bytes", done.stdout)
    assert found, done.stderr
    assert 24 << 20 <= int(found[1]) <= 64 << 20


@pytest.mark.cgroup2
def test_judge_says_that_there_is_no_such_program() -> None:
    done = run_python("judge.py", "no-such-program")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith("judge: 'no-such-program': command not found")


# ---- the page about them ---------------------------------------------------------------------------------------------


def test_readme_has_every_example_and_no_other() -> None:
    text = (EXAMPLES / "README.md").read_text()
    named = set(re.findall(r"examples/([a-z0-9_.-]+)", text))
    there = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".json", ".yaml", ".py")}
    assert named | {"demo.py"} == there  # the demo is started by ./dev
