# SPDX-License-Identifier: ISC
"""The pump on a socket pair in place of a TUN: offloads, super-packets, rate limit, change of rules."""

import contextlib
import select
import socket
import struct
import threading
import time
from ipaddress import IPv4Address, IPv6Address

import pytest

from siit.device import COUNTERS
from siit.translator import Map, rfc6052

_siit = pytest.importorskip("siit._siit", reason="siit is not compiled: python -m siit._build")
ffi, lib = _siit.ffi, _siit.lib

NEEDS_CSUM, DATA_VALID = 1, 2
TCPV4, TCPV6, UDP_L4, ECN = 1, 4, 5, 0x80
CLIENT, SERVER = IPv4Address("10.0.0.1"), IPv4Address("192.0.2.1")
PLAT = IPv6Address("64:ff9b::")
CLAT = IPv6Address("fd00:1::")
RULES = Map(
    [
        (
            rfc6052(bytes((10, 0, 0, 0)), 8, CLAT.packed, 96),
            rfc6052(bytes(4), 0, PLAT.packed, 96),
        )
    ]
)
DEADLINE_S = 30


def fold(data, total=0):
    data += bytes(len(data) % 2)
    total += sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def ipv4(proto, payload, ttl=64, tos=0, flags=0x4000, identification=0, source=CLIENT):
    total = 20 + len(payload)
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, tos, total, identification, flags, ttl, proto, 0, source.packed, SERVER.packed
    )
    return header[:10] + struct.pack("!H", 0xFFFF ^ fold(header)) + header[12:] + payload


def udp(payload, sport=1000, dport=2000, **header):
    packet = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload
    pseudo = header.get("source", CLIENT).packed + SERVER.packed + struct.pack("!HH", 17, len(packet))
    checksum = 0xFFFF ^ fold(packet, fold(pseudo))
    return ipv4(17, packet[:6] + struct.pack("!H", checksum or 0xFFFF) + packet[8:], **header)


def tcp_super(payload, flags=0x10):
    """A TCP super-packet as the kernel gives it: pseudo header's sum in the checksum field."""
    length = 20 + len(payload)
    pseudo = fold(CLIENT.packed + SERVER.packed + struct.pack("!HH", 6, length))
    header = struct.pack("!HHIIBBHHH", 1000, 80, 1, 1, 0x50, flags, 1000, pseudo, 0)
    return ipv4(6, header + payload)


def vnet(flags=0, gso_type=0, hdr_len=0, gso_size=0, csum_start=0, csum_offset=0):
    return struct.pack("=BBHHHH", flags, gso_type, hdr_len, gso_size, csum_start, csum_offset)


class Pump:
    def __init__(self, coalesce=True, icmp_per_s=1000):
        self.far, self._near = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        for end in (self.far, self._near):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self.pump = lib.siit_pump_new(self._near.fileno(), icmp_per_s, coalesce)
        self.thread = threading.Thread(target=lib.siit_pump_run, args=(self.pump,))
        self.use(RULES)

    def use(self, rules):
        lib.siit_pump_use(self.pump, rules.pointer)
        self.rules = rules

    def put(self, packet, header=None):
        self.far.send((header or vnet()) + packet)

    def run(self):
        """Start it, and let it handle what was put before as one batch."""
        self.thread.start()

    def get(self, count):
        """The next packets that leave, each as its vnet header's fields and its bytes."""
        got = []
        end = time.monotonic() + DEADLINE_S
        while len(got) < count:
            assert select.select([self.far], [], [], max(0, end - time.monotonic()))[0], f"{len(got)} packets"
            data = self.far.recv(1 << 17)
            got.append((struct.unpack_from("=BBHHHH", data), data[10:]))
        return got

    def counters(self):
        values = ffi.new("uint64_t[]", len(COUNTERS))
        lib.siit_pump_counters(self.pump, values)
        return {name: value for name, value in zip(COUNTERS, values, strict=True) if value}

    def wait_for(self, name, value):
        end = time.monotonic() + DEADLINE_S
        while self.counters().get(name, 0) < value:
            assert time.monotonic() < end, self.counters()
            time.sleep(0.001)

    def close(self):
        if self.thread.is_alive():
            lib.siit_pump_stop(self.pump)
            self.thread.join(DEADLINE_S)
            assert not self.thread.is_alive()
        lib.siit_pump_free(self.pump)
        self.far.close()
        self._near.close()


