"""``./dev bench [NAME...] [--rounds N]``: one file of this folder per question."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from bench.rounds import machine, measure, table

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in ("__main__", "rounds"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}; all without a name")
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in NAMES:
            parser.error(f"there is no benchmark {name!r}; there are {', '.join(NAMES)}")
    print(machine())
    for name in arguments.names or NAMES:
        module = importlib.import_module(f"bench.{name}")
        print(table(f"\n{name}: {module.__doc__}", measure(module.cases(), arguments.rounds)), flush=True)


if __name__ == "__main__":
    main()
