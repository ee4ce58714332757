# SPDX-License-Identifier: ISC
"""Cases of IPv4 between clients of different nodes, for both Pythons: ARP, what waits, ICMP errors, the translator."""

import os
import socket
import struct

from l3roamd_py import pairs
from l3roamd_py.core import actions
from l3roamd_py.core.events import ClientSeen, PairMade, Wanted
from l3roamd_py.kernel import arp, translator, unreachable
from l3roamd_py.netfilter import gate, wanted
from l3roamd_py.netfilter.nfqueue import ACCEPT, DROP, QueuedPacket
from runtime.loop import BootClock
from runtime.packets import checksum
from runtime.sockets import unix_address
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


class OpenedGate(gate.Gate):
    """With nothing of the kernel but what waits."""

    def _generation(self):
        return None

    def _is_let_in(self, mac, address):
        return False

    def _admit(self, mac, address):
        pass


def case_gate_ipv6_comes_by_the_rules_once_more_where_a_backend_says_so():
    own = OpenedGate("br-client", "clat", 5523, lambda: 1000.0)
    address = parse_ipv6("2001:db8::7")
    packet6 = bytes((0x60,)) + bytes(7) + address + bytes(16)
    own.queue = Queue(queued(1, mark=5), QueuedPacket(2, MAC, address, packet6, 6, 0, 7))
    own.new_mark = {16: lambda mark: mark | gate.MARK}
    own.open_gate(MAC, CLIENT)
    own.open_gate(MAC, address)
    assert own.queue.judged == [(1, ACCEPT), (2, 6 | gate.MARK)]
    assert own.count["released"] == 2


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


class HeldTranslator:
    """One that answers when it is told to."""

    device = "clat"

    def __init__(self):
        self.held = []

    def insert(self, ipv4, ipv6, done):
        self.held.append(("insert", ipv6, done))

    def remove(self, ipv4, ipv6, done=None):
        self.held.append(("remove", ipv6, done or (lambda why_not: None)))

    def answer(self, why_not=""):
        verb, at, done = self.held.pop(0)
        done(why_not)
        return verb, at


class RoutedKernel:
    def __init__(self):
        self.routed = set()

    @property
    def other_routes(self):
        return self

    def pairs(self):
        return set(self.routed)

    def add_pair(self, ipv4, _device):
        self.routed.add(ipv4)

    def remove_pair(self, ipv4, _device):
        self.routed.discard(ipv4)


AT, LATER = parse_ipv6("fddd::a2e:909"), parse_ipv6("fdde::a2e:909")


def held_pairs():
    kernel, held, told, said = RoutedKernel(), HeldTranslator(), [], []
    return pairs.Pairs(kernel, held, told.append, said.append), kernel, held, told, said


def case_pairs_are_routed_when_the_translator_has_them():
    made, kernel, held, told, said = held_pairs()
    made.add(actions.AddPair(PEER, AT))
    assert not told and not kernel.routed
    held.answer()
    assert told == [PairMade(PEER, AT, True)] and kernel.routed == {PEER} and not said


def case_pairs_that_are_removed_before_they_are_made_are_not_routed():
    made, kernel, held, _, _ = held_pairs()
    made.add(actions.AddPair(PEER, AT))
    made.remove(actions.RemovePair(PEER, AT))
    assert [held.answer()[0], held.answer()[0]] == ["insert", "remove"]
    assert not kernel.routed


def case_pairs_that_may_be_left_are_taken_out_before_the_next_one():
    made, kernel, held, told, said = held_pairs()
    made.add(actions.AddPair(PEER, AT))
    held.answer("no answer in time")
    assert told == [PairMade(PEER, AT, False)] and said == ["no answer in time"] and not kernel.routed
    made.add(actions.AddPair(PEER, LATER))
    assert [held.answer(), held.answer()] == [("remove", AT), ("insert", LATER)]
    made.remove(actions.RemovePair(PEER, LATER))
    held.answer("busy")
    other = parse_ipv4("10.46.9.8")
    made.add(actions.AddPair(other, AT))
    held.answer()
    made.remove(actions.RemovePair(other, AT))
    assert [held.answer(), held.answer()] == [("remove", AT), ("remove", LATER)]
    assert not held.held


def case_pairs_come_back_with_their_device():
    made, kernel, held, told, _ = held_pairs()
    made.add(actions.AddPair(PEER, AT))
    held.answer()
    made.restore(actions.RestorePair(PEER, AT))
    assert not held.held
    kernel.routed.clear()
    told.clear()
    made.restore(actions.RestorePair(PEER, AT))
    assert [held.answer("no such pair"), held.answer()] == [("remove", AT), ("insert", AT)]
    assert kernel.routed == {PEER} and not told


class Answering:
    """A siit that answers when it is asked to: a listener of this process."""

    def __init__(self, path):
        self.path, self.peers = path, []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(unix_address(path))
        self.listener.listen(8)

    def answer(self, text):
        """Take the next command and answer it; what it was."""
        if not self.peers:
            self.peers.append(self.listener.accept()[0])
        said = self.peers[0].recv(4096).decode()
        self.peers[0].send(text)
        self.peers.pop(0).close()
        return said

    def close(self):
        self.listener.close()
        os.remove(self.path)


def case_translator_goes_on_while_siit_takes_its_time():
    now, told = [100.0], []
    siit = Answering("/tmp/siit-case-" + os.urandom(8).hex())
    made = translator.Translator("clat", siit.path, pairs.start_script, lambda: now[0])
    made.insert(PEER, AT, told.append)
    made.remove(PEER, AT, told.append)
    made.go_on()
    assert not told and made.next_deadline_s == 100.0 + translator.ANSWER_S
    assert siit.answer(b"ok\n") == "insert clat remote.v4 10.46.9.9/32 remote.v6 fddd::a2e:909/128\n"
    made.go_on()
    assert told == [""]
    siit.answer(b"error: no such pair\n")
    made.go_on()
    assert told[1].endswith("no such pair") and made.next_deadline_s is None
    made.insert(PEER, AT, told.append)
    made.insert(PEER, LATER, told.append)
    now[0] += translator.ANSWER_S
    made.go_on()
    assert len(told) == 4 and all(told[2:]) and made.next_deadline_s is None
    siit.close()
    made.insert(PEER, AT, told.append)
    assert len(told) == 5 and told[4], "nobody is there"


def case_translator_writes_to_nat46_in_the_background():
    path, told = "/tmp/nat46-case-" + os.urandom(8).hex(), []
    with open(path, "w") as file:
        file.write("")
    made = translator.Translator("clat", path, pairs.start_script, BootClock().now_s)
    made.insert(PEER, AT, told.append)
    made.finish()
    with open(path) as file:
        assert file.read() == "insert clat remote.v4 10.46.9.9/32 remote.v6 fddd::a2e:909/128\n"
    assert told == [""]
    os.remove(path)
