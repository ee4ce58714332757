# SPDX-License-Identifier: ISC
"""The programs by which the kernel sorts out what is not for us: run by the kernel, on a socket of our own."""

import contextlib
import socket
import struct

import pytest
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from l3roamd_py.core.wire import NEWEST
from l3roamd_py.kernel.finder import SIGNS_ONLY
from l3roamd_py.kernel.ndp import LEAST_BYTES, ONLY_DISCOVERY
from l3roamd_py.kernel.node_routes import NODES_ONLY
from l3roamd_py.kernel.udp import GARBAGE
from runtime.packets import attach_filter

MAC = "02:aa:00:00:00:09"
NEW_LINK, DEL_LINK, NEW_ADDRESS, NEW_ROUTE, NEW_NEIGHBOUR, DEL_NEIGHBOUR = 16, 17, 20, 24, 28, 29
STATES = {
    "incomplete": 1,
    "reachable": 2,
    "stale": 4,
    "delay": 8,
    "probe": 16,
    "failed": 32,
    "noarp": 64,
    "permanent": 128,
}


def what_passes(program, sent):
    """What of a message comes by a filter, None if nothing does. The kernel says it."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        attach_filter(other, program)
        other.setblocking(False)
        one.send(sent)
        with contextlib.suppress(BlockingIOError):
            return other.recv(65536)
    return None


def netlink(form, kind, attributes=(), **fields):
    message = form()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = list(attributes)
    message["header"]["type"] = kind
    message.encode()
    return bytes(message.data)


def neighbour(kind, family, state, *more, asked_by=0):
    address = {socket.AF_INET: "10.46.3.4", socket.AF_INET6: "2001:db8:5::9"}.get(family)
    about = [("NDA_LLADDR", MAC)] + ([("NDA_DST", address)] if address else [])
    sent = netlink(ndmsg, kind, [*about, *more], family=family, ifindex=7, state=STATES[state])
    return sent[:12] + struct.pack("=I", asked_by) + sent[16:]


@pytest.mark.parametrize("kind", [NEW_NEIGHBOUR, DEL_NEIGHBOUR])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_of_neighbours_only_what_is_a_sign_of_them_comes_to_us(kind, state, family):
    """That the kernel has no use for one any more says nothing of it."""
    sent = neighbour(kind, family, state)
    passes = kind == NEW_NEIGHBOUR and state in ("reachable", "failed")
    assert what_passes(SIGNS_ONLY, sent) == (sent if passes else None)


OURS = ("NDA_PROTOCOL", 158)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("asked_by", [0, 4711])
def test_of_neighbours_that_are_ours_comes_too_what_no_program_has_said(state, asked_by):
    """Somebody may have told the kernel that it is another MAC's."""
    sent = neighbour(NEW_NEIGHBOUR, socket.AF_INET6, state, OURS, asked_by=asked_by)
    passes = state in ("reachable", "failed") or (state == "stale" and not asked_by)
    assert what_passes(SIGNS_ONLY, sent) == (sent if passes else None)


@pytest.mark.parametrize("kind", [NEW_NEIGHBOUR, DEL_NEIGHBOUR])
@pytest.mark.parametrize("state", STATES)
def test_of_bridges_all_comes_to_us(kind, state):
    sent = neighbour(kind, socket.AF_BRIDGE, state)
    assert what_passes(SIGNS_ONLY, sent) == sent


@pytest.mark.parametrize("kind", [NEW_LINK, DEL_LINK, NEW_ADDRESS])
@pytest.mark.parametrize("family", [0, socket.AF_INET, socket.AF_INET6, socket.AF_BRIDGE])
def test_of_devices_and_addresses_all_comes_to_us(kind, family):
    sent = struct.pack("=IHHII", 36, kind, 0, 0, 0) + bytes((family,)) + bytes(19)
    assert what_passes(SIGNS_ONLY, sent) == sent


@pytest.mark.parametrize("length", [0, 48, 64, 95, 96, 97, 128])
@pytest.mark.parametrize("kind", [NEW_ROUTE, NEW_ROUTE + 1])
def test_of_routes_only_those_to_a_node_come_to_us(kind, length):
    sent = netlink(rtmsg, kind, [("RTA_DST", "fddd:1337::")], family=socket.AF_INET6, dst_len=length)
    assert what_passes(NODES_ONLY, sent) == (sent if length == 96 else None)


def icmpv6(kind, hop_limit=255, protocol=58, body=bytes(20)):
    header = struct.pack("!IHBB16s16s", 6 << 28, 4 + len(body), protocol, hop_limit, bytes(16), bytes(16))
    return header + bytes((kind, 0, 0, 0)) + body


OPTION = b"\1\1" + bytes(6)
ROUTER_SOLICITATION, ADVERTISED_ROUTER, SOLICITATION, ADVERTISEMENT, REDIRECT, ECHO = (
    133,
    134,
    135,
    136,
    137,
    128,
)
DHCPV6 = icmpv6(2, protocol=17, body=struct.pack("!HHHH", 546, 547, 8, 0) + bytes(16))


@pytest.mark.parametrize(
    ("packet", "passes"),
    [
        (icmpv6(SOLICITATION), True),
        (icmpv6(SOLICITATION, body=bytes(20) + OPTION), True),
        (icmpv6(ADVERTISEMENT), True),
        (icmpv6(ADVERTISEMENT, body=bytes(20) + OPTION + bytes(1200)), True),
        (icmpv6(ROUTER_SOLICITATION), False),
        (icmpv6(ADVERTISED_ROUTER), False),
        (icmpv6(REDIRECT), False),
        (icmpv6(ECHO), False),
        (icmpv6(SOLICITATION, hop_limit=254), False),  # from beyond a router
        (icmpv6(SOLICITATION, protocol=17), False),
        (DHCPV6, False),
        (icmpv6(SOLICITATION)[:40], False),
        (icmpv6(SOLICITATION)[:8], False),
        (b"\x60", False),
    ],
)
def test_of_ipv6_packets_only_neighbour_discovery_comes_to_us(packet, passes):
    assert what_passes(ONLY_DISCOVERY, packet) == (packet[:LEAST_BYTES] if passes else None)


UDP = bytes(8)  # where the filter of a UDP socket begins


@pytest.mark.parametrize(
    "body",
    [
        bytes((version, 1, kind)) + bytes(size - 3)
        for version in (0, 1, 255)
        for kind in (0, NEWEST, NEWEST + 1, 255)
        for size in (23, 24, 600)
    ],
)
def test_of_datagrams_only_what_can_be_a_message_comes_to_us(body):
    passes = body[0] == 0 and body[2] <= NEWEST and len(body) >= 24
    assert what_passes(GARBAGE, UDP + body) == (UDP + body if passes else None)


@pytest.mark.parametrize("program", [SIGNS_ONLY, NODES_ONLY, ONLY_DISCOVERY])
def test_what_is_cut_off_is_no_message(program):
    """The kernel drops what a program reads beyond the end of."""
    whole = neighbour(NEW_NEIGHBOUR, socket.AF_INET6, "reachable")
    for end in (1, 4, 5, 8, 16):
        assert what_passes(program, whole[:end]) is None, end
