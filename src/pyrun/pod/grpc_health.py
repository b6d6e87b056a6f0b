"""One question to the standard gRPC health service: grpc.health.v1.Health/Check, over HTTP/2 without TLS.

As much of RFC 9113 and RFC 7541 as one request takes. What is asked for comes in a DATA frame, so header blocks are not decoded:
their end of stream is all that matters.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from pyrun.pod.task import Answer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
MAX_FRAME_BYTES = 16384  # what we are to be sent at most, without a setting of our own
MAX_MESSAGE_BYTES = 64 * 1024
STREAM = 1
STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


class ProtocolError(Exception):
    """The server does not talk gRPC."""


def check_health(connection: socket.socket, service: str) -> Answer:
    """Whether *service* (empty: the server) is SERVING. Raises OSError and :class:`ProtocolError`."""
    with connection:
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0, b"") + _request(service, connection.getpeername()))
        message = _read_message(connection)
    if message is None:
        asked = f"service {service!r}" if service else "the server"
        return False, f"the health service tells nothing about {asked}: it is not implemented, or does not know it"
    number = read_status(message)
    status = STATUSES[number] if number < len(STATUSES) else str(number)
    return number == 1, "" if number == 1 else f"service unhealthy: status {status}"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _request(service: str, peer: tuple[object, ...]) -> bytes:
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", f"{peer[0]}:{peer[1]}"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "pyrun-probe"),
    )
    block = b"".join([_field(name.encode(), value.encode()) for name, value in fields])
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    body = b"\0" + len(message).to_bytes(4, "big") + message
    return frame(HEADERS, END_HEADERS, STREAM, block) + frame(DATA, END_STREAM, STREAM, body)


def _field(name: bytes, value: bytes) -> bytes:
    """A literal header field without indexing, and without Huffman coding (RFC 7541, 6.2.2)."""
    return b"\0" + _hpack_string(name) + _hpack_string(value)


def _hpack_string(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes((len(text),)) + text
    return b"\x7f" + _varint(len(text) - 127) + text


def _varint(number: int) -> bytes:
    """Seven bits at a time, the lowest first: HPACK's and protobuf's alike."""
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def _read_message(connection: socket.socket) -> bytes | None:
    """The one message of the answer; None if the stream ends without."""
    body = bytearray()
    while True:
        kind, flags, stream, payload = _read_frame(connection)
        if kind == SETTINGS and not flags & ACK:
            connection.sendall(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            connection.sendall(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            raise ProtocolError("the server goes away")
        elif stream == STREAM and kind == RST_STREAM:
            raise ProtocolError("the server has reset the stream")
        elif stream == STREAM and kind == DATA:
            body += _without_padding(flags, payload)
            if len(body) > MAX_MESSAGE_BYTES:
                raise ProtocolError("the answer is too long")
            message = _whole_message(body)
            if message is not None:
                return message
        if stream == STREAM and kind in (DATA, HEADERS) and flags & END_STREAM:
            return None


def _whole_message(body: bytearray) -> bytes | None:
    if len(body) < 5:
        return None
    if body[0]:
        raise ProtocolError("the answer is compressed, which was not asked for")
    size = int.from_bytes(body[1:5], "big")
    return bytes(body[5 : 5 + size]) if len(body) >= 5 + size else None


def _without_padding(flags: int, payload: bytes) -> bytes:
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolError("a frame of padding alone")
    return payload[1 : len(payload) - payload[0]]


def _read_frame(connection: socket.socket) -> tuple[int, int, int, bytes]:
    head = _read_exactly(connection, 9)
    size = int.from_bytes(head[:3], "big")
    if size > MAX_FRAME_BYTES:
        raise ProtocolError("this is not HTTP/2" if head[:5] == b"HTTP/" else "a frame that is too long")
    return head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFFFFFF, _read_exactly(connection, size)


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ProtocolError("the server has closed the connection")
        data += part
    return bytes(data)


def read_status(message: bytes) -> int:
    """Field 1 of a HealthCheckResponse, a varint; 0 if it is not there. Fields that are not known are passed over."""
    status, at = 0, 0
    while at < len(message):
        key, at = _read_varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _read_varint(message, at)
            status = value if key >> 3 == 1 else status
        elif kind == 2:
            size, at = _read_varint(message, at)
            at += size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ProtocolError("the answer is no HealthCheckResponse")
    return status


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(data) and shift < 70:
        number |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return number, at
        shift += 7
    raise ProtocolError("the answer is no HealthCheckResponse")
