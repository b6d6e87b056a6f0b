"""A busy machine says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.machine import Sample, describe, heading, sample, warning, why_busy

QUIET = Sample(load=0.1, pressure_percent=0.5, stolen=0, ticks=1000)
AFTER = Sample(load=2.0, pressure_percent=60.0, stolen=1, ticks=2000)


def test_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  10 0 20 60 5 0 1 4 0 0\ncpu0 1 1\n")
    (tmp_path / "loadavg").write_text("0.42 0.30 0.20 1/99 1234\n")
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure/cpu").write_text("some avg10=3.50 avg60=1.00 avg300=0.10 total=123\n")
    assert sample(tmp_path) == Sample(load=0.42, pressure_percent=3.5, stolen=4, ticks=100)


def test_a_kernel_that_counts_no_pressure(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  10 0 20 60 5 0 1 4 0 0\n")
    (tmp_path / "loadavg").write_text("0.42 0.30 0.20 1/99 1234\n")
    assert sample(tmp_path).pressure_percent == 0


def test_what_we_cause_ourselves_is_not_busy() -> None:
    assert why_busy(QUIET, AFTER, cores=2) == []


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (Sample(1.5, 0, 0, 1000), AFTER, "the load was 1.50 on 2 cores"),
        (Sample(0, 40, 0, 1000), AFTER, "waited for a processor 40 %"),
        (QUIET, Sample(0, 0, 100, 2000), "the hypervisor took 10.0 %"),
    ],
)
def test_why_a_machine_is_busy(before: Sample, after: Sample, said: str) -> None:
    (reason,) = why_busy(before, after, cores=2)
    assert said in reason


def test_heading_names_the_machine_and_warns() -> None:
    machine = describe(QUIET, AFTER)
    assert f"Linux {machine['kernel']}" in heading(machine)
    assert "load 0.10 before, 2.00 after" in heading(machine)
    assert warning({**machine, "busy": ["reason"]}) == "BUSY, do not trust these figures: reason"
    assert warning({**machine, "busy": []}) == ""
