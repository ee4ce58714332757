# SPDX-License-Identifier: ISC
"""ICMP errors of our own: the host cannot be reached (RFC 792), or the address (RFC 4443 section 3.1)."""

import socket

from l3roamd_py.core.rate import Rate
from runtime.packets import ICMPV6, checksum, ip4_address
from runtime.sockets import CLOEXEC, ip6_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ICMP = 1
HOST_UNREACHABLE, ADDRESS_UNREACHABLE = bytes((3, 1)), bytes((1, 3))
ERRORS4 = (3, 4, 5, 11, 12)
PER_S, BURST = 20.0, 40.0
LEAST_BYTES = {4: 28, 6: 48}  # of a packet, to be quoted


class Unreachable:
    """Tells who has sent a packet that nobody has its destination."""

    def __init__(self, clock: "Callable[[], float]") -> None:
        self._clock, self._rate = clock, Rate(PER_S, BURST, 1)

    def tell(self, packet: bytes) -> None:
        """packet: its beginning. Raises OSError."""
        if not may_be_told(packet) or not self._rate.is_within(b"", self._clock()):
            return
        version = packet[0] >> 4
        family, protocol = (socket.AF_INET, ICMP) if version == 4 else (socket.AF_INET6, ICMPV6)
        sock = socket.socket(family, socket.SOCK_RAW | CLOEXEC, protocol)
        try:
            to = ip4_address(packet[12:16], 0) if version == 4 else ip6_address(packet[8:24])
            sock.sendto(error4(packet) if version == 4 else error6(packet), to)
        finally:
            sock.close()


def may_be_told(packet: bytes) -> bool:
    """Not of errors, and of a fragment only of the first: RFC 1122 section 3.2.2, RFC 4443 section 2.4."""
    version = packet[0] >> 4 if packet else 0
    if len(packet) < LEAST_BYTES.get(version, len(packet) + 1):
        return False
    if version == 4:
        transport = (packet[0] & 15) * 4
        is_error = packet[9] == ICMP and (len(packet) <= transport or packet[transport] in ERRORS4)
        return not is_error and not (packet[6] & 0x1F or packet[7])
    return packet[6] != ICMPV6 or packet[40] >= 128


def error4(packet: bytes) -> bytes:
    head = HOST_UNREACHABLE + bytes(6)
    return head[:2] + checksum(head + packet).to_bytes(2, "big") + head[4:] + packet


def error6(packet: bytes) -> bytes:
    """The kernel fills in the checksum."""
    return ADDRESS_UNREACHABLE + bytes(6) + packet
