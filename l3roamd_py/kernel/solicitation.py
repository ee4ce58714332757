# SPDX-License-Identifier: ISC
"""Neighbour Solicitation (RFC 4861 section 4.3), as a packet. Whose answer it brings is not our business. No I/O."""

import struct

ETH_P_IPV6 = 0x86DD
ICMPV6, HOP_LIMIT, SOLICITATION = 58, 255, 135
SOURCE_LINK_LAYER = bytes((1, 1))  # option 1, one unit of 8 bytes
HEADER = struct.Struct("!IHBB16s16s")
MESSAGE = struct.Struct("!BBH4x16s")


def encode_solicitation(own_mac: bytes, own_address: bytes, address: bytes) -> bytes:
    """The IPv6 packet that asks the owner of an address, whose MAC we know, whether it is there."""
    body = MESSAGE.pack(SOLICITATION, 0, 0, address) + SOURCE_LINK_LAYER + own_mac
    pseudo = own_address + address + struct.pack("!II", len(body), ICMPV6)
    checked = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    return HEADER.pack(6 << 28, len(body), ICMPV6, HOP_LIMIT, own_address, address) + checked


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
