"""Values as JSON and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures import every_field
from pyrun import load_pod
from pyrun.errors import SpecError
from pyrun.pod.limits import LimitPolicy
from pyrun.pod.monitored import MonitorPlace
from pyrun.spec.archive import classes_of, from_plain, to_plain
from pyrun.spec.pod import PodSpec
from pyrun.value import replace

CLASSES = classes_of(LimitPolicy, MonitorPlace)


def through_json(value: object) -> object:
    return from_plain(json.loads(json.dumps(to_plain(value))), CLASSES)


def spec_with_every_field() -> PodSpec:
    return load_pod(json.dumps(every_field.document()).encode(), "test")


def test_a_pod_with_every_field_comes_back_as_it_was() -> None:
    spec = spec_with_every_field()
    assert through_json(spec) == spec


def test_every_class_of_a_specification_is_known_and_comes_back() -> None:
    """With defaults in what has one, and a text where there is none: classes are what counts here."""
    for cls in CLASSES.values():
        made: object = cls(*[cls._defaults.get(field, "x") for field in cls._fields])
        back = through_json(made)
        assert back == made
        assert type(back) is cls
    assert {"PodSpec", "Container", "Probe", "ConfigObject", "ImageReference", "SeLinuxOptions"} <= set(CLASSES)


@given(st.binary(), st.text(alphabet=st.characters(categories=("L", "N", "P", "Cs"))))
def test_bytes_and_texts(data: bytes, text: str) -> None:
    value = (data, text, (1, -(2**63), 0.25, None, True, ()))
    assert through_json(value) == value


def test_what_is_no_value_cannot_be_kept() -> None:
    with pytest.raises(TypeError, match="set"):
        to_plain((set(),))


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        ({"PodSpec": {}, "Container": {}}, ""),
        ({"os": {"system": "true"}}, ""),
        ({"Container": 5}, ""),
        ([{"bytes": "%"}], "/0/bytes"),
        ({"bytes": "ä"}, "/bytes"),
        ({"MonitorPlace": {"directory": "/x"}}, "/MonitorPlace"),
        ({"MonitorPlace": {"directory": "/x", "logs": "/y", "other": 1}}, "/MonitorPlace"),
        ({"MonitorPlace": {"directory": {"nothing": 1}, "logs": "/y"}}, "/MonitorPlace/directory"),
    ],
)
def test_what_nobody_has_kept(data: object, pointer: str) -> None:
    with pytest.raises(SpecError) as raised:
        from_plain(data, CLASSES)
    assert raised.value.pointer == pointer


def test_defaults_are_not_written() -> None:
    assert to_plain(LimitPolicy()) == {"LimitPolicy": {}}
    assert to_plain(replace(LimitPolicy(), pids_max=3)) == {"LimitPolicy": {"pids_max": 3}}
