# SPDX-License-Identifier: ISC
"""What in the links of a description cannot work, or will surprise; a part of `check`. Pure."""

import contextlib
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from reach import check_bridge, description
from reach.check_publish import relay_port
from reach.description import SERVER, Bridge, Description, FourInSix, Link, WireGuard
from reach.reading import Address, Finding, warning


def named_addresses(whole: Description) -> Iterator[tuple[str, Address]]:
    """Those of other machines that the links name. A publication may lead to the server itself, by ::1."""
    for link in whole.links:
        lists: dict[str, tuple[Address, ...]] = {}
        if isinstance(link, FourInSix):
            lists = {"server_address": (link.server_address,), "home_address": (link.home_address,)}
        elif isinstance(link, WireGuard):
            lists = {"dns": link.dns, "dns_upstream": link.dns_upstream}
        else:
            lists = {"dns": link.dns, "remotes": tuple(address for _, (address, _) in link.remotes)}
        for name, found in lists.items():
            for address in found:
                yield f"link.{link.name}.{name}", address


def links(whole: Description) -> Iterator[Finding]:
    for link in whole.links:
        kinds = {FourInSix: four_in_six, WireGuard: wireguard, Bridge: check_bridge.bridge}
        yield from kinds[type(link)](whole, link)  # type: ignore[operator]
    tables: dict[int, str] = {}
    for link in whole.links:
        if isinstance(link, FourInSix | WireGuard):
            other = tables.setdefault(link.table, link.name)
            if other != link.name and set(link.ends) & set(whole.link(other).ends):  # type: ignore[union-attr]
                yield Finding(
                    f"link.{link.name}.table", f"{link.table} is link.{other}'s too; give it another"
                )

    yield from claimed_twice(whole)


def claims(link: Link) -> Iterator[tuple[str, str, Any]]:
    """What one link only can have, beside devices and the server's ports: the key, in words, and as a value."""
    key = f"link.{link.name}"
    if isinstance(link, FourInSix):
        yield key, "its two addresses", (link.server_address, link.home_address)
    elif isinstance(link, WireGuard) and link.hub != SERVER:
        yield f"{key}.port", f"UDP port {link.port} of {link.hub}", (link.hub, link.port)
    elif isinstance(link, Bridge):
        for member, _ in link.members:
            way = "GUE" if member in dict(link.remotes) else link.over
            yield f"{key}.members", f"the way to {member} by {way}", (member, way)


def claimed_twice(whole: Description) -> Iterator[Finding]:
    """The kernel makes the first only."""
    owners: dict[Any, Link] = {}
    for link in whole.links:
        for key, words, value in claims(link):
            if (owner := owners.setdefault(value, link)) != link:
                yield Finding(key, f"link.{owner.name} has {words} already")


def four_in_six(whole: Description, link: FourInSix) -> Iterator[Finding]:
    if link.server_address == link.home_address:
        yield Finding(
            f"link.{link.name}", f"both ends would have {link.home_address}; each has a /64 of its own"
        )
    for end, address in ((whole.server, link.server_address), (whole.ends[link.home], link.home_address)):
        if end.ipv6 and address not in end.ipv6.network:
            yield warning(
                f"link.{link.name}.{end.role}_address",
                f"{address} is not in {end.place}.ipv6, {end.ipv6.network}: the provider must lead it there as well",
            )
    if not any(lan.version == 4 for lan in whole.ends[link.home].lan):
        yield Finding(
            f"home.{link.home}.lan",
            f'names no IPv4 network, so nothing would go through {link.name}; add lan = "192.168.1.0/24"',
        )
    room = description.FOUR_IN_SIX_MTU_BYTES
    room -= 0 if link.encap_limit is None else description.ENCAP_LIMIT_BYTES
    if link.mtu_bytes > room:
        yield check_bridge.too_large(link, room)


def wireguard(whole: Description, link: WireGuard) -> Iterator[Finding]:
    key = f"link.{link.name}"
    yield from inner_numbers(link)
    yield from way_to_hub(whole, link)
    if link.domain and not (link.dns or link.dns_upstream):
        yield Finding(f"{key}.domain", "is of use only together with dns, the server that knows its names")
    if link.route == "uplink":
        yield from uplink(whole, link)
    if link.route == "all" and not link.masqueraded:
        yield warning(
            f"{key}.masqueraded",
            'names no network: with route = "all", answers from the internet find no way back to private addresses',
        )


def inner_numbers(link: WireGuard) -> Iterator[Finding]:
    """Each end has a number of its own, and a place in each network."""
    key = f"link.{link.name}"
    if link.hub in dict(link.peers):
        yield Finding(f"{key}.peers", f"{link.hub} is the hub, which has number 1; leave it out here")
    for end, number in link.peers:
        if number == 1:
            yield Finding(f"{key}.peers", f"{end} has number 1, which is the hub's; expected 2 or more")
    if not link.networks:
        yield Finding(
            f"{key}.routed",
            'is missing; expected networks for the inner addresses, such as ["198.18.0.0/24"]',
        )
    for network in link.networks:
        most = max((number for _, number in link.peers), default=1)
        if most >= network.num_addresses - (1 if network.version == 4 and network.num_addresses > 2 else 0):
            yield Finding(f"{key}.peers", f"number {most} has no place in {network}")


def way_to_hub(whole: Description, link: WireGuard) -> Iterator[Finding]:
    """The hub is found from outside, and not through the link itself."""
    key, hub = f"link.{link.name}", whole.ends[link.hub]
    if literal := literal_endpoint(link):
        for each in [*link.networks, *(lan for end in link.ends for lan in whole.ends[end].lan)]:
            if literal in each:
                yield Finding(
                    f"{key}.endpoint", f"{literal} is within {each}, where only {link.name} itself leads"
                )
    is_found = link.endpoint or relay_port(whole, link) or hub.ipv6 or hub.ipv4
    if hub.role == "home" and not is_found:
        yield Finding(
            f"{key}.hub",
            f"nobody can reach {link.hub}: publish udp = {link.port} to its IPv6 address, or give home.{link.hub}.ipv6",
        )


def literal_endpoint(link: WireGuard) -> Address | None:
    """The address in `endpoint`; None when there is a name, or nothing."""
    with contextlib.suppress(ValueError):
        text = link.endpoint or ""
        return ip_address(text.partition("]")[0][1:] if text.startswith("[") else text.partition(":")[0])
    return None


def uplink(whole: Description, link: WireGuard) -> Iterator[Finding]:
    """The IPv4 of what is behind the peers' devices leaves through the hub."""
    key = f"link.{link.name}"
    if not any(network.version == 4 for network in link.masqueraded):
        yield Finding(
            f"{key}.masqueraded",
            'names no IPv4 network, and route = "uplink" is for IPv4; expected one such as "198.18.4.0/24"',
        )
    for end in (whole.ends[peer] for peer, _ in link.peers if peer in whole.ends):
        if end.lan_device is None:
            yield Finding(
                f"{key}.peers",
                f'nothing says whose IPv4 leaves through it at {end.name}; a platnode has lan_device = "plat" in'
                f" [{end.place}]",
            )
