# SPDX-License-Identifier: ISC
"""Clear the flows that connection tracking decided while an exit's rules were not there, over ctnetlink.

The kernel asks rules about a flow's first packet only: what began without NAT goes on without it for as long as it is
heard of. So whoever sets an exit's rules up clears what was decided otherwise, and nothing else. (Layout:
linux/netfilter/nfnetlink_conntrack.h.) No program for that is needed, which routers do not have.
"""

import socket
import struct

from xlat464.address import contains, parse_prefix4, parse_prefix6
from xlat464.node import MANAGEMENT_IPV4
from xlat464.rfc6052 import embed

AF_NETLINK, NETLINK_NETFILTER = 16, 12
INET, INET6 = 2, 10
GET, DELETE = 0x101, 0x102  # IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE of NFNL_SUBSYS_CTNETLINK
REQUEST, ACK, DUMP = 1, 4, 0x300
ERROR, DONE = 2, 3
ORIGINAL, REPLY, IDENTITY, ZONE = 1, 2, 12, 18  # attributes of a flow
ADDRESSES = 1  # of a tuple; in it source and destination: 1 and 2 of IPv4, 3 and 4 of IPv6
HEADER = "IHHII"
HEADER_BYTES = 16
READ_BYTES = 8192  # as much as the kernel puts into one answer of a list
WAIT_S = 5


def is_stale(flow, prefix, pool, has_nat66):
    """Return whether an exit's rules would not have made this flow so.

    flow: (source, destination, reply's source, reply's destination) as packed addresses; prefix: the PLAT's /96, 16
    bytes; pool: (4 bytes, length).
    """
    source, destination, _, answered = flow
    address, length = pool
    if len(source) == 4:
        # nobody begins to speak to the pool, and what comes from it gets the WAN's address
        return contains(address, length, destination) or (
            contains(address, length, source) and contains(address, length, answered)
        )
    if not has_nat66:
        return False
    node_itself = embed(prefix, 96, MANAGEMENT_IPV4)
    if contains(prefix, 96, destination):
        return destination != node_itself and not contains(embed(prefix, 96, address), 96 + length, answered)
    return contains(prefix, 96, source) and source != node_itself


def attributes(data, at, end):
    """Return {type: (begin, end of the value)} of the attributes between two offsets."""
    found = {}
    while at + 4 <= end:
        length, kind = struct.unpack_from("HH", data, at)
        if length < 4 or at + length > end:
            break
        found[kind & 0x3FFF] = at + 4, at + length
        at += (length + 3) & ~3
    return found


def addresses(data, where):
    """Return (source, destination) of a tuple, None for one without."""
    inside = attributes(data, *where)
    inside = attributes(data, *inside[ADDRESSES]) if ADDRESSES in inside else {}
    for first in (3, 1):
        if first in inside and first + 1 in inside:
            return tuple([data[begin:end] for begin, end in (inside[first], inside[first + 1])])
    return None


def read_flow(data, at, end):
    """Return (flow, what names it to the kernel) of a message's attributes, None for what is no flow."""
    inside = attributes(data, at, end)
    if ORIGINAL not in inside or REPLY not in inside:
        return None
    asked, answered = addresses(data, inside[ORIGINAL]), addresses(data, inside[REPLY])
    if asked is None or answered is None:
        return None
    name = b"".join(
        [
            padded(data[begin - 4 : end])
            for begin, end in [inside[k] for k in (ORIGINAL, ZONE, IDENTITY) if k in inside]
        ]
    )
    return asked + answered, name


def padded(data):
    return data + bytes(-len(data) % 4)


def request(kind, flags, family, payload=b"", number=1):
    """Return one message of nfnetlink."""
    header = struct.pack(HEADER, HEADER_BYTES + 4 + len(payload), kind, flags, number, 0)
    return header + bytes((family, 0, 0, 0)) + payload


def messages(data):
    """Yield (type, begin, end of what is behind the header) of what the kernel sent."""
    at = 0
    while at + HEADER_BYTES <= len(data):
        length, kind, _, _, _ = struct.unpack_from(HEADER, data, at)
        if length < HEADER_BYTES:
            return
        yield kind, at + HEADER_BYTES, at + length
        at += (length + 3) & ~3


def answers(asking, wanted):
    """Yield the types and offsets of each answer with its data, until so many have ended: in an error, or as a list."""
    while wanted > 0:
        data = asking.recv(READ_BYTES)
        found = list(messages(data))
        wanted -= len([1 for kind, _, _ in found if kind in (ERROR, DONE)])
        yield data, found


def clear(asking, deleting, family, is_wanted, read=read_flow):
    """Delete the flows of a family (while they are listed: a router's memory has no room for the list)."""
    cleared = 0
    asking.send(request(GET, REQUEST | DUMP, family))
    for data, found in answers(asking, 1):
        names = []
        for kind, begin, end in found:
            if kind == ERROR and struct.unpack_from("i", data, begin)[0]:
                raise OSError(-struct.unpack_from("i", data, begin)[0])
            flow = read(data, begin + 4, end) if kind == GET - 1 else None
            if flow and is_wanted(flow[0]):
                names.append(flow[1])
        if names:
            deleting.send(b"".join([request(DELETE, REQUEST | ACK, family, name) for name in names]))
            for _ in answers(deleting, len(names)):
                pass  # one that ended meanwhile is an error, and as good
        cleared += len(names)
    return cleared


def forget_flows(prefix_text, pool_text, engine=""):
    """clear the flows of a PLAT that its rules would not have made so; how many there were"""
    prefix, pool = parse_prefix6(prefix_text)[0], parse_prefix4(pool_text)
    sockets = [socket.socket(AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) for _ in range(2)]
    try:
        cleared = 0
        for each in sockets:
            each.settimeout(WAIT_S)
        for family in (INET6, INET):
            cleared += clear(
                sockets[0], sockets[1], family, lambda flow: is_stale(flow, prefix, pool, engine != "jool")
            )
    except OSError as error:
        raise ValueError("cannot clear flows (%s): is the module nf_conntrack_netlink there?" % error)  # noqa: B904
    finally:
        for each in sockets:
            each.close()
    return "%d" % cleared
