"""Reads the ``linux.seccomp`` object of an OCI configuration into rules.

What several rules for one call mean together is not in the OCI specification; it is what libseccomp, and with it runc and
crun, makes of them:

- a rule without arguments beats every rule with arguments for that call, and of two such rules the first counts;
- conditions on different arguments of one rule must all hold; if a rule names one argument twice, each condition of that
  rule stands alone, so that it is enough that one holds;
- rules with arguments are tried in their order; if none holds, the default action is taken;
- a name that the architecture does not have is passed over.
"""

from __future__ import annotations

from pyrun.errors import SpecError
from pyrun.spec.parse import describe
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeVar

    T = TypeVar("T")

POINTER = "/linux/seccomp"
EPERM = 1

# SECCOMP_RET_* of linux/seccomp.h; those with an errno take it in their low 16 bits.
RET_KILL_THREAD = 0x00000000
RET_KILL_PROCESS = 0x80000000
RET_TRAP = 0x00030000
RET_ERRNO = 0x00050000
RET_NOTIFY = 0x7FC00000
RET_TRACE = 0x7FF00000
RET_LOG = 0x7FFC0000
RET_ALLOW = 0x7FFF0000

ACTIONS = {
    "SCMP_ACT_KILL": RET_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": RET_KILL_PROCESS,
    "SCMP_ACT_TRAP": RET_TRAP,
    "SCMP_ACT_ERRNO": RET_ERRNO,
    "SCMP_ACT_TRACE": RET_TRACE,
    "SCMP_ACT_ALLOW": RET_ALLOW,
    "SCMP_ACT_LOG": RET_LOG,
    "SCMP_ACT_NOTIFY": RET_NOTIFY,
}
# MAX_ERRNO of linux/err.h, to which the kernel cuts SECCOMP_RET_ERRNO; for a tracer any 16 bits will do.
ERRNO_LIMITS = {RET_ERRNO: 4095, RET_TRACE: 0xFFFF}
OPERATORS = {
    "SCMP_CMP_NE": "NE",
    "SCMP_CMP_LT": "LT",
    "SCMP_CMP_LE": "LE",
    "SCMP_CMP_EQ": "EQ",
    "SCMP_CMP_GE": "GE",
    "SCMP_CMP_GT": "GT",
    "SCMP_CMP_MASKED_EQ": "MASKED_EQ",
}
# SECCOMP_FILTER_FLAG_* of linux/seccomp.h that an OCI configuration may ask for.
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1 << 0,
    "SECCOMP_FILTER_FLAG_LOG": 1 << 1,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 1 << 2,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 1 << 5,
}


class Condition(Value):
    """Argument *index* compared with *value*. For MASKED_EQ *value* is the mask and *expected* what must remain."""

    index: int
    operator: str
    value: int
    expected: int = 0


class Rule(Value):
    """*action*, a SECCOMP_RET_* value, for *names* when all *conditions* hold."""

    names: tuple[str, ...]
    action: int
    conditions: tuple[Condition, ...] = ()


class Rules(Value):
    """A whole profile. ``architectures`` are SCMP_ARCH_* names beyond the machine's own."""

    default: int
    architectures: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()


def parse_rules(profile: Mapping[str, object]) -> Rules:
    """The rules of a ``linux.seccomp`` object. Raises SpecError with the place of what is wrong."""
    default = _action(profile, "defaultAction", "defaultErrnoRet", POINTER)
    names = tuple(
        [_text(name, f"{POINTER}/architectures/{i}") for i, name in enumerate(_list(profile, "architectures"))]
    )
    rules: list[Rule] = []
    for i, entry in enumerate(_list(profile, "syscalls")):
        rules += _rules(entry, f"{POINTER}/syscalls/{i}")
    return Rules(default, names, tuple(rules))


def parse_flags(profile: Mapping[str, object]) -> int:
    """The SECCOMP_FILTER_FLAG_* bits that the profile asks for."""
    flags = 0
    for i, name in enumerate(_list(profile, "flags")):
        flags |= _known(name, FLAGS, f"{POINTER}/flags/{i}", "a flag")
    return flags


def _rules(entry: object, pointer: str) -> list[Rule]:
    if not isinstance(entry, dict):
        raise SpecError(pointer, "must be an object")
    names = tuple([_text(name, f"{pointer}/names/{i}") for i, name in enumerate(_list(entry, "names", pointer))])
    if not names:
        raise SpecError(f"{pointer}/names", "must name at least one system call")
    action = _action(entry, "action", "errnoRet", pointer)
    conditions = [_condition(arg, f"{pointer}/args/{i}") for i, arg in enumerate(_list(entry, "args", pointer))]
    if len({condition.index for condition in conditions}) < len(conditions):
        return [Rule(names, action, (condition,)) for condition in conditions]
    return [Rule(names, action, tuple(conditions))]


def _condition(entry: object, pointer: str) -> Condition:
    if not isinstance(entry, dict):
        raise SpecError(pointer, "must be an object")
    operator = _known(entry.get("op"), OPERATORS, f"{pointer}/op", "an operator")
    for key in ("index", "value"):
        if key not in entry:
            raise SpecError(f"{pointer}/{key}", "required, but missing")
    index = _number(entry, "index", 5, pointer)
    value = _number(entry, "value", 2**64 - 1, pointer)
    expected = _number(entry, "valueTwo", 2**64 - 1, pointer)
    if operator == "MASKED_EQ":
        return Condition(index, operator, value, expected & value)
    return Condition(index, operator, value)


def _action(entry: Mapping[str, object], key: str, errno_key: str, pointer: str) -> int:
    action = _known(entry.get(key), ACTIONS, f"{pointer}/{key}", "an action")
    limit = ERRNO_LIMITS.get(action)
    if entry.get(errno_key) is None:
        return action if limit is None else action | EPERM
    if limit is None:
        raise SpecError(f"{pointer}/{errno_key}", f"{entry.get(key)} takes no errno")
    return action | _number(entry, errno_key, limit, pointer)


def _list(entry: Mapping[str, object], key: str, pointer: str = POINTER) -> Sequence[object]:
    value = entry.get(key)
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise SpecError(f"{pointer}/{key}", "must be a list")
    return value


def _known(value: object, table: Mapping[str, T], pointer: str, what: str) -> T:
    """What *table* has for a name of *what*."""
    if not isinstance(value, str) or value not in table:
        raise SpecError(pointer, f"{describe(value)} is not {what}; known: {', '.join(table)}")
    return table[value]


def _text(value: object, pointer: str) -> str:
    if not isinstance(value, str):
        raise SpecError(pointer, f"must be a string, not {describe(value)}")
    return value


def _number(entry: Mapping[str, object], key: str, limit: int, pointer: str) -> int:
    value = entry.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise SpecError(f"{pointer}/{key}", f"must be a whole number from 0 to {limit}, not {describe(value)}")
    return value
