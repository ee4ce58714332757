# SPDX-License-Identifier: ISC
"""What of a role's traffic the machine's other firewalls hold up: ufw's, firewalld's, Docker's, the admin's own. Pure.

Our rules open nothing that others close. So each kind of packet that a role lives on is led through their chains.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network

from reach.ruleset import Chain, Packet, Table, decide
from server.conf import Conf

OURS = "table inet xlat464_"
WEB, BABEL, ROAMING = 443, 6696, 5523
UDP = " (UDP)"
ANSWERED = ip_address("198.51.100.1")  # anybody on the internet


def packets(conf: Conf) -> Iterator[tuple[str, Packet]]:
    """Yield what has to pass, with what people call it."""
    meshes = conf.values("roaming", "mesh")
    for mesh in meshes:
        # conntrack leaves it untracked
        yield f"as ICMPv6 on {mesh}", Packet("input", 6, "icmpv6", 0, mesh, "", state="untracked")
        yield f"as babel on {mesh}", Packet("input", 6, "udp", BABEL, mesh, "")
        if conf.value("roaming", "node_client_prefix"):
            yield f"for the roaming daemon on {mesh}", Packet("input", 6, "udp", ROAMING, mesh, "")
    if conf.is_on("plat"):
        yield from _of_plat(conf, meshes)
    if conf.is_on("clat"):
        yield from _of_clat(conf, meshes)


def _of_plat(conf: Conf, meshes: Iterable[str]) -> Iterator[tuple[str, Packet]]:
    device = conf.value("plat", "device")
    clients, exits = (ip_network(conf.value("node", f"{role}_range"))[1] for role in ("clat", "plat"))
    for mesh in meshes:
        way = Packet("forward", 6, "tcp", WEB, mesh, device, clients, exits)
        yield from _both(f"from {mesh} to {device}", f"from {device} to {mesh}", way)
    pool = ip_network(conf.value("plat", "pool"))[0]
    for wan in conf.values("plat", "wan"):
        way = Packet("forward", 4, "tcp", WEB, device, wan, pool, ANSWERED)
        yield from _both(f"from {device} to {wan}", f"from {wan} to {device}", way)


def _of_clat(conf: Conf, meshes: Iterable[str]) -> Iterator[tuple[str, Packet]]:
    device, bridge = conf.value("clat", "device"), conf.value("clat", "client_device")
    client = ip_network(conf.value("node", "client_range"))[1]
    way = Packet("forward", 4, "tcp", WEB, bridge, device, client, ANSWERED)
    yield from _both(f"from {bridge} to {device}", f"from {device} to {bridge}", way)
    clients, exits = (ip_network(conf.value("node", f"{role}_range"))[1] for role in ("clat", "plat"))
    for mesh in meshes:
        way = Packet("forward", 6, "tcp", WEB, device, mesh, clients, exits)
        yield from _both(f"from {device} to {mesh}", f"from {mesh} to {device}", way)


def _both(there: str, back: str, packet: Packet) -> Iterator[tuple[str, Packet]]:
    """TCP and UDP, there and back."""
    answer = replace(
        packet,
        in_device=packet.out_device,
        out_device=packet.in_device,
        source=packet.destination,
        destination=packet.source,
        state="established",
    )
    for protocol, suffix in (("tcp", ""), ("udp", UDP)):
        yield there + suffix, replace(packet, protocol=protocol)
        yield back + suffix, replace(answer, protocol=protocol)


def held_up(conf: Conf, tables: Iterable[Table]) -> Iterator[str]:
    """Yield a sentence for each chain that certainly takes something away."""
    wanted = list(packets(conf))
    for table in tables:
        for chain in table.chains.values() if not table.name.startswith(OURS) else ():
            taken = [
                name
                for name, packet in wanted
                if packet.hook == chain.hook
                and packet.family in table.families
                and _drops(table, chain, packet)
            ]
            if taken:
                yield f"{table.name}, chain {chain.name} drops what comes {', '.join(_told(taken))}"


def _told(taken: list[str]) -> list[str]:
    """Return each once; UDP where TCP comes through."""
    return [
        name for name in dict.fromkeys(taken) if not name.endswith(UDP) or name.removesuffix(UDP) not in taken
    ]


def _drops(table: Table, chain: Chain, packet: Packet) -> bool:
    found = decide(table, chain, packet)
    return found.verdict == "drop" and "accept" not in found.possible
