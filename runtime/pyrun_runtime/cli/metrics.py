"""``pyrun metrics``: what pods use, for Prometheus."""

from __future__ import annotations

import signal

from pyrun_runtime.cli.message import CommandError, UsageError, flush, show
from pyrun_runtime.cli.options import setting
from pyrun_runtime.cli.reach import ROOT_HELP, ROOT_OPTIONS
from pyrun_runtime.store import RUN_ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.cli.options import Options, OptionTable

OPTIONS: OptionTable = {"listen": "ADDRESS:PORT", **ROOT_OPTIONS}
HELP = f"""\
usage: pyrun metrics [OPTION]...

Prints what all pods and their containers use in Prometheus' text format, once, or answers HTTP requests for /metrics until
SIGTERM. Labels are namespace, pod, uid and container; a pod as a whole has the empty container.

  --listen ADDRESS:PORT  as 127.0.0.1:9400, [::1]:9400, or :9400 for all addresses
{ROOT_HELP}
What this machine does not measure is left out. pyrun_pod_start_seconds is a histogram over the pods that are known now: from the
pod's beginning to the moment at which its first regular container ran. Needs the package prometheus_client (pip install
'pyrun[metrics]').

Exit status: 0; 1 if the address cannot be used, or prometheus_client is not there.
"""


def run(options: Options, arguments: list[str]) -> int:
    if arguments:
        raise UsageError(f"unexpected {arguments[0]!r}")
    address = _address(options["listen"]) if "listen" in options else None
    try:
        from prometheus_client import generate_latest

        from pyrun_runtime.metrics import registry
    except ModuleNotFoundError as error:
        raise CommandError(f"pyrun metrics needs the package {error.name}: pip install 'pyrun[metrics]'") from None
    known = registry(setting(options, "root", "PYRUN_ROOT", RUN_ROOT), options)
    if address is None:
        show(generate_latest(known).decode(), end="")
        return 0
    return _serve(known, *address)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal() and int(port) < 65536):
        raise UsageError(f"--listen {text}: not an address and a port, such as 127.0.0.1:9400")
    return host.strip("[]") or "::", int(port)


def _serve(known: object, host: str, port: int) -> int:
    """Until SIGTERM or SIGINT."""
    from prometheus_client import start_http_server

    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before there are threads that would have it otherwise
    try:
        server, thread = start_http_server(port, host, known)  # type: ignore[arg-type]
    except OSError as error:
        raise CommandError(f"{host} port {port}: {error.strerror or error}") from None
    show(f"listening on {host} port {server.server_port}")
    flush()
    signal.sigwait(ends)
    server.shutdown()
    thread.join()
    server.server_close()
    return 0
