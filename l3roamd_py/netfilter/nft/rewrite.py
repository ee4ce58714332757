# SPDX-License-Identifier: ISC
"""Expressions that put another address into an IPv6 packet, and into the one that an ICMPv6 error quotes. No I/O.

A quoted packet counts too: otherwise neither conntrack nor the translator would know whose it was, and path MTU
discovery would fail after a roam. Checksums follow: the transport's by the pseudo header, ICMPv6's by what is quoted.
"""

from l3roamd_py.netfilter.nft.expressions import (
    META_L4_PROTOCOL,
    NETWORK,
    TRANSPORT,
    compare,
    compare_range,
    immediate,
    load,
    meta,
    store,
    translate,
)
from l3roamd_py.netfilter.rules import PREFIX_BYTES

SOURCE, DESTINATION = 8, 24  # in an IPv6 header
QUOTED = 8  # where an ICMPv6 error's packet begins
ICMPV6_CHECKSUM = 2
ADDRESS_BYTES = 16

ICMPV6_ERROR = (
    meta(META_L4_PROTOCOL) + compare(b"\x3a") + load(TRANSPORT, 0, 1) + compare_range(b"\x01", b"\x04")
)


def swap(name: str, field: int) -> bytes:
    """Replace an address of a packet by what the map has for it."""
    return load(NETWORK, field, ADDRESS_BYTES) + translate(name) + store(NETWORK, field, ADDRESS_BYTES)


def swap_quoted(name: str, field: int) -> bytes:
    """Replace an address in the packet that an ICMPv6 error quotes."""
    at = QUOTED + field
    return (
        ICMPV6_ERROR
        + load(TRANSPORT, at, ADDRESS_BYTES)
        + translate(name)
        + store(TRANSPORT, at, ADDRESS_BYTES, ICMPV6_CHECKSUM)
    )


def put(field: int, prefix: bytes) -> bytes:
    """Replace the /96 of an address of a packet."""
    return immediate(prefix) + swap_prefix(field)


def put_quoted(field: int, prefix: bytes) -> bytes:
    """Replace the /96 of an address in the packet that an ICMPv6 error quotes."""
    return immediate(prefix) + swap_prefix_quoted(field)


def swap_prefix(field: int) -> bytes:
    """Replace the /96 of an address of a packet by what the register begins with."""
    return store(NETWORK, field, PREFIX_BYTES)


def swap_prefix_quoted(field: int) -> bytes:
    """The same in the packet that an ICMPv6 error quotes."""
    return store(TRANSPORT, QUOTED + field, PREFIX_BYTES, ICMPV6_CHECKSUM)
