"""Compiles the default seccomp filters when the package is built: called by setup.py, before pyrun is installed."""

from __future__ import annotations

from pyrun.container.seccomp import MACHINES, filter_path
from pyrun.container.seccomp_compile import compile_filter
from pyrun.container.seccomp_profile import default_profile_oci
from pyrun.container.security import DEFAULT_CAPABILITIES, capability_mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike

# The bounding sets that nearly every container has: the default one, and none at all (``drop: [ALL]``).
PREBUILT_CAPABILITIES = (DEFAULT_CAPABILITIES, ())


def build_default_profiles(output_dir: str | PathLike[str]) -> list[str]:
    """Writes one filter for each machine and each of PREBUILT_CAPABILITIES into *output_dir*, and returns their paths.

    The files depend on nothing but the sources, so a wheel has the same ones wherever it is built.
    """
    paths = []
    for machine in MACHINES:
        for capabilities in PREBUILT_CAPABILITIES:
            path = filter_path(machine, capability_mask(capabilities), str(output_dir))
            with open(path, "wb") as file:
                file.write(compile_filter(default_profile_oci(capabilities, machine), machine))
            paths.append(path)
    return paths
