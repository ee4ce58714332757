# SPDX-License-Identifier: ISC
"""Read reach.toml's text: every key with its kind, its default and what is said when it is wrong. No I/O."""

import tomllib
from ipaddress import IPv4Address, IPv6Address, IPv6Interface, IPv6Network

from reach import values
from reach.description import (
    ENCAP_LIMIT_BYTES,
    FOUR_IN_SIX_MTU_BYTES,
    GRETAP_BYTES,
    GUE_BYTES,
    GUE_PORT,
    KEEPALIVE_S,
    LINK_MTU_BYTES,
    MIN_MTU_BYTES,
    PER_SOURCE,
    SERVER,
    TABLE,
    WIREGUARD_MTU_BYTES,
    WIREGUARD_PORT,
    Bridge,
    Description,
    DescriptionError,
    End,
    FourInSix,
    Link,
    Publication,
    WireGuard,
)
from reach.reading import Finding, Table, guess


def read(toml: str) -> Description:
    """Return the description in a file's text. Raises DescriptionError with every mistake of form in it."""
    try:
        written = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        raise DescriptionError([Finding("reach.toml", f"no TOML: {error}")]) from None
    findings: list[Finding] = []
    root = Table("", written, findings)
    server_table = root.table("server")
    server = read_end(SERVER, "server", server_table) if server_table else None
    homes = tuple(read_end(each, "home", table) for each, table in root.tables("home").items())
    clients = tuple(read_end(each, "client", table) for each, table in root.tables("client").items())
    by_name = {end.name: end for end in (*((server,) if server else ()), *homes, *clients)}
    links = tuple(
        link for each, table in root.tables("link").items() if (link := read_link(each, table, by_name))
    )
    publications = tuple(read_publication(table, links) for table in root.list("publish"))
    root.finish()
    if findings or server is None:
        raise DescriptionError(findings)
    return Description(server, homes, clients, links, publications)


def read_end(end: str, role: str, table: Table) -> End:
    try:
        values.name(end)
    except ValueError as error:
        table.findings.append(Finding(table.path, str(error)))
    if end == SERVER and role != "server":
        table.findings.append(Finding(table.path, 'the name "server" is the server\'s; choose another'))
    found = End(
        end,
        role,
        table.get("device", values.device, None)
        if role == "client"
        else table.get("device", values.device, example='"eth0"'),
        table.get("ipv4", values.address4, example='"203.0.113.7"')
        if role == "server"
        else table.get("ipv4", values.address4, None),
        table.get("ipv6", values.interface6, None),
        table.get("listen", values.address4, None) if role == "server" else None,
        () if role == "server" else table.get("lan", values.each(values.network), ()),
        None if role == "server" else table.get("lan_device", values.device, None),
        table.get("masquerade", values.boolean, None) if role == "home" else None,
    )
    table.finish()
    return found


def read_link(name: str, table: Table, ends: dict[str, End]) -> Link | None:
    try:
        values.device(name)
    except ValueError as error:
        table.findings.append(Finding(table.path, f"a link's name is its device's name: {error}"))
    kinds = {"4in6": read_4in6, "wireguard": read_wireguard, "bridge": read_bridge}
    kind = table.get("kind", values.choice(*kinds), example='"wireguard"')
    if kind is None:
        return None
    before = len(table.findings)
    link = kinds[kind](name, table, ends)
    table.finish()
    return link if len(table.findings) == before else None


def known_end(ends: dict[str, End], *roles: str):
    """A converter for the name of an end that has one of these roles."""
    known = [end.name for end in ends.values() if end.role in roles]

    def convert(value) -> str:
        if value not in known:
            raise ValueError(f"there is no {' or '.join(roles)} of that name; {guess(str(value), known)}")
        return value

    return convert


def known_members(ends: dict[str, End], most: int):
    """A converter for { NAME = NUMBER }: known homes and clients, each with a number of its own."""
    known, number = known_end(ends, "server", "home", "client"), values.whole(1, most, "an end's number")

    def convert(value) -> tuple[tuple[str, int], ...]:
        pairs = values.numbered(number)(value)
        used: dict[int, str] = {}
        for end, its in pairs:
            known(end)
            if its in used:
                raise ValueError(f"{used[its]} and {end} both have number {its}; each needs its own")
            used[its] = end
        if not pairs:
            raise ValueError("names nobody; expected at least one, such as { laptop = 2 }")
        return pairs

    return convert


TUNNEL_PREFIX_BITS = 64  # what is left of an address has room for an IPv4 address as one reads it


def tunnel_address(public: IPv4Address, site: IPv6Interface) -> IPv6Address:
    """An end's address of a 4in6 link: its /64, then the public address as one sees it: …:203:0:113:7."""
    groups = [int(octet, 16) for octet in str(public).split(".")]  # decimal digits, read as hex ones
    suffix = int.from_bytes(b"".join(group.to_bytes(2, "big") for group in groups), "big")
    prefix = IPv6Network((site.ip, TUNNEL_PREFIX_BITS), strict=False)
    return prefix.network_address + suffix


