"""Network interfaces, addresses and routes: rtnetlink(7).

The one file that imports pyroute2, and only inside functions: that import costs ten times what the interpreter's start does. A
plan brings ``lo`` up without it.

Every function takes a socket of :func:`open_netlink`, which belongs to one network namespace for good; interfaces are given by
name.
"""

from __future__ import annotations

import errno
import os
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_DGRAM, socket

from pyrun._core import lib
from pyrun.errors import KernelError
from pyrun.linux.namespace import open_namespace, setns
from pyrun.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Netlink: TypeAlias = Any  # pyroute2.IPRoute, which has no types

NETLINK_ROUTE = 0
IFF_UP = 1
RT_TABLE_MAIN = 254
RT_SCOPE_UNIVERSE = 0
IFA_F_PERMANENT = 0x80
NAME_BYTES = 15  # IFNAMSIZ without its NUL


class Link(Value):
    """A network interface. ``kind`` is the driver's name for virtual ones, else "". ``master`` and ``peer`` are indexes or 0."""

    index: int
    name: str
    kind: str
    up: bool
    mtu: int
    hardware_address: str
    master: int
    peer: int


class Route(Value):
    """A route of the main table: to ``destination`` ("default" or a prefix), by ``gateway`` or "", out of interface ``link``."""

    destination: str
    gateway: str
    link: int


def open_netlink(namespace_fd: int | None = None) -> Netlink:
    """A route socket in the network namespace *namespace_fd*, or in the calling thread's.

    Kernel: netlink(7), setns(2): a socket stays in the namespace in which it was made.
    Affects: the calling thread, which is in the other namespace for the moment of socket(2).
    Raises: EINVAL if *namespace_fd* is no network namespace; EPERM without CAP_SYS_ADMIN.
    Owns: the caller calls ``close()`` on the result, or uses it as a context manager. *namespace_fd* stays the caller's.
    """
    from pyroute2 import IPRoute

    sock = _socket_in(namespace_fd)
    try:
        netlink = IPRoute(fileno=sock.fileno(), groups=0)  # no groups: nobody reads events from it
    except BaseException:
        sock.close()
        raise
    sock.detach()
    return netlink


def _socket_in(namespace_fd: int | None) -> socket:
    if namespace_fd is None:
        return socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_ROUTE)
    here = open_namespace("/proc/thread-self", "network")
    try:
        setns(namespace_fd, lib.CLONE_NEWNET)
        try:
            return socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_ROUTE)
        finally:
            setns(here, lib.CLONE_NEWNET)
    finally:
        os.close(here)


def list_links(netlink: Netlink) -> tuple[Link, ...]:
    """All interfaces of the socket's network namespace.

    Kernel: rtnetlink(7) RTM_GETLINK.
    Affects: nothing.
    Raises: KernelError of the request.
    """
    return tuple([_link(message) for message in _request(netlink, "link", "dump")])


def find_link(netlink: Netlink, name: str) -> Link | None:
    """The interface of this name, or None.

    Kernel: rtnetlink(7) RTM_GETLINK.
    Affects: nothing.
    Raises: KernelError of the request.
    """
    try:
        return _link(_request(netlink, "link", "get", ifname=_check_name(name))[0])
    except KernelError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def create_veth(
    netlink: Netlink, name: str, peer_name: str, peer_namespace_fd: int, *, master: str | None = None
) -> None:
    """A pair of interfaces: *name* here, a port of the bridge *master* if given, and *peer_name* in the other namespace.

    One request for all of it: made here and moved afterwards, the peer would cost a second grace period of the kernel.

    Kernel: veth(4), rtnetlink(7) RTM_NEWLINK with IFLA_NET_NS_FD.
    Affects: both network namespaces. The pair goes when either end is deleted or its namespace ends.
    Raises: EEXIST if a name is taken in its namespace; ENODEV if there is no *master*; EPERM without CAP_NET_ADMIN in both.
    Owns: *peer_namespace_fd* stays the caller's.
    """
    peer = {"ifname": _check_name(peer_name), "net_ns_fd": peer_namespace_fd}
    more: dict[str, object] = {} if master is None else {"master": _index(netlink, master)}
    _request(netlink, "link", "add", ifname=_check_name(name), kind="veth", peer=peer, **more)


def create_bridge(netlink: Netlink, name: str) -> None:
    """A bridge without ports.

    Kernel: rtnetlink(7) RTM_NEWLINK.
    Affects: the network namespace.
    Raises: EEXIST if the name is taken; EPERM without CAP_NET_ADMIN; EOPNOTSUPP without the bridge module.
    """
    _request(netlink, "link", "add", ifname=_check_name(name), kind="bridge")


def set_link(
    netlink: Netlink, name: str, *, up: bool | None = None, mtu: int | None = None, master: str | None = None
) -> None:
    """Bring an interface up or down, set its MTU, make it a port of the bridge *master* ("" takes it out).

    Kernel: rtnetlink(7) RTM_NEWLINK, netdevice(7).
    Affects: the interface.
    Units: *mtu* is in bytes.
    Raises: ENODEV if there is no such interface or master; EINVAL for an MTU that the driver does not take.
    """
    changes: dict[str, object] = {}
    if up is not None:
        changes["state"] = "up" if up else "down"
    if mtu is not None:
        changes["mtu"] = mtu
    if master is not None:
        changes["master"] = _index(netlink, master) if master else 0
    _request(netlink, "link", "set", index=_index(netlink, name), **changes)