@contextlib.contextmanager
def pump(*puts, **options):
    made = Pump(**options)
    for each in puts:
        made.put(*each) if isinstance(each, tuple) else made.put(each)
    try:
        made.run()
        yield made
    finally:
        made.close()


def udp6_payloads(fields, packet):
    """The payloads of a UDP (super-)packet of IPv6, its checksum verified as its vnet header says."""
    length = len(packet) - 40
    assert struct.unpack_from("!H", packet, 4)[0] == struct.unpack_from("!H", packet, 44)[0] == length
    pseudo = fold(packet[8:40] + struct.pack("!II", length, 17))
    flags, gso_type, hdr_len, gso_size, start, offset = fields
    if flags & NEEDS_CSUM:
        assert (start, offset) == (40, 6)
        assert struct.unpack_from("!H", packet, 46)[0] == pseudo
    else:
        assert fold(packet[40:], pseudo) == 0xFFFF
    if not gso_type:
        return [packet[48:]]
    assert (gso_type, hdr_len) == (UDP_L4, 48)
    return [packet[at : at + gso_size] for at in range(48, len(packet), gso_size)]


def test_packets_of_one_flow_leave_as_one():
    payloads = [bytes([i]) * 22 for i in range(10)] + [b"short"]
    with pump(*(udp(each, identification=i) for i, each in enumerate(payloads))) as it:
        ((fields, packet),) = it.get(1)
        assert udp6_payloads(fields, packet) == payloads
        it.wait_for("out6_packets", 1)  # counted once it is written
        assert (it.counters()["coalesced"], it.counters()["out6_packets"]) == (10, 1)


def test_a_flow_keeps_its_order_whatever_it_sends():
    sizes = [22, 22, 30, 30, 5, 22, 22, 22, 1, 1, 100, 22]
    payloads = [bytes([i]) * size for i, size in enumerate(sizes)]
    with pump(*map(udp, payloads)) as it:
        got = []
        while len(got) < len(payloads):
            got += udp6_payloads(*it.get(1)[0])
        assert got == payloads
        assert it.counters()["out6_packets"] < len(payloads)


def test_two_flows_that_alternate_are_told_apart():
    with pump(*(udp(bytes([i]) * 22, sport=1000 + i % 2) for i in range(20))) as it:
        assert [[each[0] for each in udp6_payloads(*got)] for got in it.get(2)] == [
            list(range(0, 20, 2)),
            list(range(1, 20, 2)),
        ]


@pytest.mark.parametrize(
    "change", [{"ttl": 63}, {"tos": 4}, {"dport": 2001}, {"source": IPv4Address("10.0.0.2")}]
)
def test_packets_that_differ_in_a_header_are_not_merged(change):
    with pump(udp(b"a" * 22), udp(b"b" * 22, **change), udp(b"c" * 22)) as it:
        got = []
        while len(got) < 3:
            got += [each[0] for each in udp6_payloads(*it.get(1)[0])]
        assert sorted(got) == list(b"abc")
        if "ttl" in change or "tos" in change:  # still one flow
            assert got == list(b"abc")


def test_a_wrong_checksum_is_not_hidden_in_a_super_packet():
    good = udp(b"a" * 22)
    damaged = good[:-1] + b"x"
    with pump(good, damaged, good) as it:
        assert [len(packet) for _, packet in it.get(3)] == [70] * 3


