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
