# SPDX-License-Identifier: ISC
"""ICMPv6 errors for clients of another PLAT than the node's, where NETMAP is: from whom they are must stay.

The kernel's NAT gives an error the source that an answer would have (nf_nat_icmpv6_reply_translation). In a traceroute
every router on the way would be the destination. So time exceeded and unreachable wait in a queue of their own, before
NAT sees them. They are dropped there, and what nftables would have made of them is sent instead. While nobody listens
they go on as NAT has it. Packet Too Big is left to NAT, for path MTU discovery does not depend on us then.

What this node itself says of a packet whose hops end here cannot be queued: the flow is in no table yet, and the kernel
queues no second packet of such a one (nf_ct_drop_unconfirmed). So it is known by its nonsense, once it is IPv4: time
exceeded, said by the destination.

translate()         pure: the packet as the CLAT's translator understands it
without_source()    pure: IPv4, said by nobody in particular
"""

import socket

from l3roamd_py.netfilter.nfqueue import ACCEPT, DROP, PacketQueue
from l3roamd_py.netfilter.rules import PREFIX_BYTES
from l3roamd_py.netfilter.xtables.chains import queue_rule
from runtime.packets import ICMPV6, icmpv6_checksum, ip4_address
from runtime.sockets import ip6_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

QUEUE = 5524
WAITING_MAX = 64
COPIED_BYTES = 1280  # an error is no longer: RFC 4443, section 2.4 (c)
HEADER_BYTES, QUOTED = 40, 48
ICMP, RAW = 1, 255  # protocols
UNREACHABLE, TIME_EXCEEDED = 1, 3
ICMP_TIME_EXCEEDED = b"\x0b\0"  # type and code: the hops were too few
NOBODY = bytes((192, 0, 0, 8))  # RFC 7600


def translate(packet: bytes, plat: bytes, current: bytes) -> bytes | None:
    """Return an error about what a client sent to its PLAT as one about the node's; None if it is not such a one."""
    quoted = packet[QUOTED:]
    is_error = (
        len(quoted) >= HEADER_BYTES and packet[6] == ICMPV6 and packet[40] in (UNREACHABLE, TIME_EXCEEDED)
    )
    is_about_client = quoted[8:24] == packet[24:40] and quoted[24:36] == plat[:PREFIX_BYTES]
    if (
        not is_error
        or not is_about_client
        or len(packet) != HEADER_BYTES + int.from_bytes(packet[4:6], "big")
    ):
        return None
    changed = bytearray(packet)
    if changed[8:20] == plat[:PREFIX_BYTES]:
        changed[8:20] = current[:PREFIX_BYTES]
    changed[QUOTED + 24 : QUOTED + 36] = current[:PREFIX_BYTES]
    changed[42:44] = bytes(2)
    message = bytes(changed[HEADER_BYTES:])
    changed[42:44] = icmpv6_checksum(bytes(changed[8:40]), message).to_bytes(2, "big")
    return bytes(changed)


def without_source(packet: bytes) -> bytes | None:
    """Return a time exceeded of IPv4 that its destination is said to have said as nobody's; None for any other packet.

    The kernel fills in the header's checksum.
    """
    begin = (packet[0] & 15) * 4 if packet else 0
    said = packet[begin : begin + 2] == ICMP_TIME_EXCEEDED and packet[9] == ICMP
    if begin < 20 or not said or packet[12:16] != packet[begin + 24 : begin + 28]:
        return None
    return packet[:12] + NOBODY + packet[16:]


class Errors:
    """The queue's listener. Raises OSError when it is made, if the kernel has no queue or this one is another's."""

    def __init__(self) -> None:
        self.queue = PacketQueue(QUEUE, WAITING_MAX, COPIED_BYTES)
        try:
            # with a header of our own: from somebody else
            self.raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, RAW)
        except OSError:
            self.queue.close()
            raise
        self.raw.setblocking(False)
        self.raw4 = socket.socket(socket.AF_INET, socket.SOCK_RAW, RAW)
        self.raw4.setblocking(False)

    def fileno(self) -> int:
        return self.queue.fileno()

    def close(self) -> None:
        self.queue.close()
        self.raw.close()
        self.raw4.close()

    def read(self, plat_of: "Callable[[bytes], bytes | None]", current: bytes | None) -> None:
        """Send on what waits. plat_of: a client's PLAT."""
        for each in self.queue.read(WAITING_MAX):
            packet = each.copied
            if packet[0] >> 4 == 4:
                self._send(each.number, self.raw4, ip4_address(packet[16:20], 0), without_source(packet))
            else:
                client = packet[24:40]
                plat = plat_of(client)
                changed = translate(packet, plat, current) if plat and current else None
                self._send(each.number, self.raw, ip6_address(client), changed)

    def _send(self, number: int, raw: socket.socket, to: "Any", changed: bytes | None) -> None:
        """Send a packet in the place of one that waits; without one that goes on."""
        self.queue.judge([number], DROP if changed else ACCEPT)
        if changed:
            try:
                raw.sendto(changed, to)
            except OSError:
                pass  # it is an error: nobody waits for it


def own_error_rule(clat_device: str) -> str:
    return f"-i {clat_device} -p icmp --icmp-type ttl-zero-during-transit {queue_rule(QUEUE)}"


def rules(match: str) -> list[str]:
    """What leads errors here; match: for which clients."""
    kinds = ("destination-unreachable", "time-exceeded")
    return [
        f"-p ipv6-icmp --icmpv6-type {kind} {match} -m conntrack --ctstate RELATED {queue_rule(QUEUE)}"
        for kind in kinds
    ]
