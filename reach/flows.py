# SPDX-License-Identifier: ISC
"""Which flows of connection tracking the rules of a table would decide otherwise today. Pure but for `clear`.

The kernel asks NAT about a flow's first packet only. A keepalive that began before a port was published, or before its
target changed, would go on as it began. One to a port that is not published any more would be answered for ever. One
that began while the rules were gone would leave with an address that nobody can answer.
"""

from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache, partial
from ipaddress import ip_address, ip_network
from typing import Any

from reach.firewall import NUMBERS, Dnat, Snat
from reach.reading import Address
from runtime.netlink import attributes
from xlat464 import flows

PROTOCOL_OF_TUPLE, NUMBER, SOURCE_PORT, DESTINATION_PORT = 2, 1, 2, 3

Rule = dict[str, Any]  # a Dnat or a Snat as the ledger keeps it


@dataclass(frozen=True, slots=True)
class Flow:
    """What a caller sent to, who answers, and whom; ports are 0 where a protocol has none."""

    protocol: int
    source: Address
    destination: Address
    port: int
    answerer: Address
    answering_port: int
    answered: Address  # the source, or what it was rewritten to

    @property
    def target(self) -> tuple[str, int] | None:
        """Where its destination was rewritten to."""
        found = (str(self.answerer), self.answering_port)
        return None if found == (str(self.destination), self.port) else found


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a table that decide about addresses, each the first that fits."""

    dnats: Sequence[Rule] = ()
    snats: Sequence[Rule] = ()


def snat_rule(snat: Snat) -> Rule:
    """A Snat in plain values; to is empty for a masquerade."""
    match = snat.match
    found: Rule = {"source": [str(each) for each in match.source], "to": str(snat.to or "")}
    found |= {"destination": str(match.destination)} if match.destination else {}
    return found | ({"published": True} if match.is_published else {})


def rule(dnat: Dnat) -> Rule:
    """A Dnat in plain values."""
    match = dnat.match
    return {
        "source": [str(each) for each in match.source],
        "destination": str(match.destination),
        "protocol": match.protocol,
        "ports": [list(each) for each in match.ports],
        "to": str(dnat.to),
        "to_port": dnat.to_port,
        "excepted": [[protocol, *bounds(port)] for protocol, port in dnat.excepted],
        "own": dnat.is_own,
    }


def bounds(ports: int | str) -> tuple[int, int]:
    first, _, last = str(ports).partition("-")
    return int(first), int(last or first)


def is_for(rule: Rule, flow: Flow, own: Collection[str]) -> bool:
    return (
        str(flow.destination) == rule["destination"]
        and bool(rule.get("own")) == (str(flow.source) in own)
        and (not rule["protocol"] or NUMBERS[rule["protocol"]] == flow.protocol)
        and (not rule["ports"] or any(first <= flow.port <= last for first, last in rule["ports"]))
        and (not rule["source"] or is_in(flow.source, rule["source"]))
    )


network = lru_cache(ip_network)  # thousands of flows are compared with a few


def is_in(address: Address, networks: Sequence[str]) -> bool:
    return any(address in network(each) for each in networks)


def target(rules: Sequence[Rule], flow: Flow, own: Collection[str] = ()) -> tuple[str, int] | None:
    """Where rules, the first that fits, send a flow; None: nowhere else. own: this machine's addresses."""
    for each in rules:
        if not is_for(each, flow, own):
            continue
        if any(
            NUMBERS[p] == flow.protocol and first <= flow.port <= last for p, first, last in each["excepted"]
        ):
            return None
        return each["to"], each["to_port"] or flow.port
    return None


def is_stale(before: Rules, now: Rules, flow: Flow, own: Set[str] = frozenset()) -> bool:
    """Whether a flow goes where it would not today, or in another's name; what somebody else's rules rewrote is theirs.

    own: this machine's addresses, to which nothing leaves."""
    wanted = target(now.dnats, flow, own)
    if wanted is not None and flow.target != wanted:
        return True
    if wanted is None and flow.target is not None:
        return flow.target == target(before.dnats, flow, own)
    return not own & {str(flow.answerer), str(flow.source)} and is_misnamed(before.snats, now.snats, flow)


def is_misnamed(before: Sequence[Rule], now: Sequence[Rule], flow: Flow) -> bool:
    """Whether a flow would leave with another source today."""
    name, was, source = name_of(now, flow), name_of(before, flow), str(flow.answered)
    if name is not None:
        return flow.answered == flow.source or name not in ("", source)
    return was is not None and flow.answered != flow.source and was in ("", source)


def name_of(rules: Sequence[Rule], flow: Flow) -> str | None:
    """The source that rules give a flow, empty: any of this machine's; None: they leave it as it is."""
    general = [rule for rule in rules if not rule.get("destination")]
    if is_in(flow.destination, [each for rule in general for each in rule["source"]]):
        general = []  # from one of ours to another
    for each in rules:
        if each.get("destination"):
            fits = is_in(flow.answerer, [each["destination"]]) and (not each.get("published") or flow.target)
        else:
            fits = each in general
        if fits and (not each["source"] or is_in(flow.source, each["source"])):
            return str(each["to"])
    return None


def ports_of(value: bytes) -> tuple[int, int, int]:
    """The protocol of a tuple, its source's port and its destination's; 0 where there is none."""
    inside = attributes(attributes(value).get(PROTOCOL_OF_TUPLE, b""))
    numbers = [
        int.from_bytes(inside.get(kind, b""), "big") for kind in (NUMBER, SOURCE_PORT, DESTINATION_PORT)
    ]
    return numbers[0], numbers[1], numbers[2]


def read(parts: dict[int, bytes]) -> tuple[Flow, bytes] | None:
    """A Flow and what names it to the kernel; None for what is no flow."""
    found = flows.read_flow(parts)
    if found is None:
        return None
    protocol, _, port = ports_of(parts[flows.ORIGINAL])
    _, answering, _ = ports_of(parts[flows.REPLY])
    source, destination, answerer, answered = map(ip_address, found[0])
    return Flow(protocol, source, destination, port, answerer, answering, answered), found[1]


def clear(before: Rules, now: Rules, own: Set[str]) -> int:
    """Delete the flows that rules would decide otherwise now; how many. Raises OSError when the kernel cannot."""
    if not (before.dnats or before.snats or now.dnats or now.snats):
        return 0
    is_wanted = partial(is_stale, before, now, own=own)
    return sum(flows.clear(each, is_wanted, read) for each in (flows.INET, flows.INET6))
