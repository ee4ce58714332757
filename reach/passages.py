# SPDX-License-Identifier: ISC
"""What has to come through a machine's own firewall for a plan to work, and which of its chains hold that up. Pure.

Our table opens nothing that another one closes. So each kind of packet that the plan lives on is led through the
chains that are there: what a policy of `drop` takes, a last rule that rejects, or one in between.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_address

from reach.firewall import NUMBERS, TABLE, Match, range_text
from reach.plan import Br, Gretap, Plan, Tunnel, Wg
from reach.reading import Address, Network, Ports
from reach.ruleset import Chain, Packet, Table, decide

ANY_PORT = 443  # of who goes where he likes
NAMES_PORT = 53
OURS = f"table inet {TABLE}"


@dataclass(frozen=True, slots=True)
class Blocked:
    """A base chain that drops packets of the plan; is_certain: not only by rules that are not understood here."""

    table: Table
    chain: Chain
    packets: tuple[Packet, ...]
    is_certain: bool
    by_default: bool

    @property
    def place(self) -> str:
        return f"{self.table.name}, chain {self.chain.name}"


def first(networks: Iterable[Network]) -> Address | None:
    return next((network.network_address for network in networks), None)


def single(destination: Address | Network | None) -> Address | None:
    if isinstance(destination, IPv4Network | IPv6Network):
        return destination.network_address
    return destination


def wan(plan: Plan) -> str | None:
    """The device by which packets of the internet come, which may be a bridge with the machine's own in it."""
    bridges = (each.name for each in plan.devices if isinstance(each, Br) and each.uplink)
    return next(bridges, plan.wan)


def asked(match: Match, families: tuple[int, ...]) -> Iterator[Packet]:
    """What a match accepts, a packet for each end of a range of ports."""
    known = [each.version for each in (*match.source, match.destination) if each is not None]
    if match.protocol == "ipip":
        known = [6]
    ends: list[tuple[int, Ports | None]] = [
        (port, each) for each in match.ports for port in dict.fromkeys(each)
    ] or [(0, None)]
    for family in known[:1] or families:
        for port, ports in ends:
            yield Packet(
                "input",
                family,
                match.protocol or "tcp",
                port,
                match.in_device,
                "",
                first(match.source),
                single(match.destination),
                ports=ports,
            )


def into(plan: Plan) -> Iterator[Packet]:
    """What this machine itself accepts: the links' own packets, callers of the relay, questions for names."""
    for match in plan.firewall.accepts:
        for packet in asked(match, plan.families):
            yield replace(packet, in_device=packet.in_device or wan(plan))
    links = [device.name for device in plan.devices if isinstance(device, Wg)]
    if any(isinstance(device, Gretap) and not device.gue_ports for device in plan.devices):
        yield from (Packet("input", 4, "gre", 0, link, "") for link in links)
    if any(service.name == "dnsmasq" for service in plan.services):
        yield from (Packet("input", 4, "udp", NAMES_PORT, link, "") for link in links)


def routed_families(plan: Plan) -> tuple[int, ...]:
    ways = {"net/ipv4/ip_forward": 4, "net/ipv6/conf/all/forwarding": 6}
    return tuple(dict.fromkeys(ways[each.path] for each in plan.sysctls if each.path in ways))


def of_bridges(plan: Plan, are_filtered: bool) -> Iterator[Packet]:
    """What bridges of ours pass on to the internet; and between their ports, where the kernel shows that to others."""
    for bridge in (each for each in plan.devices if isinstance(each, Br) and each.is_ours):
        for family in routed_families(plan) if not bridge.uplink else ():
            yield Packet("forward", family, "tcp", ANY_PORT, bridge.name, plan.wan)
        if are_filtered:
            yield from (Packet("forward", each, "tcp", ANY_PORT, bridge.name, bridge.name) for each in (4, 6))


def ways_out(plan: Plan, match: Match) -> list[str | None]:
    """By which devices that leaves which a match lets through."""
    if match.out_device:
        return [match.out_device]
    if match.destination or match.source:
        return [plan.lan]
    hub = next((each for each in plan.devices if isinstance(each, Wg) and each.name == match.in_device), None)
    found = [match.in_device] if hub and len(hub.peers) > 1 else []
    found += [wan(plan)] if match.in_device in plan.leaving else []
    return found + ([plan.lan] if plan.role == "home" and plan.lan else [])


