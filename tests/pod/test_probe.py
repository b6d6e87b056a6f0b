"""Probes over the network, against servers that others have written, inside pods that have a network of their own."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.machine import patience
from fixtures.pods import FOREVER, Running, pod_spec, python, running, shell
from pyrun.pod.driver import wait_for
from pyrun.pod.task import begin_task
from pyrun.spec.handler import ExecAction, GrpcAction, HttpGetAction, SleepAction, TcpSocketAction

if TYPE_CHECKING:
    from pyrun.spec.handler import Handler

pytestmark = pytest.mark.root

NGINX = """
daemon off; master_process off; pid %(dir)s/pid; error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path %(dir)s/b; proxy_temp_path %(dir)s/p; fastcgi_temp_path %(dir)s/f;
  uwsgi_temp_path %(dir)s/u; scgi_temp_path %(dir)s/s;
  server {
    listen 8080;
    listen 8443 ssl; ssl_certificate %(dir)s/cert.pem; ssl_certificate_key %(dir)s/key.pem;
    location /ok { return 200 fine; }
    location /bad { return 503 broken; }
    location /here { return 302 /ok; }
    location /worse { return 302 /bad; }
    location /round { return 302 /round; }
    location /away { return 302 http://elsewhere.invalid/; }
    location /headers {
      if ($http_host != "name.example") { return 400 $http_host; }
      if ($http_x_key != "value") { return 401; }
      if ($http_accept != "*/*") { return 402; }
      if ($http_user_agent !~ "^pyrun-probe/") { return 403; }
      return 200;
    }
  }
}
"""
CERTIFICATE = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=test -days 1 -keyout /srv/key.pem -out /srv/cert.pem"
HEALTH = """
import sys
sys.path.append("/usr/lib/python3/dist-packages")
import grpc, concurrent.futures
KNOWN = {b"": b"\\x08\\x01", b"\\x0a\\x04good": b"\\x08\\x01", b"\\x0a\\x03bad": b"\\x08\\x02"}
def check(request, context):
    if request not in KNOWN:
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return KNOWN[request]
server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
handler = grpc.unary_unary_rpc_method_handler(check)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),))
assert server.add_insecure_port("127.0.0.1:9000") == 9000
server.start()
print("ready", flush=True)
server.wait_for_termination()
"""


def ask(pod: Running, handler: Handler, timeout_s: float = 20) -> tuple[bool, str]:
    """The answer of one probe."""
    task = begin_task(pod.pod, pod["main"], handler, time.monotonic(), timeout_s)
    try:
        while True:
            left_s = task.deadline_s - time.monotonic()
            ready = wait_for(task.interests(), patience(30) if left_s == math.inf else max(0.0, left_s))
            answer = task.turn(ready, time.monotonic())
            if answer is not None:
                return answer
    finally:
        task.cancel()


@contextmanager
def serving(top: Path, container: dict[str, Any], **spec: Any) -> Iterator[Running]:
    with running(pod_spec(container, **spec), top) as pod:
        pod.wait_for("ready")
        yield pod


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    top = tmp_path_factory.mktemp("web")
    script = f"{CERTIFICATE} 2>&1; cat > /srv/conf <<'END'\n{NGINX % {'dir': '/srv'}}\nEND\n"
    script += "nginx -t -c /srv/conf; echo ready; exec nginx -c /srv/conf"
    volume = {"volumes": [{"name": "v", "emptyDir": {}}]}
    with serving(top, shell(script, volumeMounts=[{"name": "v", "mountPath": "/srv"}]), **volume) as pod:
        deadline = time.monotonic() + patience(20)
        while not ask(pod, TcpSocketAction(port=8443))[0]:
            assert time.monotonic() < deadline, pod.read()
        yield pod


@pytest.mark.parametrize(("scheme", "port"), [("HTTP", 8080), ("HTTPS", 8443)])
@pytest.mark.parametrize(
    ("path", "ok", "told"),
    [
        ("/ok", True, ""),
        ("/bad", False, "HTTP status 503: broken"),
        ("/nothing", False, "HTTP status 404"),
        ("/here", True, ""),
        ("/worse", False, "HTTP status 503: broken"),
        ("/round", False, "stopped after 10 redirects"),
        ("/away", True, "redirected to another host"),
    ],
)
def test_nginx_is_asked(web: Running, scheme: Any, port: int, path: str, ok: bool, told: str) -> None:
    answer = ask(web, HttpGetAction(port=port, path=path, scheme=scheme))
    assert answer[0] is ok, answer
    assert answer[1].startswith(told)


def test_nginx_sees_the_headers(web: Running) -> None:
    headers = (("Host", "name.example"), ("X-Key", "value"))
    assert ask(web, HttpGetAction(port=8080, path="/headers", headers=headers)) == (True, "")
    assert ask(web, HttpGetAction(port=8080, path="/headers"))[0] is False


def test_a_connection(web: Running) -> None:
    assert ask(web, TcpSocketAction(port=8080)) == (True, "")
    assert ask(web, TcpSocketAction(port=8081)) == (False, "Connection refused")


def test_grpc_where_there_is_http_1(web: Running) -> None:
    ok, told = ask(web, GrpcAction(port=8080))
    assert not ok
    assert told


def test_programs(web: Running) -> None:
    assert ask(web, ExecAction(command=("true",))) == (True, "")
    ok, told = ask(web, ExecAction(command=("sh", "-c", "echo why >&2; exit 3")))
    assert not ok
    assert told.endswith(": why")
    ok, told = ask(web, ExecAction(command=("sh", "-c", "echo begun; sleep 1000")), 0.5)
    assert (ok, told) == (False, "command timed out: begun")
    ok, told = ask(web, ExecAction(command=("sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; exit 1")))
    assert not ok
    assert told.count("x") >= 10 * 1024
    assert len(told) < 11 * 1024
    assert ask(web, ExecAction(command=("/no/such/program",)))[0] is False


def test_sleep(web: Running) -> None:
    began = time.monotonic()
    assert ask(web, SleepAction(seconds=1)) == (True, "")
    assert time.monotonic() - began >= 1


def test_grpc_health_as_grpcio_serves_it(tmp_path: Path) -> None:
    with serving(tmp_path, python(HEALTH)) as pod:
        assert ask(pod, GrpcAction(port=9000)) == (True, "")
        assert ask(pod, GrpcAction(port=9000, service="good")) == (True, "")
        assert ask(pod, GrpcAction(port=9000, service="bad")) == (False, "service unhealthy: status NOT_SERVING")
        ok, told = ask(pod, GrpcAction(port=9000, service="other"))
        assert not ok
        assert "'other'" in told


@pytest.mark.parametrize(
    "handler", [HttpGetAction(port=7000), HttpGetAction(port=7000, scheme="HTTPS"), GrpcAction(port=7000)]
)
def test_a_server_that_never_answers_is_not_waited_for(tmp_path: Path, handler: Handler) -> None:
    script = "import socket, time; s = socket.create_server(('', 7000)); print('ready', flush=True); time.sleep(1000)"
    with serving(tmp_path, python(script)) as pod:
        assert ask(pod, handler, 0.5) == (False, "timed out")


def test_the_network_is_the_pods(tmp_path: Path) -> None:
    """A server in one pod is not there for the probe of another."""
    server = "import socket, time; s = socket.create_server(('', 7001)); print('ready', flush=True); time.sleep(1000)"
    with serving(tmp_path, python(server)) as one, running(pod_spec(shell(FOREVER)), tmp_path) as other:
        assert ask(one, TcpSocketAction(port=7001)) == (True, "")
        assert ask(other, TcpSocketAction(port=7001)) == (False, "Connection refused")
