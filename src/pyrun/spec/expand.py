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
    from collections.abc import Mapping

    from pyrun.spec.pod import Container, Pairs


# execve(2), MAX_ARG_STRLEN: the longest string that a program can be given, its NUL included. Ten variables that each
# hold the one before ten times would otherwise fill the machine's memory.
MAX_STRING_BYTES = 131_072


def expand(text: str, variables: Mapping[str, str]) -> str:
    """*text* with its references replaced."""
    if "$" not in text:
        return text
    parts: list[str] = []
    index = 0
    while (dollar := text.find("$", index)) >= 0:
        parts.append(text[index:dollar])
        piece, index = _reference(text, dollar, variables)
        parts.append(piece)
    parts.append(text[index:])
    return "".join(parts)


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


def expand_env(container: Container, pointer: str = "") -> Pairs:
    """The container's own environment: each value may refer to variables defined before it; of two equal names the
    later wins. Raises SpecError below *pointer* for a value longer than a program can be given."""
    variables: dict[str, str] = {}
    for i, variable in enumerate(container.env):
        value = _bounded(expand(variable.value, variables), f"{pointer}/env/{i}/value", len(variable.name) + 1)
        variables[variable.name] = value
    return tuple(variables.items())


def expand_argv(container: Container, pointer: str = "") -> tuple[str, ...]:
    """``command`` followed by ``args``, expanded with the container's environment. Errors as for :func:`expand_env`."""
    variables = dict(expand_env(container, pointer))
    words = []
    for field, texts in (("command", container.command), ("args", container.args)):
        words += [_bounded(expand(text, variables), f"{pointer}/{field}/{i}") for i, text in enumerate(texts)]
    return tuple(words)


def _bounded(text: str, pointer: str, more: int = 0) -> str:
    size = len(text.encode("utf-8", "surrogateescape")) + more + 1
    if size > MAX_STRING_BYTES:
        limit = f"no program can be given a string of more than {MAX_STRING_BYTES} (execve(2))"
        raise SpecError(pointer, f"{size} bytes when its variables are put in: {limit}")
    return text
