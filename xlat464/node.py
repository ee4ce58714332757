# SPDX-License-Identifier: ISC
"""The prefixes and addresses that a node makes of the domain's ranges and of MACs.

clat_range fddd:1337:1337::/48, MAC 12:34:56:78:9a:bc
node prefix          fddd:1337:1337:1234:5678:9abc::/96
management address   fddd:1337:1337:1234:5678:9abc:c000:1      (prefix::192.0.0.1)
node-client address  prefix64 + the MAC's modified EUI-64      (1034:56ff:fe78:9abc)
"""

from xlat464.address import (
    format_mac,
    format_prefix4,
    format_prefix6,
    mask,
    need_bytes,
    overlap,
    parse_prefix6_of,
    quote,
)
from xlat464.rfc6052 import embed

RANGE_LENGTH = 48  # bits; what a MAC's 48 bits leave of a /96
NODE_LENGTH = 96  # bits; what an IPv4 address leaves
MANAGEMENT_IPV4 = bytes((192, 0, 0, 1))  # RFC 7335: 192.0.0.0/29 is for this use and seen on no wire
DUMMY_IPV4 = bytes((192, 0, 0, 8))  # RFC 7600: source of ICMP errors from routers that have no IPv4 address
CLIENT_LENGTH = 64  # bits; the node-client prefix


def parse_range(text):
    """Return the 16 bytes of a clat_range or plat_range; ValueError unless it is a /48 of unicast addresses."""
    prefix = parse_prefix6_of(RANGE_LENGTH, text, "fddd:1337:1337::/48")
    wrong = None
    if prefix[0] == 0xFF:
        wrong = "a multicast prefix"
    elif prefix[0] == 0xFE and prefix[1] & 0xC0 == 0x80:
        wrong = "link-local, which no router forwards"
    elif prefix == bytes(16):
        wrong = "where :: and ::1 are, which no router forwards"
    if wrong:
        raise ValueError("%s is %s, expected a /48 like fddd:1337:1337::/48" % (quote(text), wrong))
    return prefix


def node_prefix(range16, mac):
    """Return the 16 bytes of the node's /96 in a /48; ValueError for a MAC that can be no single node's."""
    if mask(need_bytes(range16, 16), RANGE_LENGTH) != range16:
        raise ValueError("%s has bits set behind its length" % format_prefix6(range16, RANGE_LENGTH))
    return range16[:6] + need_unicast(mac) + bytes(4)


def need_unicast(mac):
    """Return the MAC (6 bytes); ValueError when it is a group's (multicast, broadcast) or all zero."""
    if need_bytes(mac, 6)[0] & 1:
        raise ValueError("%s is a multicast MAC, expected the address of one device" % format_mac(mac))
    if mac == bytes(6):
        raise ValueError("%s is no device's MAC, expected the address of one device" % format_mac(mac))
    return mac


def node_client_address(prefix64, mac):
    """Return the 16 bytes of a client's address in the node-client /64, by l3roamd's rule.

    That is the modified EUI-64 of RFC 4291, appendix A: ff:fe in the middle, universal bit flipped.
    """
    if mask(need_bytes(prefix64, 16), CLIENT_LENGTH) != prefix64:
        raise ValueError("%s has bits set behind its length" % format_prefix6(prefix64, CLIENT_LENGTH))
    need_unicast(mac)
    return prefix64[:8] + bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]


def management_address(prefix96):
    """Return the 16 bytes of the address at which the node that owns this CLAT or PLAT prefix listens."""
    return embed(prefix96, NODE_LENGTH, MANAGEMENT_IPV4)


def check_ranges(clat_range, plat_range):
    """Raise ValueError when the two /48 (16 bytes each) are the same one, as /48s overlap no other way."""
    if overlap(clat_range, RANGE_LENGTH, plat_range, RANGE_LENGTH):
        raise ValueError(
            "clat_range and plat_range are both %s, expected two different ones"
            % format_prefix6(clat_range, RANGE_LENGTH)
        )


def check_pool(pool, client_range):
    """Raise ValueError when a PLAT's pool cannot be used beside the clients' range.

    Both are (4 bytes, length). The platnode's own IPv4 stack sees the pool as the source of everything: were
    it inside the client range, answers would go to clients.
    """
    if overlap(pool[0], pool[1], client_range[0], client_range[1]):
        raise ValueError(
            "the pool %s overlaps the client range %s, expected addresses outside it"
            % (format_prefix4(pool[0], pool[1]), format_prefix4(client_range[0], client_range[1]))
        )
    need_host_range("pool", pool)


def check_client_range(client_range):
    """Raise ValueError when clients cannot have these addresses: (4 bytes, length)."""
    need_host_range("client range", client_range)


def need_host_range(name, prefix):
    """Raise ValueError unless (4 bytes, length) holds nothing but addresses that a host may have."""
    unusable = (
        (bytes((0, 0, 0, 0)), 8),
        (bytes((127, 0, 0, 0)), 8),
        (bytes((169, 254, 0, 0)), 16),
        (bytes((224, 0, 0, 0)), 3),
        (MANAGEMENT_IPV4, 32),
        (DUMMY_IPV4, 32),
    )
    for other in unusable:
        if overlap(prefix[0], prefix[1], other[0], other[1]):
            raise ValueError(
                "the %s %s overlaps %s, expected addresses that hosts may have"
                % (name, format_prefix4(prefix[0], prefix[1]), format_prefix4(other[0], other[1]))
            )
