# SPDX-License-Identifier: ISC
"""Cases of IPv4 between clients of different nodes, for both Pythons: ARP, what waits, ICMP errors, the translator."""

import struct

from l3roamd_py.core.events import ClientSeen, Wanted
from l3roamd_py.kernel import arp, translator, unreachable
from l3roamd_py.netfilter import wanted
from l3roamd_py.netfilter.nfqueue import ACCEPT, DROP, QueuedPacket
from runtime.packets import checksum
from runtime.sources import Sources
from xlat464.address import parse_ipv4, parse_ipv6

OWN, CLIENT, PEER = (parse_ipv4(text) for text in ("10.46.0.1", "10.46.3.4", "10.46.9.9"))
MAC, OWN_MAC = bytes((2, 0xAA, 0, 0, 0, 9)), bytes((2, 0, 0, 0, 0, 1))


class Finder:
    network_bits = 16

    def own_addresses(self):
        return OWN_MAC, OWN

    def is_client(self, mac):
        return mac != OWN_MAC


class WithClat:
    clat = bytes(16)


class Node:
    options = WithClat
    owner_of = {parse_ipv4("10.46.5.5"): MAC}  # noqa: RUF012


class HeardArp(arp.Arp):
    """With frames in the place of a socket."""

    def __init__(self, *frames):
        super().__init__("br-client", Finder())
        self.attend(Node())
        self._heard, self.sent = frames, []

    def frames(self):
        return [(frame, MAC) for frame in self._heard]

    def send(self, packet, device, index, mac):
        self.sent.append((packet, mac))


def request(asker, target, operation=arp.REQUEST):
    return struct.pack(arp.PACKET, 1, 0x0800, 6, 4, operation, MAC, asker, bytes(6), target)


def case_arp_for_an_address_of_the_network_that_is_nobody_s_is_wanted():
    assert HeardArp(request(CLIENT, PEER)).read(0.0) == [
        ClientSeen(MAC, CLIENT),
        Wanted(MAC, CLIENT, PEER, True),
    ]


def case_arp_for_other_addresses_is_none():
    for asker, target, operation in (
        (CLIENT, OWN, arp.REQUEST),
        (CLIENT, CLIENT, arp.REQUEST),  # it announces itself
        (CLIENT, parse_ipv4("10.46.5.5"), arp.REQUEST),  # a client of this node
        (CLIENT, parse_ipv4("10.47.0.9"), arp.REQUEST),
        (bytes(4), PEER, arp.REQUEST),  # it tries the address for itself
        (CLIENT, PEER, arp.REPLY),
    ):
        heard = HeardArp(request(asker, target, operation)).read(0.0)
        assert not [each for each in heard if isinstance(each, Wanted)], target


def case_arp_is_answered_with_our_mac():
    ours = HeardArp()
    ours.answer(MAC, CLIENT, PEER)
    ((packet, mac),) = ours.sent
    assert mac == MAC
    assert struct.unpack(arp.PACKET, packet)[4:] == (arp.REPLY, OWN_MAC, PEER, MAC, CLIENT)


class Queue:
    def __init__(self, *packets):
        self.packets, self.judged = list(packets), []

    def read(self, at_most):
        packets, self.packets = self.packets[:at_most], self.packets[at_most:]
        return packets

    def judge(self, numbers, code):
        self.judged += [(number, code) for number in numbers]

    def repeat(self, packets):
        self.judged += [(number, mark) for number, mark in packets]


def packet4(source, destination, protocol=17, rest=bytes(8)):
    return bytes((0x45, 0, 0, 28)) + bytes(4) + bytes((64, protocol, 0, 0)) + source + destination + rest


def queued(number, destination=PEER, mark=0):
    return QueuedPacket(number, MAC, CLIENT, packet4(CLIENT, destination), mark, 0, 7)


def waiting(*packets):
    made = wanted.WantedQueue(5524, Sources(), lambda: 1000.0)
    made.queue = Queue(*packets)
    return made


