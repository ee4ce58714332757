# SPDX-License-Identifier: ISC
"""ICMPv6 errors for clients of another PLAT than the node's: what is made of them, and what is left alone."""

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3roamd_py.netfilter.xtables.errors import translate, without_source
from runtime.packets import icmpv6_checksum

CLIENT, PLAT, CURRENT, OTHER = (
    IPv6Address(text).packed for text in ("fddd:1::a7e:32", "fddd:2::c", "fddd:3::d", "fddd:4::e")
)
PLAT, CURRENT, OTHER = (each[:12] + bytes(4) for each in (PLAT, CURRENT, OTHER))
SERVER, ROUTER = bytes((198, 51, 100, 2)), bytes((192, 0, 2, 1))
MESH_ROUTER = IPv6Address("fd00:4::2").packed


def ipv6(source, destination, body, protocol=17):
    return b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes((protocol, 64)) + source + destination + body


def error(kind=3, source=PLAT[:12] + ROUTER, about=PLAT, client=CLIENT, body=b"payload"):
    quoted = ipv6(client, about[:12] + SERVER, body)
    message = bytearray(bytes((kind, 0)) + bytes(6) + quoted)
    message[2:4] = icmpv6_checksum(source + client, bytes(message)).to_bytes(2, "big")
    return ipv6(source, client, bytes(message), 58)


@pytest.mark.parametrize("kind", [1, 3])
@pytest.mark.parametrize("body", [b"", b"odd", b"even"])
def test_an_error_of_a_router_on_the_internet_stays_the_routers(kind, body):
    changed = translate(error(kind, body=body), PLAT, CURRENT)
    assert changed == error(kind, CURRENT[:12] + ROUTER, CURRENT, body=body)


def test_a_router_of_the_mesh_has_its_own_address():
    assert translate(error(source=MESH_ROUTER), PLAT, CURRENT) == error(source=MESH_ROUTER, about=CURRENT)


@pytest.mark.parametrize(
    "packet",
    [
        error(kind=2),  # Packet Too Big is NAT's
        error(kind=129),
        error(about=OTHER),
        error()[:-1],
        error()[:60],
        error()[:7],
        b"",
        error()[:6] + b"\0" + error()[7:],  # of an extension header
    ],
)
def test_what_is_no_such_error_is_left_alone(packet):
    assert translate(packet, PLAT, CURRENT) is None


def test_an_error_about_somebody_elses_packet_is_left_alone():
    packet = bytearray(error())
    packet[48 + 23] ^= 1
    assert translate(bytes(packet), PLAT, CURRENT) is None


def ipv4_error(source, kind=11, code=0, options=b""):
    quoted = b"\x45" + bytes(8) + b"\x11" + bytes(2) + CLIENT[12:] + SERVER + bytes(8)
    head = bytes((0x45 + len(options) // 4,)) + bytes(8) + b"\x01" + bytes(2) + source + CLIENT[12:] + options
    return head + bytes((kind, code)) + bytes(6) + quoted


def test_that_hops_were_too_few_no_destination_has_said():
    nobody = bytes((192, 0, 0, 8))
    assert without_source(ipv4_error(SERVER)) == ipv4_error(nobody)
    assert without_source(ipv4_error(SERVER, options=bytes(8))) == ipv4_error(nobody, options=bytes(8))
    assert without_source(ipv4_error(ROUTER)) is None
    assert without_source(ipv4_error(SERVER, kind=3)) is None
    assert without_source(ipv4_error(SERVER, code=1)) is None, (
        "fragments that did not come it may have missed"
    )


@given(st.binary(max_size=1400))
def test_no_packet_makes_it_fail(packet):
    assert translate(packet, PLAT, CURRENT) is None
    translate(error()[:48] + packet, PLAT, CURRENT)
    without_source(packet)
    without_source(ipv4_error(SERVER)[:28] + packet)


@given(st.binary(min_size=2, max_size=64).filter(lambda data: len(data) % 2 == 0))
def test_the_checksum_of_what_has_its_checksum_is_zero(data):
    addresses, body = bytes(32), b"\x03\0\0\0" + data
    whole = body[:2] + icmpv6_checksum(addresses, body).to_bytes(2, "big") + body[4:]
    assert icmpv6_checksum(addresses, whole) == 0
