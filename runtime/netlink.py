# SPDX-License-Identifier: ISC
"""Netlink messages and attributes as bytes. Only framing lives here; what the families say is elsewhere. No I/O.

Every message is `nlmsghdr` (length u32, type u16, flags u16, sequence u32, port u32; the machine's byte order) and a
body. An attribute is length u16 and type u16 (the machine's order) and a value, padded to four bytes.

Runs on CPython and on MicroPython.
"""

import struct
import sys
from struct import pack, pack_into

TYPE_CHECKING = False  # a constant that mypy takes to be true
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MESSAGE_ERROR, MESSAGE_DONE = 2, 3

REQUEST, MULTI, ACK, DUMP = 0x1, 0x2, 0x4, 0x300
REPLACE, EXCLUSIVE, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800

NESTED, NETWORK_ORDER, TYPE_MASK = 0x8000, 0x4000, 0x3FFF

HEADER, HEADER_BYTES = "IHHII", 16
# in a header: the low byte of flags, the high one of the type (netfilter's subsystem), the two low ones of the length
FLAGS_AT, SUBSYSTEM_AT, LENGTH_LOW_AT, LENGTH_HIGH_AT = (
    (6, 5, 0, 1) if sys.byteorder == "little" else (7, 4, 3, 2)
)
PAD = (b"", b"\0\0\0", b"\0\0", b"\0")  # by length modulo 4


def unpack_header(data: bytes, at: int = 0) -> "tuple[int, int, int, int, int]":
    """Length, type, flags, sequence number and port of the message at an offset."""
    return struct.unpack_from(HEADER, data, at)


def unpack_attribute(data: bytes, at: int = 0) -> "tuple[int, int]":
    return struct.unpack_from("HH", data, at)


if hasattr(struct, "Struct"):  # CPython is faster with a layout that was read before
    unpack_header = struct.Struct(HEADER).unpack_from  # type: ignore[assignment]
    unpack_attribute = struct.Struct("HH").unpack_from  # type: ignore[assignment]
    pack_attribute = struct.Struct("HH").pack


# --- attributes ------------------------------------------------------------------


if hasattr(struct, "Struct"):

    def attribute(kind: int, value: bytes) -> bytes:
        length = len(value)
        return pack_attribute(length + 4, kind) + value + PAD[length & 3]

else:

    def attribute(kind: int, value: bytes) -> bytes:
        length = len(value)
        made = pack("HH", length + 4, kind) + value
        return made + PAD[length & 3] if length & 3 else made


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


def walk(value: bytes) -> "Iterator[tuple[int, bytes]]":
    """Yield (type without flags, value) of each attribute in a buffer; ends at what is no attribute."""
    offset = 0
    while offset + 4 <= len(value):
        length, kind = unpack_attribute(value, offset)
        if length < 4 or offset + length > len(value):
            return
        yield kind & TYPE_MASK, value[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attributes(value: bytes, at: int = 0) -> "dict[int, bytes]":
    """What walk() yields, by type, from an offset on. Its own loop: a dump of 100,000 elements comes by here."""
    found, end, unpack = {}, len(value) - 4, unpack_attribute
    while at <= end:
        length, kind = unpack(value, at)
        if length < 4 or at + length > end + 4:
            break
        found[kind & TYPE_MASK] = value[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def find(wanted: int, value: bytes, at: int = 0) -> bytes:
    """Return what one attribute of those from an offset on has, b"" if it is not there: no objects of all others."""
    end, unpack = len(value) - 4, unpack_attribute
    while at <= end:
        length, kind = unpack(value, at)
        if length < 4 or at + length > end + 4:
            break
        if kind & TYPE_MASK == wanted:
            return value[at + 4 : at + length]
        at += (length + 3) & ~3
    return b""


# --- messages --------------------------------------------------------------------


def message(kind: int, flags: int, body: bytes) -> bytes:
    """A whole request; its sequence number is 0 until number() gives it one."""
    return struct.pack(HEADER, HEADER_BYTES + len(body), kind, flags | REQUEST, 0, 0) + body


def flags_of(message: bytes) -> int:
    flags: int = unpack_header(message)[2]
    return flags


def number(messages: "Sequence[bytes]", first: int = 0, has_ack: bool = False) -> bytearray:
    """Join messages, each with its place as its sequence number, so that an error says which one it is about.

    has_ack: the last one asks for an acknowledgement.
    """
    joined, at, last = bytearray(b"".join(messages)), 0, 0
    for each in messages:
        pack_into("I", joined, at + 8, first & 0xFFFFFFFF)
        first, at, last = first + 1, at + len(each), at
    if has_ack:
        joined[last + FLAGS_AT] |= ACK
    return joined


def split(received: bytes) -> "Iterator[tuple[int, int, int, int, int]]":
    """Yield (type, flags, sequence, begin, end) of each message in what was received: where its body is."""
    at, size = 0, len(received)
    while at + HEADER_BYTES <= size:
        length, kind, flags, sequence, _ = unpack_header(received, at)
        if length < HEADER_BYTES or at + length > size:
            return
        yield kind, flags, sequence, at + HEADER_BYTES, at + length
        at += (length + 3) & ~3


def error_of(received: bytes, begin: int, end: int) -> int:
    """The errno that the body of an ERROR or a DONE message says, 0 for none."""
    if end < begin + 4:
        return 0
    code: int = struct.unpack_from("i", received, begin)[0]
    return -code if code < 0 else 0
