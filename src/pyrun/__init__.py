"""pyrun: a Pod runtime on raw Linux system calls.

The names in ``__all__`` are the library; everything else is private and may change. They are imported when they are
first used, so that ``import pyrun`` costs next to nothing and a program pays for what it uses.

Three ways in, from the shortest to the lowest:

- :func:`run` runs one command in fresh namespaces with limits and a time-out, and says how it went;
- :class:`Pod` makes a pod of a :class:`PodSpec` and hands over its containers;
- :func:`spawn` and :func:`create` run any sequence of :mod:`steps` in a new process.

:mod:`pyrun.aio` has their waits and streams for asyncio.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import aio as aio
    from pyrun.container.command import Outcome as Outcome
    from pyrun.container.command import plan_command as plan_command
    from pyrun.container.command import run as run
    from pyrun.container.completion import complete_process as complete_process
    from pyrun.container.exec import CONTAINER as CONTAINER
    from pyrun.container.exec import exec_process as exec_process
    from pyrun.container.exec import plan_exec as plan_exec
    from pyrun.container.hook import plan_container_hook as plan_container_hook
    from pyrun.container.hook import plan_host_hook as plan_host_hook
    from pyrun.container.id_map import IdMaps as IdMaps
    from pyrun.container.layout import PodPaths as PodPaths
    from pyrun.container.lower import lower_container as lower_container
    from pyrun.container.namespaces import JoinedNamespaces as JoinedNamespaces
    from pyrun.container.net_devices import move_net_devices as move_net_devices
    from pyrun.container.oci_delegation import delegate_cgroup as delegate_cgroup
    from pyrun.container.oci_features import oci_features as oci_features
    from pyrun.container.oci_limits import oci_limits as oci_limits
    from pyrun.container.oci_resources import apply_resources as apply_resources
    from pyrun.container.oci_resources import update_resources as update_resources
    from pyrun.container.plan import ContainerPlan as ContainerPlan
    from pyrun.container.plan import Setting as Setting
    from pyrun.container.plan import has_early_hooks as has_early_hooks
    from pyrun.container.plan import plan_container as plan_container
    from pyrun.container.process import preserved_slot as preserved_slot
    from pyrun.container.root_plan import read_links as read_links
    from pyrun.container.seccomp_notify import has_listener as has_listener
    from pyrun.container.seccomp_notify import send_listener as send_listener
    from pyrun.container.security import ALL_CAPABILITIES_MASK as ALL_CAPABILITIES_MASK
    from pyrun.container.security import available_capabilities as available_capabilities
    from pyrun.errors import AlreadyExists as AlreadyExists
    from pyrun.errors import CleanupErrors as CleanupErrors
    from pyrun.errors import ExecError as ExecError
    from pyrun.errors import KernelError as KernelError
    from pyrun.errors import NotFound as NotFound
    from pyrun.errors import PyrunError as PyrunError
    from pyrun.errors import SpecError as SpecError
    from pyrun.errors import StateError as StateError
    from pyrun.errors import StepError as StepError
    from pyrun.errors import Unsupported as Unsupported
    from pyrun.errors import describe_error as describe_error
    from pyrun.kernel import step as steps
    from pyrun.kernel.cgroup import NO_LIMIT as NO_LIMIT
    from pyrun.kernel.cgroup import Cgroup as Cgroup
    from pyrun.kernel.cgroup import CpuMax as CpuMax
    from pyrun.kernel.cgroup import IoMax as IoMax
    from pyrun.kernel.cgroup import Limits as Limits
    from pyrun.kernel.cgroup import find_cgroup_root as find_cgroup_root
    from pyrun.kernel.door import Door as Door
    from pyrun.kernel.fd import Fd as Fd
    from pyrun.kernel.features import can_run_pods as can_run_pods
    from pyrun.kernel.features import read_features as read_features
    from pyrun.kernel.foreign import ForeignProcess as ForeignProcess
    from pyrun.kernel.foreign import read_start_ticks as read_start_ticks
    from pyrun.kernel.inotify import Inotify as Inotify
    from pyrun.kernel.monitor import ExitRecord as ExitRecord
    from pyrun.kernel.monitor import LogFile as LogFile
    from pyrun.kernel.monitor import Monitor as Monitor
    from pyrun.kernel.monitor import MonitoredProcess as MonitoredProcess
    from pyrun.kernel.monitor import MonitorStatus as MonitorStatus
    from pyrun.kernel.monitor_protocol import Answer as Answer
    from pyrun.kernel.namespace import Namespace as Namespace
    from pyrun.kernel.namespace import NamespaceSet as NamespaceSet
    from pyrun.kernel.order import BEFORE as BEFORE
    from pyrun.kernel.order import check_order as check_order
    from pyrun.kernel.order import reasons as reasons
    from pyrun.kernel.pause import PauseProcess as PauseProcess
    from pyrun.kernel.process import ExitStatus as ExitStatus
    from pyrun.kernel.process import Process as Process
    from pyrun.kernel.process import signal_name as signal_name
    from pyrun.kernel.spawn import NEW_NAMESPACES as NEW_NAMESPACES
    from pyrun.kernel.spawn import Created as Created
    from pyrun.kernel.spawn import create as create
    from pyrun.kernel.spawn import spawn as spawn
    from pyrun.kernel.step import Plan as Plan
    from pyrun.kernel.step import Step as Step
    from pyrun.kernel.undo import Undo as Undo
    from pyrun.linux.features import Feature as Feature
    from pyrun.pod.accounts import resolve_user as resolve_user
    from pyrun.pod.adopt import SandboxGone as SandboxGone
    from pyrun.pod.adopt import connect as connect
    from pyrun.pod.adopt import read_kept as read_kept
    from pyrun.pod.container import PodContainer as PodContainer
    from pyrun.pod.driver import Driver as Driver
    from pyrun.pod.entry import ContainerEntry as ContainerEntry
    from pyrun.pod.entry import enter as enter
    from pyrun.pod.entry import entry_document as entry_document
    from pyrun.pod.entry import open_first as open_first
    from pyrun.pod.entry import parse_entry as parse_entry
    from pyrun.pod.inside import join_network as join_network
    from pyrun.pod.inside import join_users as join_users
    from pyrun.pod.inside import open_in_root as open_in_root
    from pyrun.pod.leftover import kill_pod as kill_pod
    from pyrun.pod.leftover import list_pods as list_pods
    from pyrun.pod.leftover import remove_leftovers as remove_leftovers
    from pyrun.pod.lifecycle.action import Publish as Publish
    from pyrun.pod.lifecycle.pod_life import PodLife as PodLife
    from pyrun.pod.lifecycle.snapshot import life_document as life_document
    from pyrun.pod.lifecycle.snapshot import parse_life as parse_life
    from pyrun.pod.lifecycle.status import status_document as status_document
    from pyrun.pod.limits import LimitPolicy as LimitPolicy
    from pyrun.pod.machine import Machine as Machine
    from pyrun.pod.machine import read_machine as read_machine
    from pyrun.pod.monitored import MonitorPlace as MonitorPlace
    from pyrun.pod.monitored import log_runs as log_runs
    from pyrun.pod.node import Shortage as Shortage
    from pyrun.pod.node import allocatable as allocatable
    from pyrun.pod.node import find_shortages as find_shortages
    from pyrun.pod.node import parse_amount as parse_amount
    from pyrun.pod.node import pod_need as pod_need
    from pyrun.pod.node import read_capacity as read_capacity
    from pyrun.pod.node import resource_names as resource_names
    from pyrun.pod.ownerless import Ownerless as Ownerless
    from pyrun.pod.ownerless import find_ownerless as find_ownerless
    from pyrun.pod.ownerless import remove_ownerless as remove_ownerless
    from pyrun.pod.plan import PodPlan as PodPlan
    from pyrun.pod.plan import ProcessPlan as ProcessPlan
    from pyrun.pod.plan import plan_pod as plan_pod
    from pyrun.pod.pod import Pod as Pod
    from pyrun.pod.pod import new_uid as new_uid
    from pyrun.pod.pool import SandboxPool as SandboxPool
    from pyrun.pod.remove import remove_tree as remove_tree
    from pyrun.pod.resume import lost_life as lost_life
    from pyrun.pod.sample import PodSample as PodSample
    from pyrun.pod.sample import Sample as Sample
    from pyrun.pod.sample import sample_pod as sample_pod
    from pyrun.pod.sandbox import Sandbox as Sandbox
    from pyrun.pod.security import SecurityPolicy as SecurityPolicy
    from pyrun.pod.security import settle_security as settle_security
    from pyrun.pod.standalone import standalone_oci as standalone_oci
    from pyrun.pod.status import ContainerStatus as ContainerStatus
    from pyrun.pod.trace import Phase as Phase
    from pyrun.pod.trace import trace_pod as trace_pod
    from pyrun.pod.usage import Usage as Usage
    from pyrun.pod.user_range import UserRanges as UserRanges
    from pyrun.pod.user_range import collect_user_ranges as collect_user_ranges
    from pyrun.pod.user_range import read_user_ranges as read_user_ranges
    from pyrun.pod.volume import bind_claims as bind_claims
    from pyrun.spec.ephemeral import with_ephemeral as with_ephemeral
    from pyrun.spec.object_parse import load_objects as load_objects
    from pyrun.spec.oci import OciCapabilities as OciCapabilities
    from pyrun.spec.oci import OciConsoleSize as OciConsoleSize
    from pyrun.spec.oci import OciHook as OciHook
    from pyrun.spec.oci import OciMount as OciMount
    from pyrun.spec.oci import OciProcess as OciProcess
    from pyrun.spec.oci import OciResources as OciResources
    from pyrun.spec.oci import OciSpec as OciSpec
    from pyrun.spec.oci_parse import load_oci as load_oci
    from pyrun.spec.oci_parse import load_oci_process as load_oci_process
    from pyrun.spec.oci_parse import load_oci_resources as load_oci_resources
    from pyrun.spec.oci_parse import oci_to_json as oci_to_json
    from pyrun.spec.oci_parse import parse_oci as parse_oci
    from pyrun.spec.oci_parse import parse_oci_resources as parse_oci_resources
    from pyrun.spec.parse import load_json as load_json
    from pyrun.spec.pod import PodSpec as PodSpec
    from pyrun.spec.pod_parse import load_pod as load_pod
    from pyrun.spec.pod_parse import parse_pod as parse_pod
    from pyrun.spec.qos import qos_class as qos_class
    from pyrun.spec.resize import resize_container as resize_container
    from pyrun.spec.resources_document import resources_document as resources_document
    from pyrun.spec.source import ConfigObject as ConfigObject
    from pyrun.value import Value as Value
    from pyrun.value import replace as replace
    from pyrun.version import __version__ as __version__

# Where each name lives. The imports above say the same to type checkers; a test compares the two.
_EXPORTS = {
    "container.command": ("Outcome", "plan_command", "run"),
    "container.completion": ("complete_process",),
    "container.exec": ("CONTAINER", "exec_process", "plan_exec"),
    "container.hook": ("plan_container_hook", "plan_host_hook"),
    "container.id_map": ("IdMaps",),
    "container.layout": ("PodPaths",),
    "container.lower": ("lower_container",),
    "container.namespaces": ("JoinedNamespaces",),
    "container.net_devices": ("move_net_devices",),
    "container.oci_delegation": ("delegate_cgroup",),
    "container.oci_features": ("oci_features",),
    "container.oci_limits": ("oci_limits",),
    "container.oci_resources": ("apply_resources", "update_resources"),
    "container.plan": ("ContainerPlan", "Setting", "has_early_hooks", "plan_container"),
    "container.process": ("preserved_slot",),
    "container.root_plan": ("read_links",),
    "container.seccomp_notify": ("has_listener", "send_listener"),
    "container.security": ("ALL_CAPABILITIES_MASK", "available_capabilities"),
    "errors": (
        "AlreadyExists",
        "CleanupErrors",
        "ExecError",
        "KernelError",
        "NotFound",
        "PyrunError",
        "SpecError",
        "StateError",
        "StepError",
        "Unsupported",
        "describe_error",
    ),
    "kernel.cgroup": ("NO_LIMIT", "Cgroup", "CpuMax", "IoMax", "Limits", "find_cgroup_root"),
    "kernel.door": ("Door",),
    "kernel.fd": ("Fd",),
    "kernel.features": ("can_run_pods", "read_features"),
    "kernel.foreign": ("ForeignProcess", "read_start_ticks"),
    "kernel.inotify": ("Inotify",),
    "kernel.monitor": ("ExitRecord", "LogFile", "Monitor", "MonitorStatus", "MonitoredProcess"),
    "kernel.monitor_protocol": ("Answer",),
    "kernel.namespace": ("Namespace", "NamespaceSet"),
    "kernel.order": ("BEFORE", "check_order", "reasons"),
    "kernel.pause": ("PauseProcess",),
    "kernel.process": ("ExitStatus", "Process", "signal_name"),
    "kernel.spawn": ("NEW_NAMESPACES", "Created", "create", "spawn"),
    "kernel.step": ("Plan", "Step"),
    "kernel.undo": ("Undo",),
    "linux.features": ("Feature",),
    "pod.accounts": ("resolve_user",),
    "pod.adopt": ("SandboxGone", "connect", "read_kept"),
    "pod.container": ("PodContainer",),
    "pod.driver": ("Driver",),
    "pod.entry": ("ContainerEntry", "enter", "entry_document", "open_first", "parse_entry"),
    "pod.inside": ("join_network", "join_users", "open_in_root"),
    "pod.leftover": ("kill_pod", "list_pods", "remove_leftovers"),
    "pod.lifecycle.action": ("Publish",),
    "pod.lifecycle.pod_life": ("PodLife",),
    "pod.lifecycle.snapshot": ("life_document", "parse_life"),
    "pod.lifecycle.status": ("status_document",),
    "pod.limits": ("LimitPolicy",),
    "pod.machine": ("Machine", "read_machine"),
    "pod.monitored": ("MonitorPlace", "log_runs"),
    "pod.node": (
        "Shortage",
        "allocatable",
        "find_shortages",
        "parse_amount",
        "pod_need",
        "read_capacity",
        "resource_names",
    ),
    "pod.ownerless": ("Ownerless", "find_ownerless", "remove_ownerless"),
    "pod.plan": ("PodPlan", "ProcessPlan", "plan_pod"),
    "pod.pod": ("Pod", "new_uid"),
    "pod.pool": ("SandboxPool",),
    "pod.remove": ("remove_tree",),
    "pod.sandbox": ("Sandbox",),
    "pod.resume": ("lost_life",),
    "pod.sample": ("PodSample", "Sample", "sample_pod"),
    "pod.security": ("SecurityPolicy", "settle_security"),
    "pod.standalone": ("standalone_oci",),
    "pod.status": ("ContainerStatus",),
    "pod.trace": ("Phase", "trace_pod"),
    "pod.usage": ("Usage",),
    "pod.user_range": ("UserRanges", "collect_user_ranges", "read_user_ranges"),
    "pod.volume": ("bind_claims",),
    "spec.ephemeral": ("with_ephemeral",),
    "spec.oci": ("OciCapabilities", "OciConsoleSize", "OciHook", "OciMount", "OciProcess", "OciResources", "OciSpec"),
    "spec.oci_parse": (
        "load_oci",
        "load_oci_process",
        "load_oci_resources",
        "oci_to_json",
        "parse_oci",
        "parse_oci_resources",
    ),
    "spec.object_parse": ("load_objects",),
    "spec.parse": ("load_json",),
    "spec.pod": ("PodSpec",),
    "spec.pod_parse": ("load_pod", "parse_pod"),
    "spec.source": ("ConfigObject",),
    "spec.qos": ("qos_class",),
    "spec.resize": ("resize_container",),
    "spec.resources_document": ("resources_document",),
    "value": ("Value", "replace"),
    "version": ("__version__",),
}
_MODULES = {"aio": "aio", "steps": "kernel.step"}
_HOME = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = [
    "ALL_CAPABILITIES_MASK",
    "AlreadyExists",
    "Answer",
    "BEFORE",
    "CONTAINER",
    "Cgroup",
    "CleanupErrors",
    "ConfigObject",
    "ContainerEntry",
    "ContainerPlan",
    "ContainerStatus",
    "CpuMax",
    "Created",
    "Door",
    "Driver",
    "ExecError",
    "ExitRecord",
    "ExitStatus",
    "Fd",
    "Feature",
    "ForeignProcess",
    "IdMaps",
    "Inotify",
    "IoMax",
    "JoinedNamespaces",
    "KernelError",
    "LimitPolicy",
    "Limits",
    "LogFile",
    "Machine",
    "Monitor",
    "MonitorPlace",
    "MonitorStatus",
    "MonitoredProcess",
    "NEW_NAMESPACES",
    "NO_LIMIT",
    "Namespace",
    "NamespaceSet",
    "NotFound",
    "OciCapabilities",
    "OciConsoleSize",
    "OciHook",
    "OciMount",
    "OciProcess",
    "OciResources",
    "OciSpec",
    "Outcome",
    "Ownerless",
    "PauseProcess",
    "Phase",
    "Plan",
    "Pod",
    "PodContainer",
    "PodLife",
    "PodPaths",
    "PodPlan",
    "PodSample",
    "PodSpec",
    "Process",
    "ProcessPlan",
    "Publish",
    "PyrunError",
    "Sample",
    "Sandbox",
    "SandboxGone",
    "SandboxPool",
    "SecurityPolicy",
    "Setting",
    "Shortage",
    "SpecError",
    "StateError",
    "Step",
    "StepError",
    "Undo",
    "Unsupported",
    "Usage",
    "UserRanges",
    "Value",
    "__version__",
    "aio",
    "allocatable",
    "apply_resources",
    "available_capabilities",
    "bind_claims",
    "can_run_pods",
    "check_order",
    "collect_user_ranges",
    "complete_process",
    "connect",
    "create",
    "delegate_cgroup",
    "describe_error",
    "enter",
    "entry_document",
    "exec_process",
    "find_cgroup_root",
    "find_ownerless",
    "find_shortages",
    "has_early_hooks",
    "has_listener",
    "join_network",
    "join_users",
    "kill_pod",
    "life_document",
    "list_pods",
    "load_json",
    "load_objects",
    "load_oci",
    "load_oci_process",
    "load_oci_resources",
    "load_pod",
    "log_runs",
    "lost_life",
    "lower_container",
    "move_net_devices",
    "new_uid",
    "oci_features",
    "oci_limits",
    "oci_to_json",
    "open_first",
    "open_in_root",
    "parse_amount",
    "parse_entry",
    "parse_life",
    "parse_oci",
    "parse_oci_resources",
    "parse_pod",
    "plan_command",
    "plan_container",
    "plan_container_hook",
    "plan_exec",
    "plan_host_hook",
    "plan_pod",
    "pod_need",
    "preserved_slot",
    "qos_class",
    "read_capacity",
    "read_features",
    "read_kept",
    "read_links",
    "read_machine",
    "read_start_ticks",
    "read_user_ranges",
    "reasons",
    "remove_leftovers",
    "remove_ownerless",
    "remove_tree",
    "replace",
    "resize_container",
    "resolve_user",
    "resource_names",
    "resources_document",
    "run",
    "sample_pod",
    "send_listener",
    "settle_security",
    "signal_name",
    "spawn",
    "standalone_oci",
    "status_document",
    "steps",
    "trace_pod",
    "update_resources",
    "with_ephemeral",
]


def __getattr__(name: str) -> object:
    # Not importlib, which would be one more module, and brings warnings.
    if name in _MODULES:
        value: object = __import__(f"pyrun.{_MODULES[name]}", fromlist=[name])
    elif name in _HOME:
        value = getattr(__import__(f"pyrun.{_HOME[name]}", fromlist=[name]), name)
    else:
        raise AttributeError(f"module 'pyrun' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
