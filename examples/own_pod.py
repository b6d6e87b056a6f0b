"""A Pod of one's own in twenty lines: a server and its client in two containers, meeting on the loopback that they share."""

import sys

import pyrun

SERVER = "import socket; s = socket.create_server(('127.0.0.1', 7000)); s.accept()[0].sendall(b'hello from the server')"
CLIENT = """
import socket, time
while (s := socket.socket()).connect_ex(('127.0.0.1', 7000)):
    time.sleep(0.05)
print(s.recv(64).decode())
"""
programs = {"server": SERVER, "client": CLIENT}
containers = [{"name": name, "image": "host:", "command": ["python3", "-c", code]} for name, code in programs.items()]
manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "mine"}}
try:
    spec = pyrun.parse_pod({**manifest, "spec": {"restartPolicy": "Never", "containers": containers}}, "own_pod.py")
    with pyrun.Pod.create(spec, directory=f"/run/own-pod-{pyrun.new_uid()}") as pod:
        pod.start()
        for name, status in pod.wait().items():
            print(f"{name}: {status.reason} after {status.run_time_s:.2f} s")
except pyrun.PyrunError as error:
    sys.exit(f"own_pod: {pyrun.describe_error(error)}")
