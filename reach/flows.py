# SPDX-License-Identifier: ISC
"""Which flows of connection tracking the rules of a table would decide otherwise today. Pure but for `clear`.

The kernel asks NAT about a flow's first packet only. A keepalive that began before a port was published, or before its
target changed, would go on as it began; one to a port that is not published any more would be answered for ever; one
that began while the rules were gone would leave with an address that nobody can answer.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, ip_network
from typing import Any

from reach.firewall import NUMBERS, Dnat, Snat
from runtime.netlink import attributes
from xlat464 import flows

PROTOCOL_OF_TUPLE, NUMBER, SOURCE_PORT, DESTINATION_PORT = 2, 1, 2, 3

Rule = dict[str, Any]  # a Dnat or a Snat as the ledger keeps it


@dataclass(frozen=True, slots=True)
class Flow:
    """What a caller sent to, who answers, and whom; ports are 0 where a protocol has none."""

    protocol: int
    source: IPv4Address
    destination: IPv4Address
    port: int
    answerer: IPv4Address
    answering_port: int
    answered: IPv4Address  # the source, or what it was rewritten to

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
    return {"source": [str(each) for each in snat.match.source], "to": str(snat.to or "")}


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
    }


def bounds(ports: int | str) -> tuple[int, int]:
    first, _, last = str(ports).partition("-")
    return int(first), int(last or first)


def is_for(rule: Rule, flow: Flow) -> bool:
    return (
        str(flow.destination) == rule["destination"]
        and (not rule["protocol"] or NUMBERS[rule["protocol"]] == flow.protocol)
        and (not rule["ports"] or any(first <= flow.port <= last for first, last in rule["ports"]))
        and (not rule["source"] or any(flow.source in ip_network(each) for each in rule["source"]))
    )


def target(rules: Sequence[Rule], flow: Flow) -> tuple[str, int] | None:
    """Where rules, the first that fits, send a flow; None: nowhere else."""
    for each in rules:
        if not is_for(each, flow):
            continue
        if any(
            NUMBERS[p] == flow.protocol and first <= flow.port <= last for p, first, last in each["excepted"]
        ):
            return None
        return each["to"], each["to_port"] or flow.port
    return None


def is_stale(before: Rules, now: Rules, flow: Flow, own: Collection[str] = ()) -> bool:
    """Whether a flow goes where it would not today, or in another's name; what somebody else's rules rewrote is theirs.

    own: this machine's addresses, to which nothing leaves."""
    wanted = target(now.dnats, flow)
    if wanted is not None:
        return flow.target != wanted
    if flow.target is not None:
        return flow.target == target(before.dnats, flow)
    return str(flow.destination) not in own and is_misnamed(before.snats, now.snats, flow)


def is_misnamed(before: Sequence[Rule], now: Sequence[Rule], flow: Flow) -> bool:
    """Whether a flow would leave with another source today."""
    name, was, source = name_of(now, flow), name_of(before, flow), str(flow.answered)
    if name is not None:
        return flow.answered == flow.source or name not in ("", source)
    return was is not None and flow.answered != flow.source and was in ("", source)


def name_of(rules: Sequence[Rule], flow: Flow) -> str | None:
    """The source that rules give a flow, empty: any of this machine's; None: they leave it as it is."""
    inside = [ip_network(each) for rule in rules for each in rule["source"]]
    if any(flow.destination in each for each in inside if each.version == 4):
        return None  # from one of ours to another
    for each in rules:
        if any(flow.source in ip_network(network) for network in each["source"]):
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
    """A Flow and what names it to the kernel; None for what is no flow of IPv4."""
    found = flows.read_flow(parts)
    if found is None or len(found[0][0]) != 4:
        return None
    protocol, _, port = ports_of(parts[flows.ORIGINAL])
    _, answering, _ = ports_of(parts[flows.REPLY])
    source, destination, answerer, answered = map(IPv4Address, found[0])
    return Flow(protocol, source, destination, port, answerer, answering, answered), found[1]


def clear(before: Rules, now: Rules, own: Collection[str]) -> int:
    """Delete the flows that rules would decide otherwise now; how many. Raises OSError when the kernel cannot."""
    if not (before.dnats or before.snats or now.dnats or now.snats):
        return 0
    return flows.clear(flows.INET, partial(is_stale, before, now, own=own), read)
