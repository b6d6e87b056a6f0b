"""The D-Bus connection to systemd. The one file that imports jeepney, which costs as much as all else: only where it is used."""

from __future__ import annotations

import os
from collections import deque

from jeepney import DBusAddress, DBusErrorResponse, MatchRule, MessageType, new_method_call
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, Proxy, prep_socket
from jeepney.wrappers import unwrap_msg

from pyrun_runtime.oci.systemd import MANAGER, MANAGER_PATH, BusError, unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BOOTED = "/run/systemd/system"  # sd_booted(3)
SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"
MANAGER_INTERFACE = f"{MANAGER}.Manager"
TIMEOUT_S = 30.0


def open_bus() -> SystemdBus:
    """A connection to the systemd of the machine, or as somebody else than root to one's own.

    Raises :class:`pyrun.Unsupported` where systemd does not run or cannot be reached.
    """
    if not os.path.isdir(BOOTED):
        raise unavailable(f"systemd does not run here ({BOOTED} is missing)")
    address = system_address() if os.geteuid() == 0 else user_address()
    try:
        return SystemdBus(_connect(address))
    except (OSError, DBusErrorResponse) as error:
        raise unavailable(f"D-Bus at {address} cannot be reached: {error}") from None


def system_address() -> str:
    return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or SYSTEM_BUS


def user_address() -> str:
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return os.environ.get("DBUS_SESSION_BUS_ADDRESS") or f"unix:path={runtime}/bus"


def socket_path(address: str) -> str:
    """The path of the first UNIX socket in *address*; an abstract one begins with a NUL."""
    for entry in address.split(";"):
        transport, _, rest = entry.partition(":")
        values = dict([pair.partition("=")[::2] for pair in rest.split(",")])
        if transport == "unix" and "path" in values:
            return values["path"]
        if transport == "unix" and "abstract" in values:
            return "\0" + values["abstract"]
    raise unavailable(f"the D-Bus address {address!r} names no UNIX socket")


def _connect(address: str) -> DBusConnection:
    socket = prep_socket(socket_path(address))
    try:
        return DBusConnection(socket)
    except BaseException:
        socket.close()
        raise


class SystemdBus:
    """Calls to systemd's manager, and the ends of its jobs. As a context manager it is closed at the end of the block."""

    def __init__(self, connection: DBusConnection) -> None:
        self._connection = connection
        self._manager = DBusAddress(MANAGER_PATH, MANAGER, MANAGER_INTERFACE)
        wanted = {"type": "signal", "interface": MANAGER_INTERFACE, "member": "JobRemoved", "path": MANAGER_PATH}
        # Before the first job: a signal that comes when nobody listens is lost. The sender is checked by the bus, which knows
        # who has systemd's name; here it would be compared with a connection's number.
        self._ends: deque[Any] = deque()
        self._filter = connection.filter(MatchRule(**wanted), queue=self._ends)
        Proxy(message_bus, connection).AddMatch(MatchRule(**wanted, sender=MANAGER))
        self._subscribed = False

    def __enter__(self) -> SystemdBus:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        self._filter.close()
        self._connection.close()

    def call(self, method: str, signature: str, *arguments: object) -> tuple[object, ...]:
        if not self._subscribed:
            self._subscribed = True  # systemd sends signals about jobs only to those who have asked
            self._send(self._manager, "Subscribe", "", ())
        return self._send(self._manager, method, signature, arguments)

    def read_property(self, path: str, interface: str, name: str) -> object:
        address = DBusAddress(path, MANAGER, "org.freedesktop.DBus.Properties")
        ((_, value),) = self._send(address, "Get", "ss", (interface, name))
        return value

    def wait_job(self, job: str, timeout_s: float) -> str:
        import time

        deadline = time.monotonic() + timeout_s
        try:
            while True:
                left_s = max(deadline - time.monotonic(), 0)
                _, path, _, result = self._connection.recv_until_filtered(self._ends, timeout=left_s).body
                if path == job:
                    return str(result)
        except OSError as error:
            raise BusError("connection", f"no word about {job} within {timeout_s:g} s{_reason(error)}") from None

    def _send(
        self, address: DBusAddress, method: str, signature: str, arguments: tuple[object, ...]
    ) -> tuple[Any, ...]:
        message = new_method_call(address, method, signature or None, arguments)
        try:
            reply = self._connection.send_and_get_reply(message, timeout=TIMEOUT_S)
            if reply.header.message_type is MessageType.error:
                unwrap_msg(reply)
            body: tuple[Any, ...] = reply.body
        except DBusErrorResponse as error:
            raise BusError(error.name, str(error.data[0]) if error.data else error.name) from None
        except OSError as error:
            raise BusError("connection", f"{method}: no answer within {TIMEOUT_S:g} s{_reason(error)}") from None
        return body


def _reason(error: OSError) -> str:
    """A time-out, which is an OSError too, has no words of its own."""
    return f" ({error})" if str(error) else ""
