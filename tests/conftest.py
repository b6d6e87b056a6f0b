"""Markers, skips and leaks: what every test of this project can rely on.

- ``root``: needs root. Guarded by the leak check: what a test leaves behind is a failure of that test.
- ``cgroup2``: needs a machine whose cgroup v2 has cpu, memory, pids and io. Where the host lacks them the test is deselected,
  counted and reported, and ``./dev test`` runs it in the virtual machine (tests/vm).
- ``PYRUN_MUST_RUN=1``: a skip is a failure, unless the run was told with ``--defer-to`` where to note it for the machine that
  can. So nothing is ever silently left out.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import HealthCheck, settings

from fixtures import leaks, machine
from pyrun.kernel.bare import bare_mount_namespace

MUST_RUN = os.environ.get("PYRUN_MUST_RUN") == "1"
# Two test runs on one machine would take each other's pods for leaks.
LOCK = Path("/run/pyrun-tests.lock")

# How long an example takes says something about the machine, not about the code.
settings.register_profile("pyrun", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pyrun")

deferred_key = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pyrun")
    group.addoption(
        "--defer-to", metavar="FILE", help="write the tests that this machine cannot run to FILE, one id a line"
    )
    group.addoption("--only-deferred", metavar="FILE", help="run exactly the tests listed in FILE")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[deferred_key] = {}
    hear_signals()


def hear_signals() -> None:
    """What the shell's ``&`` or nohup(1) ignores would stay ignored in every program that a test starts and then signals."""
    defaults = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGQUIT: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    for number, handler in defaults.items():
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_report_header() -> str:
    return f"machine: {machine.describe()}"


# ---- which tests run here --------------------------------------------------------------------------------------------


def needs_root(item: pytest.Item) -> bool:
    return item.get_closest_marker("root") is not None or item.get_closest_marker("cgroup2") is not None


@pytest.hookimpl(trylast=True)  # after -m and -k, so that only what was asked for is deferred
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if listed := config.getoption("--only-deferred"):
        keep_listed(config, items, Path(listed).read_text().splitlines())
    elif not machine.has_complete_cgroup2():
        defer_cgroup2(config, items)
    if not machine.is_root():
        for item in filter(needs_root, items):
            item.add_marker(pytest.mark.skip(reason="needs root"))


def keep_listed(config: pytest.Config, items: list[pytest.Item], wanted: list[str]) -> None:
    missing = set(wanted) - {item.nodeid for item in items}
    if missing:
        raise pytest.UsageError(f"--only-deferred names tests that do not exist: {', '.join(sorted(missing))}")
    deselect(config, items, [item for item in items if item.nodeid not in set(wanted)])


def defer_cgroup2(config: pytest.Config, items: list[pytest.Item]) -> None:
    cannot = [item for item in items if item.get_closest_marker("cgroup2")]
    config.stash[deferred_key].update({item.nodeid: "needs a complete cgroup v2" for item in cannot})
    deselect(config, items, cannot)


def deselect(config: pytest.Config, items: list[pytest.Item], out: list[pytest.Item]) -> None:
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in set(out)]


# ---- a skip is noted or a failure ------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        if item.config.getoption("--defer-to"):
            item.config.stash[deferred_key][item.nodeid] = skip_reason(report)
        elif MUST_RUN:
            report.outcome = "failed"
            report.longrepr = f"PYRUN_MUST_RUN=1, and {item.nodeid} was skipped: {skip_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that skips itself as a whole has no tests that could be noted, so here a skip is a failure in any case."""
    report = yield
    if report.skipped and MUST_RUN:
        report.outcome = "failed"
        report.longrepr = f"PYRUN_MUST_RUN=1, and {collector.nodeid} was skipped as a whole: {skip_reason(report)}"
    return report


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if path := session.config.getoption("--defer-to"):
        Path(path).write_text("".join(f"{nodeid}\n" for nodeid in session.config.stash[deferred_key]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    deferred = config.stash[deferred_key]
    if not deferred:
        return
    where = (
        f"noted in {path}" if (path := config.getoption("--defer-to")) else "'sudo ./dev test' or './dev vm' runs them"
    )
    terminalreporter.section(f"{len(deferred)} not run on this machine: {where}")
    for reason in sorted(set(deferred.values())):
        terminalreporter.line(f"{sum(value == reason for value in deferred.values())}: {reason}")


# ---- leaks -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def machine_lock() -> Iterator[TextIO]:
    with LOCK.open("w") as lock:
        bare_mount_namespace(worth=1)  # stays open for good: not a leak of the test that makes the second pod
        yield lock


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """For tests as root: no descriptor, process, mount, cgroup, interface or file more than before."""
    if not needs_root(request.node) or not machine.is_root():
        yield
        return
    lock = request.getfixturevalue("machine_lock")
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        before = leaks.observe()
        yield
        # A forgotten object is closed here, and its ResourceWarning (an error in this project) lands on the test that forgot it.
        gc.collect()
        left = leaks.wait_until_settled(before)
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)
    if left:
        pytest.fail("\n".join(left), pytrace=False)
