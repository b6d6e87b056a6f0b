"""``$(VAR)``, by Kubernetes' rules."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun.errors import SpecError
from pyrun.spec.expand import (
    MAX_STRING_BYTES,
    MAX_STRINGS_BYTES,
    expand,
    expand_argv,
    expand_env,
    expanded_bytes,
)
from pyrun.spec.image import ImageReference
from pyrun.spec.pod import Container, EnvVar
from pyrun.spec.pod_parse import parse_pod
from pyrun.value import replace

VARIABLES = {"A": "1", "B": "$(A)", "EMPTY": "", "A B": "odd"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ""),
        ("plain", "plain"),
        ("$(A)", "1"),
        ("x$(A)y$(A)z", "x1y1z"),
        ("$(B)", "$(A)"),
        ("[$(EMPTY)]", "[]"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$A", "$A"),
        ("${A}", "${A}"),
        ("$", "$"),
        ("$$", "$"),
        ("a$", "a$"),
        ("$(", "$("),
        ("$(A", "$(A"),
        ("$()", "$()"),
        ("$(A B)", "odd"),
        ("$($(A))", "$($(A))"),
        ("$(A)$", "1$"),
        ("é$(A)é", "é1é"),
    ],
)
def test_expansion(text: str, wanted: str) -> None:
    assert expand(text, VARIABLES) == wanted


@given(st.text(alphabet="$()AB x", max_size=30))
def test_escaping_makes_any_text_literal(text: str) -> None:
    assert expand(text.replace("$", "$$"), VARIABLES) == text


def test_env_values_see_what_was_defined_before_them() -> None:
    env = (EnvVar("A", "1"), EnvVar("B", "$(A)-$(C)"), EnvVar("C", "3"), EnvVar("A", "$(A)$(C)"), EnvVar("D", "$$(A)"))
    container = Container("c", ImageReference("host", "/"), ("sh", "-c"), ("echo $(A) $(B) $(X)",), env)
    assert expand_env(container) == (("A", "13"), ("B", "1-$(C)"), ("C", "3"), ("D", "$(A)"))
    assert expand_argv(container) == ("sh", "-c", "echo 13 1-$(C) $(X)")


# ---- sizes -----------------------------------------------------------------------------------------------------------

LONG = [{"name": "A", "value": "x" * 100_000}]


def refused(*containers: dict[str, object]) -> SpecError:
    """What is said of a pod of these, which must take little memory to say."""
    named = [{"name": f"c{i}", "image": "host:", **container} for i, container in enumerate(containers)]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}, "spec": {"containers": named}}
    tracemalloc.start()
    try:
        with pytest.raises(SpecError) as caught:
            parse_pod(pod, "test")
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
    return caught.value


def test_variables_that_multiply_are_refused_before_they_fill_the_memory() -> None:
    env = [{"name": "A0", "value": "x" * 10}]
    env += [{"name": f"A{i}", "value": f"$(A{i - 1})" * 10} for i in range(1, 30)]
    error = refused({"command": ["env"], "env": env})
    assert error.pointer == "/spec/containers/0/env/5/value"
    assert error.message == (
        "too long: no program can be given a string of more than 131072 bytes, variables put in (execve(2))"
    )


def test_one_value_that_repeats_a_long_one_is_refused_before_it_is_whole() -> None:
    error = refused({"command": ["env", "$(A)" * 100_000], "env": LONG})
    assert error.pointer == "/spec/containers/0/command/1"


@pytest.mark.parametrize(("field", "place"), [("args", "args/61"), ("env", "env/62/value")])
def test_many_long_ones_are_refused_at_the_one_that_is_too_much(field: str, place: str) -> None:
    env = [*LONG, *[{"name": f"B{i}", "value": "$(A)"} for i in range(20_000)]]
    container = {"command": ["env"], "env": env} if field == "env" else {"args": ["$(A)"] * 100_000, "env": LONG}
    error = refused(container)
    assert error.pointer == f"/spec/containers/0/{place}"
    assert error.message == (
        "too much: no program can be given more than 6291456 bytes of arguments and environment, variables put in (execve(2))"
    )


def test_many_containers_with_much_each_are_refused() -> None:
    error = refused(*[{"args": ["$(A)"] * 60, "env": LONG}] * 500)
    assert error.pointer == "/spec/containers/2"
    assert error.message == "more than 16777216 bytes of arguments and environment in one pod, variables put in"


def test_as_much_as_the_kernel_takes_is_not_refused() -> None:
    env = (EnvVar("A", "x" * (MAX_STRING_BYTES - 3)),)  # A=, and a NUL at the end
    count = MAX_STRINGS_BYTES // MAX_STRING_BYTES - 1
    container = Container("c", ImageReference("host", "/"), ("$(A)xx",) * count, (), env)
    assert expanded_bytes(container) == MAX_STRINGS_BYTES
    with pytest.raises(SpecError, match="too much"):
        expand_argv(replace(container, args=("",)))
