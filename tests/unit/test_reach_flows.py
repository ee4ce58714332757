# SPDX-License-Identifier: ISC
"""Which flows `reach` clears: those that its rules would decide otherwise now, and nobody else's."""

import json
import struct
from ipaddress import IPv4Address, IPv4Network

import pytest

from reach import flows
from reach.firewall import Dnat, Match, Snat
from runtime.netlink import attributes

PUBLIC, TARGET, OTHER = (IPv4Address(each) for each in ("203.0.113.7", "192.168.1.210", "192.168.1.9"))
CALLER = IPv4Address("203.0.113.99")
TCP, UDP, ICMP = 6, 17, 1


def published(to, *ports, protocol="udp", to_port=None, sources=(), excepted=()):
    match = Match(
        in_device="eth0",
        source=tuple(map(IPv4Network, sources)),
        destination=PUBLIC,
        protocol=protocol if ports else None,
        ports=ports,
    )
    return json.loads(json.dumps([flows.rule(Dnat(match, to, to_port, excepted))]))


SIP = published(TARGET, (5060, 5061))
MOVED = published(OTHER, (5060, 5061))
ONE_PORT = published(TARGET, (5060, 5061), to_port=5070)
FRIENDS = published(TARGET, (5060, 5060), sources=["198.51.100.0/24"])
WHOLE = published(TARGET, excepted=(("tcp", 22), ("udp", "51820-51821")))


def flow(port, answerer=PUBLIC, answering=None, protocol=UDP, source=CALLER):
    answering = port if answering is None else answering
    return flows.Flow(protocol, source, PUBLIC, port, answerer, answering, source)


@pytest.mark.parametrize(
    ("before", "now", "each", "stale"),
    [
        ([], SIP, flow(5060), True),  # began before it was published
        ([], SIP, flow(5060, TARGET), False),
        ([], SIP, flow(5062), False),
        ([], SIP, flow(5060, protocol=TCP), False),
        (SIP, SIP, flow(5060), True),  # began while rules were flushed
        (SIP, MOVED, flow(5061, TARGET), True),
        (SIP, MOVED, flow(5061, OTHER), False),
        (SIP, ONE_PORT, flow(5061, TARGET), True),
        (SIP, ONE_PORT, flow(5061, TARGET, 5070), False),
        (SIP, [], flow(5060, TARGET), True),  # published no more
        (SIP, [], flow(5060, OTHER), False),  # somebody else's rule
        (SIP, [], flow(5060), False),
        ([], [], flow(80, TARGET), False),
        ([], FRIENDS, flow(5060), False),
        ([], FRIENDS, flow(5060, source=IPv4Address("198.51.100.9")), True),
        (SIP, FRIENDS, flow(5060, TARGET), True),
        ([], WHOLE, flow(0, protocol=ICMP), True),
        ([], WHOLE, flow(22, protocol=TCP), False),
        ([], WHOLE, flow(51821), False),
        ([], WHOLE, flow(51822), True),
        (WHOLE, SIP, flow(80, TARGET, protocol=TCP), True),
    ],
)
def test_a_flow_is_cleared_when_rules_would_decide_otherwise(before, now, each, stale):
    assert flows.is_stale(flows.Rules(before), flows.Rules(now), each) == stale


HOME, PHONE, WORLD, SERVER = (
    IPv4Address(each) for each in ("192.168.1.20", "192.168.1.21", "198.51.100.80", "203.0.113.7")
)


def leaving(*sources, to=None):
    snat = Snat(Match(out_device="eth0", source=tuple(map(IPv4Network, sources))), to)
    return json.loads(json.dumps([flows.snat_rule(snat)]))


HIDDEN, NAMED, RENAMED = (
    leaving("192.168.1.0/24", "10.9.0.0/24"),
    leaving("192.168.1.0/24", to=PUBLIC),
    leaving("192.168.1.0/24", to=IPv4Address("203.0.113.8")),
)


def sent(answered, destination=WORLD, source=HOME):
    return flows.Flow(UDP, source, destination, 500, destination, 500, answered)


@pytest.mark.parametrize(
    ("before", "now", "each", "stale"),
    [
        (HIDDEN, HIDDEN, sent(HOME), True),  # began while the rules were gone
        (HIDDEN, HIDDEN, sent(SERVER), False),
        ([], HIDDEN, sent(HOME), True),
        ([], HIDDEN, sent(HOME, PHONE), False),  # stays at home
        ([], HIDDEN, sent(HOME, SERVER), False),  # is for this machine
        ([], HIDDEN, sent(CALLER, source=CALLER), False),
        (HIDDEN, NAMED, sent(PUBLIC), False),
        (NAMED, RENAMED, sent(PUBLIC), True),
        (NAMED, RENAMED, sent(IPv4Address("203.0.113.8")), False),
        (HIDDEN, [], sent(SERVER), True),
        (NAMED, [], sent(IPv4Address("203.0.113.9")), False),  # somebody else's rule
        ([], [], sent(SERVER), False),
    ],
)
def test_a_flow_is_cleared_when_it_would_leave_with_another_source(before, now, each, stale):
    rules = flows.Rules(snats=before), flows.Rules(snats=now)
    assert flows.is_stale(*rules, each, {str(SERVER)}) == stale


def attribute(kind, value):
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def a_tuple(kind, source, destination, source_port, port):
    addresses = attribute(1, attribute(1, source.packed) + attribute(2, destination.packed))
    ports = attribute(2, struct.pack("!H", source_port)) + attribute(3, struct.pack("!H", port))
    return attribute(kind, addresses + attribute(2, attribute(1, bytes([UDP])) + ports))


def test_a_listed_flow_is_read_with_its_ports():
    asked = a_tuple(1, CALLER, PUBLIC, 4000, 5060)
    data = asked + a_tuple(2, TARGET, CALLER, 5070, 4000)
    named = attribute(1 | 0x8000, asked[4:])
    assert flows.read(attributes(data)) == (flow(5060, TARGET, 5070), named)
    for end in range(len(data)):
        flows.read(attributes(data[:end]))