def test_no_more_than_64_segments_and_65535_bytes():
    with pump(*(udp(b"a" * 22) for _ in range(64)), udp(b"a" * 22)) as it:
        assert len(udp6_payloads(*it.get(1)[0])) == 64
        it.get(1)
    with pump(*(udp(bytes([i]) * 1400) for i in range(64))) as it:
        total = 0
        while total < 64:
            fields, packet = it.get(1)[0]
            assert len(packet) <= 65535
            total += len(udp6_payloads(fields, packet))


def test_without_the_kernels_offload_nothing_is_merged():
    with pump(*(udp(b"a" * 22) for _ in range(5)), coalesce=False) as it:
        assert [fields[1] for fields, _ in it.get(5)] == [0] * 5


@pytest.mark.parametrize("ecn", [0, ECN])
def test_a_tcp_super_packet_crosses_as_one(ecn):
    packet = tcp_super(bytes(60000))
    with pump((packet, vnet(NEEDS_CSUM, TCPV4 | ecn, 40, 1440, 20, 16))) as it:
        ((fields, result),) = it.get(1)
        assert fields == (NEEDS_CSUM, TCPV6 | ecn, 60, 1440, 40, 16)
        assert len(result) == len(packet) + 20
        pseudo = fold(result[8:40] + struct.pack("!II", 60020, 6))
        assert struct.unpack_from("!H", result, 56)[0] == pseudo


def test_a_checksum_deeper_in_the_packet_is_completed():
    inner = struct.pack("!HHHH", 5, 6, 16, 0) + b"inwardly"
    packet = udp(bytes(20) + inner)
    with pump((packet, vnet(NEEDS_CSUM, csum_start=48, csum_offset=6)), coalesce=False) as it:
        ((fields, result),) = it.get(1)
        assert not fields[0] & NEEDS_CSUM
        assert fold(result[68:]) == 0xFFFF


