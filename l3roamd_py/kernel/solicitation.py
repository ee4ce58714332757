# SPDX-License-Identifier: ISC
"""Neighbour Solicitation (RFC 4861 section 4.3), as a packet. Whose answer it brings is not our business. No I/O."""

import struct

ETH_P_IPV6 = 0x86DD
ICMPV6, HOP_LIMIT, SOLICITATION = 58, 255, 135
SOURCE_LINK_LAYER = bytes((1, 1))  # option 1, one unit of 8 bytes
HEADER, MESSAGE = "!IHBB16s16s", "!BBHI16s"


def encode_solicitation(own_mac: bytes, own_address: bytes, address: bytes) -> bytes:
    """The IPv6 packet that asks the owner of an address, whose MAC we know, whether it is there."""
    body = struct.pack(MESSAGE, SOLICITATION, 0, 0, 0, address) + SOURCE_LINK_LAYER + own_mac
    pseudo = own_address + address + struct.pack("!II", len(body), ICMPV6)
    checked = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    return struct.pack(HEADER, 6 << 28, len(body), ICMPV6, HOP_LIMIT, own_address, address) + checked


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total = sum([data[at] << 8 | data[at + 1] for at in range(0, len(data), 2)])
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
