# SPDX-License-Identifier: ISC
"""What each kind of link asks of the end it is planned for. Pure; see plan."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Interface, IPv6Network, ip_interface, ip_network

from reach.check_publish import home_of, relay_port
from reach.description import GUE_KEEPALIVE_S, SERVER, Bridge, Description, End, FourInSix, WireGuard
from reach.firewall import Match, Snat
from reach.plan import (
    Br,
    DeviceAddress,
    Dns,
    Draft,
    Gretap,
    Interface,
    Peer,
    Pin,
    Route,
    Rule,
    Service,
    Sysctl,
    Tunnel,
    Wg,
)
from reach.reading import Network

EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))
MAIN = 254
SUPPRESS_PRIORITY = 4640  # "main, but its default route": specific routes win over our rules
RULE_PRIORITY = 4641


def families(networks: Iterable[Network]) -> list[int]:
    return sorted({network.version for network in networks})


def by_family(networks: Iterable[Network]) -> list[tuple[Network, ...]]:
    """The networks, IPv4 and IPv6 apart: a rule is of one family."""
    found = tuple(networks)
    groups = (tuple(each for each in found if each.version == version) for version in (4, 6))
    return [group for group in groups if group]


def host(address) -> Network:
    return ip_network(address)


def inner(link: WireGuard, end: str) -> tuple[Interface, ...]:
    """An end's addresses in a WireGuard link, with their networks' lengths."""
    number = link.number(end)
    return tuple(ip_interface(f"{network[number]}/{network.prefixlen}") for network in link.networks)


def four_in_six(whole: Description, link: FourInSix, end: End, draft: Draft) -> None:
    at_server = end.name == SERVER
    local, remote = link.server_address, link.home_address
    if not at_server:
        local, remote = remote, local
    assert end.device, "the server and every home have one"
    draft.addresses.append(DeviceAddress(end.device, IPv6Interface(f"{local}/128"), is_deprecated=True))
    draft.devices.append(Tunnel(link.name, local, remote, link.mtu_bytes, link.encap_limit))
    draft.accepts.append(
        Match(in_device=end.device, source=(host(remote),), destination=local, protocol="ipip")
    )
    draft.any_source(link.name)
    draft.forward_family(4, None)
    draft.closed.append(link.name)
    draft.clamps.append(link.name)
    if at_server:
        lans = [lan for lan in whole.ends[link.home].lan if lan.version == 4]
        draft.routes += [Route(lan, link.name) for lan in lans]


def endpoint(whole: Description, link: WireGuard, end: End) -> str | None:
    """Where the hub is found from outside: through the server's relay where one leads to it."""
    if link.endpoint:
        has_port = ":" in link.endpoint.rpartition("]")[2]
        return link.endpoint if has_port else f"{link.endpoint}:{link.port}"
    hub = whole.ends[link.hub]
    relayed, server = relay_port(whole, link), whole.server
    has_ipv6_only = end.role == "home" and not end.ipv4 and bool(end.ipv6 or link.route == "uplink")
    if hub.role == "server" and server.ipv6 and has_ipv6_only:
        return f"[{server.ipv6.ip}]:{link.port}"  # a home behind DS-Lite
    if hub.role == "server" or relayed:
        return f"{whole.server.ipv4}:{relayed or link.port}"
    if hub.ipv6:
        return f"[{hub.ipv6.ip}]:{link.port}"
    return f"{hub.ipv4}:{link.port}" if hub.ipv4 else None


def carries_published(whole: Description, link: WireGuard | FourInSix, end: str) -> bool:
    return any(
        each.by == "kernel" and each.link == link.name and getattr(home_of(whole, each), "name", None) == end
        for each in whole.publications
    )


def behind_hub(whole: Description, link: WireGuard, end: str) -> tuple[Network, ...]:
    """What a peer sends into the link: its networks, and the LANs of all others in it."""
    if link.route == "all":
        return EVERYTHING
    lans = [lan for other in link.ends if other != end for lan in whole.ends[other].lan]
    return (*link.networks, *(lans if link.route == "lan" else ()))


