# SPDX-License-Identifier: ISC
"""What in the publications of a description cannot work, or will surprise; the other half of `check`. Pure."""

from collections.abc import Iterator
from itertools import combinations

from reach.description import SERVER, Bridge, Description, End, Link, Publication, WireGuard
from reach.ranges import is_nobodys
from reach.reading import Address, Finding, warning

SSH_PORT = 22
RELAY_NETWORKS = 64  # MAX_NETWORKS of the relay


def publications(whole: Description) -> Iterator[Finding]:
    wholes = [each.key for each in whole.publications if each.is_whole]
    for key in wholes[1:]:
        yield Finding(f"{key}.whole_address", f"{wholes[0]} has the whole address already")
    for each in whole.publications:
        yield from shape(each)
        yield from by_kernel(whole, each) if each.by == "kernel" else by_relay(whole, each)


def shape(each: Publication) -> Iterator[Finding]:
    has_ports = bool(each.tcp or each.udp)
    if each.is_whole == has_ports:
        sentence = "has ports too; a whole address has all ports" if has_ports else "publishes nothing"
        yield Finding(each.key, f"{sentence}: expected either tcp or udp ports, or whole_address = true")
    if each.is_whole and each.to_port:
        yield Finding(f"{each.key}.to_port", "is for ports; a whole address keeps all of them")
    if each.excepted and not each.is_whole:
        yield Finding(
            f"{each.key}.except", "is for a whole address; leave the ports out of tcp and udp instead"
        )
    for source in each.sources:
        if source.version != 4:
            yield Finding(
                f"{each.key}.from", f"{source}: callers at the public IPv4 address have IPv4 addresses"
            )
    if is_nobodys(each.to) and not (each.to.is_loopback and each.by == "relay"):
        yield Finding(f"{each.key}.to", f"{each.to} is no machine's address")
    if each.to_port:
        for first, last in each.tcp + each.udp:
            if each.to_port + last - first > 65535:
                yield Finding(f"{each.key}.to_port", f"{each.to_port} and {last - first} more end past 65535")
            if each.by == "kernel" and last > first:
                yield Finding(
                    f"{each.key}.to_port",
                    f'a range {first}-{last} keeps its ports in the kernel; use by = "relay"',
                )


def by_kernel(whole: Description, each: Publication) -> Iterator[Finding]:
    for key, value in (("proxy", each.proxy), ("idle_s", each.idle_s)):
        if value is not None:
            yield Finding(f"{each.key}.{key}", 'is the relay\'s; for this, by = "relay"')
    if each.to.version != 4:
        yield Finding(f"{each.key}.to", f'the kernel leads IPv4 to IPv4 only; for {each.to}, by = "relay"')
        return
    link = whole.link(each.link)
    if link is None:
        yield Finding(f"{each.key}.link", "is missing; expected the name of the link that leads there")
    elif (home := home_of(whole, each)) is None:
        yield Finding(f"{each.key}.to", f"{each.to} is in no network behind {each.link}; see the homes' lan")
    elif lan := next((lan for lan in home.lan if each.to in lan), None):
        if lan.num_addresses > 2 and each.to in (lan.network_address, lan.broadcast_address):
            yield Finding(f"{each.key}.to", f"{each.to} is {lan} as a whole; expected a machine in it")
        if isinstance(link, WireGuard) and link.route == "nothing":
            yield Finding(f"{each.key}.to", f'{each.link} has route = "nothing", so {lan} is not behind it')
        own = in_link(link, home)
        yield from beside_gateway(home, each.to, each.key, f"to = {own[0]}" if own else "to = its address")
    if each.is_whole and ("tcp", SSH_PORT) not in each.excepted:
        yield warning(
            each.key,
            f"SSH to {whole.server.ipv4} will reach {each.to}, not the server: manage the server over IPv6, or add"
            ' except = ["tcp/22"]',
        )


