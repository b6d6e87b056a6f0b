"""Pods after the examples of Kubernetes' documentation, with local root file systems for images and shorter times, through
``pyrun run``: each behaves as its page says. Limits, resize and security contexts have their pages in files of their own."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.command import Done, Store

pytestmark = pytest.mark.root

PYTHON = "/usr/bin/python3"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def pod(name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    body = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": list(containers), **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body}


def busybox(name: str, script: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "host:", "command": ["sh", "-c", script], **fields}


def run(store: Store, *documents: dict[str, Any]) -> Done:
    path = store.top / "page.yaml"
    path.write_text("\n---\n".join([json.dumps(document) for document in documents]))
    return store.run("--events", path)


def printed(done: Done) -> list[str]:
    return [line.partition("| ")[2] for line in done.out.splitlines()]


# ---- Configure Liveness, Readiness and Startup Probes ----


# Which life of the container this is.
NOTE = """
import os
for name in ("first", "restarted"):
    if not os.path.exists("/state/" + name):
        open("/state/" + name, "w").close()
        break
"""
SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Handler.asked += 1
        known = self.headers.get("Custom-Header") == "Awesome"
        good = known and self.path == "/healthz" and (os.path.exists("/state/restarted") or Handler.asked < 3)
        self.send_response(200 if good else 500)
        self.end_headers()
        if os.path.exists("/state/restarted") and Handler.asked == 3:
            os._exit(0)
    def log_message(self, *_):
        pass
print("listening", flush=True)
http.server.HTTPServer(("", 8080), Handler).serve_forever()
"""


def test_liveness_http_request(store: Store) -> None:
    """The server answers well at first and then with 500: it is restarted. Its second life ends by itself."""
    probe = {
        "httpGet": {"path": "/healthz", "port": "web", "httpHeaders": [{"name": "Custom-Header", "value": "Awesome"}]},
        "periodSeconds": 1,
        "initialDelaySeconds": 1,
        "failureThreshold": 1,
    }
    server = {
        "name": "liveness",
        "image": "host:",
        "command": [PYTHON, "-c", NOTE + SERVER],
        "ports": [{"name": "web", "containerPort": 8080}],
        "livenessProbe": probe,
        "volumeMounts": [{"name": "state", "mountPath": "/state"}],
    }
    done = run(
        store, pod("liveness-http", server, restartPolicy="OnFailure", volumes=[{"name": "state", "emptyDir": {}}])
    )
    assert done.status == 0
    assert printed(done) == ["listening", "listening"]
    assert "Liveness probe failed: HTTP status 500" in done.err
    assert "(1 restart)" in done.err


LISTENER = "import socket, time; s = socket.create_server(('', 8080)); print('up', flush=True); time.sleep({})"


def test_tcp_probes(store: Store) -> None:
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    goproxy = {
        "name": "goproxy",
        "image": "host:",
        "command": [PYTHON, "-c", LISTENER.format(3)],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {**probe, "initialDelaySeconds": 1},
        "livenessProbe": {**probe, "initialDelaySeconds": 2},
    }
    done = run(store, pod("goproxy", goproxy))
    assert done.status == 0
    assert "Unhealthy" not in done.err


def test_a_tcp_probe_of_a_port_that_nobody_has(store: Store) -> None:
    probe = {"tcpSocket": {"port": 8081}, "periodSeconds": 1, "failureThreshold": 2}
    done = run(store, pod("goproxy", busybox("goproxy", "exec sleep 1000", livenessProbe=probe)))
    assert done.status == 137
    assert "Liveness probe failed: Connection refused" in done.err


HEALTH = """
import grpc, sys, threading, time
from concurrent import futures
def check(request, context):
    return b"\\x08\\x01"
handler = grpc.method_handlers_generic_handler(
    "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)})
server = grpc.server(futures.ThreadPoolExecutor(2))
server.add_generic_rpc_handlers((handler,))
server.add_insecure_port("127.0.0.1:2379")
server.start()
print("serving", flush=True)
time.sleep(4)
"""


