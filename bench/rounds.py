"""Measuring: everything that is compared runs interleaved (A B C A B C ...), with pauses, and is told as medians and ratios."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

PAUSE_S = 0.05  # in a tight loop some kernel waits (RCU grace periods) disappear from what is measured


@dataclass(frozen=True)
class Result:
    """Times of one case in microseconds, one per round."""

    name: str
    times_us: tuple[float, ...]

    def quantile(self, part: float) -> float:
        return sorted(self.times_us)[min(len(self.times_us) - 1, int(part * len(self.times_us)))]

    @property
    def median_us(self) -> float:
        return statistics.median(self.times_us)


def measure(cases: dict[str, Callable[[], object]], rounds: int) -> list[Result]:
    """Run every case once per round, in turn; the first round warms up and is not counted."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, case in cases.items():
            begin = time.perf_counter()
            case()
            if number:
                times[name].append((time.perf_counter() - begin) * 1e6)
            time.sleep(PAUSE_S)
    return [Result(name, tuple(values)) for name, values in times.items()]


def table(title: str, results: list[Result]) -> str:
    """Median, p10, p90, p99, and the median of the ratios, round by round, to the first case."""
    width = max(len(result.name) for result in results)
    lines = [title, f"  {'case':{width}}  {'median µs':>10} {'p10':>9} {'p90':>9} {'p99':>9}  ratio"]
    for result in results:
        ratio = statistics.median(a / b for a, b in zip(result.times_us, results[0].times_us, strict=True))
        numbers = f"{result.median_us:10.0f} {result.quantile(0.1):9.0f} {result.quantile(0.9):9.0f} {result.quantile(0.99):9.0f}"
        lines.append(f"  {result.name:{width}}  {numbers}  {ratio:5.2f}")
    return "\n".join(lines)


def machine() -> str:
    """Kernel, cores and load, and a warning when the load makes the numbers doubtful."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    busy = "  BUSY: do not trust these numbers" if load > cores / 2 else ""
    return f"Linux {os.uname().release}, {cores} cores, load {load:.2f}{busy}"
