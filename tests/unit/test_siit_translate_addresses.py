# SPDX-License-Identifier: ISC
"""Addresses and rules, RFC 6052 and RFC 7757: what is embedded, which pair wins, what is turned back."""

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6TimeExceeded,
    IPv6,
)
from siit_world import check, one, one_table_relay, refused, relay, side, v4, v6
from test_siit_translate_headers import OUT, SERVER4, SERVER6

from siit import translator

EMBEDDED = {
    "2001:db8::/32": "2001:db8:c000:221::",
    "2001:db8:100::/40": "2001:db8:1c0:2:21::",
    "2001:db8:122::/48": "2001:db8:122:c000:2:2100::",
    "2001:db8:122:300::/56": "2001:db8:122:3c0:0:221::",
    "2001:db8:122:344::/64": "2001:db8:122:344:c0:2:2100::",
    "2001:db8:122:344::/96": "2001:db8:122:344::192.0.2.33",
}


@pytest.mark.parametrize("prefix", EMBEDDED)
def test_addresses_are_embedded_as_in_rfc_6052(prefix):
    rules = translator.Map([(side("0.0.0.0/0", prefix), side("0.0.0.0/0", "fddd:2::/96"))])
    there = one(rules, IP(src="192.0.2.33", dst=SERVER4) / UDP())
    assert there[8:24] == v6(EMBEDDED[prefix])
    back = one(rules, IPv6(src=SERVER6, dst=EMBEDDED[prefix]) / UDP())
    assert back[16:20] == v4("192.0.2.33")


def test_bits_64_to_71_and_the_suffix_are_ignored_on_the_way_back():
    rules = translator.Map([(side("0.0.0.0/0", "2001:db8:100::/40"), side("0.0.0.0/0", "fddd:2::/96"))])
    assert one(rules, IPv6(src=SERVER6, dst="2001:db8:1c0:2:ff21:1:2:3") / UDP())[16:20] == v4("192.0.2.33")


def test_the_longest_prefix_wins_and_a_tie_goes_to_the_pair_of_the_source():
    wide, narrow = side("0.0.0.0/0", "fddd:2::/96"), side("198.51.100.0/24", "fddd:3::/96")
    first = (side("10.0.0.0/8", "fddd:1::/96"), wide)
    second = (side("10.1.0.0/16", "fddd:4::/96"), side("0.0.0.0/0", "fddd:5::/96"))
    rules = translator.Map([first, second, (translator.NOTHING, narrow)])
    destination = {"198.51.100.7": "fddd:3::c633:6407", "8.8.8.8": "fddd:5::808:808"}
    for address4, address6 in destination.items():
        result = IPv6(one(rules, IP(src="10.1.2.3", dst=address4) / UDP()))
        assert (result.src, result.dst) == ("fddd:4::a01:203", address6)
    assert IPv6(one(rules, IP(src="10.2.2.3", dst="8.8.8.8") / UDP())).dst == "fddd:2::808:808"


def test_a_pair_of_single_addresses_goes_before_a_prefix():
    result = check(one(relay(), IP(src="203.0.113.5", dst="192.0.2.1") / UDP() / b"q"))
    assert (result.src, result.dst) == ("64:ff9b::cb00:7105", "2001:db8:1::1")
    result = check(one(relay(), IPv6(src="2001:db8:1::1", dst="64:ff9b::203.0.113.5") / UDP() / b"a"))
    assert (result.src, result.dst) == ("192.0.2.1", "203.0.113.5")


@pytest.mark.parametrize("rules", [relay(), one_table_relay()], ids=["two tables", "one table"])
def test_a_packet_between_two_servers_is_turned_back(rules):
    packet = IPv6(src="2001:db8:1::1", dst="64:ff9b::192.0.2.2", hlim=9, tc=3) / TCP() / b"hairpin"
    result = check(one(rules, packet))
    assert (result.version, result.src, result.dst) == (6, "64:ff9b::c000:201", "2001:db8:2::2")
    assert (result.hlim, result.tc) == (8, 3)


