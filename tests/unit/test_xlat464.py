# SPDX-License-Identifier: ISC
"""xlat464 against RFC 6052's examples, against Python's ipaddress, and the same on MicroPython."""

from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xlat464 import address, node, rfc6052

REPOSITORY = Path(__file__).resolve().parents[2]
IMPORTS = ["from xlat464 import address, node, rfc6052"]

ipv4_bytes = st.binary(min_size=4, max_size=4)
# random groups, many of them zero, for that is where RFC 5952 has its rules
ipv6_bytes = st.lists(
    st.one_of(st.just(b"\0\0"), st.binary(min_size=2, max_size=2)), min_size=8, max_size=8
).map(b"".join) | st.binary(min_size=4, max_size=4).map(lambda tail: bytes(10) + b"\xff\xff" + tail)
mac_bytes = st.binary(min_size=6, max_size=6).filter(lambda mac: not mac[0] & 1 and mac != bytes(6))
addressish = st.text(alphabet="0123456789abcdefABCDEF:./ %xg-+_\n", max_size=50)


def ip6(text):
    return IPv6Address(text).packed


def ip4(text):
    return IPv4Address(text).packed


# --- RFC 6052 ---------------------------------------------------------------

RFC6052_SECTION_2_4 = [
    ("2001:db8::/32", "2001:db8:c000:221::"),
    ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
    ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
    ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
    ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
    ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
    ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
]


@pytest.mark.parametrize(("prefix", "embedded"), RFC6052_SECTION_2_4)
def test_the_examples_of_rfc_6052_hold_in_both_directions(prefix, embedded):
    network = IPv6Network(prefix)
    made = rfc6052.embed(network.network_address.packed, network.prefixlen, ip4("192.0.2.33"))
    assert IPv6Address(made) == IPv6Address(embedded)
    assert rfc6052.extract(made, network.prefixlen) == ip4("192.0.2.33")


@given(ipv6_bytes, st.sampled_from([32, 40, 48, 56, 64, 96]), ipv4_bytes, st.binary(min_size=16, max_size=16))
def test_extract_undoes_embed_and_ignores_the_suffix(random, length, ipv4, suffix):
    prefix = address.mask(random, length)
    made = rfc6052.embed(prefix, length, ipv4)
    assert address.mask(made, length) == prefix
    assert rfc6052.extract(made, length) == ipv4
    assert length == 96 or made[8] == 0
    # whatever the rule leaves alone behind prefix, IPv4 address and u octet is the suffix
    end = 16 if length == 96 else max(rfc6052.PLACES[length][-1], 8) + 1
    assert made[end:] == bytes(16 - end)
    assert rfc6052.extract(made[:end] + suffix[end:], length) == ipv4


@pytest.mark.parametrize("length", [32, 40, 48, 56, 64])
def test_an_address_with_a_u_octet_is_refused(length):
    made = bytearray(
        rfc6052.embed(address.mask(ip6("2001:db8:122:344::"), length), length, ip4("192.0.2.33"))
    )
    made[8] = 1
    with pytest.raises(ValueError, match="bits 64 to 71, expected 0"):
        rfc6052.extract(bytes(made), length)


def test_with_96_the_u_octet_belongs_to_the_prefix():
    prefix = ip6("fddd:1337:1337:1234:5678:9abc::")
    made = rfc6052.embed(prefix, 96, ip4("192.0.2.33"))
    assert IPv6Address(made) == IPv6Address("fddd:1337:1337:1234:5678:9abc:c000:221")
    assert rfc6052.extract(made, 96) == ip4("192.0.2.33")


@pytest.mark.parametrize("length", [0, 31, 33, 72, 80, 95, 97, 128, -1])
def test_rfc_6052_knows_six_lengths(length):
    with pytest.raises(ValueError, match="expected 32, 40, 48, 56, 64 or 96"):
        rfc6052.embed(bytes(16), length, bytes(4))
    with pytest.raises(ValueError, match="expected 32, 40, 48, 56, 64 or 96"):
        rfc6052.extract(bytes(16), length)


def test_embed_refuses_a_prefix_with_host_bits():
    with pytest.raises(ValueError, match="behind its length"):
        rfc6052.embed(ip6("2001:db8::1"), 96, bytes(4))


# --- text -------------------------------------------------------------------