def wireguard(whole: Description, link: WireGuard, end: End, draft: Draft) -> None:
    # the first is the source of what goes beyond the hub, where nobody knows a way back to what is not translated
    own = sorted(inner(link, end.name), key=lambda interface: interface.network in link.routed)
    draft.addresses += [DeviceAddress(link.name, interface) for interface in own]
    draft.closed.append(link.name)
    draft.clamps.append(link.name)
    (wireguard_hub if end.name == link.hub else wireguard_peer)(whole, link, end, draft)


def wireguard_hub(whole: Description, link: WireGuard, end: End, draft: Draft) -> None:
    peers = []
    for peer, _ in link.peers:
        own = tuple(host(interface.ip) for interface in inner(link, peer))
        lans = whole.ends[peer].lan if link.route != "nothing" else ()
        peers.append(Peer(peer, own + lans, None, 0))
        draft.routes += [Route(lan, link.name) for lan in lans]
    draft.devices.append(Wg(link.name, link.port, link.mtu_bytes, 0, link.is_userspace, tuple(peers)))
    draft.accepts.append(Match(protocol="udp", ports=((link.port, link.port),)))
    if link.route == "nothing":
        draft.inputs += [Match(in_device=link.name, source=group) for group in by_family(link.networks)]
        return
    for version in families(link.networks):
        draft.forward_family(version, end.device)
    draft.forwards.append(Match(in_device=link.name))
    draft.inputs.append(Match(in_device=link.name))
    if end.lan_device:
        draft.forwards.append(Match(in_device=end.lan_device, out_device=link.name))
    leaving = list(link.masqueraded)
    if link.route in ("all", "uplink"):
        leaving += [lan for peer, _ in link.peers for lan in whole.ends[peer].lan if lan.version == 4]
    for group in by_family(leaving):
        draft.snats.append(Snat(Match(not_out_device=link.name, source=group)))
    if link.dns_upstream:
        draft.services.append(dns_relay(link))


def dns_relay(link: WireGuard) -> Service:
    """dnsmasq on the hub's addresses, for the home's names."""
    lines = ["no-resolv", "no-hosts", "bind-dynamic", f"interface={link.name}", "except-interface=lo"]
    lines += [f"server={upstream}" for upstream in link.dns_upstream]
    return Service(
        "dnsmasq", ("dnsmasq", "--keep-in-foreground", "--conf-file={config}"), "\n".join(lines) + "\n"
    )


def wireguard_peer(whole: Description, link: WireGuard, end: End, draft: Draft) -> None:
    allowed = list(behind_hub(whole, link, end.name))
    if link.route == "uplink" or (link.hub == SERVER and carries_published(whole, link, end.name)):
        allowed = list(dict.fromkeys([*allowed, EVERYTHING[0]]))
    takes_all = link.route == "all"
    mark = link.port if takes_all else 0
    hub = Peer(link.hub, tuple(allowed), endpoint(whole, link, end), link.keepalive_s)
    draft.devices.append(Wg(link.name, 0, link.mtu_bytes, mark, link.is_userspace, (hub,)))
    if takes_all:
        everything_into(link, draft)
    elif link.route == "uplink":
        uplink(link, end, draft)
    elif link.route == "lan":
        own = set(link.networks) | set(end.lan)
        draft.routes += [Route(to, link.name) for to in behind_hub(whole, link, end.name) if to not in own]
    if link.pins_endpoint and whole.server.ipv4:
        draft.pins.append(Pin(whole.server.ipv4))
    for group in by_family(behind_hub(whole, link, end.name)):
        draft.inputs.append(Match(in_device=link.name, source=() if set(group) & set(EVERYTHING) else group))
    if end.lan_device and link.route in ("lan", "all"):
        for version in families(end.lan):
            draft.forward_family(version, end.device)
        draft.forwards.append(Match(in_device=end.lan_device, out_device=link.name))
        for group in by_family(behind_hub(whole, link, end.name)):
            if not set(group) & set(EVERYTHING):
                draft.forwards.append(Match(in_device=link.name, source=group))
    servers = link.dns
    if link.dns_upstream:
        servers = tuple(interface.ip for interface in inner(link, link.hub))[:1]
    if servers and end.role == "client":
        draft.dns.append(Dns(link.name, servers, link.domain, not link.domain or link.route == "all"))


