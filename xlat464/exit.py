# SPDX-License-Identifier: ISC
"""Where an exit does not lead: routes inside its PLAT prefix, which the kernel answers instead of us.

What is private or special to every node (IANA IPv4 Special-Purpose Address Registry, RFC 6890 and successors), the
networks that this node is connected to, and the node itself. Not in the list: what the registry calls globally
reachable, and the documentation ranges, for they lead nowhere on the internet, and labs have theirs in them.
"""

from xlat464.address import (
    contains,
    format_ipv6,
    format_prefix6,
    mask,
    parse_ipv4,
    parse_prefix4,
    parse_prefix6,
    quote,
)
from xlat464.flows import forget_flows, forget_hosts
from xlat464.node import NODE_LENGTH, RANGE_LENGTH, parse_range
from xlat464.rfc6052 import embed

SPECIAL = (
    ((0, 0, 0, 0), 8),  # this network
    ((10, 0, 0, 0), 8),
    ((100, 64, 0, 0), 10),  # between a carrier's NAT and its customers
    ((127, 0, 0, 0), 8),
    ((169, 254, 0, 0), 16),
    ((172, 16, 0, 0), 12),
    ((192, 0, 0, 0), 24),  # protocol assignments, where 464XLAT and DS-Lite have theirs
    ((192, 88, 99, 0), 24),  # relays from 6to4, given up
    ((192, 168, 0, 0), 16),
    ((198, 18, 0, 0), 15),  # measuring
    ((224, 0, 0, 0), 3),  # multicast, reserved, broadcast
)


def routes(prefix, allowed, addresses):
    """Return [(type, 16 bytes, length)], sorted, type `prohibit` or `unicast`, for a /96 (16 bytes).

    allowed: (4 bytes, length) of networks that are reachable nevertheless. An address of the node itself is reachable
    only if it is listed alone. addresses: (4 bytes, length) of the node's, with the host's bits.
    """
    networks = [(bytes(address), length) for address, length in SPECIAL]
    # of a length like a default route's none is a network that somebody lives in
    networks += [(mask(address, length), length) for address, length in addresses if length >= 8]
    refused = {each for each in networks if not within(each, allowed)}
    refused |= {(address, 32) for address, _ in addresses if (address, 32) not in allowed}
    needed = [each for each in refused if within(each, allowed) or not within(each, refused - {each})]
    found = [("prohibit", each) for each in needed] + [("unicast", each) for each in allowed]
    return sorted({(kind, embed(prefix, 96, address), 96 + length) for kind, (address, length) in found})


def within(network, others):
    return any(length <= network[1] and contains(address, length, network[0]) for address, length in others)


def parse_allowed(text):
    """Return [(4 bytes, length)] of `A.B.C.D/LENGTH,...`, or of nothing; ValueError."""
    try:
        found = [parse_prefix4(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise ValueError("--allow: %s" % error)  # noqa: B904 (MicroPython has no "from")
    if any(not length for _, length in found):
        raise ValueError("--allow: 0.0.0.0/0 is every network there is, expected those that it shall lead to")
    return found


def parse_address(text):
    """Return (4 bytes, length) of `A.B.C.D/LENGTH`, whose host bits stay, or `A.B.C.D`; ValueError."""
    address, _, length = text.partition("/")
    if length and not (length.isdigit() and int(length) <= 32):
        raise ValueError("%s is no address of a device, expected one like 192.0.2.1/24" % quote(text))
    return parse_ipv4(address), int(length or "32")


def exit_routes(prefix_text, allowed_text="", *addresses):
    """what `ip -6 route` takes behind a verb, one a line: where a PLAT does not lead, and does nevertheless"""
    prefix, _ = parse_prefix6(prefix_text)
    found = routes(prefix, parse_allowed(allowed_text), [parse_address(each) for each in addresses])
    return "\n".join(["%s %s" % (kind, format_prefix6(address, length)) for kind, address, length in found])


def clat_sources(range_text, prefix4_text):
    """address and mask of all that nodes make of an IPv4 prefix in clat_range"""
    prefix4, length = parse_prefix4(prefix4_text)
    ones = b"\xff" * 16
    source = parse_range(range_text)[: NODE_LENGTH // 8] + prefix4
    source_mask = mask(ones, RANGE_LENGTH)[: NODE_LENGTH // 8] + mask(ones[:4], length)
    return format_ipv6(source) + " " + format_ipv6(source_mask)


# beside those of __main__
COMMANDS = {
    "exit-routes": (exit_routes, "PREFIX [ALLOW ADDRESS...]"),
    "clat-sources": (clat_sources, "RANGE CIDR"),
    "forget-hosts": (forget_hosts, "PREF64 PLAT"),
    "forget-flows": (forget_flows, "PREFIX POOL [ENGINE]"),
}