def test_grpc_liveness(store: Store) -> None:
    etcd = {
        "name": "etcd",
        "image": "host:",
        "command": [PYTHON, "-c", HEALTH],
        "ports": [{"containerPort": 2379, "name": "client"}],
        "startupProbe": {"grpc": {"port": 2379}, "periodSeconds": 1, "failureThreshold": 30},
        "livenessProbe": {"grpc": {"port": 2379}, "periodSeconds": 1, "failureThreshold": 1},
    }
    done = run(store, pod("etcd-with-grpc", etcd))
    assert done.status == 0, done.err
    assert printed(done) == ["serving"]
    assert "Liveness probe failed" not in done.err


def test_a_startup_probe_protects_a_slow_start(store: Store) -> None:
    live = {"exec": {"command": ["test", "-e", "/tmp/healthy"]}, "periodSeconds": 1, "failureThreshold": 1}
    slow = busybox(
        "slow",
        "sleep 2; touch /tmp/healthy; echo started; sleep 2",
        livenessProbe=live,
        startupProbe={**live, "failureThreshold": 30},
    )
    done = run(store, pod("slow", slow))
    assert (done.status, printed(done)) == (0, ["started"])
    assert "Startup probe failed" in done.err


# ---- Attach Handlers to Container Lifecycle Events ----


def test_lifecycle_events(store: Store) -> None:
    hooks = {
        "postStart": {
            "exec": {"command": ["/bin/sh", "-c", "echo Hello from the postStart handler > /usr/share/message"]}
        },
        "preStop": {"exec": {"command": ["/bin/sh", "-c", "echo bye > /state/bye"]}},
    }
    script = "until [ -e /usr/share/message ]; do sleep 0.05; done; cat /usr/share/message; exec sleep 1000"
    mounts = [{"name": "state", "mountPath": "/state"}]
    main = busybox("lifecycle-demo-container", script, lifecycle=hooks, volumeMounts=mounts)
    claim = [{"name": "state", "persistentVolumeClaim": {"claimName": "state"}}]
    path = store.write(pod("lifecycle-demo", main, volumes=claim))
    with store.running(path) as command:
        command.wait_for("Hello from the postStart handler")
        command.process.terminate()
        command.finish()
    assert (store.state_root / "claims/default/state/bye").read_text() == "bye\n"


# ---- Configure Pod Initialization; Init Containers; Sidecar Containers ----


def test_init_container_prepares_a_page(store: Store) -> None:
    workdir = [{"name": "workdir", "mountPath": "/work-dir"}]
    install = busybox("install", "echo '<html>ready</html>' > /work-dir/index.html", volumeMounts=workdir)
    page = [{"name": "workdir", "mountPath": "/usr/share/nginx/html"}]
    nginx = busybox("nginx", "cat /usr/share/nginx/html/index.html", volumeMounts=page)
    done = run(store, pod("init-demo", nginx, initContainers=[install], volumes=[{"name": "workdir", "emptyDir": {}}]))
    assert printed(done) == ["<html>ready</html>"]


def test_a_sidecar_ships_the_log_of_a_job(store: Store) -> None:
    data = [{"name": "data", "mountPath": "/opt"}]
    shipper = busybox("logshipper", "tail -F /opt/logs.txt 2>/dev/null", restartPolicy="Always", volumeMounts=data)
    job = busybox("myjob", "echo logging > /opt/logs.txt; sleep 1", volumeMounts=data)
    done = run(store, pod("myjob", job, initContainers=[shipper], volumes=[{"name": "data", "emptyDir": {}}]))
    assert done.status == 0
    assert printed(done) == ["logging"]


# ---- Communicate Between Containers Using a Shared Volume; Share Process Namespace ----


def test_a_shared_volume(store: Store) -> None:
    volume = [{"name": "shared-data", "emptyDir": {}}]
    writer = busybox(
        "debian", "echo Hello from the debian container > /pod-data/index.html",
        volumeMounts=[{"name": "shared-data", "mountPath": "/pod-data"}],
    )  # fmt: skip
    reader = busybox(
        "nginx", "until cat /html/index.html 2>/dev/null; do sleep 0.05; done",
        volumeMounts=[{"name": "shared-data", "mountPath": "/html"}],
    )  # fmt: skip
    assert printed(run(store, pod("two-containers", reader, writer, volumes=volume))) == [
        "Hello from the debian container"
    ]