def uplink(link: WireGuard, end: End, draft: Draft) -> None:
    """IPv4 that comes in by the end's lan_device leaves here; the end's own does not.

    On a platnode that is the translator's device, which 464xlat makes later, and forwards from; no LAN is named then.
    """
    assert end.lan_device, "check says so"
    draft.routes.append(Route(EVERYTHING[0], link.name, link.table))
    draft.rules.append(Rule(4, RULE_PRIORITY, link.table, in_device=end.lan_device))
    draft.forwards.append(Match(in_device=end.lan_device, out_device=link.name))
    draft.any_source(link.name)
    draft.sysctls.append(Sysctl(f"net/ipv4/conf/{link.name}/forwarding", "1"))
    if any(lan.version == 4 for lan in end.lan):
        draft.sysctls.append(Sysctl(f"net/ipv4/conf/{end.lan_device}/forwarding", "1"))


def everything_into(link: WireGuard, draft: Draft) -> None:
    """All but the link's own outer packets, which have the mark, and what the main table knows better."""
    for version in families(link.networks):
        draft.routes.append(Route(EVERYTHING[version == 6], link.name, link.table))
        draft.rules.append(Rule(version, SUPPRESS_PRIORITY, MAIN, suppresses_default=True))
        draft.rules.append(Rule(version, RULE_PRIORITY, link.table, mark=link.port, is_mark_inverted=True))
    if 4 in families(link.networks):
        draft.sysctls.append(Sysctl("net/ipv4/conf/all/src_valid_mark", "1"))


def eui64(prefix_address: IPv6Address, mac: str) -> IPv6Address:
    """The address that SLAAC makes of a MAC (RFC 4291 appendix A)."""
    octets = bytes(int(octet, 16) for octet in mac.split(":"))
    identifier = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return prefix_address + int.from_bytes(identifier, "big")


def bridge(whole: Description, link: Bridge, end: End, draft: Draft) -> None:
    if any(member in dict(link.remotes) for member, _ in link.members if end.name in (SERVER, member)):
        draft.accepts.append(Match(protocol="udp", ports=((link.port, link.port),)))
    (bridge_hub if end.name == SERVER else bridge_member)(whole, link, end, draft)


def bridge_hub(whole: Description, link: Bridge, end: End, draft: Draft) -> None:
    bridged = end.device if link.provider == "bridged" else None
    draft.devices.append(Br(link.name, is_ours=True, mac=link.mac(SERVER), uplink=bridged))
    for member, number in link.members:
        draft.devices.append(gretap(whole, link, end, member, f"{link.name}-{number}", link.name, None))
    if link.network:
        draft.addresses.append(
            DeviceAddress(link.name, ip_interface(f"{link.network[1]}/{link.network.prefixlen}"))
        )
        draft.forward_family(4, None)
        draft.snats.append(Snat(Match(out_device=end.device, source=(link.network,))))
    if link.prefix and link.provider != "bridged":
        draft.forward_family(6, end.device)
        draft.services.append(advertisements(link))
        if link.provider == "proxied":
            proxied(link, link.prefix, end, draft)
        else:
            draft.addresses.append(DeviceAddress(link.name, ip_interface(f"{link.prefix[1]}/64")))
    draft.clamps.append(link.name)


