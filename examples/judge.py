"""A judge in ten lines: run a stranger's program with a memory limit and a time-out, and say how it went."""

import sys

import pyrun

argv = sys.argv[1:] or sys.exit("usage: judge.py PROGRAM [ARGUMENT]...")
limits = pyrun.Limits(memory_max_bytes=64 << 20, memory_swap_max_bytes=0, pids_max=16)
try:
    outcome = pyrun.run(argv, limits=limits, timeout_s=10)
except pyrun.PyrunError as error:
    sys.exit(f"judge: {pyrun.describe_error(error)}")
print(f"exit code {outcome.exit.exit_code}, cpu {outcome.cpu_s:.3f} s, peak memory {outcome.peak_memory_bytes} bytes")
print(f"killed for memory: {outcome.oom_killed}, killed for time: {outcome.timed_out}")