@given(ipv6_bytes)
def test_ipv6_text_is_that_of_ipaddress_and_comes_back(packed):
    text = address.format_ipv6(packed)
    if packed[:12] == bytes(10) + b"\xff\xff":
        assert text == "::ffff:" + str(IPv4Address(packed[12:]))  # RFC 5952 section 5
    else:
        assert text == str(IPv6Address(packed))
    assert address.parse_ipv6(text) == packed
    assert address.parse_ipv6(text.upper()) == packed
    assert address.parse_ipv6(IPv6Address(packed).exploded) == packed


@given(ipv4_bytes)
def test_ipv4_text_is_that_of_ipaddress_and_comes_back(packed):
    assert address.format_ipv4(packed) == str(IPv4Address(packed))
    assert address.parse_ipv4(address.format_ipv4(packed)) == packed


def accepted(parse, text, error=ValueError):
    try:
        return parse(text)
    except error:
        return None


@given(addressish | st.text(max_size=20))
@example("1:2:3:4:5:6:7::")
@example("::2:3:4:5:6:7:8")
@example("1::2:3:4:5:6:7:8")
@example("1:2:3:4:5:6:1.2.3.4")
@example("1:2:3:4:5:6:7:1.2.3.4")
@example("::1.2.3.4")
@example("1.2.3.4::")
@example("::1.2.3.4:1")
@example(":::")
@example("::1:")
@example(":1::")
@example("")
@example("::")
@example("٣.1.1.1")
@example("01.2.3.4")
def test_parsers_accept_what_ipaddress_accepts(text):
    zone_free = text if "%" not in text else "no"  # ipaddress takes zones, we do not
    assert accepted(address.parse_ipv6, zone_free) == accepted(
        lambda t: IPv6Address(t).packed, zone_free, AddressValueError
    )
    assert accepted(address.parse_ipv4, text) == accepted(
        lambda t: IPv4Address(t).packed, text, AddressValueError
    )


@given(ipv6_bytes, st.integers(0, 128))
def test_a_prefix_comes_back_and_with_host_bits_it_is_refused(packed, length):
    network = IPv6Network((packed, length), strict=False)
    prefix = address.mask(packed, length)
    assert prefix == network.network_address.packed
    text = address.format_prefix6(prefix, length)
    assert address.parse_prefix6(text) == (prefix, length)
    assert IPv6Network(text) == network
    if packed != prefix:
        with pytest.raises(ValueError, match="behind its length"):
            address.parse_prefix6(address.format_prefix6(packed, length))


@given(ipv4_bytes, st.integers(0, 32))
def test_the_same_holds_for_ipv4_prefixes(packed, length):
    network = IPv4Network((packed, length), strict=False)
    prefix = address.mask(packed, length)
    text = address.format_prefix4(prefix, length)
    assert (prefix, text) == (network.network_address.packed, str(network))
    assert address.parse_prefix4(text) == (prefix, length)


@given(ipv6_bytes, st.integers(0, 128), ipv6_bytes, st.integers(0, 128))
def test_contains_and_overlap_are_those_of_ipaddress(one, length, other, other_length):
    network = IPv6Network((one, length), strict=False)
    assert address.contains(one, length, other) == (IPv6Address(other) in network)
    assert address.contains(one, length, one)
    assert address.overlap(one, length, other, other_length) == network.overlaps(
        IPv6Network((other, other_length), strict=False)
    )


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.0",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/8/8",
        "10.0.0.0/08",
        "/8",
        "10.0.0.0/ 8",
        "",
    ],
)
def test_what_is_no_ipv4_prefix_is_refused_and_quoted(text):
    with pytest.raises(ValueError, match="is not an IPv4 prefix like") as raised:
        address.parse_prefix4(text)
    assert f"'{text}'" in str(raised.value)


def test_a_message_stays_one_short_line_whatever_came():
    with pytest.raises(ValueError, match="is not an IPv4 address") as raised:
        address.parse_ipv4("a\nb\x1b[31m" + "é" * 100_000)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 150


@given(st.binary(min_size=6, max_size=6))
def test_a_mac_comes_back(mac):
    assert address.format_mac(mac) == mac.hex(":")
    assert address.parse_mac(mac.hex(":").upper()) == mac


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12:34:56:78:9a",
        "12:34:56:78:9a:bc:de",
        "12:34:56:78:9a:b",
        "12-34-56-78-9a-bc",
        "12:34:56:78:9a:+1",
    ],
)
def test_what_is_no_mac_is_refused(text):
    with pytest.raises(ValueError, match="is not a MAC address"):
        address.parse_mac(text)


