"""Seccomp filters for containers: the default one from the package, any other compiled when it is asked for.

``DefaultProfile(capabilities)`` stands for the default profile in an OCI specification. It reads like the ``linux.seccomp``
object that it is, but makes it only when somebody looks; handing it to :func:`seccomp_filter` costs reading one small file
that was compiled when the package was built (:mod:`pyrun.container.seccomp_build`). Everything else is compiled here, by
:mod:`pyrun.container.seccomp_compile`, in some milliseconds.
"""

from __future__ import annotations

import os
from _collections_abc import Mapping  # not collections.abc: that imports the whole of collections

from pyrun.container.security import DEFAULT_CAPABILITIES, capability_mask
from pyrun.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# The capabilities that the default profile asks for, as a mask: seccomp_profile.BY_CAPABILITY, compared by a test. Profiles
# that differ in other capabilities alone are the same profile.
PROFILE_CAPABILITIES = 0xC406FF0004
MACHINES = ("x86_64", "aarch64")


class DefaultProfile(Mapping[str, object]):
    """The default profile for a bounding set of *capabilities* on *machine* (this one unless given)."""

    __slots__ = ("_oci", "capabilities", "machine")

    def __init__(self, capabilities: Iterable[str] = DEFAULT_CAPABILITIES, machine: str = "") -> None:
        self.capabilities = tuple(capabilities)
        self.machine = machine or os.uname().machine
        self._oci: dict[str, object] | None = None

    def oci(self) -> dict[str, object]:
        """The object as an OCI configuration holds it, made when first wanted."""
        if self._oci is None:
            from pyrun.container.seccomp_profile import default_profile_oci

            _check_machine(self.machine)
            self._oci = default_profile_oci(self.capabilities, self.machine)
        return self._oci

    def filter(self) -> bytes:
        """The filter for this profile, as an array of struct sock_filter."""
        _check_machine(self.machine)
        try:
            with open(filter_path(self.machine, capability_mask(self.capabilities)), "rb", buffering=0) as file:
                return file.read()
        except FileNotFoundError:
            return _compile(self.oci(), self.machine)

    def __getitem__(self, key: str) -> object:
        return self.oci()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.oci())

    def __len__(self) -> int:
        return len(self.oci())

    def __repr__(self) -> str:
        return f"DefaultProfile({self.capabilities!r}, {self.machine!r})"


def seccomp_filter(profile: Mapping[str, object]) -> bytes:
    """The filter for any ``linux.seccomp`` object on this machine, as an array of struct sock_filter.

    Raises SpecError with the place of what is wrong in the profile.
    """
    if isinstance(profile, DefaultProfile):
        return profile.filter()
    return _compile(profile, os.uname().machine)


def seccomp_flags(profile: Mapping[str, object]) -> int:
    """The SECCOMP_FILTER_FLAG_* bits to load the filter with."""
    if isinstance(profile, DefaultProfile):
        return 0
    from pyrun.container.seccomp_rules import parse_flags

    return parse_flags(profile)


def filter_path(machine: str, capabilities: int, directory: str = "") -> str:
    """Where the default filter for *machine* and a mask of *capabilities* is, if it was compiled ahead of time."""
    folder = directory or os.path.dirname(__file__)
    return f"{folder}/seccomp-{machine}-{capabilities & PROFILE_CAPABILITIES:x}.bpf"


def _compile(profile: Mapping[str, object], machine: str) -> bytes:
    from pyrun.container.seccomp_compile import compile_filter

    return compile_filter(profile, machine)


def _check_machine(machine: str) -> None:
    if machine not in MACHINES:
        raise Unsupported(f"seccomp on {machine}", f"pyrun knows the system calls of {' and '.join(MACHINES)}")
