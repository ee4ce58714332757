# SPDX-License-Identifier: ISC
"""Which PLATs are there: what clients use and is not is left. No I/O.

    prefixd names it lost, or says del_platprefix    it is left at once
    prefixd names it usable                          it stays
    prefixd does not know it, or is not there        it stays while the kernel has a route: a client may have come
                                                     with a PLAT that is too far, or one too many, for prefixd here
A client keeps the PLAT that it began with when another is chosen, for its connections live there. When its PLAT is left
it moves to the current one: its connections are lost anyhow.
"""

from l3roamd_py.core import own_plats, partners, wire
from l3roamd_py.core.actions import CheckPlat, DropPlat, SetCurrentPlat
from l3roamd_py.core.addresses import start_afresh
from l3roamd_py.core.client import NOWHERE, Roaming
from l3roamd_py.core.node import Node, node_of
from l3roamd_py.core.requests import store_proof
from l3roamd_py.core.service import new_served

LOST_MAX = 256  # as many as prefixd tells of


def choose_plat(node: Node, prefix: bytes, lost: bytes | None = None) -> None:
    if node.options.pref64 is not None and node.current not in (None, prefix, lost):
        own_plats.keep(node, node.current)
    node.current = prefix
    node.lost_plats.discard(prefix)
    node.do(SetCurrentPlat(prefix))
    node.changes += 1
    _ask_for_proof(node, prefix)
    partners.ask_all(node)
    _move(node, NOWHERE)
    if lost not in (None, prefix):
        lose_plat(node, lost)


def _ask_for_proof(node: Node, plat: bytes) -> None:
    """Have the proof before the first roam needs it. Once: the PLAT gives it to a ROAM without one as well."""
    if node.options.clat is not None:
        node.proof_nonce = node.make_nonce()
        request = wire.TokenRequest(wire.Lease(node.address, plat, node.options.max_lease_s))
        node.send(node_of(plat), node.encode(request, node.proof_nonce))


def accept_proof(node: Node, grant: wire.TokenGrant) -> bool:
    """Take the proof that our CLAT prefix is ours, if this is the one that we asked for."""
    if grant.lease.home != node.address or grant.nonce != node.proof_nonce or grant.reason != wire.OK:
        return False
    node.proof_nonce = None
    store_proof(node, grant.lease)
    return True


def lose_plat(node: Node, prefix: bytes) -> None:
    """prefixd says so."""
    if len(node.lost_plats) >= LOST_MAX:
        node.lost_plats.clear()  # prefixd says again which are lost
    node.lost_plats.add(prefix)
    _leave(node, prefix)


def _leave(node: Node, prefix: bytes) -> None:
    node.unrouted_plats.pop(prefix, None)
    node.timers.cancel((check_plat, prefix))
    if node.current == prefix:
        node.current = None
        node.do(SetCurrentPlat(None))
    own_plats.lose(node, prefix)
    _move(node, prefix)
    node.do(DropPlat(prefix))
    node.changes += 1


def _move(node: Node, prefix: bytes) -> None:
    """Bring the clients of a PLAT to the current one, with their requests for tokens one after the other."""
    delay_s = 0.0
    for client in list(node.clients.values()):
        if client.lease is not None and client.lease.plat == prefix:
            if isinstance(client.state, Roaming):
                client.state = new_served(node)
            start_afresh(node, client, delay_s)
            node.touch(client.mac)
            delay_s += node.options.token_pace_s


def compare_plats(node: Node, usable: frozenset[bytes], lost: frozenset[bytes]) -> None:
    """This is how it is, whatever was said, or lost, before."""
    node.lost_plats = set(list(lost)[:LOST_MAX])
    for prefix in _used(node):
        if prefix in lost:
            lose_plat(node, prefix)
        elif prefix not in usable:
            node.do(CheckPlat(prefix))


def _used(node: Node) -> list[bytes]:
    """The PLATs that clients use, and the one for those to come, which is the last."""
    found = {client.lease.plat for client in node.clients.values() if client.lease is not None}
    found |= {client.own_plat for client in node.clients.values() if client.own_plat is not None}
    return sorted(found - {NOWHERE, node.current}) + ([] if node.current is None else [node.current])


def on_unrouted(node: Node, prefixes: frozenset[bytes]) -> None:
    """Babel may have another way in a moment. Anybody can announce PLATs, and take them back again and again."""
    for prefix in _used(node):
        if prefix in prefixes and prefix not in node.unrouted_plats:
            node.unrouted_plats[prefix] = node.now_s
            node.timers.set((check_plat, prefix), node.now_s + node.options.plat_patience_s)


def on_plat_checked(node: Node, prefix: bytes, has_route: bool) -> None:
    since_s = node.unrouted_plats.get(prefix)
    if has_route:
        node.unrouted_plats.pop(prefix, None)
        node.timers.cancel((check_plat, prefix))
    elif since_s is not None and node.now_s >= since_s + node.options.plat_patience_s:
        node.count("plats_unrouted")
        _leave(node, prefix)
    else:
        on_unrouted(node, frozenset((prefix,)))


def check_plat(node: Node, prefix: bytes) -> None:
    node.do(CheckPlat(prefix))
