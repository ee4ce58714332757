# SPDX-License-Identifier: ISC
"""Which flows an exit's rules would have made otherwise, and what is read of ctnetlink's messages."""

import struct
from ipaddress import ip_address

import pytest

from runtime.netlink import attributes
from xlat464 import flows

PREFIX = ip_address("fddd:1337:1338:200:0:b2::").packed
PLAT = "fddd:1337:1338:200:0:b2:"
POOL = (bytes((192, 0, 2, 8)), 30)
CLIENT = "fddd:1337:1337:200:0:c1:a7e:32"

CASES = [  # source, destination, reply's destination, whether it is cleared, with NAT66 and without
    (CLIENT, PLAT + "c633:6402", PLAT + "c000:208", False, False),
    (CLIENT, PLAT + "c633:6402", PLAT + "c000:20b", False, False),
    (CLIENT, PLAT + "c633:6402", CLIENT, True, False),
    (CLIENT, PLAT + "c633:6402", PLAT + "c000:20c", True, False),  # an earlier pool's
    ("fddd:1337:1337:200:0:c1:c000:1", PLAT + "c000:1", "fddd:1337:1337:200:0:c1:c000:1", False, False),
    (PLAT + "c633:6402", "fd00::1", PLAT + "c633:6402", True, False),  # nobody begins out of the device
    (PLAT + "c000:1", CLIENT, PLAT + "c000:1", False, False),  # the node itself
    ("fd00::1", "fd00::2", "fd00::1", False, False),  # not ours
    (CLIENT, "fddd:1337:1338:200:0:b3:c633:6402", CLIENT, False, False),  # another exit's
    ("192.0.2.9", "198.51.100.2", "203.0.113.1", False, False),
    ("192.0.2.9", "198.51.100.2", "192.0.2.9", True, True),
    ("198.51.100.2", "192.0.2.9", "198.51.100.2", True, True),
    ("192.168.1.5", "198.51.100.2", "203.0.113.1", False, False),  # the owner's own
    ("192.0.2.12", "198.51.100.2", "192.0.2.12", False, False),
]


@pytest.mark.parametrize(("source", "destination", "answered", "with_nat66", "without"), CASES)
def test_only_what_was_decided_otherwise_is_cleared(source, destination, answered, with_nat66, without):
    flow = tuple(ip_address(each).packed for each in (source, destination, destination, answered))
    assert flows.is_stale(flow, PREFIX, POOL, True) == with_nat66
    assert flows.is_stale(flow, PREFIX, POOL, False) == without


def attribute(kind, value, nested=0):
    return struct.pack("HH", 4 + len(value), kind | nested) + value + bytes(-len(value) % 4)


def of_tuple(kind, source, destination):
    first = 1 if len(source) == 4 else 3
    inside = attribute(1, attribute(first, source) + attribute(first + 1, destination), 0x8000)
    return attribute(kind, inside + attribute(2, attribute(1, b"\x11"), 0x8000), 0x8000)


def listed(source, destination, *more):
    return of_tuple(1, source, destination) + of_tuple(2, destination, source) + b"".join(more)


def test_a_listed_flow_is_named_by_tuple_zone_and_identity():
    source, destination = ip_address("fd00::1").packed, ip_address("fd00::2").packed
    zone, identity = attribute(18, b"\0\7"), attribute(12, b"\1\2\3\4")
    data = listed(source, destination, attribute(3, bytes(4)), identity, zone)
    flow, name = flows.read_flow(attributes(data))
    assert flow == (source, destination, destination, source)
    assert name == of_tuple(1, source, destination) + zone + identity


def test_what_is_cut_short_is_no_flow_and_no_error():
    source, destination = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))
    data = listed(source, destination)
    whole = flows.read_flow(attributes(data))
    for end in range(len(data)):
        assert flows.read_flow(attributes(data[:end])) in (None, whole)


def test_micropython_reads_the_same(micropython):
    data = listed(bytes((192, 0, 2, 9)), bytes((198, 51, 100, 2)))
    flow = (bytes((192, 0, 2, 9)), bytes(4), bytes(4), bytes((192, 0, 2, 9)))
    calls = [
        f"flows.read_flow(flows.attributes({data!r}))[1]",
        f"flows.is_stale({flow!r}, {PREFIX!r}, {POOL!r}, True)",
        "flows.request(0x102, 4, 10, b'abcd')",
    ]
    for call, answer in zip(calls, micropython.each(["from xlat464 import flows"], calls), strict=True):
        expected = eval(call, {"flows": flows})
        assert answer == expected