def advertisements(link: Bridge) -> Service:
    lines = [f"interface {link.name} {{", "\tAdvSendAdvert on;", f"\tAdvLinkMTU {link.mtu_bytes};"]
    lines += [
        f"\tprefix {link.prefix} {{",
        "\t\tAdvOnLink on;",
        "\t\tAdvAutonomous on;",
        "\t\tAdvRouterAddr on;",
        "\t};",
    ]
    lines += [f"\tRDNSS {server} {{ }};" for server in link.dns]
    return Service("radvd", ("radvd", "--nodaemon", "--config={config}"), "\n".join([*lines, "};"]) + "\n")


def proxied(link: Bridge, prefix: IPv6Network, end: End, draft: Draft) -> None:
    """The provider has the /64 on the server's own wire: its halves, more specific, lead into the bridge.

    The server's address there is in the bridge too, where members look for it; the provider's ::1 may be the router's.
    """
    own = end.ipv6.ip if end.ipv6 and end.ipv6.ip in prefix else prefix[1]
    draft.addresses.append(DeviceAddress(link.name, ip_interface(f"{own}/128")))
    draft.routes += [Route(half, link.name) for half in prefix.subnets()]
    draft.services.append(neighbour_proxy(link, end))


def neighbour_proxy(link: Bridge, end: End) -> Service:
    """For a provider that has the /64 on the wire: answer its neighbour discovery for who is behind the bridge."""
    text = f"proxy {end.device} {{\n\trule {link.prefix} {{\n\t\tiface {link.name}\n\t}}\n}}\n"
    return Service("ndppd", ("ndppd", "-c", "{config}"), text)


def keepalive(link: Bridge) -> Service:
    """A ping now and then: the server finds a member over GUE only while the member's NAT remembers it."""
    hub = (link.network or link.prefix)[1]  # type: ignore[index]  # one of them is there
    ping = f"ping -q -c 1 -W 2 {hub} >/dev/null 2>&1"
    return Service(
        f"keepalive-{link.name}", ("sh", "-c", f"while :; do {ping}; sleep {GUE_KEEPALIVE_S}; done"), ""
    )


def bridge_member(whole: Description, link: Bridge, end: End, draft: Draft) -> None:
    mac = link.mac(end.name)
    if end.lan_device:
        draft.devices.append(Br(end.lan_device, is_ours=False))
    draft.devices.append(gretap(whole, link, end, SERVER, link.name, end.lan_device, mac))
    draft.offloads.append(link.name)
    if end.name in dict(link.remotes) and (link.network or link.prefix):
        draft.services.append(keepalive(link))
    if end.lan_device:
        return
    number = dict(link.members)[end.name]
    if link.network:
        address = IPv4Address(int(link.network[0]) + 256 * number + 1)
        draft.addresses.append(DeviceAddress(link.name, ip_interface(f"{address}/{link.network.prefixlen}")))
    if link.prefix:
        draft.sysctls.append(
            Sysctl(f"net/ipv6/conf/{link.name}/addr_gen_mode", "0")
        )  # EUI-64: the MAC is fixed
        draft.sysctls.append(Sysctl(f"net/ipv6/conf/{link.name}/accept_ra", "2"))


def gretap(
    whole: Description, link: Bridge, end: End, other: str, name: str, master: str | None, mac: str | None
) -> Gretap:
    """The device at `end` that leads to `other`; one of the two is the server."""
    member = other if end.name == SERVER else end.name
    if member in dict(link.remotes):
        address, port = dict(link.remotes)[member]
        if end.name != SERVER:
            assert whole.server.ipv4, "required"
            address, port = whole.server.ipv4, link.port
        local = (end.listen or end.ipv4) if end.name == SERVER else None
        return Gretap(name, local, end.device, address, link.mtu_bytes, mac, master, (link.port, port))
    over = whole.link(link.over)
    assert isinstance(over, WireGuard), "check says so"
    here, there = (
        next(each.ip for each in inner(over, one) if isinstance(each.ip, IPv4Address))
        for one in (end.name, other)
    )
    return Gretap(name, here, None, there, link.mtu_bytes, mac, master, None)
