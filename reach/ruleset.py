# SPDX-License-Identifier: ISC
"""What somebody else's firewall does to a packet: rules as tests and verdicts, and their evaluation. Pure.

A test holds, does not, or cannot be told here: a rule may ask for what this does not understand. So a chain's decision
has two parts: what it certainly is, and what it may be as well. ruleset_nft and ruleset_iptables read listings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from reach.reading import Address, Ports

CALLERS_PORT = 40000  # of who calls: any of the high ones
MOST_JUMPS = 16  # nftables' own limit: NFT_JUMP_STACK_SIZE
PROTOCOLS = {
    "6": "tcp",
    "17": "udp",
    "58": "icmpv6",
    "ipv6-icmp": "icmpv6",
    "47": "gre",
    "4": "ipip",
    "ipencap": "ipip",
    "ip-encap": "ipip",
    "ipv4": "ipip",
}
ANYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet that has to come through; None: nobody knows which it will be."""

    hook: str  # prerouting, input, forward, output or postrouting
    family: int
    protocol: str
    port: int = 0
    in_device: str | None = None
    out_device: str | None = None
    source: Address | None = None  # None: anybody on the internet
    destination: Address | None = None
    state: str = "new"
    is_published: bool = False  # its destination was rewritten
    mark: int = 0
    ports: Ports | None = None  # of which its port is one


@dataclass(frozen=True, slots=True)
class Test:
    """What a rule asks of a packet: that a field has one of some values. What a value is depends on the field."""

    field: str
    values: tuple[Any, ...] = ()
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    tests: tuple[Test, ...]
    verdict: str | None  # accept, drop, return, jump, goto, unknown; None: it goes on
    target: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    name: str
    rules: tuple[Rule, ...] = ()
    hook: str | None = None
    policy: str = "accept"


@dataclass(frozen=True, slots=True)
class Table:
    name: str  # as its owner would say it: table inet filter; iptables, table filter
    families: tuple[int, ...]
    chains: dict[str, Chain]


@dataclass(frozen=True, slots=True)
class Decision:
    """Of a base chain; by_default: it was the policy, or a rule for all that is left."""

    verdict: str | None
    by_default: bool
    possible: frozenset[str]


UNKNOWN, NEVER = Test("unknown"), Test("never")


def matches(test: Test, packet: Packet) -> bool | None:
    found = FIELDS[test.field](test.values, packet)
    return None if found is None else found != test.is_negated


def is_device(values: Sequence[str], name: str | None) -> bool | None:
    """A star at the end stands for the rest."""
    if name is None:
        return None
    return any(name.startswith(v[:-1]) if v.endswith("*") else name == v for v in values)


def is_within(values: Sequence[Any], address: Address | None) -> bool:
    """Nobody in particular is in no list of addresses, but in one of all."""
    if address is None:
        return any(each in ANYBODY for each in values)
    return any(address in each for each in values)


def is_port(values: Sequence[tuple[int, int]], port: int) -> bool:
    return any(first <= port <= last for first, last in values)


def is_any(values: Sequence[Sequence[Test]], packet: Packet) -> bool | None:
    """One of several conjunctions."""
    found = [all_match(tests, packet) for tests in values]
    return True if True in found else None if None in found else False


def all_match(tests: Sequence[Test], packet: Packet) -> bool | None:
    found = [matches(test, packet) for test in tests]
    return False if False in found else None if None in found else True


FIELDS = {
    "unknown": lambda values, packet: None,
    "never": lambda values, packet: False,
    "any": is_any,
    "in": lambda values, packet: is_device(values, packet.in_device),
    "out": lambda values, packet: is_device(values, packet.out_device),
    "source": lambda values, packet: is_within(values, packet.source),
    "destination": lambda values, packet: (
        None
        if packet.destination is None and packet.hook in ("prerouting", "input")
        else is_within(values, packet.destination)
    ),
    "protocol": lambda values, packet: packet.protocol in [PROTOCOLS.get(each, each) for each in values],
    "port": lambda values, packet: is_port(values, packet.port if packet.state == "new" else CALLERS_PORT),
    "sport": lambda values, packet: is_port(values, CALLERS_PORT if packet.state == "new" else packet.port),
    "state": lambda values, packet: packet.state in values or (packet.is_published and "dnat" in values),
    "direction": lambda values, packet: {"new": "original"}.get(packet.state, "reply") in values,
    "family": lambda values, packet: packet.family in values,
    "mark": lambda values, packet: any(packet.mark & mask == value for value, mask in values),
    "flags": lambda values, packet: packet.state == "new" and "syn" in values,  # of TCP
    "kind": lambda values, packet: (
        None if packet.hook == "prerouting" else ("local" if packet.hook == "input" else "unicast") in values
    ),
    "pkttype": lambda values, packet: bool({"host", "unicast"} & set(values)),
}


def is_general(rule: Rule) -> bool:
    """Whether it is not about some addresses, devices or ports."""
    return {test.field for test in rule.tests} <= {"protocol", "state", "family"}


def walk(table: Table, name: str, packet: Packet, depth: int = 0) -> Decision:
    """Through a chain, as the kernel would go; verdict None: it came to the end."""
    possible: set[str] = set()
    for rule in table.chains[name].rules if name in table.chains and depth < MOST_JUMPS else ():
        fits = all_match(rule.tests, packet)
        if fits is False or rule.verdict is None:
            continue
        if rule.verdict == "unknown" or (rule.target and rule.target not in table.chains):
            possible |= {"accept", "drop"}
        elif rule.verdict in ("accept", "drop"):
            if fits:
                return Decision(rule.verdict, is_general(rule), frozenset(possible))
            possible.add(rule.verdict)
        elif rule.verdict == "return":
            if fits:
                break
            possible |= {"accept", "drop"}  # what is behind where it was called from
        else:
            inside = walk(table, rule.target, packet, depth + 1)
            possible |= inside.possible
            if fits and inside.verdict:
                return Decision(inside.verdict, inside.by_default, frozenset(possible))
            if fits and rule.verdict == "goto":
                break
            possible |= {inside.verdict} if inside.verdict else set()
    return Decision(None, True, frozenset(possible))


def decide(table: Table, chain: Chain, packet: Packet) -> Decision:
    """What a base chain does to a packet."""
    found = walk(table, chain.name, packet)
    return found if found.verdict else Decision(chain.policy, True, found.possible)