@pytest.mark.parametrize("rules", [relay(), one_table_relay()], ids=["two tables", "one table"])
def test_an_error_about_a_packet_that_was_turned_back_is_turned_back_too(rules):
    quoted = IPv6(src="64:ff9b::192.0.2.1", dst="2001:db8:2::2", hlim=8) / UDP(sport=1, dport=2) / b"hairpin"
    error = IPv6(src="2001:db8:2::2", dst="64:ff9b::192.0.2.1") / ICMPv6DestUnreach(code=4) / quoted
    result = check(one(rules, error))
    assert (result.src, result.dst) == ("64:ff9b::c000:202", "2001:db8:1::1")
    inner = IPv6(bytes(result[ICMPv6DestUnreach].payload))
    assert (inner.src, inner.dst, inner.hlim) == ("2001:db8:1::1", "64:ff9b::c000:202", 8)
    check(bytes(inner))


@pytest.mark.parametrize("rules", [relay(), one_table_relay()], ids=["two tables", "one table"])
def test_an_error_from_a_router_on_the_way_of_a_hairpin_has_the_routers_pair(rules):
    quoted = IPv6(src="64:ff9b::192.0.2.1", dst="2001:db8:2::2", hlim=8) / UDP(sport=1, dport=2) / b"hairpin"
    error = IPv6(src="2001:db8:ffff::1", dst="64:ff9b::192.0.2.1") / ICMPv6TimeExceeded() / quoted
    result = check(one(rules, error))
    assert (result.src, result.dst) == ("64:ff9b::c000:8", "2001:db8:1::1")


@pytest.mark.parametrize("sender", [1, 2])
def test_an_error_of_a_third_server_keeps_its_one_to_one_address(sender):
    # RFC 7757 section 4.2: only the original destination hides behind the address that was written to
    quoted = IPv6(src="64:ff9b::192.0.2.1", dst="2001:db8:2::2") / UDP(sport=1, dport=2) / b"hairpin"
    error = IPv6(src=f"2001:db8:{sender}::{sender}", dst="64:ff9b::192.0.2.1") / ICMPv6TimeExceeded() / quoted
    result = IPv6(one(one_table_relay(), error))
    assert result.src == {1: "2001:db8:1::1", 2: "64:ff9b::c000:202"}[sender]


def test_a_tie_goes_to_the_pair_of_the_source_on_the_way_back_too():
    pairs = [(side(f"10.0.0.{i}/32", "fddd:1::1/128"), side("0.0.0.0/0", f"fddd:{i}::/96")) for i in (7, 8)]
    for i in (7, 8):
        result = IP(one(translator.Map(pairs), IPv6(src=f"fddd:{i}::c633:6407", dst="fddd:1::1") / UDP()))
        assert (result.src, result.dst) == (SERVER4, f"10.0.0.{i}")


def test_other_lengths_without_style_map_nothing():
    rules = translator.Map(
        [(translator.Side(False, v4("10.0.0.0"), 8, v6("fddd:1::"), 104), side("0.0.0.0/0", "fddd:2::/96"))]
    )
    refused(rules, IP(**OUT) / UDP(), "no-rule-source")


def test_without_a_prefix_an_error_of_ours_comes_from_the_destination():
    rules = translator.Map([(side("10.0.0.1/32", "fddd:1::1/128"), side("10.0.0.2/32", "fddd:1::2/128"))])
    error = refused(rules, IPv6(src="fddd:1::2", dst="fddd:1::1", hlim=1) / UDP(), "ttl-exceeded")
    assert (error.src, error.dst) == ("fddd:1::1", "fddd:1::2")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: translator.Side(True, bytes(4), 0, bytes(16), 95),
        lambda: translator.Side(True, bytes(4), 33, bytes(16), 96),
        lambda: translator.Side(False, bytes(3), 0, bytes(16), 96),
        lambda: translator.Map([], icmp_v4=bytes(5)),
        lambda: translator.Map([], mtu6=-1),
    ],
)
def test_rules_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=r"\d"):
        wrong()