def through(plan: Plan, own: set[str]) -> Iterator[Packet]:
    """What this machine forwards, and what comes back; own: its addresses, to which nothing is forwarded."""
    marks = {reply.device: reply.mark for reply in plan.firewall.replies}
    ways = [(each, out) for each in plan.firewall.forwards for out in ways_out(plan, each)]
    for match, out in ways:
        for packet in asked(match, routed_families(plan) or (4,)):
            packet = replace(
                packet,
                hook="forward",
                port=packet.port or ANY_PORT,
                in_device=match.in_device or wan(plan),
                out_device=out,
                is_published=match.is_published,
                mark=marks.get(match.in_device or "", 0),
            )
            if str(packet.destination) in own:
                yield replace(packet, hook="input", out_device="")
            else:
                yield packet


def answer(packet: Packet) -> Packet:
    """What comes back, by the chains of the other way."""
    return replace(
        packet,
        hook={"input": "output", "output": "input"}.get(packet.hook, packet.hook),
        in_device=packet.out_device,
        out_device=packet.in_device,
        source=packet.destination,
        destination=packet.source,
        state="established",
    )


def called(plan: Plan) -> Iterator[Packet]:
    """What anybody sends to what the server publishes, before its destination is rewritten."""
    for dnat in plan.firewall.dnats if plan.role == "server" else ():
        for packet in asked(dnat.match, (4,)) if not dnat.is_own else ():
            yield replace(packet, hook="prerouting", port=packet.port or ANY_PORT, in_device=wan(plan))


def stations(packet: Packet) -> Iterator[Packet]:
    """A packet at every hook that it passes; `called` has it where it is not rewritten yet."""
    is_rewritten = packet.is_published and packet.state == "new"
    if packet.hook in ("input", "forward") and not is_rewritten:
        yield replace(packet, hook="prerouting", out_device="")
    yield packet
    if packet.hook in ("output", "forward"):
        yield replace(packet, hook="postrouting")


def endpoint(text: str) -> tuple[Address | None, int]:
    """The address, which a name may stand for, and the port."""
    host, _, port = text.rpartition(":")
    with contextlib.suppress(ValueError):
        return ip_address(host.strip("[]")), int(port)
    return None, int(port)


def out_of(plan: Plan) -> Iterator[Packet]:
    """What this machine itself begins: the links' own packets towards a hub, and the relay's towards its targets."""
    for device in plan.devices:
        for peer in device.peers if isinstance(device, Wg) else ():
            if peer.endpoint:
                to, port = endpoint(peer.endpoint)
                for family in (to.version,) if to else plan.families:
                    yield Packet("output", family, "udp", port, "", plan.wan, None, to)
        if isinstance(device, Tunnel):
            yield Packet("output", 6, "ipip", 0, "", plan.wan, None, device.remote)
    for each in plan.listeners:
        yield Packet(
            "output", each.target.version, each.protocol, each.target_port, "", None, None, each.target
        )


def blocked(
    plan: Plan, tables: Iterable[Table], own: set[str], filters_bridges: bool = False
) -> list[Blocked]:
    """The base chains that hold up what the plan lives on, each with those packets."""
    parts = (into(plan), out_of(plan), through(plan, own), of_bridges(plan, filters_bridges))
    ways = [way for part in parts for packet in part for way in (packet, answer(packet))]
    packets = list(dict.fromkeys((*called(plan), *(each for way in ways for each in stations(way)))))
    found = []
    for table in tables:
        for chain in table.chains.values() if table.name != OURS else ():
            decided = [
                (packet, decide(table, chain, packet))
                for packet in packets
                if packet.hook == chain.hook and packet.family in table.families
            ]
            dropped = [(packet, each) for packet, each in decided if each.verdict == "drop"]
            certain = [pair for pair in dropped if "accept" not in pair[1].possible]
            if dropped:
                found.append(
                    Blocked(
                        table,
                        chain,
                        tuple(packet for packet, _ in certain or dropped),
                        bool(certain),
                        all(each.by_default for _, each in certain or dropped),
                    )
                )
    return found


