"""Whether a container that has ended is started again. One table, and the rules that come before it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from pyrun.spec.pod import Container, RestartPolicy

    Role: TypeAlias = Literal["init", "sidecar", "regular", "ephemeral"]
    Verdict: TypeAlias = Literal["restart", "restart all", "done"]

# (policy, exit code is 0) → what comes next.
AFTER_EXIT: dict[tuple[str, bool], Verdict] = {
    ("Always", True): "restart",
    ("Always", False): "restart",
    ("OnFailure", True): "done",
    ("OnFailure", False): "restart",
    ("Never", True): "done",
    ("Never", False): "done",
}


def role_of(container: Container, place: Literal["init", "regular", "ephemeral"]) -> Role:
    """A sidecar is an init container that is always to run."""
    return "sidecar" if place == "init" and container.restart_policy == "Always" else place


def effective_policy(container: Container, role: Role, pod_policy: RestartPolicy) -> RestartPolicy:
    """An init container runs to its end once: Always is OnFailure to it. An ephemeral container is never started again."""
    if role == "ephemeral":
        return "Never"
    policy = container.restart_policy or pod_policy
    return "OnFailure" if role == "init" and policy == "Always" else policy


def after_exit(container: Container, policy: RestartPolicy, exit_code: int) -> Verdict:
    """The first of ``restartPolicyRules`` that fits, else the policy."""
    for rule in container.restart_rules:
        if (exit_code in rule.exit_codes) != rule.negated:
            return "restart all" if rule.action == "RestartAllContainers" else "restart"
    return AFTER_EXIT[policy, exit_code == 0]
