# SPDX-License-Identifier: ISC
"""What a WireGuard link asks of the end it is planned for: the hub, or a peer. Pure; see plan."""

import contextlib
from ipaddress import ip_address, ip_interface

from reach.check_publish import home_of, relay_port
from reach.description import SERVER, Description, End, FourInSix, WireGuard
from reach.firewall import Match, Snat
from reach.plan import DeviceAddress, Dns, Draft, Interface, Peer, Pin, Route, Rule, Service, Sysctl, Wg
from reach.plan_links import (
    EVERYTHING,
    MAIN,
    RULE_PRIORITY,
    SUPPRESS_PRIORITY,
    by_family,
    families,
    host,
)
from reach.reading import Address, Network


def inner(link: WireGuard, end: str) -> tuple[Interface, ...]:
    """An end's addresses in a WireGuard link, with their networks' lengths."""
    number = link.number(end)
    return tuple(ip_interface(f"{network[number]}/{network.prefixlen}") for network in link.networks)


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


def pinned(whole: Description, hub: Peer) -> Address:
    """Where the link's own packets go. A name may mean anything; mostly it is the server's."""
    assert whole.server.ipv4, "required"
    with contextlib.suppress(ValueError):
        return ip_address((hub.endpoint or "").rpartition(":")[0].strip("[]"))
    return whole.server.ipv4


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
        draft.leaving.append(link.name)
        leaving += [lan for peer, _ in link.peers for lan in whole.ends[peer].lan if lan.version == 4]
    for group in by_family(leaving):
        draft.snats.append(Snat(Match(not_out_device=link.name, source=group)))
    if link.dns_upstream:
        draft.services.append(dns_relay(link))


def dns_relay(link: WireGuard) -> Service:
    """dnsmasq on the hub's addresses, for the home's names."""
    # without a pid file: the default one is that of the machine's own dnsmasq
    lines = ["no-resolv", "no-hosts", "pid-file=", "bind-dynamic", f"interface={link.name}"]
    lines.append("except-interface=lo")
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
    if link.pins_endpoint:
        draft.pins.append(Pin(pinned(whole, hub)))
    for group in by_family(behind_hub(whole, link, end.name)):
        draft.inputs.append(Match(in_device=link.name, source=() if set(group) & set(EVERYTHING) else group))
    if end.lan_device and link.route in ("lan", "all"):
        join_lan(whole, link, end, draft)
    servers = link.dns
    if link.dns_upstream:
        servers = tuple(interface.ip for interface in inner(link, link.hub))[:1]
    if servers and end.role == "client":
        draft.dns.append(Dns(link.name, servers, link.domain, not link.domain or link.route == "all"))


def join_lan(whole: Description, link: WireGuard, end: End, draft: Draft) -> None:
    """Those in the link and those in the peer's LAN reach each other."""
    for version in families(end.lan):
        draft.forward_family(version, end.device)
    draft.forwards.append(Match(in_device=end.lan_device, out_device=link.name))
    for group in by_family(behind_hub(whole, link, end.name)):
        if not set(group) & set(EVERYTHING):
            draft.forwards.append(Match(in_device=link.name, source=group))


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
