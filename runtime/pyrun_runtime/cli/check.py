"""``pyrun check``: what this machine offers to pods, what is missing, and how to mend it."""

from __future__ import annotations

import os

from pyrun import can_run_pods, read_features
from pyrun_runtime.cli.message import FAILED, UsageError, one_line, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrun import Feature
    from pyrun_runtime.cli.options import Options, OptionTable

OPTIONS: OptionTable = {"json": ""}
HELP = """\
usage: pyrun check [--json]

Tries what pods need of the kernel, its namespaces, mounts and cgroups, and prints a line for each: 'yes', 'no' with what would
mend it, or '?' where only root can tell. A 'no' without 'REQUIRED' matters to some pods only: a controller to a limit, say.
Leaves nothing behind.

Exit status: 0 if pods can run here, 1 if something that is required is missing or cannot be told.
"""

MARKS = {True: "yes", False: "no", None: "?"}


def run(options: Options, arguments: list[str]) -> int:
    if arguments:
        raise UsageError(f"check takes no argument, found {arguments[0]!r}")
    features = read_features()
    if "json" in options:
        show(to_json(features))
    else:
        show("\n".join([one_line(line) for line in report(features)]))
    return 0 if can_run_pods(features) else FAILED


def to_json(features: Sequence[Feature]) -> str:
    """One object: ``pods`` whether pods can run, ``kernel`` its release, ``features`` a list."""
    import json

    rows = [{name: getattr(feature, name) for name in feature._fields} for feature in features]
    return json.dumps({"pods": can_run_pods(features), "kernel": os.uname().release, "features": rows}, indent=2)


def report(features: Sequence[Feature]) -> list[str]:
    """The table, by area, and the verdict below it."""
    kernel = os.uname()
    lines = [f"{kernel.sysname} {kernel.release} {kernel.machine}, uid {os.geteuid()}"]
    areas = list(dict.fromkeys([feature.area for feature in features]))
    width = max([len(feature.name) for feature in features], default=0)
    for area in areas:
        lines += ["", area]
        lines += [_row(feature, width) for feature in features if feature.area == area]
    return [*lines, "", *verdict(features)]


def _row(feature: Feature, width: int) -> str:
    remark = feature.detail
    if not feature.available:
        mend = f"needs: {feature.needs}" if feature.needs else ""
        required = "REQUIRED" if feature.required else ""
        remark = "; ".join([part for part in (required, feature.detail, mend) if part])
    return f"  {feature.name:{width}}  {MARKS[feature.available]:3}  {remark}".rstrip()


def verdict(features: Sequence[Feature]) -> list[str]:
    """What it means, in a sentence or two."""
    missing = [feature for feature in features if feature.required and feature.available is False]
    unknown = [feature for feature in features if feature.required and feature.available is None]
    controllers = [feature for feature in features if feature.name.endswith(" controller") and not feature.available]
    limits = _controllers_sentence(controllers)
    if missing:
        return [f"Pods cannot run here: {_names(missing)} missing.", *limits]
    if unknown:
        return ["Whether pods can run here only root can tell: run 'sudo pyrun check'.", *limits]
    return ["Pods can run here.", *limits]


def _controllers_sentence(missing: Sequence[Feature]) -> list[str]:
    if not missing:
        return []
    names = ", ".join([feature.name.removesuffix(" controller") for feature in missing])
    mends = list(dict.fromkeys([feature.needs for feature in missing if feature.needs]))
    how = f" To have them: {'; '.join(mends)}." if mends else ""
    return [f"Limits that need these cgroup controllers are refused: {names}.{how}"]


def _names(features: Sequence[Feature]) -> str:
    names = ", ".join([feature.name for feature in features])
    return f"{names} {'is' if len(features) == 1 else 'are'}"