def test_share_process_namespace(store: Store) -> None:
    """The shell sees nginx's process, may signal it, and reads its root by way of /proc."""
    nginx = busybox(
        "nginx", "echo 'of nginx' > /marker; trap 'echo signalled; exit 0' HUP; while :; do sleep 0.05; done"
    )
    script = """
        until pid=$(grep -lz 'of nginx' /proc/[0-9]*/cmdline 2>/dev/null | head -1 | cut -d/ -f3) && [ -n "$pid" ] \
            && [ -e /proc/$pid/root/marker ]; do sleep 0.05; done
        cat /proc/$pid/root/marker; kill -HUP $pid; head -c 5 /proc/1/cmdline; echo
    """
    done = run(store, pod("nginx", nginx, busybox("shell", script), shareProcessNamespace=True))
    assert sorted(printed(done)) == ["of nginx", "pause", "signalled"]


# ---- Expose Pod Information; ConfigMaps; Secrets ----


def test_the_downward_api_in_variables_and_files(store: Store) -> None:
    env = [
        {"name": "MY_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "MY_POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "MY_POD_SERVICE_ACCOUNT", "valueFrom": {"fieldRef": {"fieldPath": "spec.serviceAccountName"}}},
    ]
    items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    mounts = [{"name": "podinfo", "mountPath": "/etc/podinfo"}]
    client = busybox(
        "client",
        "echo $MY_POD_NAME $MY_POD_NAMESPACE $MY_POD_SERVICE_ACCOUNT; cat /etc/podinfo/labels",
        env=env,
        volumeMounts=mounts,
    )
    document = pod("dapi", client, volumes=[{"name": "podinfo", "downwardAPI": {"items": items}}])
    document["metadata"]["labels"] = {"zone": "us-est-coast", "cluster": "test-cluster1"}
    assert printed(run(store, document)) == ["dapi default default", 'cluster="test-cluster1"', 'zone="us-est-coast"']


def test_config_maps_and_secrets(store: Store) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "special-config"},
        "data": {"SPECIAL_LEVEL": "very", "SPECIAL_TYPE": "charm"},
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "test-secret"},
        "data": {
            "username": base64.b64encode(b"my-app").decode(),
            "password": base64.b64encode(b"39528$vdg7Jb").decode(),
        },
    }
    env = [{"name": "SECRET_USERNAME", "valueFrom": {"secretKeyRef": {"name": "test-secret", "key": "username"}}}]
    mounts = [
        {"name": "config", "mountPath": "/etc/config"},
        {"name": "secret", "mountPath": "/etc/secret-volume", "readOnly": True},
    ]
    script = "echo $SPECIAL_LEVEL $SPECIAL_TYPE $SECRET_USERNAME; ls /etc/config; cat /etc/secret-volume/password"
    client = busybox(
        "client", script, env=env, envFrom=[{"configMapRef": {"name": "special-config"}}], volumeMounts=mounts
    )
    volumes = [
        {
            "name": "config",
            "configMap": {"name": "special-config", "items": [{"key": "SPECIAL_LEVEL", "path": "keys"}]},
        },
        {"name": "secret", "secret": {"secretName": "test-secret"}},
    ]
    done = run(store, config, secret, pod("client", client, volumes=volumes))
    assert printed(done) == ["very charm my-app", "keys", "39528$vdg7Jb"]


# ---- Pod Lifecycle: restart policies ----


@pytest.mark.parametrize(("policy", "runs"), [("OnFailure", 2), ("Never", 1)])
def test_restart_policies(store: Store, policy: str, runs: int) -> None:
    script = "echo run; if [ -e /v/once ]; then exit 0; fi; touch /v/once; exit 1"
    mounts = [{"name": "v", "mountPath": "/v"}]
    volumes = [{"name": "v", "emptyDir": {}}]
    done = run(store, pod("job", busybox("job", script, volumeMounts=mounts), volumes=volumes, restartPolicy=policy))
    assert printed(done) == ["run"] * runs
