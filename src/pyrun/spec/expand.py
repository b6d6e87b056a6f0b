"""``$(VAR)`` in command, args and env, by Kubernetes' rules (kubernetes/third_party/forked/golang/expansion,
documented at "Define dependent environment variables").

``$(VAR)`` is replaced by the variable's value; ``$$`` stands for one ``$``, so ``$$(VAR)`` is the text ``$(VAR)``; a
reference to a variable that is not defined stays as it is; a ``$`` before anything else is itself. What was put in is
not looked at again.
"""

from __future__ import annotations

from pyrun.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyrun.spec.pod import Container, Pairs


# execve(2), MAX_ARG_STRLEN: the longest string that a program can be given, its NUL included. Ten variables that each
# hold the one before ten times would otherwise fill the machine's memory.
MAX_STRING_BYTES = 131_072
# execve(2), "Limits on size of arguments and environment": all strings together, at most 3/4 of the 8 MiB that the kernel
# takes for a stack's usual limit, whatever the limit is (fs/exec.c, bprm_stack_limits).
MAX_STRINGS_BYTES = 6 * 1024 * 1024


def expand(text: str, variables: Mapping[str, str]) -> str:
    """*text* with its references replaced."""
    return "".join(_pieces(text, variables))


def _pieces(text: str, variables: Mapping[str, str]) -> Iterator[str]:
    """What *text* becomes, one part after the other: a caller can stop before it has all of what may be huge."""
    index = 0
    while (dollar := text.find("$", index)) >= 0:
        yield text[index:dollar]
        piece, index = _reference(text, dollar, variables)
        yield piece
    yield text[index:]


def _reference(text: str, dollar: int, variables: Mapping[str, str]) -> tuple[str, int]:
    """What stands for the ``$`` at index *dollar*, and where to go on."""
    following = text[dollar + 1 : dollar + 2]
    if following == "$":
        return "$", dollar + 2
    if following == "(":
        end = text.find(")", dollar + 2)
        if end >= 0:
            name = text[dollar + 2 : end]
            return variables.get(name, f"$({name})"), end + 1
        return "$(", dollar + 2
    return "$", dollar + 1


def references(text: str) -> list[str]:
    """The names that *text* refers to."""
    found: list[str] = []
    index = 0
    while (dollar := text.find("$", index)) >= 0:
        _piece, index = _reference(text, dollar, {})
        if text[dollar + 1 : dollar + 2] == "(" and text[index - 1] == ")":
            found.append(text[dollar + 2 : index - 1])
    return found


def expand_env(container: Container, pointer: str = "") -> Pairs:
    """The container's own environment: each value may refer to variables defined before it; of two equal names the
    later wins. Raises SpecError below *pointer* for more than a program can be given."""
    return tuple(_expand_env(container, pointer, _Strings()).items())


def expand_argv(container: Container, pointer: str = "") -> tuple[str, ...]:
    """``command`` followed by ``args``, expanded with the container's environment. Errors as for :func:`expand_env`."""
    return _expand_argv(container, pointer, _Strings())


def expanded_bytes(container: Container, pointer: str = "") -> int:
    """The size of all that the program is given. Errors as for :func:`expand_env`."""
    strings = _Strings()
    _expand_argv(container, pointer, strings)
    return strings.bytes


def _expand_env(container: Container, pointer: str, strings: _Strings) -> dict[str, str]:
    variables: dict[str, str] = {}
    for i, variable in enumerate(container.env):
        place, more = f"{pointer}/env/{i}/value", len(variable.name) + 1
        variables[variable.name] = strings.expand(variable.value, variables, place, more)
    return variables


def _expand_argv(container: Container, pointer: str, strings: _Strings) -> tuple[str, ...]:
    variables = _expand_env(container, pointer, strings)
    words = []
    for field, texts in (("command", container.command), ("args", container.args)):
        words += [strings.expand(text, variables, f"{pointer}/{field}/{i}") for i, text in enumerate(texts)]
    return tuple(words)


class _Strings:
    """What one program is given, as far as it has been expanded. A variable that is defined again counts again."""

    def __init__(self) -> None:
        self.bytes = 0

    def expand(self, text: str, variables: Mapping[str, str], pointer: str, more: int = 0) -> str:
        """*text* expanded; *more* bytes stand before it in its string."""
        pieces: list[str] = []
        size = more + 1
        for piece in _pieces(text, variables):
            size += len(piece.encode("utf-8", "surrogateescape"))
            if size > MAX_STRING_BYTES:
                what = f"a string of more than {MAX_STRING_BYTES} bytes, variables put in"
                raise SpecError(pointer, f"too long: no program can be given {what} (execve(2))")
            pieces.append(piece)
        self.bytes += size
        if self.bytes > MAX_STRINGS_BYTES:
            what = f"more than {MAX_STRINGS_BYTES} bytes of arguments and environment, variables put in"
            raise SpecError(pointer, f"too much: no program can be given {what} (execve(2))")
        return "".join(pieces)
