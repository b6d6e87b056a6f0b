"""The machine that measures: what it is, and whether it has time for us."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST_LOAD_PER_CORE = 0.5
MOST_PRESSURE_PERCENT = 10.0
MOST_STOLEN_PERCENT = 2.0


@dataclass(frozen=True)
class Sample:
    """Load of the last minute, share of the last 10 s in which somebody waited for a processor, ticks stolen and in all."""

    load: float
    pressure_percent: float
    stolen: int
    ticks: int


def sample(proc: Path = Path("/proc")) -> Sample:
    ticks = [int(word) for word in (proc / "stat").read_text().splitlines()[0].split()[1:]]
    load = float((proc / "loadavg").read_text().split()[0])
    return Sample(load, _pressure(proc / "pressure/cpu"), ticks[7], sum(ticks))


def _pressure(path: Path) -> float:
    """``some avg10``; 0 where the kernel does not count it."""
    try:
        words = path.read_text().split()
    except OSError:
        return 0.0
    return float(words[1].removeprefix("avg10="))


def why_busy(before: Sample, after: Sample, cores: int) -> list[str]:
    """Why the figures are doubtful; empty for a quiet machine.

    Load and pressure count before we began: afterwards they are ours. What the hypervisor took is never ours.
    """
    reasons = []
    if before.load > cores * MOST_LOAD_PER_CORE:
        reasons.append(f"the load was {before.load:.2f} on {cores} cores before anything was measured")
    if before.pressure_percent > MOST_PRESSURE_PERCENT:
        reasons.append(f"processes waited for a processor {before.pressure_percent:.0f} % of the time before that")
    stolen = 100 * (after.stolen - before.stolen) / max(1, after.ticks - before.ticks)
    if stolen > MOST_STOLEN_PERCENT:
        reasons.append(f"the hypervisor took {stolen:.1f} % of the processor time")
    return reasons


def describe(before: Sample, after: Sample) -> dict[str, Any]:
    """What is recorded with the figures."""
    cores = os.cpu_count() or 1
    return {
        "kernel": os.uname().release,
        "architecture": os.uname().machine,
        "processor": _processor(),
        "cores": cores,
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "load_before": before.load,
        "load_after": after.load,
        "pressure_before_percent": before.pressure_percent,
        "busy": why_busy(before, after, cores),
    }


def _processor() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else os.uname().machine


def heading(machine: Mapping[str, Any]) -> str:
    memory = machine["memory_bytes"] / (1 << 30)
    text = f"Linux {machine['kernel']}, {machine['cores']} × {machine['processor']}, {memory:.0f} GiB"
    return f"{text}, load {machine['load_before']:.2f} before, {machine['load_after']:.2f} after"


def warning(machine: Mapping[str, Any]) -> str:
    """A sentence for a busy machine, nothing for a quiet one."""
    return f"BUSY, do not trust these figures: {'; '.join(machine['busy'])}" if machine["busy"] else ""
