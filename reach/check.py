# SPDX-License-Identifier: ISC
"""What in a description cannot work, or will surprise: it is right in form, here it is judged as a whole. Pure.

Each function looks at one thing and yields findings.
"""

from collections.abc import Iterator
from itertools import combinations, product

from reach import check_links, check_publish, ranges
from reach.description import SERVER, Bridge, Description, WireGuard
from reach.reading import Finding, Network, warning


def check(whole: Description) -> list[Finding]:
    """Everything there is to say, errors first; `up` refuses what has errors."""
    parts = (
        networks,
        addresses,
        twins,
        outside_in_inside,
        check_links.links,
        devices,
        check_publish.publications,
        check_publish.ports,
        people,
    )
    return sorted((f for part in parts for f in part(whole)), key=lambda f: not f.is_error)


def named_networks(whole: Description) -> Iterator[tuple[str, Network]]:
    for end in whole.ends.values():
        for lan in end.lan:
            yield f"{end.place}.lan", lan
    for link in whole.links:
        if isinstance(link, WireGuard):
            for key, found in (("routed", link.routed), ("masqueraded", link.masqueraded)):
                for network in found:
                    yield f"link.{link.name}.{key}", network
        elif isinstance(link, Bridge) and link.network:
            yield f"link.{link.name}.network", link.network


def shares_on_purpose(whole: Description, one: str, other: str) -> bool:
    """A bridge's network contains the networks of its members: that is what it is for."""
    for link in whole.links:
        if isinstance(link, Bridge) and f"link.{link.name}.network" in (one, other):
            lans = {f"{whole.ends[member].place}.lan" for member in dict(link.members)}
            return one in lans or other in lans
    return False


def networks(whole: Description) -> Iterator[Finding]:
    found = list(named_networks(whole))
    for (one, network), (other, second) in combinations(found, 2):
        if ranges.overlap(network, second) and not shares_on_purpose(whole, one, other):
            yield Finding(
                other,
                f"{second} overlaps {one} = {network}; networks that are joined need addresses of their own",
            )
    for key, network in found:
        speaks = ranges.advice(network)
        if speaks and (speaks[0] or key.startswith("link.")):  # a LAN is as it is
            hint = "; 198.18.0.0/15 is hardly ever met" if network.version == 4 and not speaks[0] else ""
            yield Finding(key, f"{network}: {speaks[1]}{hint}", is_error=speaks[0])


def addresses(whole: Description) -> Iterator[Finding]:
    server = whole.server
    if server.ipv4 is None:
        return
    if ranges.is_nobodys(server.ipv4):
        yield Finding("server.ipv4", f"{server.ipv4} is nobody's address; expected the server's public one")
    elif not server.ipv4.is_global and not any(server.ipv4 in each for each in ranges.DOCUMENTATION):
        yield warning(
            "server.ipv4",
            f"{server.ipv4} is not public, nobody on the internet reaches it; if the provider translates it,"
            f' write the public address here and listen = "{server.ipv4}"',
        )
    for key, address in (pair for end in whole.ends.values() for pair in end.outside):
        if ranges.is_nobodys(address) and key != "server.ipv4":
            says = (
                "is no machine's address"
                if address.version == 4
                else "is not routed; expected a global address"
            )
            yield Finding(key, f"{address} {says}")
    for key, address in check_links.named_addresses(whole):
        if ranges.is_nobodys(address):
            yield Finding(key, f"{address} is no machine's address")


def twins(whole: Description) -> Iterator[Finding]:
    """Two machines with one address. Homes may share an IPv4 address: that of their provider's NAT."""
    found = [(end, *pair) for end in whole.ends.values() for pair in end.outside]
    for (one, key, address), (other, second, same) in combinations(found, 2):
        if address == same and one != other and (address.version == 6 or one.role == "server"):
            yield Finding(second, f"{same} is {key} too; each machine has an address of its own")


def outside_in_inside(whole: Description) -> Iterator[Finding]:
    """What carries a link must not be sent into it: no network behind a link may have the addresses of its ends."""
    for key, network in named_networks(whole):
        for name, address in whole.server.outside:
            if address in network:
                yield Finding(key, f"{network} has {name} = {address}, which would be sent into a link")
    for link in whole.links:
        if isinstance(link, WireGuard) and link.route != "nothing":
            for end in (whole.ends[peer] for peer, _ in link.peers if peer != SERVER):
                for (name, address), lan in product(end.outside, end.lan):
                    if address in lan:
                        sentence = f"{link.hub} would send into {link.name} what carries it"
                        yield Finding(f"{end.place}.lan", f"{lan} has {name} = {address}: {sentence}")


def devices(whole: Description) -> Iterator[Finding]:
    """Each end has its own devices, and those of its links."""
    for end in whole.ends.values():
        names = {end.device: "device", end.lan_device: "lan_device"}
        for link in whole.links_of(end.name):
            for name in link.devices_at(end.name):
                if other := names.get(name):
                    sentence = f"{end.place} has a device of that name already"
                    sentence += f", {name} of {other}" if other.startswith("link.") else ""
                    yield Finding(f"link.{link.name}", f"{sentence}; choose another")
                names[name] = f"link.{link.name}"


def people(whole: Description) -> Iterator[Finding]:
    for end in whole.homes + whole.clients:
        relayed = any(each.by == "relay" for each in whole.publications)
        if not whole.links_of(end.name) and not (end.role == "home" and relayed):
            yield warning(end.place, "no link leads there, so nothing will be set up")
