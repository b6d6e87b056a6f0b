"""``httpGet`` as the kubelet does it (k8s.io/kubernetes/pkg/probe/http): success is a status from 200 to 399.

A redirect on the same host is followed, one to another host is a success by itself. Certificates are not verified.
"""

from __future__ import annotations

import http.client
from urllib.parse import urljoin, urlsplit

from pyrun.pod.net_task import LOOPBACK
from pyrun.pod.task import MAX_OUTPUT_BYTES
from pyrun.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from pyrun.pod.net_task import Connections
    from pyrun.pod.task import Answer
    from pyrun.spec.handler import HttpGetAction

MAX_REDIRECTS = 10


def get(action: HttpGetAction, connections: Connections) -> Answer:
    """Ask, and say whether the answer is a success."""
    host = action.host or LOOPBACK
    url = f"{action.scheme.lower()}://{_bracketed(host)}:{action.port}/" + action.path.lstrip("/")
    for _ in range(MAX_REDIRECTS + 1):
        status, location, body = _ask(action, url, connections)
        if not 300 <= status < 400 or not location:
            break
        following = urljoin(url, location)
        if urlsplit(following).hostname != urlsplit(url).hostname or not following.startswith(("http:", "https:")):
            return True, f"redirected to another host: {following}"
        url = following
    else:
        return False, f"stopped after {MAX_REDIRECTS} redirects"
    if 200 <= status < 400:
        return True, ""
    return False, f"HTTP status {status}" + (f": {body}" if body else "")


def _ask(action: HttpGetAction, url: str, connections: Connections) -> tuple[int, str | None, str]:
    """The status, where it redirects to, and the beginning of the body."""
    parts = urlsplit(url)
    host = parts.hostname or LOOPBACK
    connection = http.client.HTTPConnection(host, parts.port or (443 if parts.scheme == "https" else 80))
    plain = connections.connect(host, connection.port)
    connection.sock = _encrypted(plain, host, connections) if parts.scheme == "https" else plain
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.putrequest("GET", target, skip_host=_has(action, "host"), skip_accept_encoding=True)
        for name, value in _headers(action):
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        body = response.read(MAX_OUTPUT_BYTES)
        return response.status, response.getheader("Location"), body.decode(errors="replace").strip()
    finally:
        connection.close()


def _headers(action: HttpGetAction) -> list[tuple[str, str]]:
    """What the manifest says, and what a server expects besides. An empty value of ours means: none."""
    own = [("User-Agent", f"pyrun-probe/{__version__}"), ("Accept", "*/*"), ("Connection", "close")]
    given = [(name, value) for name, value in action.headers if value or name.lower() not in ("user-agent", "accept")]
    return [*given, *[(name, value) for name, value in own if not _has(action, name)]]


def _has(action: HttpGetAction, name: str) -> bool:
    return any([each.lower() == name.lower() for each, _value in action.headers])


def _encrypted(plain: socket.socket, host: str, connections: Connections) -> socket.socket:
    """Wrapping takes the descriptor away from *plain*, so the new socket has to be held for whoever cancels."""
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    wrapped = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    try:
        connections.hold(wrapped)
        wrapped.do_handshake()
    except BaseException:
        wrapped.close()
        raise
    return wrapped


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