def in_link(link: Link | None, end: End) -> list[Address]:
    """An end's own addresses in a link."""
    if not isinstance(link, WireGuard):
        return []
    return [network[link.number(end.name)] for network in link.networks]


def beside_gateway(home: End, to: Address, key: str, itself: str) -> Iterator[Finding]:
    """Its machines answer who calls from the internet by their gateway, and that is another one.

    itself: what publishes a port of the home's end."""
    if home.is_beside_gateway and home.masquerades is None:
        seems = "has no lan_device" if home.lan_device is None else f"has {home.device} on both sides"
        yield warning(
            f"{key}.to",
            f"{to} must answer by {home.name}, which {seems} and so may not be its gateway: then callers time out. What"
            f" works: masquerade = true in [{home.place}] (SNAT: {to} sees {home.name} as the caller), or"
            f' by = "relay" to its IPv6 address, or {itself}, {home.name} itself. masquerade = false says that all is'
            " well, as it does answer that way",
        )


def home_of(whole: Description, each: Publication) -> End | None:
    """The home that a publication by the kernel leads to."""
    link = whole.link(each.link)
    if isinstance(link, WireGuard) and link.hub != SERVER:
        return None
    for end in (whole.ends[name] for name in (link.ends if link else ())):
        own = in_link(link, end)
        if end.role != "server" and (each.to in own or any(each.to in lan for lan in end.lan)):
            return end
    return None


def by_relay(whole: Description, each: Publication) -> Iterator[Finding]:
    if each.to in (whole.server.ipv4, whole.server.listen):
        yield Finding(
            f"{each.key}.to",
            f'{each.to} is where the relay itself listens; for what runs on the server, expected "127.0.0.1"',
        )
    if len(each.sources) > RELAY_NETWORKS:
        sentence = f"{len(each.sources)} networks, and the relay takes {RELAY_NETWORKS}; join some"
        yield Finding(f"{each.key}.from", sentence)
    if each.is_whole:
        yield Finding(
            f"{each.key}.whole_address", 'is the kernel\'s; the relay takes ports: for example tcp = "1-1023"'
        )
    if each.link:
        yield Finding(f"{each.key}.link", "the relay needs no link, it connects to the target by itself")
    for home in whole.homes:  # by a link: the relay speaks with the server's address in it
        if any(each.to in lan for lan in home.lan if lan.version == 4):
            yield from beside_gateway(home, each.to, each.key, "to = its IPv6 address")
    if each.proxy and each.udp:
        yield Finding(f"{each.key}.proxy", "the PROXY protocol is for tcp; publish the udp ports separately")


def ports(whole: Description) -> Iterator[Finding]:
    """Two cannot have one port of the server."""
    used: list[tuple[str, str, int, int]] = [
        (f"link.{link.name}.port", "udp", link.port, link.port)
        for link in whole.links
        if (isinstance(link, WireGuard) and link.hub == SERVER) or (isinstance(link, Bridge) and link.remotes)
    ]
    for each in whole.publications:
        used += [(f"{each.key}.{protocol}", protocol, *found) for protocol, found in each.protocols()]
    for (one, protocol, first, last), (other, second, low, high) in combinations(used, 2):
        if protocol == second and first <= high and low <= last:
            yield Finding(
                other, f"{one} has {protocol} port {max(first, low)} already; a port leads to one place"
            )
    for each in whole.publications:
        if any(first <= SSH_PORT <= last for first, last in each.tcp):
            yield warning(
                f"{each.key}.tcp", f"port 22: SSH to {whole.server.ipv4} will reach {each.to}, not the server"
            )


def relay_port(whole: Description, link: WireGuard) -> int | None:
    """The server's UDP port that leads to a hub in a home, or None."""
    hub = whole.ends[link.hub]
    for publication in whole.publications:
        for first, last in publication.udp:
            inner = publication.to_port or first
            if hub.ipv6 and publication.to == hub.ipv6.ip and inner <= link.port <= inner + last - first:
                return first + link.port - inner
    return None
