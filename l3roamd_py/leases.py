# SPDX-License-Identifier: ISC
"""dnsmasq's lease file, and asking dnsmasq to let a lease go or to keep it. Its dhcp-script is in dhcp_script.py.

The lease file has a line a lease: end MAC IPV4 NAME CLIENT-ID. The end is in seconds since 1970 (0 is never). A dnsmasq
for routers without a clock writes the lease's length there. IPv6 leases come behind a line `duid ...`.
"""

import socket
import struct

from l3roamd_py.dhcp_script import FOREVER_S
from runtime.packets import SO_BINDTODEVICE, ip4_address
from runtime.record import record
from xlat464.address import DECIMAL, parse_ipv4, parse_mac
from xlat464.node import need_unicast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

EARLIEST_END = 1_000_000_000  # less is a length: no lease of these days ended in 2001
LEASES_MAX = 65536
FILE_BYTES = 4 << 20  # that are read of dnsmasq's file
DHCP_SERVER = 67
BOOTREQUEST, ETHERNET, MAC_BYTES = 1, 1, 6
MAGIC = bytes((99, 130, 83, 99))
MESSAGE_TYPE, REQUEST, RELEASE, SERVER_ID, END = 53, 3, 7, 54, 255
BOOTP = "!BBBBIHH4s4s4s4s16s192s4s"


@record("mac ipv4 lease_s")
class LeaseLine:
    """A lease that dnsmasq holds; lease_s: seconds left."""

    mac: bytes
    ipv4: bytes
    lease_s: int


def parse_file(text: str, now_s: float) -> "Iterator[LeaseLine]":
    """Yield the IPv4 leases in a lease file that are not over; what is no such line is passed over.

    now_s: seconds since 1970.
    """
    for line in text.splitlines()[:LEASES_MAX]:
        words = line.split()
        if len(words) < 3 or not is_decimal(words[0]) or len(words[0]) > 12:
            continue
        try:
            named = words[1][3:] if words[1].startswith("01-") else words[1]
            mac, ipv4 = need_unicast(parse_mac(named)), parse_ipv4(words[2])
        except ValueError:
            continue
        end = int(words[0])
        left_s = end - int(now_s) if end >= EARLIEST_END else end or FOREVER_S
        if left_s > 0:
            yield LeaseLine(mac, ipv4, min(left_s, FOREVER_S))


def is_decimal(text: str) -> bool:
    return bool(text) and all(c in DECIMAL for c in text)


def encode_release(server: bytes, mac: bytes, ipv4: bytes, transaction: int) -> bytes:
    """A DHCPRELEASE (RFC 2131 section 4.4.4) as the client would send it."""
    return _encode(RELEASE, bytes((SERVER_ID, 4)) + server, mac, ipv4, transaction)


def encode_renewal(mac: bytes, ipv4: bytes, transaction: int) -> bytes:
    """A DHCPREQUEST as a client sends it that renews its lease (RFC 2131 section 4.3.2)."""
    return _encode(REQUEST, b"", mac, ipv4, transaction)


def _encode(kind: int, options: bytes, mac: bytes, ipv4: bytes, transaction: int) -> bytes:
    fixed = (BOOTREQUEST, ETHERNET, MAC_BYTES, 0, transaction, 0, 0)
    nobody = bytes(4)
    head = struct.pack(BOOTP, *fixed, ipv4, nobody, nobody, nobody, mac, b"", MAGIC)
    return head + bytes((MESSAGE_TYPE, 1, kind)) + options + bytes((END,))


def tell(device: str, server: bytes, packet: bytes) -> None:
    """Send the DHCP server of this node a client's message. OSError when it cannot be told."""
    teller = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        teller.setblocking(False)
        # the server listens on the device only, and knows leases by the device
        teller.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, device.encode() + b"\0")
        teller.sendto(packet, ip4_address(server, DHCP_SERVER))
    finally:
        teller.close()
