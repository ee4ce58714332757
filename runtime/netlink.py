# SPDX-License-Identifier: ISC
"""Netlink messages and attributes as bytes. Only framing lives here; what the families say is elsewhere. No I/O.

Every message is `nlmsghdr` (length u32, type u16, flags u16, sequence u32, port u32; the machine's byte order) and a
body. An attribute is length u16 and type u16 (the machine's order) and a value, padded to four bytes.
"""

import struct
import sys
from collections.abc import Iterable, Iterator

MESSAGE_ERROR, MESSAGE_DONE = 2, 3

REQUEST, MULTI, ACK, DUMP = 0x1, 0x2, 0x4, 0x300
REPLACE, EXCLUSIVE, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800

NESTED, NETWORK_ORDER, TYPE_MASK = 0x8000, 0x4000, 0x3FFF

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
ERROR = struct.Struct("=i")
PAD = (b"", b"\0\0\0", b"\0\0", b"\0")  # by length modulo 4


def attribute(kind: int, value: bytes) -> bytes:
    length = len(value)
    return ATTRIBUTE.pack(length + 4, kind) + value + PAD[length & 3]


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def u16(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(2, "big"))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(4, "big"))


def u64(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(8, "big"))


def walk(value: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type without flags, value) of each attribute in a buffer; ends at what is no attribute."""
    offset = 0
    while offset + 4 <= len(value):
        length, kind = ATTRIBUTE.unpack_from(value, offset)
        if length < 4 or offset + length > len(value):
            return
        yield kind & TYPE_MASK, value[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attributes(value: bytes) -> dict[int, bytes]:
    """What walk() yields, by type. Its own loop: a dump of 100,000 elements comes by here."""
    found, offset, end, unpack = {}, 0, len(value) - 4, ATTRIBUTE.unpack_from
    while offset <= end:
        length, kind = unpack(value, offset)
        if length < 4 or offset + length > end + 4:
            break
        found[kind & TYPE_MASK] = value[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def number(messages: Iterable[bytes], first: int = 0) -> bytes:
    """Join messages, each with its place as its sequence number, so that an error says which one it is about."""
    return b"".join(
        each[:8] + ((first + place) & 0xFFFFFFFF).to_bytes(4, sys.byteorder) + each[12:]
        for place, each in enumerate(messages)
    )


def split(received: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield (type, flags, sequence, rest) of each message in what was received."""
    offset = 0
    while offset + HEADER.size <= len(received):
        length, kind, flags, sequence, _ = HEADER.unpack_from(received, offset)
        if length < HEADER.size or offset + length > len(received):
            return
        yield kind, flags, sequence, received[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3
