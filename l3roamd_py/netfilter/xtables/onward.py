# SPDX-License-Identifier: ISC
"""What comes for a client that left goes on to another node (core/onward.py), where rules are iptables'.

All that iptables can put another address into a packet with is connection tracking's, and to that each flow would be a
new one. So such packets come to a queue, and go on from here, each with its other destination. Two sets say which:
whose addresses left, and which care-of addresses are turned back; the comment is the other address. Of a packet of more
than one segment each comes by itself. What an ICMPv6 error quotes stays. Where no daemon runs such packets are lost.

What this node's own exit answers has the client's address behind connection tracking only, when it is routed already.
So it is sent anew, as is what is turned back: connection tracking knows the flow by the client's address. With another
the answer to a flow's first packet is invalid, and NAT leaves it as it is.
"""

import socket

from l3roamd_py.netfilter.nfnetlink import refusal
from l3roamd_py.netfilter.nfqueue import ACCEPT, DROP, PacketQueue
from l3roamd_py.netfilter.onward import CareOf, OnwardMaps
from l3roamd_py.netfilter.rules import RulesError
from l3roamd_py.netfilter.xtables.chains import queue_rule
from l3roamd_py.netfilter.xtables.gate import DISCOVERY, packed
from l3roamd_py.netfilter.xtables.ipset import IpSet, Member
from l3roamd_py.netfilter.xtables.saved import OwnChain
from runtime import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from l3roamd_py.netfilter.rules import Pairs
    from l3roamd_py.netfilter.xtables.chains import Chains
    from l3roamd_py.netfilter.xtables.ipset import IpSets
    from runtime.sources import Sources

QUEUE = 5525
WAITING_MAX = 256
WHOLE = 0xFFFF
HOP_LIMIT, DESTINATION, HEADER_BYTES = 7, 24, 40
FORWARD = 2  # hook of a packet
IPPROTO_RAW = 255  # what is sent has its header
CARE_OF = IpSet("l3roamd_care_of", socket.AF_INET6, has_timeout=True)
CLIENT = IpSet("l3roamd_client", socket.AF_INET6, has_timeout=True)
ONWARD = OwnChain("ip6tables", "mangle", "PREROUTING", "L3ROAMD_onward")
OWN_ONWARD = OwnChain("ip6tables", "mangle", "OUTPUT", "L3ROAMD_own_onward")
ROUTED_ONWARD = OwnChain("ip6tables", "mangle", "FORWARD", "L3ROAMD_routed_onward")
CHAINS = ONWARD, OWN_ONWARD, ROUTED_ONWARD


def readdress(packet: bytes, address: bytes) -> bytes:
    return packet[:DESTINATION] + address + packet[HEADER_BYTES:]


class XtablesOnward(OnwardMaps):
    """Onward with sets and a queue."""

    LEFT, HERE = CARE_OF.name, CLIENT.name

    def __init__(self, sets: "IpSets", chains: "Chains", sources: "Sources", client_device: str) -> None:
        super().__init__()
        self.sets, self.chains, self.sources, self.client_device = sets, chains, sources, client_device
        self.queue: PacketQueue | None = None
        self.raw: socket.socket | None = None
        self.sent_on = CareOf()

    def set_up(self, has_queue: bool) -> None:
        """has_queue: whether iptables can hold packets.

        Go on with what a daemon before us turned back, and not with what it sent on: it does not route that now.
        """
        self.make_sets()
        self.sets.delete(CARE_OF.name, *[member.address for member in self.sets.members(CARE_OF.name)])
        found = [(packed(m.comment, 16), m.address) for m in self.sets.members(CLIENT.name)]
        self.turned_back = CareOf([pair for pair in found if pair[0]])
        if self.queue is None and has_queue:
            try:
                self.raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW | sockets.CLOEXEC, IPPROTO_RAW)
                self.raw.setblocking(False)
                self.queue = PacketQueue(QUEUE, WAITING_MAX, WHOLE, is_segmented=True)
                self.sources.add(self.queue)
            except OSError:
                pass
        if self.queue is None:
            return  # then nothing goes on
        waits = queue_rule(QUEUE)
        left = f"-m set --match-set {CARE_OF.name} dst {waits}"
        here = f"! -i {self.client_device} -m set --match-set {CLIENT.name} dst {waits}"
        self.chains.want(ONWARD, [here, left])
        # who has come back asks for its router first, and is answered here
        answered = [f"-p icmpv6 --icmpv6-type {kind} -j RETURN" for kind in DISCOVERY]
        self.chains.want(OWN_ONWARD, answered + [left])
        self.chains.want(ROUTED_ONWARD, [left])

    def make_sets(self) -> None:
        for each in (CARE_OF, CLIENT):
            self.sets.create(each)

    def tear_down(self) -> None:
        """The chains first: they name the sets."""
        for chain in CHAINS:
            self.chains.want(chain, [])

    def destroy_sets(self) -> None:
        for each in (CARE_OF, CLIENT):
            self.sets.destroy(each.name)

    def close(self) -> None:
        if self.queue is not None:
            self.sources.forget(self.queue)
            self.queue.close()
        if self.raw is not None:
            self.raw.close()
        self.queue = self.raw = None

    def read(self) -> None:
        """Send on what waits."""
        if self.queue is None:
            return
        with refusal("cannot read what goes on to other nodes"):
            for packet in self.queue.read(WAITING_MAX):
                to = packet.copied[DESTINATION:HEADER_BYTES]
                client, care_of = self.turned_back.address_of(to), self.sent_on.get(to)
                address = client or care_of
                if address is None:
                    self.queue.judge([packet.number], ACCEPT)
                elif (
                    client is not None or packet.hook == FORWARD
                ):  # by OUTPUT: it may have to go on from here
                    self.queue.judge([packet.number], DROP)
                    hops = packet.copied[HOP_LIMIT] - (packet.hook != FORWARD)  # it has lowered it already
                    if hops > 0:
                        copied = packet.copied[:HOP_LIMIT] + bytes((hops,)) + packet.copied[HOP_LIMIT + 1 :]
                        self._send(readdress(copied, address), address)
                else:
                    self.queue.replace(packet.number, readdress(packet.copied, address))

    def _send(self, packet: bytes, to: bytes) -> None:
        if self.raw is not None:
            try:
                self.raw.sendto(packet, sockets.ip6_address(to, 0, 0))
            except OSError:
                pass  # lost, like any that finds no room

    def send_on(self, pairs: "Pairs", for_s: float) -> None:
        if self.queue is None:
            raise RulesError(
                "nothing can be sent on: the kernel has no queue for it, or it is another process's"
            )
        super().send_on(pairs, for_s)
        self.sent_on.note(pairs)

    def stop_sending_on(self, address: bytes) -> None:
        self.sent_on.pop(address)
        super().stop_sending_on(address)

    def _put(self, name: str, pairs: "Iterable[tuple[bytes, bytes]]", for_s: float) -> None:
        for key, other in pairs:
            self.sets.add(name, Member(key, int(for_s), other.hex()))

    def _remove(self, name: str, key: bytes) -> None:
        self.sets.delete(name, key)
