"""What the downward API tells that is not in the manifest, read from this machine when a pod asks for it."""

from __future__ import annotations

import os

from pyrun.spec.environment import Facts
from pyrun.spec.source import DownwardVolume, FieldRef, ProjectedVolume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.pod.machine import Machine
    from pyrun.spec.pod import PodSpec

LOOPBACK = "127.0.0.1"


def facts_of(machine: Machine, uid: str) -> Facts:
    """What is known without looking at anything else."""
    return Facts(uid=uid, node_name=machine.hostname, memory_bytes=machine.memory_bytes)


def read_facts(pod: PodSpec, machine: Machine, uid: str, directory: str) -> Facts:
    """All facts; *directory* is on the file system that has the pod's storage. A pod with a network of its own has its loopback
    only, so that is its address."""
    if not _asks(pod):
        return facts_of(machine, uid)
    host_ip = _read_host_ip()
    return Facts(
        uid=uid,
        node_name=machine.hostname,
        host_ip=host_ip,
        pod_ip=host_ip if pod.host_network else LOOPBACK,
        cpu_milli=(os.cpu_count() or 1) * 1000,
        memory_bytes=machine.memory_bytes,
        storage_bytes=_read_storage_bytes(directory),
    )


def _asks(pod: PodSpec) -> bool:
    every = (*pod.init_containers, *pod.containers, *pod.ephemeral_containers)
    in_volumes = [
        volume.source for volume in pod.volumes if isinstance(volume.source, DownwardVolume | ProjectedVolume)
    ]
    asked = [variable.source for each in every for variable in each.env if variable.source is not None]
    beyond = [ref for ref in asked if not (isinstance(ref, FieldRef) and ref.path.startswith("metadata."))]
    return bool(in_volumes or beyond)


def _read_host_ip() -> str:
    """The address that the machine speaks to others from; its loopback where it has no way out. Nothing is sent."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # RFC 5737: an address of nobody
            return str(probe.getsockname()[0])
        except OSError:
            return LOOPBACK


def _read_storage_bytes(directory: str) -> int:
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    found = os.statvfs(directory)
    return found.f_blocks * found.f_frsize