# --- nodes ------------------------------------------------------------------


def test_the_node_prefix_of_the_seed_document():
    made = node.node_prefix(node.parse_range("fddd:1337:1337::/48"), address.parse_mac("12:34:56:78:9a:bc"))
    assert address.format_prefix6(made, 96) == "fddd:1337:1337:1234:5678:9abc::/96"
    assert address.format_ipv6(node.management_address(made)) == "fddd:1337:1337:1234:5678:9abc:c000:1"


def test_the_range_of_rfc_8215_serves_as_well():
    made = node.node_prefix(node.parse_range("64:ff9b:1::/48"), address.parse_mac("02:00:00:00:00:01"))
    assert address.format_prefix6(made, 96) == "64:ff9b:1:200:0:1::/96"


@given(mac_bytes)
def test_two_nodes_share_no_prefix_and_a_node_is_in_its_range(mac):
    range16 = ip6("fddd:1337:1337::")
    made = node.node_prefix(range16, mac)
    assert made[6:12] == mac
    assert address.contains(range16, 48, made)


@given(mac_bytes)
def test_the_node_client_address_ends_in_the_modified_eui_64(mac):
    made = node.node_client_address(ip6("fec0::"), mac)
    assert made[:8] == ip6("fec0::")[:8]
    assert made[8:] == bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]


@pytest.mark.parametrize("text", ["01:00:5e:00:00:01", "33:33:00:00:00:01", "ff:ff:ff:ff:ff:ff"])
def test_a_multicast_mac_is_no_node_and_no_client(text):
    mac = address.parse_mac(text)
    for make in (node.node_prefix, node.node_client_address):
        with pytest.raises(ValueError, match=f"{text} is a multicast MAC"):
            make(ip6("fddd::"), mac)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("fddd:1337:1337::/64", "is a /64, expected a /48"),
        ("fddd:1337::/32", "is a /32, expected a /48"),
        ("fddd:1337:1337:1::/48", "has bits set behind its length, expected fddd:1337:1337::/48"),
        ("ff02::/48", "is a multicast prefix, expected a /48"),
        ("fe80::/48", "is link-local, which no router forwards, expected a /48"),
        ("febf:ffff::/48", "is link-local, which no router forwards, expected a /48"),
        ("::/48", "is where :: and ::1 are, which no router forwards, expected a /48"),
        ("fddd:1337:1337::", "is not an IPv6 prefix like"),
        ("10.0.0.0/8", "is not an IPv6 prefix like"),
    ],
)
def test_a_range_is_a_48(text, why):
    with pytest.raises(ValueError, match=why):
        node.parse_range(text)


def test_the_two_ranges_are_two():
    clat, plat = node.parse_range("fddd:1337:1337::/48"), node.parse_range("fddd:1337:1338::/48")
    node.check_ranges(clat, plat)
    with pytest.raises(ValueError, match="both fddd:1337:1337::/48"):
        node.check_ranges(clat, clat)


@pytest.mark.parametrize(
    ("pool", "clients", "why"),
    [
        ("10.126.7.9/32", "10.126.0.0/16", "overlaps the client range 10.126.0.0/16"),
        ("10.0.0.0/8", "10.126.0.0/16", "overlaps the client range"),
        ("127.0.0.1/32", "10.126.0.0/16", "overlaps 127.0.0.0/8"),
        ("224.0.0.9/32", "10.126.0.0/16", "overlaps 224.0.0.0/3"),
        ("192.0.0.0/29", "10.126.0.0/16", "overlaps 192.0.0.1/32"),
        ("10.23.0.9/32", "10.126.0.0/16", None),
        ("192.0.0.2/32", "10.126.0.0/16", None),
    ],
)
def test_a_pool_lies_outside_the_client_range_and_is_of_hosts(pool, clients, why):
    pool, clients = address.parse_prefix4(pool), address.parse_prefix4(clients)
    if why is None:
        node.check_pool(pool, clients)
    else:
        with pytest.raises(ValueError, match=why):
            node.check_pool(pool, clients)


# --- command line, on both interpreters -------------------------------------
