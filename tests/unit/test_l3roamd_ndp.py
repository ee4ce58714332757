# SPDX-License-Identifier: ISC
"""The question to a client without IPv4, byte by byte."""

from l3roamd_py.kernel.ndp import checksum, encode_solicitation
from xlat464.address import parse_ipv6

OWN, CLIENT = parse_ipv6("fe80::1"), parse_ipv6("2001:db8:5::7")


def test_a_solicitation_is_one_for_the_address_to_the_address():
    packet = encode_solicitation(bytes(range(2, 8)), OWN, CLIENT)
    assert packet[:8].hex() == "6000000000203aff"
    assert (packet[8:24], packet[24:40], packet[48:64]) == (OWN, CLIENT, CLIENT)
    assert packet[40:42] == b"\x87\0"
    assert packet[64:] == b"\1\1" + bytes(range(2, 8))
    assert checksum(OWN + CLIENT + b"\0\0\0\x20\0\0\0\x3a" + packet[40:]) == 0
