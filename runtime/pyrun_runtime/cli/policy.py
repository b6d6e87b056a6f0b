"""What the command line says about a pod besides its manifest: the same for every verb that makes or plans a pod."""

from __future__ import annotations

from pyrun import SecurityPolicy, read_user_ranges, replace
from pyrun_runtime.cli.message import UsageError
from pyrun_runtime.cli.options import setting
from pyrun_runtime.store import RUN_ROOT, USERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import PodSpec
    from pyrun_runtime.cli.options import Options, OptionTable

SECCOMP_ROOT = "/etc/pyrun/seccomp"
POLICY_OPTIONS: OptionTable = {"allow-unsafe-sysctls": "NAMES", "seccomp-profiles": "DIR", "cluster-domain": "NAME"}
POLICY_HELP = f"""\
  --allow-unsafe-sysctls NAMES
                     kernel settings that a pod may have besides the safe ones, as 'net.core.*,kernel.msgmax'
  --seccomp-profiles DIR
                     where Localhost profiles are (PYRUN_SECCOMP; {SECCOMP_ROOT})
  --cluster-domain NAME
                     what the full names of pods with a subdomain end in (cluster.local)
"""


def security_policy(options: Options, pod: PodSpec) -> SecurityPolicy:
    names = options.get("allow-unsafe-sysctls", "").split(",")
    return SecurityPolicy(
        unsafe_sysctls=tuple([name.strip() for name in names if name.strip()]),
        user_ranges=None if pod.host_users else read_user_ranges(_user_locks(options)),
        seccomp_profiles=setting(options, "seccomp-profiles", "PYRUN_SECCOMP", SECCOMP_ROOT),
    )


def _user_locks(options: Options) -> str:
    return setting(options, "root", "PYRUN_ROOT", RUN_ROOT) + USERS


def in_cluster_domain(pod: PodSpec, options: Options) -> PodSpec:
    name = options.get("cluster-domain", pod.cluster_domain)
    if not all([part.replace("-", "x").isalnum() for part in name.split(".")]):
        raise UsageError(f"--cluster-domain {name}: not a domain name")
    return replace(pod, cluster_domain=name)
