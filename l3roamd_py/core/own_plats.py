# SPDX-License-Identifier: ISC
"""The PLATs of clients that translate themselves: to pref64, which stands for one of them at each node. No I/O.

It is the node's, for most; None says so. Connections live at a PLAT, so a client keeps the one that it began with when
the node's becomes another, and takes it along when it walks. Its addresses are in the kernel's map then. A packet that
goes to another PLAT may end its connection: what a client sends waits for INFO, if that comes soon. Who tells of a PLAT
may not have noticed that it is gone: one that prefixd here calls lost is not used, and of any other the route is looked
for.
"""

from l3roamd_py.core.actions import CheckPlat, LeavePlat, UsePlats
from l3roamd_py.core.client import Claiming, Client, former_of
from l3roamd_py.core.node import Node
from xlat464.address import contains, mask
from xlat464.node import NODE_LENGTH, RANGE_LENGTH


def use(node: Node, client: Client, plat: bytes | None) -> None:
    """Have what a client has translated itself go to this PLAT, None for the node's."""
    before, plat = client.own_plat, None if plat == node.current else plat
    if plat == before or plat in node.lost_plats:
        return
    if before is not None:
        node.do(*[LeavePlat(address, before) for address in client.addresses])
    client.own_plat = plat
    if plat is not None:
        if client.addresses:
            node.do(UsePlats(tuple(client.addresses), plat))
        node.do(CheckPlat(plat))


def is_undecided(node: Node, client: Client) -> bool:
    """Return whether its packets wait, IPv6 though they are: INFO may be about to say where they go."""
    claim = client.search.claim
    if node.options.pref64 is None or claim is None or not isinstance(client.state, Claiming):
        return False
    until_s = claim.started_s + node.options.own_plat_wait_s
    if client.search.answered_by is not None or node.now_s >= until_s:
        return False
    node.timers.set((decide, client.mac), until_s)
    return True


def decide(node: Node, mac: bytes) -> None:
    """Nobody has said it in time: a newcomer, or one whose connections have ended."""
    client = node.clients.get(mac)
    if client is not None and client.presence.is_proven:
        node.route_addresses(client)


def keep(node: Node, plat: bytes) -> None:
    """The node's PLAT will be another one: whose it is stays with it."""
    kept: list[bytes] = []
    for client in node.clients.values():
        if client.own_plat is None:
            client.own_plat = plat
            kept += client.addresses
    if kept:
        node.do(UsePlats(tuple(kept), plat))


def lose(node: Node, plat: bytes) -> None:
    """It is gone, and the kernel's map forgets it as a whole."""
    for client in node.clients.values():
        if client.own_plat == plat:
            client.own_plat = None
        former = former_of(client)
        if former is not None and former.own_plat == plat:
            former.own_plat = None
    for mac in node.departed:
        if node.departed[mac].own_plat == plat:
            node.departed[mac].own_plat = None


def follow(node: Node, client: Client, plat: bytes | None) -> None:
    """Go on as INFO says: before the client's addresses are let in, for a packet at another PLAT ends a connection."""
    if node.options.pref64 is None or plat is None:
        return None
    if not contains(node.options.plat_range, RANGE_LENGTH, plat) or mask(plat, NODE_LENGTH) != plat:
        return node.count("infos_bad_plat")
    return use(node, client, plat)
