# SPDX-License-Identifier: ISC
"""Packet sockets, filters that the kernel applies, and a checksum: what few sockets need."""

import socket
import struct
from array import array

from runtime import IS_MICRO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

AF_PACKET = 17
ICMPV6 = 58
SO_BINDTODEVICE, SO_ATTACH_FILTER, SO_RCVBUFFORCE = 25, 26, 33


def attach_filter(to: socket.socket, program: "Sequence[tuple[int, int, int, int]]") -> None:
    """Let the kernel drop what a program of classic BPF does not take. Raises OSError.

    program: (operation, jump if true, jump if false, value) each.
    """
    code = b"".join([struct.pack("HBBI", *each) for each in program])
    if IS_MICRO:
        import uctypes  # type: ignore[import-not-found]

        buffer, at = code, uctypes.addressof(code)
    else:
        buffer = array("B", code)  # type: ignore[assignment]
        at = buffer.buffer_info()[0]  # type: ignore[attr-defined]
    described = struct.pack("@HP", len(program), at)
    to.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, described)
    len(buffer)  # it has to be there until now


def icmpv6_checksum(addresses: bytes, message: bytes) -> int:
    """Return the checksum of an ICMPv6 message in which it is 0 (RFC 8200 section 8.1).

    addresses: source and destination.
    """
    return checksum(addresses + struct.pack("!II", len(message), ICMPV6) + message)


def checksum(text: bytes) -> int:
    """Return the internet checksum (RFC 1071)."""
    # the sum of words with each carry added again, as 0x10000 is 1 more than 0xFFFF
    number = int.from_bytes(text + bytes(len(text) % 2), "big")
    return (number % 0xFFFF or (0xFFFF if number else 0)) ^ 0xFFFF


def ip4_address(address: bytes, port: int) -> "Any":
    """Return what sendto takes for an IPv4 address of 4 bytes."""
    if not IS_MICRO:
        return (socket.inet_ntop(socket.AF_INET, address), port)
    return struct.pack("H", socket.AF_INET) + struct.pack("!H", port) + address + bytes(8)


def packet_address(device: str, index: int, protocol: int, mac: bytes = b"") -> "Any":
    """Return what bind and sendto of a packet socket take: a device by name and index, an EtherType, a MAC."""
    if not IS_MICRO:
        return (device, protocol, 0, 0, mac)
    return (
        struct.pack("H", AF_PACKET)
        + struct.pack("!H", protocol)
        + struct.pack("iHBB8s", index, 0, 0, len(mac), mac)
    )


def packet_source(address: "Any") -> bytes:
    """Return the MAC of who sent what recvfrom of a packet socket gave."""
    return bytes(address[12 : 12 + address[11]]) if IS_MICRO else address[4]
