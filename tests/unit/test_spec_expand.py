"""``$(VAR)``, by Kubernetes' rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun.errors import SpecError
from pyrun.spec.expand import expand, expand_argv, expand_env
from pyrun.spec.image import ImageReference
from pyrun.spec.pod import Container, EnvVar
from pyrun.spec.pod_parse import parse_pod

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


def test_variables_that_multiply_are_refused_before_they_fill_the_memory() -> None:
    env = [{"name": "A0", "value": "x" * 10}]
    env += [{"name": f"A{i}", "value": f"$(A{i - 1})" * 10} for i in range(1, 30)]
    container = {"name": "a", "image": "host:", "command": ["env"], "env": env}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}, "spec": {"containers": [container]}}
    with pytest.raises(SpecError, match="no program can be given a string of more than 131072") as caught:
        parse_pod(pod, "test")
    assert caught.value.pointer == "/spec/containers/0/env/5/value"
