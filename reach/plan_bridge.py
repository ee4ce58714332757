# SPDX-License-Identifier: ISC
"""What a bridge asks of the end it is planned for: the server, or a member. Pure; see plan."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_interface

from reach.description import GUE_KEEPALIVE_S, SERVER, Bridge, Description, End, WireGuard
from reach.firewall import Match, Snat
from reach.plan import Br, DeviceAddress, Draft, Gretap, Route, Service, Sysctl
from reach.plan_wireguard import inner


def bridge(whole: Description, link: Bridge, end: End, draft: Draft) -> None:
    if any(member in dict(link.remotes) for member, _ in link.members if end.name in (SERVER, member)):
        draft.accepts.append(Match(protocol="udp", ports=((link.port, link.port),)))
    (bridge_hub if end.name == SERVER else bridge_member)(whole, link, end, draft)


def bridge_hub(whole: Description, link: Bridge, end: End, draft: Draft) -> None:
    if link.is_bridged:  # the provider knows the server by its device's MAC
        draft.devices.append(Br(link.name, is_ours=True, mac=dict(link.macs).get(SERVER), uplink=draft.wan))
    else:
        draft.devices.append(Br(link.name, is_ours=True, mac=link.mac(SERVER)))
    for member, number in link.members:
        port = gretap(whole, link, end, member, f"{link.name}-{number}", link.name, None)
        draft.devices.append(port)
        draft.bridge_ports.append((port.name, port.mtu_bytes))
    if link.network:
        draft.addresses.append(
            DeviceAddress(link.name, ip_interface(f"{link.network[1]}/{link.network.prefixlen}"))
        )
        draft.forward_family(4, None)
        draft.snats.append(Snat(Match(out_device=end.device, source=(link.network,))))
        if link.is_bridged:  # or members would hear of a gateway that only the server can use
            draft.sysctls += [
                Sysctl(f"net/ipv4/conf/{each}/send_redirects", "0") for each in ("all", link.name)
            ]
    if link.prefix and not link.is_bridged:
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
    draft.untouched_offloads.append(link.name)
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
        return Gretap(name, local, address, link.mtu_bytes, mac, master, (link.port, port))
    over = whole.link(link.over)
    assert isinstance(over, WireGuard), "check says so"
    here, there = (
        next(each.ip for each in inner(over, one) if isinstance(each.ip, IPv4Address))
        for one in (end.name, other)
    )
    return Gretap(name, here, there, link.mtu_bytes, mac, master, None)


def eui64(prefix_address: IPv6Address, mac: str) -> IPv6Address:
    """The address that SLAAC makes of a MAC (RFC 4291 appendix A)."""
    octets = bytes(int(octet, 16) for octet in mac.split(":"))
    identifier = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return prefix_address + int.from_bytes(identifier, "big")
