# SPDX-License-Identifier: ISC
"""The prefixes and addresses that a node makes of the domain's ranges and of MACs.

clat_range fddd:1337:1337::/48, MAC 12:34:56:78:9a:bc
node prefix          fddd:1337:1337:1234:5678:9abc::/96
management address   fddd:1337:1337:1234:5678:9abc:c000:1      (prefix::192.0.0.1)
node-client address  prefix64 + the MAC's modified EUI-64      (1034:56ff:fe78:9abc)
PREF64               fddd:1338:1338::/96, what hosts that translate themselves use: of plat_range and no MAC
"""

from xlat464.address import (
    format_ipv6,
    format_mac,
    format_prefix4,
    format_prefix6,
    mask,
    need_bytes,
    overlap,
    parse_prefix6,
    parse_prefix6_of,
    quote,
)
from xlat464.rfc6052 import embed

RANGE_LENGTH = 48  # bits; what a MAC's 48 bits leave of a /96
NODE_LENGTH = 96  # bits; what an IPv4 address leaves
MANAGEMENT_IPV4 = bytes((192, 0, 0, 1))  # RFC 7335: 192.0.0.0/29 is for this use and seen on no wire
DUMMY_IPV4 = bytes((192, 0, 0, 8))  # RFC 7600: source of ICMP errors from routers that have no IPv4 address
CLIENT_LENGTH = 64  # bits; the node-client prefix
# where :: and ::1 are, and IPv4-mapped addresses; link-local; multicast
NOT_FOR_PREF64 = ((bytes(16), 64), (b"\xfe\x80" + bytes(14), 10), (b"\xff" + bytes(15), 8))


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


def parse_pref64(text, clat_range, plat_range, others=()):
    """Return the 16 bytes of the /96 in which hosts with a CLAT of their own put IPv4; None for `off`; ValueError.

    `auto` is the first /96 of plat_range, which no node makes of its MAC. others: (16 bytes, length) of more that is in
    use. RFC 6052 section 2.2 wants bits 64 to 71 to be zero.
    """
    if text == "off":
        return None
    if text == "auto":
        return plat_range
    wrong, prefix, length = "is no /96", b"", 0
    try:
        prefix, length = parse_prefix6(text)
    except ValueError:
        pass
    if length == NODE_LENGTH:
        used = NOT_FOR_PREF64 + tuple(others)
        wrong = _use_of_pref64(prefix, clat_range, plat_range, used)
    if wrong:
        raise ValueError(
            "pref64: %s %s, expected auto (which is %s/96), off, or another /96 like 64:ff9b::/96"
            % (quote(text), wrong, format_ipv6(plat_range))
        )
    return prefix


def _use_of_pref64(prefix, clat_range, plat_range, used):
    if overlap(prefix, NODE_LENGTH, clat_range, RANGE_LENGTH):
        return "lies in clat_range"
    for other, length in used:
        if overlap(prefix, NODE_LENGTH, other, length):
            return "lies in %s, which is in use" % format_prefix6(other, length)
    if overlap(prefix, NODE_LENGTH, plat_range, RANGE_LENGTH) and prefix != plat_range:
        return "is a node's, in plat_range"
    return "has bits 64 to 71 set, which are zero by RFC 6052" if prefix[8] else None


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
