# SPDX-License-Identifier: ISC
"""Which flows `reach` clears: those that its rules would decide otherwise now, and nobody else's."""

import json
import shutil
import struct
import subprocess
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

import pytest

from reach import flows
from reach.firewall import Dnat, Match, Snat
from reach.render import flows as rendered
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


NAMES = {TCP: "tcp", UDP: "udp", ICMP: "icmp"}
AWKS = [words for words in (["mawk"], ["gawk", "--posix"], ["busybox", "awk"]) if shutil.which(words[0])]


@pytest.fixture(params=AWKS, ids=" ".join)
def awk(request):
    """The rendered script's decision about a flow, as conntrack lists it."""

    def is_stale(before, now, flow, own=()):
        asked, answered = f"sport=4000 dport={flow.port}", f"sport={flow.answering_port} dport=4000"
        if flow.protocol == ICMP:
            asked = answered = "type=8 code=0 id=1"
        text = "".join(f"own {address}\n" for address in own)
        for when, rules in (("before", before), ("now", now)):
            text += "".join(f"{when} {line}\n" for line in rendered.rules_text(rules).splitlines())
        text += (
            f"{NAMES[flow.protocol]:8} {flow.protocol} 29 src={flow.source} dst={flow.destination} {asked}"
        )
        text += f" [UNREPLIED] src={flow.answerer} dst={flow.answered} {answered} mark=0 use=1\n"
        done = subprocess.run(
            [*request.param, rendered.AWK], input=text, capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        if done.stdout:
            family = "ipv6" if flow.source.version == 6 else "ipv4"
            wanted = f"-f {family} -p {NAMES[flow.protocol]} -s {flow.source} -d {flow.destination}"
            assert done.stdout == wanted + (f" --sport 4000 --dport {flow.port}\n" if flow.port else "\n")
        return bool(done.stdout)

    return is_stale


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
def test_a_flow_is_cleared_when_rules_would_decide_otherwise(before, now, each, stale, awk):
    before, now = flows.Rules(before), flows.Rules(now)
    assert flows.is_stale(before, now, each) == stale
    assert awk(before, now, each) == stale


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
def test_a_flow_is_cleared_when_it_would_leave_with_another_source(before, now, each, stale, awk):
    rules = flows.Rules(snats=before), flows.Rules(snats=now)
    assert flows.is_stale(*rules, each, {str(SERVER)}) == stale
    assert awk(*rules, each, {str(SERVER)}) == stale


def near(*sources, to=None, published=False):
    """What is led to a target, in another name."""
    match = Match(source=tuple(map(ip_network, sources)), destination=ip_network(to), is_published=published)
    return json.loads(json.dumps([flows.snat_rule(Snat(match))]))


OWN = {"192.168.1.1", "203.0.113.7", "2001:db8::7"}
HAIRPIN = near("192.168.1.0/24", to="192.168.1.210/32", published=True)
INTO_LAN, INTO_LAN6 = near(to="192.168.1.0/24"), near(to="fd00:1::/64")
PUBLISHED_OWN = [{**rule, "own": True} for rule in SIP]
EXIT6 = [{"source": ["fd86:ea04:1119::/64", "2001:db8:0:7c0::/58"], "to": ""}]
ROUTER, LAPTOP = IPv4Address("192.168.1.1"), IPv4Address("198.18.0.3")


def flow6(source, answered, destination="2001:db8:ffff::1"):
    return flows.Flow(
        UDP, *map(ip_address, (source, destination)), 500, ip_address(destination), 500, ip_address(answered)
    )


def led(source, answered, answerer=TARGET):
    return flows.Flow(UDP, source, PUBLIC, 5060, answerer, 5060, answered)


@pytest.mark.parametrize(
    ("now", "each", "stale"),
    [
        (flows.Rules(SIP, HAIRPIN), led(HOME, ROUTER), False),
        (flows.Rules(SIP, HAIRPIN), led(HOME, HOME), True),  # would be answered past the router
        (flows.Rules(SIP, HAIRPIN), led(CALLER, CALLER), False),
        (flows.Rules([], HAIRPIN), flows.Flow(UDP, HOME, TARGET, 5060, TARGET, 5060, HOME), False),
        (flows.Rules(PUBLISHED_OWN), led(ROUTER, ROUTER), False),
        (flows.Rules(PUBLISHED_OWN), led(ROUTER, ROUTER, PUBLIC), True),
        (flows.Rules(PUBLISHED_OWN), led(LAPTOP, LAPTOP, PUBLIC), False),  # of another machine, which passes
        (flows.Rules(SIP), led(ROUTER, ROUTER, PUBLIC), False),
        (flows.Rules([], INTO_LAN), flows.Flow(TCP, LAPTOP, HOME, 80, HOME, 80, LAPTOP), True),
        (flows.Rules([], INTO_LAN), flows.Flow(TCP, LAPTOP, HOME, 80, HOME, 80, ROUTER), False),
        (flows.Rules([], INTO_LAN), flows.Flow(TCP, ROUTER, HOME, 80, HOME, 80, ROUTER), False),
        (flows.Rules([], INTO_LAN6), flow6("fd00:2::9", "fd00:2::9", "fd00:1::5"), True),
        (flows.Rules([], INTO_LAN6), flow6("fd00:2::9", "fd00:2::9", "fd00:1:0:1::5"), False),
        (flows.Rules([], EXIT6), flow6("fd86:ea04:1119::2", "fd86:ea04:1119::2"), True),
        (flows.Rules([], EXIT6), flow6("fd86:ea04:1119::2", "2001:db8::7"), False),
        (flows.Rules([], EXIT6), flow6("fd86:ea04:1119::2", "fd86:ea04:1119::2", "fd86:ea04:1119::3"), False),
        (flows.Rules([], EXIT6), flow6("2001:db8:0:7ff::2", "2001:db8:0:7ff::2"), True),
        (flows.Rules([], EXIT6), flow6("2001:db8:0:800::2", "2001:db8:0:800::2"), False),
        (flows.Rules([], EXIT6), flow6("2001:db8:0:7bf::2", "2001:db8:0:7bf::2"), False),
    ],
)
def test_neighbours_own_flows_and_ipv6_are_decided_alike(now, each, stale, awk):
    assert flows.is_stale(flows.Rules(), now, each, OWN) == stale
    assert awk(flows.Rules(), now, each, OWN) == stale


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
