# SPDX-License-Identifier: ISC
"""What in a description cannot work, or will surprise: it is right in form, here it is judged as a whole. Pure.

Each function looks at one thing and yields findings.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address
from itertools import combinations

from reach import check_publish, description, ranges
from reach.check_publish import relay_port
from reach.description import SERVER, Bridge, Description, End, FourInSix, WireGuard
from reach.reading import Address, Finding, Network, guess, warning
from reach.values import DEVICE_BYTES


def check(whole: Description) -> list[Finding]:
    """Everything there is to say, errors first; `up` refuses what has errors."""
    parts = (networks, addresses, links, devices, check_publish.publications, check_publish.ports, people)
    return sorted((f for part in parts for f in part(whole)), key=lambda f: not f.is_error)


def place(end: End) -> str:
    return SERVER if end.role == "server" else f"{end.role}.{end.name}"


def named_networks(whole: Description) -> Iterator[tuple[str, Network]]:
    for end in whole.ends.values():
        for lan in end.lan:
            yield f"{place(end)}.lan", lan
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
            lans = {f"{place(whole.ends[member])}.lan" for member in dict(link.members)}
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
    if is_nobodys(server.ipv4):
        yield Finding("server.ipv4", f"{server.ipv4} is nobody's address; expected the server's public one")
    elif not server.ipv4.is_global and not any(server.ipv4 in each for each in ranges.DOCUMENTATION):
        yield warning(
            "server.ipv4",
            f"{server.ipv4} is not public, nobody on the internet reaches it; if the provider translates it,"
            f' write the public address here and listen = "{server.ipv4}"',
        )
    for end in whole.ends.values():
        if end.ipv6 is not None and is_nobodys(end.ipv6.ip):
            yield Finding(f"{place(end)}.ipv6", f"{end.ipv6.ip} is not routed; expected a global address")
        for name, ipv4 in (("ipv4", end.ipv4), ("listen", end.listen)):
            if ipv4 is not None and is_nobodys(ipv4) and (end.role, name) != ("server", "ipv4"):
                yield Finding(f"{place(end)}.{name}", f"{ipv4} is no machine's address")
    for key, address in named_addresses(whole):
        if is_nobodys(address):
            yield Finding(key, f"{address} is no machine's address")


def is_nobodys(address: Address) -> bool:
    """Whether no other machine can have it: unspecified, loopback, multicast, link-local or IPv4's reserved."""
    reserved = isinstance(address, IPv4Address) and address.is_reserved
    multicast = address.is_multicast or address.is_link_local
    return reserved or multicast or address.is_loopback or address.is_unspecified


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
        kinds = {FourInSix: four_in_six, WireGuard: wireguard, Bridge: bridge}
        yield from kinds[type(link)](whole, link)  # type: ignore[operator]
    tables: dict[int, str] = {}
    for link in whole.links:
        if isinstance(link, FourInSix | WireGuard):
            other = tables.setdefault(link.table, link.name)
            if other != link.name and set(link.ends) & set(whole.link(other).ends):  # type: ignore[union-attr]
                yield Finding(
                    f"link.{link.name}.table", f"{link.table} is link.{other}'s too; give it another"
                )


def four_in_six(whole: Description, link: FourInSix) -> Iterator[Finding]:
    if link.server_address == link.home_address:
        yield Finding(
            f"link.{link.name}", f"both ends would have {link.home_address}; each has a /64 of its own"
        )
    if not any(lan.version == 4 for lan in whole.ends[link.home].lan):
        yield Finding(
            f"home.{link.home}.lan",
            f'names no IPv4 network, so nothing would go through {link.name}; add lan = "192.168.1.0/24"',
        )


def wireguard(whole: Description, link: WireGuard) -> Iterator[Finding]:
    key, hub = f"link.{link.name}", whole.ends[link.hub]
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
    if link.domain and not (link.dns or link.dns_upstream):
        yield Finding(f"{key}.domain", "is of use only together with dns, the server that knows its names")
    if (
        hub.role == "home"
        and not link.endpoint
        and not relay_port(whole, link)
        and not (hub.ipv6 or hub.ipv4)
    ):
        yield Finding(
            f"{key}.hub",
            f"nobody can reach {link.hub}: publish udp = {link.port} to its IPv6 address, or give home.{link.hub}.ipv6",
        )
    if link.route == "uplink":
        yield from uplink(whole, link)
    if link.route == "all" and not link.masqueraded:
        yield warning(
            f"{key}.masqueraded",
            'names no network: with route = "all", answers from the internet find no way back to private addresses',
        )


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
                f" [{place(end)}]",
            )


def bridge(whole: Description, link: Bridge) -> Iterator[Finding]:
    key, over = f"link.{link.name}", whole.link(link.over)
    outer = description.LINK_MTU_BYTES - description.GUE_BYTES
    if link.over is not None and not isinstance(over, WireGuard):
        names = [each.name for each in whole.links if isinstance(each, WireGuard)]
        yield Finding(f"{key}.over", f'"{link.over}" is no wireguard link; {guess(link.over, names)}')
        return
    if isinstance(over, WireGuard):
        if over.hub != SERVER or not any(network.version == 4 for network in over.networks):
            yield Finding(f"{key}.over", f"{over.name} must have the server as hub, and an IPv4 network")
        outer = over.mtu_bytes
    members = dict(link.members)
    for name, values in (("remotes", link.remotes), ("macs", link.macs)):
        for end in dict(values):
            if end not in members:
                yield Finding(f"{key}.{name}", f"{end} is no member; {guess(end, members)}")
    for member in set(members) - set(dict(link.remotes)):
        if over is None:
            yield Finding(
                f"{key}.remotes",
                f"{member} is missing: without a wireguard link in `over` it comes over GUE, and the server must"
                f' know from where: {{ {member} = "203.0.113.9:5555" }}',
            )
        elif member not in over.ends:
            yield Finding(
                f"{key}.members", f"{member} is no peer of {link.over}; add it to link.{link.over}.peers"
            )
    if link.mtu_bytes > outer - description.GRETAP_BYTES:
        yield warning(
            f"{key}.mtu",
            f"packets of {link.mtu_bytes} bytes do not fit, they will be fragmented outside; at most"
            f" {outer - description.GRETAP_BYTES} do",
        )
    if link.prefix and link.prefix.prefixlen != 64:
        yield Finding(
            f"{key}.prefix", f"{link.prefix}: hosts make themselves addresses in a /64 only (RFC 4862)"
        )
    if link.network and link.network.prefixlen != 16:
        yield Finding(f"{key}.network", f"{link.network}: expected a /16, of which each member has one /24")
    if link.provider == "bridged":
        yield warning(
            f"{key}.provider",
            f'"bridged" puts {whole.server.device}, with all its addresses, into {link.name}: only rendered'
            " configuration does that, `reach up` would cut the connection that it is told through",
        )
    if len(link.name) > DEVICE_BYTES - len("-255"):
        yield Finding(
            key, f"too long: the members' devices are {link.name}-NUMBER, and have {DEVICE_BYTES} characters"
        )


def devices(whole: Description) -> Iterator[Finding]:
    for link in whole.links:
        for end in (whole.ends[name] for name in link.ends):
            if link.name in (end.device, end.lan_device):
                yield Finding(
                    f"link.{link.name}", f"{place(end)} has a device of that name already; choose another"
                )


def people(whole: Description) -> Iterator[Finding]:
    for end in whole.homes + whole.clients:
        relayed = any(each.by == "relay" for each in whole.publications)
        if not whole.links_of(end.name) and not (end.role == "home" and relayed):
            yield warning(place(end), "no link leads there, so nothing will be set up")
