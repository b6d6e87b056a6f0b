"""What is asked of a running container: probes, and hooks around its life. Ports are numbers: names have been looked up."""

from __future__ import annotations

from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    Scheme: TypeAlias = Literal["HTTP", "HTTPS"]
    Handler: TypeAlias = "ExecAction | HttpGetAction | TcpSocketAction | GrpcAction | SleepAction"


class ExecAction(Value):
    """``exec``: a program of the image, not run by a shell; exit status 0 is success."""

    command: tuple[str, ...]


class HttpGetAction(Value):
    """``httpGet``. ``host`` is empty for the pod itself; ``headers`` in the order of the manifest, names may repeat."""

    port: int
    path: str = "/"
    host: str = ""
    scheme: Scheme = "HTTP"
    headers: tuple[tuple[str, str], ...] = ()


class TcpSocketAction(Value):
    """``tcpSocket``: success is a connection. ``host`` is empty for the pod itself."""

    port: int
    host: str = ""


class GrpcAction(Value):
    """``grpc``: success is SERVING from the standard health service for ``service``."""

    port: int
    service: str = ""


class SleepAction(Value):
    """``sleep``, a hook only."""

    seconds: int


class Probe(Value):
    """``startupProbe``, ``livenessProbe`` or ``readinessProbe``. ``grace_period_s`` is None where the pod's holds."""

    action: ExecAction | HttpGetAction | TcpSocketAction | GrpcAction
    initial_delay_s: int = 0
    period_s: int = 10
    timeout_s: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3
    grace_period_s: int | None = None


class Lifecycle(Value):
    """``lifecycle``. ``stop_signal`` is a number; None is SIGTERM."""

    post_start: ExecAction | HttpGetAction | TcpSocketAction | SleepAction | None = None
    pre_stop: ExecAction | HttpGetAction | TcpSocketAction | SleepAction | None = None
    stop_signal: int | None = None