def move_link(netlink: Netlink, name: str, namespace_fd: int, new_name: str = "") -> None:
    """Put an interface into another network namespace, under *new_name* if given. It arrives down and without addresses.

    Kernel: rtnetlink(7) RTM_NEWLINK with IFLA_NET_NS_FD.
    Affects: both network namespaces. When the other one ends, a physical interface comes back to the first namespace of the
    machine, and a virtual one is deleted.
    Raises: ENODEV if there is no such interface; EEXIST if the name is taken there; EINVAL for one that is bound to its
    namespace, as ``lo`` is; EPERM without CAP_NET_ADMIN in both.
    Owns: *namespace_fd* stays the caller's.
    """
    more = {"ifname": _check_name(new_name)} if new_name else {}
    _request(netlink, "link", "set", index=_index(netlink, name), net_ns_fd=namespace_fd, **more)


def delete_link(netlink: Netlink, name: str) -> None:
    """Delete an interface; of a veth pair both ends.

    Kernel: rtnetlink(7) RTM_DELLINK. It waits for a grace period of the kernel, some 20 ms; what is deleted with its network
    namespace makes nobody wait.
    Affects: the network namespace.
    Raises: ENODEV if there is no such interface; EOPNOTSUPP for one that is not virtual.
    """
    _request(netlink, "link", "del", index=_index(netlink, name))


def add_address(netlink: Netlink, name: str, address: str) -> None:
    """Give an interface an address with its prefix length, such as ``10.1.0.2/24`` or ``fd00::2/64``.

    Kernel: rtnetlink(7) RTM_NEWADDR.
    Affects: the interface; adds the route to the prefix if the interface is up.
    Raises: EEXIST if it has the address; ENODEV if there is no such interface; EINVAL for what is no address.
    """
    host, _, length = address.partition("/")
    if not length.isdigit():
        raise KernelError(errno.EINVAL, "rtnetlink(7) addr add", address)
    _request(netlink, "addr", "add", index=_index(netlink, name), address=host, prefixlen=int(length))


def list_addresses(netlink: Netlink, name: str, *, lasting: bool = False) -> tuple[str, ...]:
    """The addresses of an interface, each with its prefix length; with *lasting* only those that somebody gave it for good: no
    link-local ones, none of DHCP's or of a router's.

    Kernel: rtnetlink(7) RTM_GETADDR.
    Affects: nothing.
    Raises: ENODEV if there is no such interface.
    """
    found = _request(netlink, "addr", "dump", index=_index(netlink, name))
    if lasting:
        found = [m for m in found if m["scope"] == RT_SCOPE_UNIVERSE and m["flags"] & IFA_F_PERMANENT]
    return tuple([f"{_attribute(m, 'IFA_LOCAL') or _attribute(m, 'IFA_ADDRESS')}/{m['prefixlen']}" for m in found])


def add_route(netlink: Netlink, destination: str, *, gateway: str = "", link: str = "") -> None:
    """A route of the main table to *destination* ("default" or a prefix), by a gateway, out of an interface, or both.

    Kernel: rtnetlink(7) RTM_NEWROUTE.
    Affects: the network namespace.
    Raises: EEXIST if there is one; ENETUNREACH if the gateway is on no network; ENODEV without *gateway* and *link*.
    Order: the interface has its address and is up.
    """
    more: dict[str, object] = {}
    if gateway:
        more["gateway"] = gateway
    if link:
        more["oif"] = _index(netlink, link)
    _request(netlink, "route", "add", dst=destination, **more)


def list_routes(netlink: Netlink) -> tuple[Route, ...]:
    """The IPv4 routes of the main table.

    Kernel: rtnetlink(7) RTM_GETROUTE.
    Affects: nothing.
    Raises: KernelError of the request.
    """
    messages = _request(netlink, "route", "dump", family=2, table=RT_TABLE_MAIN)
    return tuple([_route(message) for message in messages])


# ---- between pyroute2 and us -----------------------------------------------------------------------------------------


def _request(netlink: Netlink, subject: str, command: str, /, **arguments: object) -> list[Any]:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        return list(getattr(netlink, subject)(command, **arguments) or ())
    except NetlinkError as error:
        what = arguments.get("ifname") or arguments.get("address") or arguments.get("dst")
        raise KernelError(
            error.code, f"rtnetlink(7) {subject} {command}", None if what is None else str(what)
        ) from None


def _index(netlink: Netlink, name: str) -> int:
    found = find_link(netlink, name)
    if found is None:
        raise KernelError(errno.ENODEV, "rtnetlink(7) link get", name)
    return found.index


def _check_name(name: str) -> str:
    """netlink would cut a longer name off, and then it would be another one."""
    if not 0 < len(os.fsencode(name)) <= NAME_BYTES:
        raise KernelError(errno.EINVAL, "rtnetlink(7) link", name)
    return name


def _attribute(message: Any, name: str) -> Any:
    return message.get_attr(name)


def _link(message: Any) -> Link:
    info = _attribute(message, "IFLA_LINKINFO")
    return Link(
        index=message["index"],
        name=_attribute(message, "IFLA_IFNAME"),
        kind=(info.get_attr("IFLA_INFO_KIND") or "") if info else "",
        up=bool(message["flags"] & IFF_UP),
        mtu=_attribute(message, "IFLA_MTU") or 0,
        hardware_address=_attribute(message, "IFLA_ADDRESS") or "",
        master=_attribute(message, "IFLA_MASTER") or 0,
        peer=_attribute(message, "IFLA_LINK") or 0,
    )


def _route(message: Any) -> Route:
    prefix = _attribute(message, "RTA_DST")
    destination = f"{prefix}/{message['dst_len']}" if prefix else "default"
    return Route(destination, _attribute(message, "RTA_GATEWAY") or "", _attribute(message, "RTA_OIF") or 0)
