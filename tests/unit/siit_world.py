# SPDX-License-Identifier: ISC
"""What the translator's tests share: three sets of rules, and checks that do not use our code.

CLAT: clients 10.0.0.0/8 are fddd:1::/96, the internet is fddd:2::/96. PLAT: the two sides changed. RELAY: the
data centre of RFC 7757, whose servers have one-to-one pairs.
"""

import socket
import struct

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from siit import translator
from siit.translator import NOTHING


def v4(text):
    return socket.inet_aton(text)


def v6(text):
    return socket.inet_pton(socket.AF_INET6, text)


def side(text4, text6):
    """A Side by text, `10.0.0.0/8` and `fddd:1::/96`; /32 with /128 is a one-to-one pair."""
    (address4, length4), (address6, length6) = text4.split("/"), text6.split("/")
    return translator.Side(length6 != "128", v4(address4), int(length4), v6(address6), int(length6))


CLIENTS, INTERNET = side("10.0.0.0/8", "fddd:1::/96"), side("0.0.0.0/0", "fddd:2::/96")


def clat(mtu6=1500):
    return translator.Map([(CLIENTS, INTERNET)], mtu6)


def plat(mtu6=1500):
    return translator.Map([(INTERNET, CLIENTS)], mtu6)


WORLD = side("0.0.0.0/0", "64:ff9b::/96")
SERVERS = [side(f"192.0.2.{i}/32", f"2001:db8:{i}::{i}/128") for i in (1, 2)]


def relay(mtu6=1500):
    return translator.Map([(WORLD, NOTHING), *((NOTHING, server) for server in SERVERS)], mtu6)


def one_table_relay(mtu6=1500):
    """The same with one table for both sides, as RFC 7757 imagines it."""
    return translator.Map([(WORLD, WORLD), *((server, server) for server in SERVERS)], mtu6)


def checksum(data):
    """RFC 1071, as it is written there: what the checksum field over `data` must make zero."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def pseudo(packet, protocol, length):
    """The pseudo header of a raw packet's transport, RFC 793 or RFC 8200 section 8.1."""
    if packet[0] >> 4 == 4:
        return packet[12:20] + struct.pack("!BBH", 0, protocol, length)
    return packet[8:40] + struct.pack("!II", length, protocol)


def check(packet):
    """Fail unless lengths and checksums of an unfragmented packet are right; return it parsed by scapy."""
    if packet[0] >> 4 == 4:
        assert packet[0] == 0x45
        assert checksum(packet[:20]) == 0
        assert struct.unpack("!H", packet[2:4])[0] == len(packet)
        protocol, transport, parsed = packet[9], packet[20:], IP(packet)
        assert not packet[6] & 0x80, "the reserved flag is set"
    else:
        assert packet[0] >> 4 == 6
        assert struct.unpack("!H", packet[4:6])[0] == len(packet) - 40
        protocol, transport, parsed = packet[6], packet[40:], IPv6(packet)
    if protocol in (6, 17):
        assert checksum(pseudo(packet, protocol, len(transport)) + transport) == 0
    elif protocol == 58:
        assert checksum(pseudo(packet, 58, len(transport)) + transport) == 0
    elif protocol == 1:
        assert checksum(transport) == 0
    if protocol in (6, 17):
        layer = parsed[TCP if protocol == 6 else UDP]
        assert rebuilt(parsed) == packet, f"scapy makes another checksum than {layer.chksum:#x}"
    return parsed


def rebuilt(parsed):
    """A packet built again by scapy, which computes its lengths and checksums itself."""
    again = parsed.copy()
    for layer in again.layers():
        for field in ("chksum", "cksum", "len", "plen"):
            if field in again[layer].fields:
                again[layer].delfieldval(field)
    return bytes(again)


def one(rules, packet):
    """Translate what must become exactly one packet; return it raw."""
    verdict, packets = translator.translate(rules, bytes(packet))
    assert verdict == "translated"
    return packets[0]


def refused(rules, packet, verdict):
    """Translate what must be dropped for a reason; return the ICMP error about it parsed, or None."""
    was, packets = translator.translate(rules, bytes(packet))
    assert was == verdict
    assert len(packets) <= 1
    return check(packets[0]) if packets else None
