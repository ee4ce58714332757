# SPDX-License-Identifier: ISC
"""What in a bridge cannot work, or will surprise; a part of `check`. Pure."""

from collections.abc import Iterator

from reach import description
from reach.description import SERVER, Bridge, Description, FourInSix, WireGuard
from reach.ranges import overlap
from reach.reading import Finding, Network, guess, warning
from xlat464.device import NAME_CHARS


def bridge(whole: Description, link: Bridge) -> Iterator[Finding]:
    over = whole.link(link.over)
    if link.over is not None and not isinstance(over, WireGuard):
        names = [each.name for each in whole.links if isinstance(each, WireGuard)]
        sentence = f'"{link.over}" is no wireguard link; {guess(link.over, names)}'
        yield Finding(f"link.{link.name}.over", sentence)
        return
    yield from ways(whole, link, over if isinstance(over, WireGuard) else None)
    yield from members(whole, link)
    yield from numbers(whole, link)
    if len(link.name) > NAME_CHARS - len("-255"):
        yield Finding(
            f"link.{link.name}",
            f"too long: the members' devices are {link.name}-NUMBER, and have {NAME_CHARS} characters",
        )


def too_large(link: FourInSix | Bridge, most_bytes: int) -> Finding:
    return warning(
        f"link.{link.name}.mtu",
        f"packets of {link.mtu_bytes} bytes do not fit, they will be fragmented outside; at most {most_bytes} do",
    )


def ways(whole: Description, link: Bridge, over: WireGuard | None) -> Iterator[Finding]:
    """How each member is found, and how much fits there."""
    key, outer = f"link.{link.name}", description.LINK_MTU_BYTES - description.GUE_BYTES
    if over:
        if over.hub != SERVER or not any(network.version == 4 for network in over.networks):
            yield Finding(f"{key}.over", f"{over.name} must have the server as hub, and an IPv4 network")
        outer = over.mtu_bytes
    for member in (name for name, _ in link.members if name not in dict(link.remotes)):
        if over is None:
            yield Finding(
                f"{key}.remotes",
                f"{member} is missing: without a wireguard link in `over` it comes over GUE, and the server must"
                f' know from where: {{ {member} = "203.0.113.9:5555" }}',
            )
        elif member not in over.ends:
            sentence = f"{member} is no peer of {link.over}; add it to link.{link.over}.peers"
            yield Finding(f"{key}.members", sentence)
    owners = {address: name for name, address in whole.server.outside}
    for member, (address, _) in link.remotes:
        if owner := owners.get(address):
            yield Finding(f"{key}.remotes", f"{member} at {address}, which is {owner}; each needs its own")
        owners[address] = member  # the kernel tells its tunnels apart by addresses, not by ports
    if link.mtu_bytes > outer - description.GRETAP_BYTES:
        yield too_large(link, outer - description.GRETAP_BYTES)


def members(whole: Description, link: Bridge) -> Iterator[Finding]:
    key, known = f"link.{link.name}", dict(link.members)
    if SERVER in known:
        yield Finding(f"{key}.members", "the server is the hub, and in it already; leave it out here")
    for name, given in (("remotes", link.remotes), ("macs", link.macs)):
        for end in dict(given):
            if end not in known and (name, end) != ("macs", SERVER):
                yield Finding(f"{key}.{name}", f"{end} is no member; {guess(end, known)}")
    owners: dict[str, str] = {}
    for end, mac in link.macs:
        if owners.setdefault(mac, end) != end:
            yield Finding(f"{key}.macs", f"{end} has {mac}, {owners[mac]}'s; each device has its own")


def numbers(whole: Description, link: Bridge) -> Iterator[Finding]:
    """The private addresses in it."""
    key = f"link.{link.name}"
    if link.network and link.network.prefixlen != 16:
        yield Finding(f"{key}.network", f"{link.network}: expected a /16, of which each member has one /24")
    elif link.network:
        sites = list(link.network.subnets(new_prefix=24))
        for end, number in link.members:
            for lan in whole.ends[end].lan:
                if overlap(lan, link.network) and lan != sites[number]:
                    sentence = f"{lan} is not what its number {number} in {link.name} says, {sites[number]}"
                    yield Finding(f"{whole.ends[end].place}.lan", sentence)
    yield from public(whole, link)


def is_part(one: Network, other: Network) -> bool:
    return overlap(one, other) and one.prefixlen > other.prefixlen


def public(whole: Description, link: Bridge) -> Iterator[Finding]:
    """The public addresses in it, and how they come to the server."""
    key, server = f"link.{link.name}", whole.server
    if link.prefix and link.prefix.prefixlen != 64:
        yield Finding(
            f"{key}.prefix", f"{link.prefix}: hosts make themselves addresses in a /64 only (RFC 4862)"
        )
    elif link.prefix and link.provider == "routed" and server.ipv6 and server.ipv6.ip in link.prefix:
        yield Finding(
            f"{key}.prefix",
            f"{link.prefix} has server.ipv6 = {server.ipv6.ip}, so it is on the wire of {server.device}; expected"
            ' another one, or provider = "proxied"',
        )
    elif (
        link.prefix
        and link.provider == "proxied"
        and server.ipv6
        and is_part(server.ipv6.network, link.prefix)
    ):
        yield Finding(
            f"{key}.prefix",
            f"the provider gives the server {server.ipv6.network} of {link.prefix}, the rest is other people's: leave"
            " prefix out, or ask for a /64 of your own; where the /64 is yours whatever the device shows, say so:"
            f' ipv6 = "{server.ipv6.ip}/64"',
        )
    if link.is_bridged:
        yield warning(
            f"{key}.provider",
            f'"bridged" puts {server.device} into {link.name}, which gets its MAC, addresses and routes: they must be'
            f" static, and the provider must let more than one MAC through",
        )
        others = [each.name for each in whole.links if isinstance(each, Bridge) and each.is_bridged]
        if link.name != others[0]:
            yield Finding(f"{key}.provider", f"{server.device} is a port of {others[0]} already")
