"""Steps that enter, make and furnish namespaces."""

from __future__ import annotations

import errno

from pyrun._core import lib
from pyrun.errors import PyrunError
from pyrun.kernel.step_base import Step
from pyrun.linux.namespace import NAMESPACE_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.kernel.encode import Encoder
    from pyrun.kernel.step_base import Fields


NAMESPACE_FLAGS = {name: kind.flag for name, kind in NAMESPACE_TYPES.items()}


def namespace_flags(kinds: tuple[str, ...]) -> int:
    """``CLONE_NEW*`` of the names, or-ed. Raises :class:`PyrunError` for a name that is none."""
    flags = 0
    for kind in kinds:
        if kind not in NAMESPACE_FLAGS:
            raise PyrunError(f"{kind!r} is not a kind of namespace: there are {', '.join(NAMESPACE_FLAGS)}")
        flags |= NAMESPACE_FLAGS[kind]
    return flags


class Await(Step):
    """ppoll(2): wait until the descriptor in a slot can be read, or its other end is closed."""

    source: str
    kind = "AWAIT"
    reason = "what is joined is made meanwhile"

    def describe(self) -> str:
        return f"wait for {self.source}"

    def fields(self, encoder: Encoder) -> Fields:
        return (encoder.slot(self.source),), (), ()


class JoinNamespaces(Step):
    """setns(2): enter several namespaces of the process behind a pidfd, or the one behind a namespace descriptor."""

    source: str
    kinds: tuple[str, ...]
    kind = "SETNS"
    reason = "one call joins all of them or none"

    def describe(self) -> str:
        return f"join {', '.join(self.kinds)} of {self.source}"

    def fields(self, encoder: Encoder) -> Fields:
        return (encoder.slot(self.source),), (), (namespace_flags(self.kinds),)


class JoinUserNamespace(JoinNamespaces):
    """setns(2) into a user namespace: with every capability in it, and none outside of it any more."""

    reason = "what is made from here on belongs to it"


class Unshare(Step):
    """unshare(2). Not for ``time`` (see :class:`NewTimeNamespace`) and not for ``pid``, which is for children only."""

    kinds: tuple[str, ...]
    kind = "UNSHARE"
    reason = "a namespace of its own"

    def describe(self) -> str:
        return f"unshare {', '.join(self.kinds)}"

    def fields(self, encoder: Encoder) -> Fields:
        return (), (), (namespace_flags(self.kinds),)


class NewTimeNamespace(Step):
    """Make a time namespace with offsets in nanoseconds (time_namespaces(7)), and enter it."""

    monotonic_ns: int = 0
    boottime_ns: int = 0
    kind = "TIME_NAMESPACE"
    reason = "offsets can be written only while nobody is in it"

    def describe(self) -> str:
        return f"new time namespace, monotonic {self.monotonic_ns / 1e9:+g} s, boottime {self.boottime_ns / 1e9:+g} s"

    def fields(self, encoder: Encoder) -> Fields:
        # divmod rounds down, which is what the kernel wants: nanoseconds are never negative.
        return (), (), (*divmod(self.monotonic_ns, 10**9), *divmod(self.boottime_ns, 10**9))


class SetHostname(Step):
    """sethostname(2)."""

    name: str
    kind = "HOSTNAME"
    reason = "the name that all of the pod share"

    def describe(self) -> str:
        return f"hostname {self.name}"

    def fields(self, encoder: Encoder) -> Fields:
        return (), (encoder.text(self.name),), ()


class SetDomainname(SetHostname):
    """setdomainname(2)."""

    kind = "DOMAINNAME"

    def describe(self) -> str:
        return f"domain name {self.name}"


class LoopbackUp(Step):
    """Bring ``lo`` up: a new network namespace has it, down."""

    kind = "LOOPBACK_UP"
    reason = "containers of a pod find each other on 127.0.0.1"

    def describe(self) -> str:
        return "bring lo up"


class BecomeNamespaceRoot(Step):
    """setresgid(2), setresuid(2): from nobody to the root of the user namespace that was joined."""

    uid: int = 0
    gid: int = 0
    kind = "NAMESPACE_ROOT"
    reason = "what is made from here on belongs to the namespace's root"

    def describe(self) -> str:
        return f"become {self.uid}:{self.gid} of the user namespace"

    def hint(self, error: int) -> str:
        return "the id mappings must map it" if error == errno.EINVAL else ""

    def fields(self, encoder: Encoder) -> Fields:
        return (), (), (self.uid, self.gid)


class NewPidNamespace(Step):
    """clone3(2) with CLONE_NEWPID and CLONE_PARENT: the plan goes on in a child, the first process of a PID namespace.

    Only where the PID namespace must belong to a user namespace that the plan joins; else the clone makes it.
    """

    kind = "NEW_PID_NAMESPACE"
    reason = "/proc can be mounted where the PID namespace belongs to our user namespace"

    def describe(self) -> str:
        return "new PID namespace, go on as its first process"

    def fields(self, encoder: Encoder) -> Fields:
        return (), (), (lib.CLONE_NEWPID,)


class EnterPidNamespace(Step):
    """clone3(2) with CLONE_PARENT: the plan goes on in a child, in the PID namespace that was joined.

    create's *pid_namespace* is cheaper, and for namespaces in which nobody is hostile: until it has executed the stage, a clone
    shows its neighbours the launcher's interpreter as /proc/<pid>/exe.
    """

    kind = "NEW_PID_NAMESPACE"
    reason = "who lives there must not find the launcher's interpreter (CVE-2019-5736)"

    def describe(self) -> str:
        return "go on as a process of the PID namespace"