def sentence(each: Blocked, plan: Plan) -> str:
    """What is wrong with a chain, and what mends it."""
    does = "drops what it does not know" if each.by_default else "has a rule that drops what is needed"
    if not each.is_certain:
        does = "may drop what is needed, for some of its rules are not understood here"
    devices = links(each, plan) if each.chain.hook not in ("input", "output") else []
    rest = [p for p in each.packets if not {p.in_device, p.out_device} & set(devices)]
    remedies = [f"accept {', '.join(sorted(set(map(wanted_port, rest))))} there"] if rest else []
    remedies += [f"let {' and '.join(devices)} through there, both ways"] if devices else []
    return f"{does}: {' and '.join(remedies)}{example(each, plan)}"


def wanted_port(packet: Packet) -> str:
    if packet.state == "established":
        return "answers"
    if packet.protocol == "gre":
        return f"protocol 47 (GRE) from {packet.in_device}"
    if packet.protocol == "ipip":
        return "protocol 4 (IPv4 in IPv6)"
    return f"{packet.protocol} {port_text(packet)}"


def port_text(packet: Packet) -> str:
    return range_text(packet.ports or (packet.port, packet.port))


def links(each: Blocked, plan: Plan) -> list[str]:
    """Our devices among those that the packets pass."""
    used = {name for packet in each.packets for name in (packet.in_device, packet.out_device)}
    ours = (*plan.firewall.closed, *(device.name for device in plan.devices if isinstance(device, Br)))
    return [name for name in dict.fromkeys(ours) if name in used]


def example(each: Blocked, plan: Plan) -> str:
    """A command for firewalls that everybody knows by the names of their chains; the first of what is missing."""
    commands = commands_for(each, each.packets[0], (links(each, plan) or [""])[0])
    return f"; for example: {' && '.join(commands)}" if commands else ""


def of_firewalld(each: Blocked, packet: Packet, link: str) -> list[str]:
    """The link's device gets a zone of its own; a policy is for what goes into it from others."""
    if each.chain.hook == "input":
        protocol = NUMBERS[packet.protocol] if not packet.port else packet.protocol
        words = [
            f"--add-port={port_text(packet)}/{protocol}" if packet.port else f"--add-protocol={protocol}"
        ]
    elif any(one.in_device == link for one in each.packets):
        words = [f"--zone=trusted --add-interface={link}"]
    else:
        ways = ("--set-target=ACCEPT", "--add-ingress-zone=ANY", "--add-egress-zone=trusted")
        words = ["--new-policy=reach", *(f"--policy=reach {way}" for way in ways)]
    return [*(f"firewall-cmd --permanent {each}" for each in words), "firewall-cmd --reload"]


def commands_for(each: Blocked, packet: Packet, link: str) -> list[str]:
    is_input, program = each.chain.hook == "input", each.table.name.partition(",")[0]
    if each.chain.hook in ("prerouting", "postrouting"):
        return []  # where only rules of somebody's own are
    if packet.state == "established" and each.chain.hook != "forward":
        established = f"{program} -I {each.chain.name} -m conntrack --ctstate ESTABLISHED -j ACCEPT"
        return [established] if "tables" in program else []
    if each.chain.hook == "output":
        is_known = (
            "tables" in program and packet.port and not any(name[:3] == "ufw" for name in each.table.chains)
        )
        words = f"{program} -I OUTPUT -p {packet.protocol} --dport {packet.port} -j ACCEPT"
        return [words] if is_known else []
    protocol = NUMBERS[packet.protocol] if packet.protocol in ("ipip", "gre") else packet.protocol
    ports = port_text(packet).replace("-", ":")
    port = f" --dport {ports}" if packet.port else ""
    if each.table.name.endswith(" firewalld"):
        return of_firewalld(each, packet, link)
    if any(name.startswith("ufw") for name in each.table.chains) and (packet.port or not is_input):
        if is_input:
            return [f"ufw allow {ports}/{protocol}"]
        return [f"ufw route allow in on {link}", f"ufw route allow out on {link}"]
    if "tables" not in program:
        return []
    if is_input:
        return [f"{program} -I INPUT -p {protocol}{port} -j ACCEPT"]
    chain = "DOCKER-USER" if "DOCKER-USER" in each.table.chains else "FORWARD"
    return [f"{program} -I {chain} -{way} {link} -j ACCEPT" for way in "io"]
