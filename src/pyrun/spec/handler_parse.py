"""Probes and hooks of a manifest."""

from __future__ import annotations

from pyrun.spec.handler import (
    ExecAction,
    GrpcAction,
    HttpGetAction,
    Lifecycle,
    Probe,
    SleepAction,
    TcpSocketAction,
)
from pyrun.spec.parse import did_you_mean, quote
from pyrun.spec.pod_fields import object_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals
    from collections.abc import Mapping

    from pyrun.spec.handler import Handler, Scheme
    from pyrun.spec.parse import Fields, Reader
else:
    import _signal as signals

SCHEMES: tuple[Scheme, ...] = ("HTTP", "HTTPS")
ACTIONS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
HOOK_ACTIONS = ("exec", "httpGet", "tcpSocket", "sleep")
PROBE_ACTIONS = ("exec", "httpGet", "tcpSocket", "grpc")
MAX_INT32 = 2**31 - 1


def read_probe(reader: Reader | None, ports: Mapping[str, int], readiness: bool = False) -> Probe | None:
    """A probe; *ports* are the container's by name. Zero stands for the default, as in Kubernetes."""
    if reader is None:
        return None
    fields = object_of(reader, "Probe")
    success = fields.get("successThreshold")
    if success is not None and not readiness and success.integer(0, MAX_INT32) > 1:
        raise success.error("must be 1: only a readiness probe may ask for more")
    grace = fields.get("terminationGracePeriodSeconds")
    if grace is not None and readiness:
        raise grace.error("a readiness probe ends nothing, so it has no grace period")
    return Probe(
        action=_read_action(reader, fields, PROBE_ACTIONS, ports),  # type: ignore[arg-type]
        initial_delay_s=_number(fields, "initialDelaySeconds", 0),
        period_s=_number(fields, "periodSeconds", 10),
        timeout_s=_number(fields, "timeoutSeconds", 1),
        success_threshold=_number(fields, "successThreshold", 1),
        failure_threshold=_number(fields, "failureThreshold", 3),
        grace_period_s=grace.integer(1, MAX_INT32) if grace is not None else None,
    )


def read_lifecycle(reader: Reader | None, ports: Mapping[str, int]) -> Lifecycle:
    """``lifecycle``."""
    if reader is None:
        return Lifecycle()
    fields = object_of(reader, "Lifecycle")
    stop = fields.get("stopSignal")
    return Lifecycle(
        post_start=_read_hook(fields.get("postStart"), ports),  # type: ignore[arg-type]
        pre_stop=_read_hook(fields.get("preStop"), ports),  # type: ignore[arg-type]
        stop_signal=read_signal(stop) if stop is not None else None,
    )


def _read_hook(reader: Reader | None, ports: Mapping[str, int]) -> Handler | None:
    if reader is None:
        return None
    return _read_action(reader, object_of(reader, "LifecycleHandler"), HOOK_ACTIONS, ports)


def read_signal(reader: Reader) -> int:
    """A signal's number from its name, such as ``SIGUSR1`` or ``SIGRTMIN+3``."""
    text = reader.string()
    name, plus, offset = text.partition("+")
    number = getattr(signals, name, None) if name.startswith("SIG") and "_" not in name else None
    if plus and isinstance(number, int):
        allowed = name == "SIGRTMIN" and offset.isascii() and offset.isdigit()
        number = number + int(offset[:3]) if allowed and number + int(offset[:3]) <= signals.SIGRTMAX else None
    if not isinstance(number, int):
        names = [each for each in dir(signals) if each.startswith("SIG") and "_" not in each]
        raise reader.error(f"{quote(text)} is not a signal{did_you_mean(text, names)}")
    return int(number)


def _read_action(reader: Reader, fields: Fields, allowed: tuple[str, ...], ports: Mapping[str, int]) -> Handler:
    given = [name for name in ACTIONS if fields.get(name) is not None]
    if len(given) != 1:
        found = ", ".join(given) or "none"
        raise reader.error(f"needs one of {', '.join(allowed)}; found {found}")
    (name,) = given
    where = fields.need(name)
    if name == "exec":
        return _read_exec(where)
    if name == "httpGet":
        return _read_http(where, ports)
    if name == "tcpSocket":
        tcp = object_of(where, "TCPSocketAction")
        return TcpSocketAction(_read_port(tcp.need("port"), ports), tcp.string("host"))
    if name == "grpc":
        grpc = object_of(where, "GRPCAction")
        return GrpcAction(grpc.need("port").integer(1, 65535), grpc.string("service"))
    return SleepAction(object_of(where, "SleepAction").need("seconds").integer(0, MAX_INT32))


def _read_exec(reader: Reader) -> ExecAction:
    command = object_of(reader, "ExecAction").strings("command")
    if not command or not command[0]:
        raise reader.member_error("command", "required: the program and its arguments")
    return ExecAction(command)


def _read_http(reader: Reader, ports: Mapping[str, int]) -> HttpGetAction:
    fields = object_of(reader, "HTTPGetAction")
    path = fields.string("path") or "/"
    if any([character <= " " or character == "\x7f" for character in path]):
        raise fields.need("path").error(f"{quote(path)} has a blank or control character; write it as %20 and the like")
    return HttpGetAction(
        port=_read_port(fields.need("port"), ports),
        path=path,
        host=fields.string("host"),
        scheme=fields.one_of("scheme", SCHEMES, "HTTP"),
        headers=tuple([_read_header(item) for item in fields.items("httpHeaders")]),
    )


def _read_header(reader: Reader) -> tuple[str, str]:
    fields = object_of(reader, "HTTPHeader")
    name, value = fields.need("name"), fields.get("value")
    text = name.string()
    if not text or not text.isascii() or not text.replace("-", "").replace("_", "").isalnum():
        raise name.error(f"{quote(text)} is not the name of an HTTP header")
    if value is None:
        return text, ""
    if any([character in "\r\n\0" for character in value.string()]):
        raise value.error("must be one line")
    return text, value.string()


def _read_port(reader: Reader, ports: Mapping[str, int]) -> int:
    if type(reader.value) is not str:
        return reader.integer(1, 65535)
    name = reader.string()
    if name not in ports:
        raise reader.error(f"the container has no port {quote(name)}{did_you_mean(name, ports)}")
    return ports[name]


def _number(fields: Fields, name: str, default: int) -> int:
    reader = fields.get(name)
    return (reader.integer(0, MAX_INT32) or default) if reader is not None else default