def case_wanted_packets_go_on_in_their_order():
    made = waiting(queued(1), queued(2, CLIENT), queued(3))
    assert sorted(made.read()) == [(7, MAC, CLIENT, CLIENT), (7, MAC, CLIENT, PEER)]
    assert made.read() == []
    made.let_go(PEER)
    assert made.queue.judged == [(1, ACCEPT), (3, ACCEPT)]


def case_wanted_packets_keep_all_of_their_mark_but_a_bit():
    made = waiting(queued(1, mark=0x30000005))
    made.new_mark = lambda mark: mark & ~wanted.MARK
    made.read()
    made.let_go(PEER)
    assert made.queue.judged == [(1, 0x20000005)]


def case_wanted_packets_are_refused_and_the_newest_is_quoted():
    made = waiting(queued(1), queued(2))
    assert made.refuse(PEER) == packet4(CLIENT, PEER)
    assert made.queue.judged == [(1, DROP), (2, DROP)]
    assert made.refuse(PEER) == b""


def case_wanted_packets_of_a_client_that_is_let_in_are_told_of_again():
    made = waiting(queued(1))
    made.read()
    made.tell_again(CLIENT)
    assert made.has_arrived
    assert made.read() == [(7, MAC, CLIENT, PEER)]


def case_wanted_packets_are_bounded():
    many = [queued(number) for number in range(wanted.QUEUED_PER_ADDRESS + 3)]
    made = waiting(*many)
    made.read()
    assert [code for _, code in made.queue.judged] == [DROP] * 3
    others = [queued(number, bytes((10, 46, number >> 8, number & 255))) for number in range(2000)]
    made = waiting(*others)
    made.read()
    made.read()
    assert made.room.queued <= wanted.QUEUED_MAX
    assert len(made._askers) <= wanted.QUEUED_MAX + 1


def case_unreachable_is_what_rfc_792_says():
    packet = packet4(CLIENT, PEER, rest=bytes(9))
    error = unreachable.error4(packet)
    assert error[:2] == b"\x03\x01"
    assert error[4:] == bytes(4) + packet
    assert checksum(error) == 0


def case_unreachable_is_told_of_no_error_and_of_no_later_fragment():
    may = unreachable.may_be_told
    echo, error = b"\x08" + bytes(7), b"\x03" + bytes(7)
    assert may(packet4(CLIENT, PEER)) and may(packet4(CLIENT, PEER, 1, echo))
    assert not may(packet4(CLIENT, PEER, 1, error))
    assert not may(packet4(CLIENT, PEER)[:6] + b"\x00\x10" + packet4(CLIENT, PEER)[8:])
    assert not may(b"") and not may(packet4(CLIENT, PEER)[:27])
    six = bytes((0x60, 0, 0, 0, 0, 8, 58, 64)) + bytes(32)
    assert may(six + b"\x80" + bytes(7)) and not may(six + b"\x01" + bytes(7))


LISTING = """add clat
insert clat local.v4 0.0.0.0/0 local.v6 ::/0 local.style NONE remote.v4 10.46.9.9/32 remote.v6 fddd::a2e:909/128 remote
insert clat local.v4 10.46.0.1/32 local.v6 fddd::1/128 remote.v4 0.0.0.0/0 remote.v6 ::/0
insert other remote.v4 10.46.9.8/32 remote.v6 fddd::a2e:908/128
config clat local.v4 10.46.0.0/16 local.v6 fddd::/96 remote.v4 0.0.0.0/0 remote.v6 fdde::/96 remote.style RFC6052
"""


def case_translator_knows_its_pairs_in_a_listing_that_is_cut_off():
    lines = LISTING.split("\n")
    found = [pair for line in lines if (pair := translator._pair_of(line, "clat"))]
    assert found == [(PEER, parse_ipv6("fddd::a2e:909"))]
