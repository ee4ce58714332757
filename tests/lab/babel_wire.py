# SPDX-License-Identifier: ISC
"""What babel says on a wire: a listener on a device, and the updates in its packets (RFC 8966 section 4)."""

import socket
import struct
import time
from ipaddress import IPv6Address, IPv6Network
from typing import NamedTuple

PORT = 6696
GROUP = "ff02::1:6"
INFINITY = 0xFFFF
MAGIC, VERSION = 42, 2
PAD1, ROUTER_ID, NEXT_HOP, UPDATE = 0, 6, 7, 8
WILDCARD, IPV6 = 0, 2
SETS_DEFAULT, SETS_ROUTER = 0x80, 0x40


class Update(NamedTuple):
    """One Update TLV about IPv6."""

    prefix: IPv6Network
    metric: int


def tlvs(packet):
    """Yield (type, body) of a packet's TLVs. Raises ValueError for what is no babel."""
    magic, version, length = struct.unpack_from("!BBH", packet)
    if (magic, version) != (MAGIC, VERSION) or 4 + length > len(packet):
        raise ValueError(f"no babel: {packet[:4].hex()}")
    body, place = packet[4 : 4 + length], 0
    while place < len(body):
        if body[place] == PAD1:
            place += 1
            continue
        size = body[place + 1]
        yield body[place], body[place + 2 : place + 2 + size]
        place += 2 + size


def updates(packet):
    """Return the IPv6 updates of a packet, in their order."""
    found, default = [], bytes(16)
    for kind, body in tlvs(packet):
        if kind != UPDATE:
            continue
        encoding, flags, length, omitted, _interval, _seqno, metric = struct.unpack_from("!BBBBHHH", body)
        if encoding != IPV6:
            continue
        size = (length + 7) // 8 - omitted
        prefix = (default[:omitted] + body[10 : 10 + size]).ljust(16, b"\0")
        if flags & SETS_DEFAULT:
            default = prefix
        found.append(Update(IPv6Network((IPv6Address(prefix), length)), metric))
    return found


class Listener:
    """All updates to all that come in on a device of this process's network namespace, beside a babeld or not."""

    def __init__(self, device):
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        index = socket.if_nametoindex(device)
        self._socket.bind((GROUP, PORT, 0, index))
        group = socket.inet_pton(socket.AF_INET6, GROUP) + struct.pack("@I", index)
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)

    def listen(self, seconds, until=lambda update: False):
        """Return what came within so many seconds, or up to the update that was waited for."""
        found, end = [], time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                packet = self._socket.recv(4096)
            except TimeoutError:
                break
            for update in updates(packet):
                found.append(update)
                if until(update):
                    return found
        return found
