# SPDX-License-Identifier: ISC
"""Extensions of ICMP errors, RFC 4884: they cross behind the packet, which is padded or cut."""

import struct

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from siit_world import check, clat, one, refused
from test_siit_translate_icmp import CLIENT4, CLIENT6, SERVER4, SERVER6, error4, error6, read4, read6

EXTENSION = bytes.fromhex("2000c7a3000801010001f1ff")  # an MPLS label stack object, RFC 4950


def quote4(size):
    return bytes(IP(src=SERVER4, dst=CLIENT4) / UDP() / bytes(i % 251 for i in range(size - 28)))


def quote6(size):
    return bytes(IPv6(src=CLIENT6, dst=SERVER6) / UDP() / bytes(i % 251 for i in range(size - 48)))


def pad(data, unit):
    data += bytes(-len(data) % unit)
    return data + bytes(max(0, 128 - len(data)))


@pytest.mark.parametrize("size", [28, 60, 104, 126, 128, 132, 500, 1020])
def test_an_extension_crosses_to_ipv6_behind_the_padded_packet(size):
    padded = pad(quote4(size), 4)
    packet = error4(11, 0, (len(padded) // 4) << 16, padded + EXTENSION)
    kind, _, rest, body = read6(one(clat(), packet))
    length = (rest >> 24) * 8
    assert kind == 3
    assert length == -(-(len(padded) + 20) // 8) * 8
    assert body[length:] == EXTENSION
    assert body[40:48] == check(bytes(IPv6(body[: size + 20]))).build()[40:48]
    assert not any(body[size + 20 : length])
    assert rest & 0xFFFFFF == 0


@pytest.mark.parametrize("size", [48, 100, 122, 128, 148, 400])
def test_an_extension_crosses_to_ipv4_behind_the_padded_packet(size):
    padded = pad(quote6(size), 8)
    packet = error6(1, 4, (len(padded) // 8) << 24, padded + EXTENSION)
    kind, code, rest, body = read4(one(clat(), packet))
    length = (rest >> 16) * 4
    assert (kind, code) == (3, 3)
    assert length == max(128, len(padded) - 20)
    assert body[length:] == EXTENSION
    check(body[: size - 20])
    assert not any(body[size - 20 : length])


def test_a_quote_shorter_than_128_bytes_is_padded():
    # routers do send these, against RFC 4884
    _, _, rest, body = read6(one(clat(), error4(11, 0, 7 << 16, quote4(28) + EXTENSION)))
    assert (rest >> 24, len(body), body[128:]) == (16, 128 + len(EXTENSION), EXTENSION)
    _, _, rest, body = read4(one(clat(), error6(3, 0, 6 << 24, quote6(48) + EXTENSION)))
    assert (rest >> 16, len(body), body[128:]) == (32, 128 + len(EXTENSION), EXTENSION)


@pytest.mark.parametrize(("kind", "code", "rest"), [(3, 2, 0), (3, 4, 1400), (12, 0, 0)])
def test_an_extension_goes_where_ipv6_has_no_place_for_it(kind, code, rest):
    result = read6(one(clat(), error4(kind, code, rest | 32 << 16, pad(quote4(60), 4) + EXTENSION)))
    assert len(result[3]) == 148
    assert result[2] == {(3, 2): 6, (3, 4): 1420, (12, 0): 0}[kind, code]


def test_the_quote_gives_way_to_the_extension_and_128_bytes_of_it_stay():
    extension = b"\xee" * 1104
    _, _, rest, body = read6(one(clat(), error4(11, 0, 255 << 16, quote4(1020) + extension)))
    assert (rest >> 24, len(body), body[128:]) == (16, 1232, extension)
    _, _, rest, body = read6(one(clat(), error4(11, 0, 255 << 16, quote4(1020) + extension + b"x")))
    assert (rest, len(body)) == (0, 1040)

    extension = b"\xee" * 420
    _, _, rest, body = read4(one(clat(), error6(3, 0, 40 << 24, quote6(320) + extension)))
    assert (rest >> 16, len(body), body[128:]) == (32, 548, extension)
    _, _, rest, body = read4(one(clat(), error6(3, 0, 40 << 24, quote6(320) + extension + b"x")))
    assert (rest, len(body)) == (0, 300)
    # 508 bytes of quote and 40 of extension are all that 576 have room for
    _, _, rest, body = read4(one(clat(), error6(3, 0, 67 << 24, quote6(536) + b"\xee" * 40)))
    assert (rest >> 16, len(body), body[508:]) == (127, 548, b"\xee" * 40)


def test_a_length_behind_the_end_is_dropped():
    assert refused(clat(), error4(11, 0, 200 << 16), "icmp-bad-extension") is None
    assert refused(clat(), error6(1, 4, 100 << 24), "icmp-bad-extension") is None


def test_a_length_without_an_extension_is_none():
    assert read6(one(clat(), error4(11, 0, 32 << 16, quote4(128))))[2] == 0


def test_an_error_is_cut_to_what_an_error_may_have():
    result = one(clat(), error4(11, 0, quoted=quote4(1400)))
    assert len(result) == 1280
    assert struct.unpack("!H", result[52:54])[0] == 1380  # the quoted packet still says how long it was
    assert len(one(clat(), error6(1, 4, quoted=quote6(1100)))) == 576
