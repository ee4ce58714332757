# SPDX-License-Identifier: ISC
"""IPv4 addresses embedded in IPv6 addresses, RFC 6052 section 2.2.

    length  octets of the IPv6 address that hold the IPv4 address
    32      4 5 6 7
    40      5 6 7   9
    48      6 7     9 10
    56      7       9 10 11
    64              9 10 11 12
    96      12 13 14 15

Octet 8 (bits 64 to 71, "u") must be zero, so it holds no IPv4 octet. With lengths 32 to 64 an address with another
value there is not an RFC 6052 address. With a length of 96 it lies inside the prefix, where RFC 6052 leaves it to
whoever assigns the prefix: a node's MAC does stand there (see node.py), so it is taken as it comes.
"""

from xlat464.address import format_ipv6, mask, need_bytes

PLACES = {
    32: (4, 5, 6, 7),
    40: (5, 6, 7, 9),
    48: (6, 7, 9, 10),
    56: (7, 9, 10, 11),
    64: (9, 10, 11, 12),
    96: (12, 13, 14, 15),
}
U_OCTET = 8


def embed(prefix, length, ipv4):
    """Return the 16 bytes of the IPv4 address (4 bytes) inside a prefix (16 bytes), suffix and u octet zero.

    ValueError for a length that RFC 6052 does not have, and for bits set behind the length.
    """
    places = _places(length)
    need_bytes(ipv4, 4)
    if mask(need_bytes(prefix, 16), length) != prefix:
        raise ValueError("%s/%d has bits set behind its length" % (format_ipv6(prefix), length))
    address = bytearray(prefix)
    for i in range(4):
        address[places[i]] = ipv4[i]
    return bytes(address)


def extract(address, length):
    """Return the 4 bytes of the IPv4 address inside an IPv6 address (16 bytes); its suffix is ignored.

    ValueError for a length that RFC 6052 does not have, and for a u octet that is not zero (not with 96).
    """
    places = _places(length)
    if need_bytes(address, 16)[U_OCTET] and length != 96:
        raise ValueError(
            "%s has %d in bits 64 to 71, expected 0 (RFC 6052 section 2.2)"
            % (format_ipv6(address), address[U_OCTET])
        )
    return bytes([address[i] for i in places])


def _places(length):
    if length not in PLACES:
        raise ValueError("a prefix length of %d, expected 32, 40, 48, 56, 64 or 96 (RFC 6052)" % length)
    return PLACES[length]
