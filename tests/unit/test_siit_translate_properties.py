# SPDX-License-Identifier: ISC
"""What holds for every packet: there and back is the same, noise does no harm, what leaves is a packet."""

import struct

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw
from siit_world import check, checksum, clat, one, plat, pseudo, relay

from siit import translator

CLAT, PLAT, RELAY = clat(1500), plat(1500), relay(1500)

ports = st.integers(0, 0xFFFF)
clients = st.integers(0x0A000001, 0x0AFFFFFE).map(lambda n: ".".join(str(b) for b in n.to_bytes(4, "big")))
servers = st.integers(0xC6336400, 0xC63364FF).map(lambda n: ".".join(str(b) for b in n.to_bytes(4, "big")))
data = st.binary(max_size=1400)
transports = st.one_of(
    st.builds(lambda s, d, p: UDP(sport=s, dport=d) / Raw(p), ports, ports, data),
    st.builds(
        lambda s, d, p, f: TCP(sport=s, dport=d, flags=f) / Raw(p), ports, ports, data, st.integers(0, 255)
    ),
    st.builds(lambda t, i, p: ICMP(type=t, id=i) / Raw(p), st.sampled_from([0, 8]), ports, data),
)
packets4 = st.builds(
    lambda src, dst, transport, ttl, tos, number, flags: (
        IP(src=src, dst=dst, ttl=ttl, tos=tos, id=number, flags=flags) / transport
    ),
    clients,
    servers,
    transports,
    st.integers(3, 255),
    st.integers(0, 255),
    ports,
    st.sampled_from(["", "DF"]),
)


@given(packets4)
def test_there_and_back_only_takes_two_from_the_ttl(packet):
    sent = IP(bytes(packet))
    there = check(one(CLAT, sent))
    back = check(one(PLAT, bytes(there)))
    assert (back.src, back.dst, back.tos, back.ttl) == (sent.src, sent.dst, sent.tos, sent.ttl - 2)
    assert (back.proto, back.frag, back.len) == (sent.proto, 0, sent.len)
    assert back.flags == ("DF" if back.len > 1260 else 0)
    assert bytes(back.payload)[:2] == bytes(sent.payload)[:2]
    without = slice(18, None) if sent.proto == 6 else slice(8, None)
    assert bytes(back.payload)[without] == bytes(sent.payload)[without]


@given(packets4, st.integers(0, 8191), st.booleans(), st.integers(0, 0xFFFF))
def test_a_fragment_there_and_back_keeps_its_place(packet, offset, more, number):
    payload = bytes(packet.payload)
    if offset * 8 + len(payload) > 65535 or not (offset or more):
        return
    sent = IP(src=packet.src, dst=packet.dst, id=number, frag=offset, flags="MF" * more, proto=47) / Raw(
        payload
    )
    back = IP(one(PLAT, one(CLAT, sent)))
    assert (back.id, back.frag, str(back.flags), bytes(back.payload)) == (
        number,
        offset,
        "MF" * more,
        payload,
    )


@given(packets4, st.integers(1280, 1500))
def test_the_pieces_of_a_packet_carry_all_of_it_and_join_to_a_right_checksum(packet, mtu6):
    packet.flags = ""
    verdict, pieces = translator.translate(clat(mtu6), bytes(packet))
    assert verdict == ("fragmented" if len(packet) + 20 > mtu6 else "translated")
    if verdict == "translated":
        return
    transport = b"".join(piece[48:] for piece in pieces)
    assert max(map(len, pieces)) <= 1280
    assert len(transport) == len(packet) - 20
    assert checksum(pseudo(pieces[0], pieces[0][40], len(transport)) + transport) == 0


@given(packets4, st.sampled_from([(11, 0), (3, 3), (3, 0), (3, 13)]), st.integers(0, 1500))
def test_an_error_there_and_back_quotes_the_same_packet(packet, error, kept):
    quoted = IP(bytes(packet))
    quoted.src, quoted.dst = quoted.dst, quoted.src
    del quoted.chksum
    quoted = bytes(quoted)[: max(20, kept)]
    icmp = struct.pack("!BBHI", *error, 0, 0) + quoted
    icmp = icmp[:2] + checksum(icmp).to_bytes(2, "big") + icmp[4:]
    there = one(CLAT, IP(src=packet.src, dst=packet.dst, proto=1) / Raw(icmp))
    check(there)
    back = one(PLAT, there)
    check(back)
    assert len(there) == min(1280, 40 + 8 + 20 + len(quoted))
    inner = back[28:]
    assert len(inner) == min(548, len(quoted))
    assert checksum(inner[:20]) == 0
    assert inner[12:20] == quoted[12:20]
    assert inner[8] == quoted[8]  # the TTL of the quoted packet stays
    assert inner[2:4] == quoted[2:4]
    if quoted[9] == 47:
        assert inner[20:] == quoted[20 : len(inner)]


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x45\x00", b"\x60\x00"]),
    st.sampled_from([CLAT, PLAT, RELAY]),
)
def test_noise_does_no_harm_and_what_leaves_is_a_packet(noise, start, rules):
    verdict, packets = translator.translate(rules, start + noise)
    assert verdict in translator.VERDICTS
    for packet in packets:
        header = IP if packet[0] >> 4 == 4 else IPv6
        assert len(header(packet)) == len(packet)


@given(packets4, st.data())
def test_a_damaged_packet_never_leaves_longer_than_it_could(packet, draw):
    raw = bytearray(bytes(packet))
    for at in draw.draw(st.lists(st.integers(0, min(len(raw), 60) - 1), max_size=4)):
        raw[at] = draw.draw(st.integers(0, 255))
    raw[10:12] = bytes(2)
    raw[10:12] = checksum(bytes(raw[:20])).to_bytes(2, "big")
    verdict, packets = translator.translate(CLAT, bytes(raw))
    if verdict == "translated":
        assert len(packets[0]) <= len(raw) + 28
    else:
        assert verdict == "fragmented" or len(packets) <= 1