def read_4in6(name: str, table: Table, ends: dict[str, End]) -> FourInSix | None:
    home = table.get("home", known_end(ends, "home"), example='"attic"')
    encap_limit = table.get("encap_limit", values.whole(0, 255, "how deep tunnels may nest"), None)
    addresses = [
        read_tunnel_address(f"{role}_address", table, ends, end)
        for role, end in (("server", SERVER), ("home", home))
    ]
    default_mtu = FOUR_IN_SIX_MTU_BYTES - (0 if encap_limit is None else ENCAP_LIMIT_BYTES)
    mtu = table.get("mtu", values.whole(MIN_MTU_BYTES, LINK_MTU_BYTES, "bytes"), default_mtu)
    number = table.get("table", values.whole(1, 252, "a routing table"), TABLE)
    if home is None or addresses[0] is None or addresses[1] is None:
        return None
    return FourInSix(name, home, addresses[0], addresses[1], mtu, encap_limit, number)


def read_tunnel_address(key: str, table: Table, ends: dict[str, End], name: str | None) -> IPv6Address | None:
    given = table.get(key, values.address6, None)
    end, server = ends.get(name or ""), ends.get(SERVER)
    if given or not end or not server or not server.ipv4:
        return given
    if end.ipv6 is None:
        table.wrong(key, f'cannot be derived without {end.place}.ipv6; add ipv6 = "2001:db8:1:2::1/64" there')
        return None
    if end.ipv6.network.prefixlen > TUNNEL_PREFIX_BITS:
        table.wrong(
            key,
            f"cannot be derived from {end.place}.ipv6: the rest of that /64 is not in {end.ipv6.network}, and so not"
            f' this machine\'s; write down one that is, for example its own: {key} = "{end.ipv6.ip}"',
        )
        return None
    return tunnel_address(server.ipv4, end.ipv6)


def read_wireguard(name: str, table: Table, ends: dict[str, End]) -> WireGuard:
    networks = values.each(values.network)
    return WireGuard(
        name,
        table.get("hub", known_end(ends, "server", "home"), SERVER),
        table.get("peers", known_members(ends, 65534), example="{ laptop = 2 }") or (),
        table.get("routed", networks, ()),
        table.get("masqueraded", networks, ()),
        table.get("port", values.whole(1, 65535, "a UDP port"), WIREGUARD_PORT),
        table.get("mtu", values.whole(MIN_MTU_BYTES, 1440, "bytes"), WIREGUARD_MTU_BYTES),
        table.get("keepalive_s", values.whole(0, 65535, "seconds, 0 for none"), KEEPALIVE_S),
        table.get("route", values.choice("lan", "all", "uplink", "nothing"), "lan"),
        table.get("endpoint", values.endpoint, None),
        table.get("dns", values.each(values.address), ()),
        table.get("domain", values.domain, None),
        table.get("dns_upstream", values.each(values.address), ()),
        table.get("userspace", values.boolean, False),
        table.get("pin", values.boolean, False),
        table.get("table", values.whole(1, 252, "a routing table"), TABLE + 1),
    )


def read_bridge(name: str, table: Table, ends: dict[str, End]) -> Bridge:
    over = table.get("over", values.device, None)
    outer = WIREGUARD_MTU_BYTES if over else LINK_MTU_BYTES - GUE_BYTES
    member = values.numbered
    return Bridge(
        name,
        over,
        table.get("members", known_members(ends, 255), example="{ attic = 88 }") or (),
        table.get("network", values.network4, None),
        table.get("prefix", values.network6, None),
        table.get("provider", values.choice("routed", "bridged", "proxied"), "routed"),
        table.get("dns", values.each(values.address6), ()),
        table.get("port", values.whole(1, 65535, "a UDP port"), GUE_PORT),
        table.get("remotes", member(values.socket_address), ()),
        table.get("macs", member(values.mac), ()),
        table.get("mtu", values.whole(MIN_MTU_BYTES, LINK_MTU_BYTES, "bytes"), outer - GRETAP_BYTES),
    )


def excepted_port(value) -> tuple[str, int]:
    protocol, _, port = value.partition("/") if isinstance(value, str) else ("", "", "")
    if protocol not in ("tcp", "udp"):
        raise ValueError('expected a protocol and a port, such as "tcp/22"')
    return protocol, values.ports(port)[0]


def read_publication(table: Table, links: tuple[Link, ...]) -> Publication:
    ranges = values.each(values.ports)
    to = table.get("to", values.address, example='"192.168.1.210" or "2001:db8:1:2::10"')
    by = table.get("by", values.choice("kernel", "relay"), "relay" if to and to.version == 6 else "kernel")
    able = [link.name for link in links if isinstance(link, FourInSix | WireGuard)]
    found = Publication(
        table.path,
        table.get("tcp", ranges, ()),
        table.get("udp", ranges, ()),
        table.get("whole_address", values.boolean, False),
        table.get("except", values.each(excepted_port), ()),
        to,
        table.get("to_port", values.whole(1, 65535, "a port"), None),
        by,
        table.get("link", values.choice(*able), able[0] if by == "kernel" and len(able) == 1 else None),
        table.get("proxy", values.choice("v1", "v2"), None),
        table.get("from", values.each(values.network), ()),
        table.get("limit", values.whole(1, 65535, "connections of one source at a time"), PER_SOURCE),
        table.get("idle_s", values.whole(1, 7 * 86400, "seconds"), None),
    )
    table.finish()
    return found
