"""``pyrun`` itself: finding the verb, options, help, and errors in one line."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from fixtures.command import PYRUN, pyrun
from fixtures.machine import ROOT
from fixtures.pods import document, shell
from pyrun import ExecError, KernelError, NotFound, SpecError, Unsupported
from pyrun_runtime.cli import main as main_module
from pyrun_runtime.cli.main import VERBS, explain, guarded, main, usage
from pyrun_runtime.cli.message import CommandError, UsageError, naming, one_line
from pyrun_runtime.cli.options import parse_options

TABLE = {"trace": "FILE", "oci": ""}


# ---- help and version ------------------------------------------------------------------------------------------------


def test_version_is_that_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    done = pyrun("--version")
    assert (done.status, done.out, done.err) == (0, f"pyrun {version}\n", "")


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_lists_every_verb(word: str) -> None:
    done = pyrun(word)
    assert (done.status, done.err) == (0, "")
    assert all(f"\n  {verb}" in done.out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_that_names_its_options(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: pyrun {verb}")
    assert "Exit status:" in text
    options = __import__(f"pyrun_runtime.cli.{verb.replace('-', '_')}", fromlist=["OPTIONS"]).OPTIONS
    assert all(f"--{name.partition(',')[0]}" in text for name in options)


def test_help_fits_a_page() -> None:
    for text in (
        usage(),
        *[__import__(f"pyrun_runtime.cli.{v.replace('-', '_')}", fromlist=["HELP"]).HELP for v in VERBS],
    ):
        assert max(map(len, text.splitlines())) <= 132
        assert text.endswith("\n")


# ---- a wrong command line --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], f"a verb is missing: {', '.join(VERBS)}; see 'pyrun --help'"),
        (["rnu"], "unknown verb 'rnu'; did you mean 'run'?; see 'pyrun --help'"),
        (["zzz"], "unknown verb 'zzz'; see 'pyrun --help'"),
        (["--versoin"], "unknown option '--versoin'; did you mean '--version'?; see 'pyrun --help'"),
        (["run"], "expected one SPEC, found none; see 'pyrun run --help'"),
        (["run", "a", "b"], "expected one SPEC, found 2; see 'pyrun run --help'"),
        (["run", "--trce", "x", "a"], "unknown option '--trce'; did you mean '--trace'?; see 'pyrun run --help'"),
        (["run", "a", "--trace"], "--trace needs a value: --trace FILE; see 'pyrun run --help'"),
        (["run", "-x", "a"], "unknown option '-x'; see 'pyrun run --help'"),
        (["run", "--timeout", "soon", "a"], "--timeout soon: not a number of seconds above 0; see 'pyrun run --help'"),
        (["run", "--timeout=0", "a"], "--timeout 0: not a number of seconds above 0; see 'pyrun run --help'"),
        (["run", "--timeout=nan", "a"], "--timeout nan: not a number of seconds above 0; see 'pyrun run --help'"),
        (["run", "--timeout=1_0", "a"], "--timeout 1_0: not a number of seconds above 0; see 'pyrun run --help'"),
        (["run", "--timeout= 1", "a"], "--timeout  1: not a number of seconds above 0; see 'pyrun run --help'"),
        (["plan", "--oci=1", "a"], "--oci takes no value; see 'pyrun plan --help'"),
        (["validate"], "no SPEC to check; see 'pyrun validate --help'"),
    ],
)
def test_wrong_command_line_is_one_line_and_status_2(arguments: list[str], message: str) -> None:
    done = pyrun(*arguments)
    assert (done.status, done.out, done.error) == (2, "", message)


def test_options_and_arguments_come_in_any_order() -> None:
    assert parse_options(["a", "--trace", "f", "b", "--oci"], TABLE) == ({"trace": "f", "oci": ""}, ["a", "b"])
    assert parse_options(["--trace=a=b", "-"], TABLE) == ({"trace": "a=b"}, ["-"])


def test_nothing_behind_two_dashes_is_an_option() -> None:
    assert parse_options(["--oci", "--", "--trace", "-h"], TABLE) == ({"oci": ""}, ["--trace", "-h"])


def test_an_empty_value_is_none() -> None:
    with pytest.raises(UsageError, match="--trace needs a value"):
        parse_options(["--trace="], TABLE)


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "text", "status"),
    [
        (UsageError("wrong"), "wrong", 2),
        (CommandError("no"), "no", 1),
        (SpecError("/spec", "is bad", "pod.json"), "pod.json: /spec: is bad", 2),
        (ExecError("nginx", 2), "'nginx': command not found (ENOENT)", 1),
        (NotFound("nothing"), "nothing", 1),
        (Unsupported("io.max", "the io controller"), "io.max is not available here: the io controller", 1),
        (PermissionError(13, "Permission denied", "/run/pyrun"), "/run/pyrun: Permission denied", 1),
        (OSError("odd"), "odd", 1),
    ],
)
def test_errors_become_a_line_and_a_status(error: Exception, text: str, status: int) -> None:
    assert explain(error) == (text, status)


def test_what_the_error_is_about_and_what_stayed_are_told() -> None:
    error = Unsupported("x", "y")
    error.about = "container web"
    error.add_note("pod p: could not be undone")
    assert explain(error)[0] == "container web: x is not available here: y: pod p: could not be undone"


def raise_bug(_argv: list[str]) -> int:
    raise ZeroDivisionError("a\nbug")


def test_a_bug_is_one_line_too(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(main_module, "dispatch", raise_bug)
    monkeypatch.delenv("PYRUN_DEBUG", raising=False)
    assert guarded([]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("pyrun: unexpected ZeroDivisionError at test_main.py:")
    assert line.endswith(r": a\nbug (PYRUN_DEBUG=1 shows more)")


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(main_module, "dispatch", raise_bug)
    monkeypatch.setenv("PYRUN_DEBUG", "1")
    assert guarded([]) == 1
    assert "Traceback (most recent call last)" in capfd.readouterr().err


def test_interrupt_is_quiet(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def interrupt(_argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module, "dispatch", interrupt)
    assert guarded([]) == 130
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "line"), [("a\nb", r"a\nb"), ("\x1b[2J", r"\x1b[2J"), ("é ü", "é ü"), ("\udcff", r"\udcff")]
)
def test_messages_stay_on_their_line(text: str, line: str) -> None:
    assert one_line(text) == line


# ---- odd descriptors -------------------------------------------------------------------------------------------------

# As most people have it; an unbuffered standard output fails elsewhere.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


@pytest.mark.parametrize("environment", [BUFFERED, {**BUFFERED, "PYTHONUNBUFFERED": "1"}])
def test_a_reader_that_leaves_is_no_error(environment: dict[str, str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe:
        done = subprocess.run([*PYRUN, "--help"], stdout=pipe, stderr=subprocess.PIPE, check=False, env=environment)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "日本.json"
    path.write_text(json.dumps(document(shell("echo 'ö – 日本'"))))
    return path


def words(name: str, spec: Path) -> list[str]:
    return [*PYRUN, name, *([str(spec)] if name in ("plan", "validate") else [])]


WITH_OUTPUT = ["--help", "--version", "plan", "validate", "check"]


@pytest.mark.parametrize("environment", [BUFFERED, {**BUFFERED, "PYTHONUNBUFFERED": "1"}], ids=["buffered", "not"])
@pytest.mark.parametrize("name", WITH_OUTPUT)
def test_full_disk_is_an_error(name: str, environment: dict[str, str], spec: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(words(name, spec), stdout=full, stderr=subprocess.PIPE, check=False, env=environment)
    assert (done.returncode, done.stderr) == (1, b"pyrun: standard output: No space left on device\n")


@pytest.mark.parametrize("name", WITH_OUTPUT)
@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_descriptors_are_no_error(name: str, closed: str, spec: Path) -> None:
    command = ["/bin/sh", "-c", f'"$@" {closed}', "sh", *words(name, spec)]
    done = subprocess.run(command, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", b"\\xf6 \\u2013"), ("latin-1", b"\xf6 \\u2013")])
def test_letters_that_the_output_has_no_code_for_are_shown_as_escapes(encoding: str, shown: bytes, spec: Path) -> None:
    environment = {**BUFFERED, "PYTHONIOENCODING": encoding}
    done = subprocess.run(words("validate", spec), capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stdout[-19:], done.stderr) == (0, b"\\u65e5\\u672c.json: ok\n"[-19:], b"")
    done = subprocess.run(words("plan", spec), capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert shown in done.stdout


# ---- errors that do not say of themselves where ----------------------------------------------------------------------


def test_an_error_without_a_place_gets_one() -> None:
    with pytest.raises(OSError, match="Too many") as caught, naming("a pipe"):
        raise OSError(errno.EMFILE, "Too many open files")
    assert explain(caught.value) == ("a pipe: Too many open files", 1)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FileNotFoundError(2, "No such file or directory", "/x"), "/x: No such file or directory"),
        (KernelError(2, "open(2)"), "open(2): No such file or directory (ENOENT)"),
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe"),
    ],
)
def test_an_error_that_has_one_keeps_it(error: OSError, text: str) -> None:
    with pytest.raises(type(error)), naming("elsewhere"):
        raise error
    assert explain(error) == (text, 1)


@pytest.mark.root
def test_relative_directory_in_one_that_is_gone(tmp_path: Path, spec: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'cd "$1"; rmdir "$1"; shift; exec "$@"'
    command = ["/bin/sh", "-c", script, "sh", gone, *PYRUN, "run", "--state", "rel", spec]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == "pyrun: the working directory, in which rel would be: No such file or directory\n"
    assert done.returncode == 1
