"""``pyrun validate``: check manifests without running them."""

from __future__ import annotations

from pyrun import SpecError, describe_error
from pyrun_runtime.cli.manifest import OBJECT_HELP, OBJECT_OPTIONS, load_manifest, name_of
from pyrun_runtime.cli.message import BAD_INPUT, InputError, UsageError, one_line, show
from pyrun_runtime.cli.options import values_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.cli.options import Options, OptionTable

OPTIONS: OptionTable = {**OBJECT_OPTIONS}
HELP = f"""\
usage: pyrun validate [OPTION]... SPEC...

Checks each manifest and prints a line for it on standard output: 'FILE: ok', or the first error as 'FILE: POINTER: MESSAGE' with
POINTER a JSON pointer to the place. What is accepted but will not behave as in Kubernetes follows as 'FILE: warning: ...'.
Needs no root; does not look at this machine, so a missing hostPath or program is found by 'pyrun run' only.

{OBJECT_HELP}
Exit status: 0 if all are good, 2 if any is not.
"""


def run(options: Options, arguments: list[str]) -> int:
    if not arguments:
        raise UsageError("no SPEC to check")
    object_paths = values_of(options, "configmap")
    return BAD_INPUT if [path for path in arguments if not validate(path, object_paths)] else 0


def validate(path: str, object_paths: list[str]) -> bool:
    """Print what there is to say about one file; whether it is good."""
    name = name_of(path)
    try:
        spec = load_manifest(path, object_paths)
    except (SpecError, InputError) as error:
        show(one_line(describe_error(error)))
        return False
    show(one_line(f"{name}: ok"))
    for warning in spec.warnings:
        show(one_line(f"{name}: warning: {warning}"))
    return True
