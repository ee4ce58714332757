# SPDX-License-Identifier: ISC
"""Clear the flows that connection tracking decided while an exit's rules were not there, over ctnetlink.

The kernel asks rules about a flow's first packet only. What began without NAT goes on without it for as long as it is
heard of. So whoever sets an exit's rules up clears what was decided otherwise, and nothing else. (Layout:
linux/netfilter/nfnetlink_conntrack.h.) No program for that is needed, which routers do not have.
"""

from runtime.netlink import DUMP, NESTED, attribute, attributes, message
from runtime.netlink_socket import CHUNK, NETFILTER, NetlinkSocket
from xlat464.address import contains, parse_prefix4, parse_prefix6
from xlat464.node import MANAGEMENT_IPV4
from xlat464.rfc6052 import embed

INET, INET6 = 2, 10
GET, DELETE = 0x101, 0x102  # IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE of NFNL_SUBSYS_CTNETLINK
ORIGINAL, REPLY, IDENTITY, ZONE = 1, 2, 12, 18  # attributes of a flow
ADDRESSES = 1  # of a tuple; in it source and destination: 1 and 2 of IPv4, 3 and 4 of IPv6
FAMILY_BYTES = 4  # of nfgenmsg, before the attributes
ENOENT = 2


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


def is_of_another(flow, pref64, plat):
    """Return whether a flow of a host that translates itself goes to another PLAT than this one. Prefixes: 16 bytes."""
    _, destination, answering, _ = flow
    return len(destination) == 16 and contains(pref64, 96, destination) and not contains(plat, 96, answering)


def addresses(value):
    """Return (source, destination) of a tuple, None for one without."""
    inside = attributes(attributes(value).get(ADDRESSES, b""))
    for first in (3, 1):
        if first in inside and first + 1 in inside:
            return inside[first], inside[first + 1]
    return None


def read_flow(parts):
    """Return (flow, what names it to the kernel) of a flow's attributes, None for what is no flow."""
    asked, answered = addresses(parts.get(ORIGINAL, b"")), addresses(parts.get(REPLY, b""))
    if asked is None or answered is None:
        return None
    name = attribute(ORIGINAL | NESTED, parts[ORIGINAL])
    for kind in (ZONE, IDENTITY):
        if kind in parts:
            name += attribute(kind, parts[kind])
    return asked + answered, name


def request(kind, flags, family, name=b""):
    return message(kind, flags, bytes((family, 0, 0, 0)) + name)


def clear(family, is_wanted, read=read_flow):
    """Delete flows of a family, while they are listed: a router's memory has no room for the list. Raises OSError.

    read: what makes a flow and its name of attributes, or None. Returns how many were deleted.
    """
    asking, deleting = NetlinkSocket(NETFILTER, FAMILY_BYTES), NetlinkSocket(NETFILTER, FAMILY_BYTES)
    cleared, deletions = 0, []
    try:
        for body in asking.dump(request(GET, DUMP, family)):
            flow = read(attributes(body))
            if flow and is_wanted(flow[0]):
                deletions.append(request(DELETE, 0, family, flow[1]))
            if len(deletions) == CHUNK:
                cleared += delete(deleting, deletions)
                deletions = []
        return cleared + delete(deleting, deletions)
    finally:
        asking.close()
        deleting.close()


def delete(deleting, deletions):
    """Delete flows, return how many there were; one that ended meanwhile is as good. Raises OSError."""
    failed = deleting.failures(deletions)
    for code in failed.values():
        if code != ENOENT:
            raise OSError(code)
    return len(deletions) - len(failed)


def forget_flows(prefix_text, pool_text, engine=""):
    """clear the flows of a PLAT that its rules would not have made so; how many there were"""
    prefix, pool = parse_prefix6(prefix_text)[0], parse_prefix4(pool_text)
    cleared = 0
    try:
        for family in (INET6, INET):
            cleared += clear(family, lambda flow: is_stale(flow, prefix, pool, engine != "jool"))
    except OSError as error:
        raise ValueError("cannot clear flows (%s): is the module nf_conntrack_netlink there?" % error)  # noqa: B904
    return "%d" % cleared


def forget_hosts(pref64_text, plat_text):
    """clear the flows of hosts that translate themselves that do not go to a PLAT; how many there were"""
    pref64, plat = parse_prefix6(pref64_text)[0], parse_prefix6(plat_text)[0]
    try:
        return "%d" % clear(INET6, lambda flow: is_of_another(flow, pref64, plat))
    except OSError as error:
        raise ValueError("cannot clear flows (%s): is the module nf_conntrack_netlink there?" % error)  # noqa: B904
