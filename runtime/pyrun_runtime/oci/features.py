"""``pyrun-oci features``: what of the specification is understood, as JSON (runtime-spec, features.md)."""

from __future__ import annotations

from pyrun import __version__, oci_features
from pyrun_runtime.cli.message import UsageError, show
from pyrun_runtime.oci.json_text import to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.oci.main import Context
    from pyrun_runtime.oci.options import Options, OptionTable

OPTIONS: OptionTable = {}
IN_ORDER = False
HELP = """\
usage: pyrun-oci features

Prints what is understood of the OCI runtime specification, as JSON. What this machine's kernel can do, 'pyrun check' says.
"""
# Those with which a configuration reaches beyond its container: whoever takes configurations from others should refuse them.
UNSAFE_ANNOTATIONS = ("org.systemd.property.",)


def run(_context: Context, _options: Options, arguments: list[str]) -> int:
    if arguments:
        raise UsageError(f"unexpected argument {arguments[0]!r}")
    show(to_json(features()))
    return 0


def features() -> dict[str, object]:
    return {
        **oci_features(),
        "annotations": {"org.pyrun.version": __version__},
        "potentiallyUnsafeConfigAnnotations": list(UNSAFE_ANNOTATIONS),
    }
