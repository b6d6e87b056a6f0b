"""The steps of a hook: a program of the runtime's caller, beside the container or in it. Pure."""

from __future__ import annotations

from pyrun.container.exec import join_container, plan_exec
from pyrun.container.process import STDIO
from pyrun.kernel.step import Duplicate, EnterPidNamespace, Exec, FindProgram, NewSession
from pyrun.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrun.kernel.step import Plan
    from pyrun.spec.oci import OciHook, OciSpec


def plan_host_hook(hook: OciHook, env: Sequence[str], kinds: Sequence[str] = ()) -> Plan:
    """The hook as the runtime's own program. *env* is for a hook that has none.

    With *kinds* it joins these namespaces of the process behind the slot ``container``, which has not pivoted yet: so the hook's
    path is still the host's.
    """
    joined = join_container(kinds)
    if "pid" in kinds:
        joined.append(EnterPidNamespace())
    return (
        *joined,
        NewSession(),
        *[Duplicate(name, number) for number, name in enumerate(STDIO)],
        Exec(hook.args or (hook.path,), hook.env or tuple(env), program=hook.path),
    )


def plan_container_hook(spec: OciSpec, hook: OciHook, kinds: Sequence[str]) -> Plan:
    """The hook as a program of the container, which may do what the container's may: its path leads to what the image holds."""
    assert spec.process is not None
    process = replace(spec.process, args=hook.args or (hook.path,), env=hook.env, terminal=False)
    steps = [step for step in plan_exec(spec, process, kinds) if not isinstance(step, FindProgram)]
    return tuple([replace(step, program=hook.path) if isinstance(step, Exec) else step for step in steps])
