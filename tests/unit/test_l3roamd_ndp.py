# SPDX-License-Identifier: ISC
"""The question to a client without IPv4, byte by byte, and what clients say."""

import struct

import pytest

from l3roamd_py.core.events import AddressSeen, ArpAnswered
from l3roamd_py.kernel.device_socket import ENTRIES_MAX
from l3roamd_py.kernel.ndp import Ndp, decode, encode_solicitation
from runtime.packets import icmpv6_checksum
from xlat464.address import parse_ipv6

OWN, CLIENT = parse_ipv6("fe80::1"), parse_ipv6("2001:db8:5::7")


def test_a_solicitation_is_one_for_the_address_to_the_address():
    packet = encode_solicitation(bytes(range(2, 8)), OWN, CLIENT)
    assert packet[:8].hex() == "6000000000203aff"
    assert (packet[8:24], packet[24:40], packet[48:64]) == (OWN, CLIENT, CLIENT)
    assert packet[40:42] == b"\x87\0"
    assert packet[64:] == b"\1\1" + bytes(range(2, 8))
    assert icmpv6_checksum(OWN + CLIENT, packet[40:]) == 0


MAC, OTHER = b"\2\xaa\0\0\0\1", b"\2\xaa\0\0\0\2"
NOBODY = bytes(16)


def discovery(kind, source, target, hop_limit=255):
    header = struct.pack("!IHBB16s16s", 6 << 28, 24, 58, hop_limit, source, OWN)
    return header + struct.pack("!BBHI16s", kind, 0, 0, 0, target)


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        (discovery(135, CLIENT, OWN), (135, CLIENT)),  # it asks for us
        (discovery(135, NOBODY, CLIENT), (135, CLIENT)),  # it tries the address: RFC 4862 section 5.4
        (discovery(136, OWN, CLIENT), (136, CLIENT)),
        (discovery(133, CLIENT, CLIENT), None),
        (discovery(135, CLIENT, OWN, hop_limit=254), None),  # from beyond a router
        (discovery(135, CLIENT, OWN)[:63], None),
        (b"", None),
    ],
)
def test_what_a_client_says_of_its_addresses(packet, said):
    assert decode(packet) == said


class Finder:
    """Who can be a client: all."""

    def is_client(self, _):
        return True


def hear(ndp, mac, kind, now_s, is_known=False, address=CLIENT):
    return ndp._understand(mac, kind, address, is_known, now_s)


def test_an_advertisement_that_was_asked_for_is_an_answer_and_another_a_sign():
    ndp = Ndp("br-client", Finder())
    ndp.solicit(MAC, CLIENT, 100.0)
    assert hear(ndp, OTHER, 136, 100.1) == [AddressSeen(OTHER, CLIENT, is_sign=False)]
    assert hear(ndp, MAC, 136, 100.2, is_known=True) == [ArpAnswered(MAC, CLIENT)]
    assert hear(ndp, MAC, 136, 100.3, is_known=True) == []
    ndp.solicit(MAC, CLIENT, 100.0)
    assert hear(ndp, MAC, 136, 111.0, is_known=True) == [], "too late to be one"


def test_what_is_known_or_was_said_a_moment_ago_is_passed_over():
    ndp = Ndp("br-client", Finder())
    assert hear(ndp, MAC, 135, 0.0, is_known=True) == []
    assert [len(hear(ndp, MAC, 135, now_s)) for now_s in (1.0, 2.0, 20.9, 21.1, 22.0)] == [1, 0, 0, 1, 0]


def test_without_learning_only_answers_are_heard():
    ndp = Ndp("br-client", Finder(), is_learning=False)
    ndp.solicit(MAC, CLIENT, 100.0)
    assert hear(ndp, OTHER, 136, 100.1) == hear(ndp, OTHER, 135, 100.1) == []
    assert hear(ndp, MAC, 136, 100.2, is_known=True) == [ArpAnswered(MAC, CLIENT)]


def test_a_flood_does_not_grow_what_is_remembered():
    ndp = Ndp("br-client", Finder())
    for number in range(20_000):
        address = CLIENT[:12] + number.to_bytes(4, "big")
        hear(ndp, MAC, 135, number / 500, address=address)
        ndp.solicit(MAC, address, number / 500)
    assert max(len(ndp._heard), len(ndp._asked)) <= ENTRIES_MAX
