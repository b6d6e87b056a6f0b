"""The tree of errors: what each says, in one line, and that each survives being pickled."""

from __future__ import annotations

import errno
import pickle

import pytest

from pyrun import errors as e
from pyrun.kernel.step import FindProgram, MakeDirectory


def examples() -> list[tuple[BaseException, str]]:
    return [
        (e.PyrunError("plain"), "plain"),
        (e.SpecError("/spec/x", "is wrong", "pod.json"), "pod.json: /spec/x: is wrong"),
        (e.SpecError("", "is wrong"), "is wrong"),
        (e.StateError("pod x", "started", "created"), "pod x is started, but must be created"),
        (e.NotFound("there is no x"), "there is no x"),
        (e.AlreadyExists("x exists"), "x exists"),
        (e.Unsupported("memory.max", "boot otherwise"), "memory.max is not available here: boot otherwise"),
        (e.KernelError(errno.ENOENT, "openat2(2)", "/x"), "openat2(2) '/x': No such file or directory (ENOENT)"),
        (e.KernelError(errno.EPERM, "setns(2)"), "setns(2): Operation not permitted (EPERM)"),
        (e.KernelError(9999, "x(2)"), "x(2): Unknown error 9999 (9999)"),
        (
            e.StepError(errno.EROFS, MakeDirectory("/x"), 4),
            "step 4, mkdir /x 0755: Read-only file system (EROFS)",
        ),
        (
            e.StepError(errno.EINTR, MakeDirectory("/x"), 4, "killed"),
            "step 4, mkdir /x 0755: Interrupted system call (EINTR); killed",
        ),
        (e.ExecError("sh", errno.ENOENT, " in PATH /bin"), "'sh': command not found in PATH /bin (ENOENT)"),
        (e.ExecError("/x", errno.EACCES), "'/x': cannot be executed: Permission denied (EACCES)"),
        (e.CleanupErrors("pod", [OSError("a"), ValueError("b")]), "pod: a; b"),
    ]


@pytest.mark.parametrize(("error", "text"), examples(), ids=lambda value: type(value).__name__)
def test_the_line_of_each(error: BaseException, text: str) -> None:
    assert str(error) == text
    assert isinstance(error, e.PyrunError)
    assert e.describe_error(error) == text


@pytest.mark.parametrize(("error", "text"), examples(), ids=lambda value: type(value).__name__)
def test_pickled_and_back(error: BaseException, text: str) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == text


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (e.SpecError, ValueError),
        (e.NotFound, LookupError),
        (e.KernelError, OSError),
        (e.StepError, e.KernelError),
        (e.CleanupErrors, ExceptionGroup),
    ],
)
def test_each_is_also_what_python_calls_it(kind: type[Exception], base: type[Exception]) -> None:
    assert issubclass(kind, base)
    assert issubclass(kind, e.PyrunError)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert e.__doc__ is not None
    classes = [value for value in vars(e).values() if isinstance(value, type) and issubclass(value, e.PyrunError)]
    for kind in classes:
        assert kind.__name__ in e.__doc__
    assert len(classes) == 10


def test_os_error_has_its_fields() -> None:
    error = e.KernelError(errno.ENOENT, "openat2(2)", "/x")
    assert (error.errno, error.strerror, error.filename, error.call) == (
        2,
        "No such file or directory",
        "/x",
        "openat2(2)",
    )
    with pytest.raises(OSError, match="openat2"):
        raise error


def test_located_adds_the_file() -> None:
    located = e.SpecError("/a", "bad").located("pod.json")
    assert (located.source, located.pointer, located.message) == ("pod.json", "/a", "bad")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOENT, 127),
        (errno.ENOTDIR, 127),
        (errno.EACCES, 126),
        (errno.ENOEXEC, 126),
        (errno.ETXTBSY, 126),
        (errno.ELOOP, 126),
    ],
)
def test_exit_code_is_the_shells(number: int, code: int) -> None:
    assert e.ExecError("x", number).exit_code == code


def test_what_it_is_about_and_what_could_not_be_undone() -> None:
    error = e.ExecError("sh", errno.ENOENT)
    error.about = "container web"
    error.add_note("pod x: could not be undone: a")
    assert e.describe_error(error) == "container web: 'sh': command not found (ENOENT): pod x: could not be undone: a"
    assert e.describe_error(OSError("plain")) == "plain"


def test_a_part_of_a_group_is_a_group_of_ours() -> None:
    group = e.CleanupErrors("pod", [OSError("a"), ValueError("b")])
    match, rest = group.split(OSError)
    assert isinstance(match, e.CleanupErrors)
    assert isinstance(rest, e.CleanupErrors)
    assert (str(match), str(rest)) == ("pod: a", "pod: b")


def test_step_error_names_the_step() -> None:
    step = FindProgram("sh", "/bin")
    error = e.StepError(errno.EIO, step, 3)
    assert (error.step, error.index, error.errno) == (step, 3, errno.EIO)


@pytest.mark.parametrize(("number", "name"), [(2, "ENOENT"), (11, "EAGAIN"), (0, "0"), (9999, "9999")])
def test_errno_name(number: int, name: str) -> None:
    assert e.errno_name(number) == name
