"""In two network namespaces that each test makes for itself, in a process of its own."""

from __future__ import annotations

import pytest

from fixtures.interpreter import run_python

PRELUDE = """
import errno, os
from pyrun._core import lib
from pyrun.errors import KernelError
from pyrun.linux import namespace, netlink
def new_namespace():
    namespace.unshare(lib.CLONE_NEWNET)
    return namespace.open_namespace("/proc/self", "network")
there = new_namespace()
here = new_namespace()
def failure(function, *arguments, **more):
    try:
        function(*arguments, **more)
    except KernelError as error:
        return error
    raise AssertionError(function)
"""


@pytest.mark.root
def test_veth_on_a_bridge_carries_data() -> None:
    run_python(
        PRELUDE
        + """
import socket
number = namespace.read_namespace_id("/proc/self", "network")
with netlink.open_netlink() as host, netlink.open_netlink(there) as pod:
    assert namespace.read_namespace_id("/proc/self", "network") == number
    netlink.create_bridge(host, "br0")
    netlink.add_address(host, "br0", "10.9.0.1/24")
    netlink.set_link(host, "br0", up=True)
    netlink.create_veth(host, "port0", "eth0", there, master="br0")
    netlink.set_link(host, "port0", up=True, mtu=1400)
    netlink.add_address(pod, "eth0", "10.9.0.2/24")
    netlink.set_link(pod, "eth0", up=True)
    netlink.add_route(pod, "default", gateway="10.9.0.1")
    netlink.add_route(pod, "10.10.0.0/16", link="eth0")

    names = {link.name: link for link in netlink.list_links(host)}
    assert sorted(names) == ["br0", "lo", "port0"]
    port = names["port0"]
    assert (port.kind, port.up, port.mtu, port.master) == ("veth", True, 1400, names["br0"].index)
    assert names["br0"].kind == "bridge" and len(port.hardware_address) == 17
    assert netlink.find_link(pod, "eth0").index == port.peer
    assert netlink.list_addresses(pod, "eth0")[0] == "10.9.0.2/24"
    routes = {route.destination: route for route in netlink.list_routes(pod)}
    assert routes["default"].gateway == "10.9.0.1" and routes["10.10.0.0/16"].gateway == ""

    server = socket.create_server(("10.9.0.1", 0))
    namespace.setns(there, lib.CLONE_NEWNET)
    client = socket.create_connection(server.getsockname(), timeout=10)
    accepted, address = server.accept()
    assert address[0] == "10.9.0.2"
    for sock in (server, client, accepted):
        sock.close()

    netlink.set_link(host, "port0", master="", up=False)
    assert netlink.find_link(host, "port0").master == 0
    netlink.delete_link(host, "port0")
    assert netlink.find_link(host, "port0") is None and netlink.find_link(pod, "eth0") is None
"""
    )


@pytest.mark.root
def test_errors_name_the_request() -> None:
    run_python(
        PRELUDE
        + """
with netlink.open_netlink() as host:
    netlink.create_bridge(host, "br0")
    error = failure(netlink.create_bridge, host, "br0")
    assert (error.errno, error.call, error.filename) == (errno.EEXIST, "rtnetlink(7) link add", "br0")
    error = failure(netlink.delete_link, host, "none")
    assert (error.errno, error.filename) == (errno.ENODEV, "none")
    assert failure(netlink.create_bridge, host, "a-name-that-is-longer-than-the-kernel-takes").errno == errno.EINVAL
    assert failure(netlink.add_address, host, "br0", "10.0.0.1").errno == errno.EINVAL
    netlink.add_address(host, "br0", "10.0.0.1/24")
    assert failure(netlink.add_address, host, "br0", "10.0.0.1/24").errno == errno.EEXIST
    assert failure(netlink.add_route, host, "default", gateway="10.8.0.1").errno == errno.ENETUNREACH
    assert failure(netlink.create_veth, host, "a", "b", there, master="none").errno == errno.ENODEV
error = failure(netlink.open_netlink, os.open("/proc/self/ns/uts", os.O_RDONLY))
assert (error.errno, error.call) == (errno.EINVAL, "setns(2)")
"""
    )