MALFORMED = {
    "nothing": (b"", vnet()),
    "no IP": (b"\x50" + bytes(40), vnet()),
    "unknown segmentation": (tcp_super(bytes(100)), vnet(NEEDS_CSUM, 3, 40, 50, 20, 16)),
    "segments of the other version": (tcp_super(bytes(100)), vnet(NEEDS_CSUM, TCPV6, 40, 50, 20, 16)),
    "segments of no size": (tcp_super(bytes(100)), vnet(NEEDS_CSUM, TCPV4, 40, 0, 20, 16)),
    "segments without checksum": (tcp_super(bytes(100)), vnet(0, TCPV4, 40, 50, 20, 16)),
    "segments of another protocol": (udp(bytes(100)), vnet(NEEDS_CSUM, TCPV4, 40, 50, 20, 6)),
    "UDP segments of TCP": (tcp_super(bytes(100)), vnet(NEEDS_CSUM, UDP_L4, 40, 50, 20, 16)),
    "checksum behind the end": (udp(b"a"), vnet(NEEDS_CSUM, csum_start=28, csum_offset=6)),
    "checksum far behind the end": (udp(b"a"), vnet(NEEDS_CSUM, csum_start=0xFFFF, csum_offset=0xFFFF)),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_offload_header_is_counted_and_dropped(case):
    with pump(MALFORMED[case], udp(b"next")) as it:
        assert udp6_payloads(*it.get(1)[0]) == [b"next"]
        assert it.counters()["malformed"] == 1


def test_less_than_an_offload_header_is_counted_and_dropped():
    it = Pump()
    it.far.send(b"short")
    it.run()
    it.wait_for("malformed", 1)
    it.put(udp(b"next"))
    it.get(1)
    it.close()


def test_our_icmp_errors_are_limited_and_the_rest_is_counted():
    with pump(*(udp(b"a", ttl=1) for _ in range(60)), icmp_per_s=1) as it:
        errors = it.get(lib.SIIT_ICMP_BURST)
        assert {packet[20] for _, packet in errors} == {11}
        it.wait_for("icmp_suppressed", 10)
        assert it.counters()["icmp_sent"] == lib.SIIT_ICMP_BURST
        assert it.counters()["ttl-exceeded"] == 60


def test_a_change_of_rules_loses_no_packet_of_a_stream():
    count = 6000
    with pump() as it:
        received = []

        def receive():
            while len(received) < count:
                received.extend(struct.unpack("!I", p)[0] for p in udp6_payloads(*it.get(1)[0]))

        receiver = threading.Thread(target=receive)
        receiver.start()
        sent = 0
        changes = 0
        while sent < count:
            for _ in range(20):
                it.put(udp(struct.pack("!I", sent)))
                sent += 1
            it.use(Map(RULES.pairs, 1500))
            changes += 1
            while sent - len(received) > 60 and receiver.is_alive():
                time.sleep(0)  # the socket's queue is shorter than a TUN's
        receiver.join(DEADLINE_S)
        assert changes == count // 20
        assert received == list(range(count))


def test_the_pump_ends_when_its_device_is_gone():
    it = Pump()
    it.run()
    it.far.shutdown(socket.SHUT_RDWR)
    it.thread.join(DEADLINE_S)
    assert not it.thread.is_alive()
    it.close()


def cut(packet, *sizes, identification=77):
    """An IPv4 packet's fragments, with so many bytes of transport each; the last has the rest."""
    transport, at, pieces = packet[20:], 0, []
    for size in (*sizes, len(transport)):
        part = transport[at : at + size]
        more = 0x2000 if at + len(part) < len(transport) else 0
        source = IPv4Address(packet[12:16])
        pieces.append(
            ipv4(packet[9], part, flags=more | at // 8, identification=identification, source=source)
        )
        at += len(part)
    return pieces


def bare_udp(payload, **header):
    packet = udp(payload, **header)
    return ipv4(17, packet[20:26] + bytes(2) + packet[28:], source=header.get("source", CLIENT))


def join6(packets):
    """The transport that IPv6 fragments, in their order, or one packet without a fragment header, carry."""
    if len(packets) == 1 and packets[0][6] != 44:
        return packets[0][40:]
    whole = b""
    for packet in packets:
        offset = struct.unpack_from("!H", packet, 42)[0]
        assert offset & 0xFFF8 == len(whole)
        assert bool(offset & 1) == (packet is not packets[-1])
        whole += packet[48:]
    return whole


def is_right_udp6(transport):
    addresses = CLAT.packed[:12] + CLIENT.packed + PLAT.packed[:12] + SERVER.packed
    return fold(transport, fold(addresses + struct.pack("!II", len(transport), 17))) == 0xFFFF


@pytest.mark.parametrize("sizes", [(8,), (1480,), (1480, 1480), (8, 16, 24)])
def test_fragments_of_udp_without_a_checksum_get_one_over_the_whole(sizes):
    payload = bytes(i * 31 & 0xFF for i in range(3100))
    with pump(*cut(bare_udp(payload), *sizes)) as it:
        transport = join6([packet for _, packet in it.get(3)])
        assert is_right_udp6(transport)
        assert (transport[:4], transport[8:]) == (struct.pack("!HH", 1000, 2000), payload)
        assert it.counters()["reassembled"] == len(sizes) + 1
        assert "udp-zero-checksum-fragment" not in it.counters()


def test_a_small_datagram_in_fragments_leaves_as_one_packet_and_in_its_place():
    with pump(udp(b"before"), *cut(bare_udp(b"x" * 40), 24), udp(b"behind")) as it:
        got = [packet for _, packet in it.get(3)]
        assert [packet[48:] for packet in got] == [b"before", b"x" * 40, b"behind"]
        assert is_right_udp6(join6(got[1:2]))


def echo4(payload):
    message = struct.pack("!BBHHH", 8, 0, 0, 7, 1) + payload
    return ipv4(1, message[:2] + struct.pack("!H", 0xFFFF ^ fold(message)) + message[4:], flags=0)


def test_a_ping_of_any_size_crosses_both_translators():
    payload = bytes(i & 0xFF for i in range(4000))
    with pump(*cut(echo4(payload), 1480, 1480)) as there:
        pieces = [packet for _, packet in there.get(4)]
    back_rules = Map(
        [(rfc6052(bytes(4), 0, PLAT.packed, 96), rfc6052(bytes((10, 0, 0, 0)), 8, CLAT.packed, 96))]
    )
    with Back(back_rules) as back:
        for piece in pieces:
            back.put(piece)
        ((_, packet),) = back.get(1)
    assert (packet[0], packet[9], struct.unpack_from("!H", packet, 6)[0]) == (0x45, 1, 0), (
        "no DF: the WAN may cut it"
    )
    assert fold(packet[20:]) == 0xFFFF
    assert packet[28:] == payload


class Back(Pump):
    """A pump with rules of the caller's own, for as long as the block lasts."""

    def __init__(self, rules):
        super().__init__()
        self.use(rules)

    def __enter__(self):
        self.run()
        return self

    def __exit__(self, *_):
        self.close()


def test_fragments_with_a_checksum_are_translated_one_by_one():
    with pump(*cut(udp(b"y" * 100), 56)) as it:
        packets = [packet for _, packet in it.get(2)]
        assert [packet[6] for packet in packets] == [44, 44]
        assert is_right_udp6(join6(packets))
        assert "reassembled" not in it.counters()


def test_two_datagrams_whose_fragments_mix_are_told_apart():
    first = cut(bare_udp(b"a" * 40), 24, identification=1)
    second = cut(bare_udp(b"b" * 40), 24, identification=2)
    with pump(first[0], second[0], first[1], second[1]) as it:
        assert [packet[48:] for _, packet in it.get(2)] == [b"a" * 40, b"b" * 40]


def test_what_never_becomes_whole_makes_room_and_is_never_sent():
    """More unfinished datagrams than there are places; then one that is finished."""
    heads = [cut(bare_udp(b"z" * 2000), 1480, identification=i)[0] for i in range(100)]
    with pump(*heads, *cut(bare_udp(b"whole" * 8), 24, identification=200)) as it:
        ((_, packet),) = it.get(1)
        assert packet[48:] == b"whole" * 8
        assert it.counters()["reassembled"] == 102


def test_who_begins_many_datagrams_takes_no_place_of_others():
    first, second = cut(bare_udp(b"victim" * 8, source=IPv4Address("10.0.0.9")), 24, identification=200)
    heads = [cut(bare_udp(b"z" * 2000), 1480, identification=i)[0] for i in range(100)]
    with pump(*heads[:50], first, *heads[50:], second) as it:
        ((_, packet),) = it.get(1)
        assert packet[48:] == b"victim" * 8


BROKEN_ROWS = {
    "a hole": lambda a: [a[0], a[2]],
    "a piece twice": lambda a: [a[0], a[1], a[1], a[2]],
    "a piece of no multiple of eight": lambda a: [a[0], cut(bare_udp(b"q" * 60), 24, 20)[1], a[2]],
    "the end first": lambda a: [a[2], a[0], a[1]],
}


@pytest.mark.parametrize("name", BROKEN_ROWS)
def test_a_datagram_that_does_not_continue_is_given_up(name):
    pieces = cut(bare_udp(b"q" * 60), 24, 24)
    with pump(*BROKEN_ROWS[name](pieces), udp(b"behind", sport=9)) as it:
        got = []
        while not got or got[-1][48:] != b"behind":
            got += [packet for _, packet in it.get(1)]
        assert not any(packet[6] == 17 and len(packet) > 54 for packet in got), "no datagram was made of it"


def test_fragments_of_more_than_65535_bytes_are_given_up():
    pieces = [ipv4(17, struct.pack("!HHHH", 1, 2, 8, 0) + bytes(1472), flags=0x2000, identification=5)]
    pieces += [ipv4(17, bytes(1480), flags=0x2000 | i * 185, identification=5) for i in range(1, 45)]
    with pump(*pieces, udp(b"behind")) as it:
        got = it.get(1)
        while got[-1][1][48:] != b"behind":
            got += it.get(1)
        assert all(len(packet) < 2000 for _, packet in got)
