# SPDX-License-Identifier: ISC
"""Nodes of one owner prepare for one another's clients, so that who walks between them need not wait for CLAIM. No I/O.

    B                                        A, which has the client
    PREPARE, with a nonce, every minute      INFO with that nonce for each client that has stayed a while
    and when a node has come to the mesh     that of all clients again, not more often than `prepares_per_s`
    the client comes: ROAM and CLAIM         asks it, lets it go, INFO as ever: B acknowledges that one

Each has to name the other (`partners`), for INFO has the client's token: who has it can take the client, here or not.
If it is out of date the PLAT says STALE, and B claims the client as one of which it was told nothing. A client that B
claims and that is still here may be mapped to B by then, so A has its lease renewed.
"""

from l3roamd_py.core import own_plats, wire
from l3roamd_py.core.client import NOWHERE, Answer, Client, Roaming, Served, former_of
from l3roamd_py.core.departed import make_departed
from l3roamd_py.core.info import read_lease, write_info
from l3roamd_py.core.node import Node
from l3roamd_py.core.requests import renew, start_roam

ALL = b""  # whose timer it is that asks all of them


def ask(node: Node, partner: bytes) -> None:
    """Ask to be told of a node's clients, again and again, and forget those whose leases are over."""
    for mac in [mac for mac in node.prepared if node.prepared[mac][2] <= node.now_s]:
        del node.prepared[mac]
    nonce = node.asked_partners.setdefault(partner, node.make_nonce())
    node.send(partner, node.encode(wire.Prepare(), nonce))
    node.timers.set((ask, partner), node.now_s + node.options.prepare_again_s)


def ask_all(node: Node) -> None:
    for partner in node.options.partners:
        if partner != node.address:
            ask(node, partner)


def on_node_appeared(node: Node) -> None:
    """A node can be reached that could not: if it is a partner, what we asked or told it before is lost."""
    if node.options.partners and (prepare_anew, ALL) not in node.timers:
        node.timers.set((prepare_anew, ALL), node.now_s + node.options.prepare_anew_s)


def prepare_anew(node: Node, _: bytes) -> None:
    ask_all(node)
    if node.told_partners and node.prepares.is_within(ALL, node.now_s):
        _tell_of_all(node)


def on_prepare(node: Node, header: wire.Header) -> None:
    """Tell a node of the same owner of our clients; of all, one after the other, if it does not know them yet."""
    partner, before = header.sender, node.told_partners.get(header.sender)
    if partner not in node.options.partners:
        return node.count("prepares_refused")
    node.told_partners[partner] = (header.nonce, node.now_s + 2.5 * node.options.prepare_again_s)
    is_known = before is not None and before[0] == header.nonce and before[1] > node.now_s
    if not is_known and node.prepares.is_within(partner, node.now_s):
        _tell_of_all(node)
    return None


def _tell_of_all(node: Node) -> None:
    at_s = node.now_s
    for client in node.clients.values():
        if isinstance(client.state, Served) and client.state.measures:
            at_s += node.options.sweep_pace_s
            client.state.measures, client.state.measure_s = node.options.measures - 1, at_s
            node.touch(client.mac)


def tell(node: Node, client: Client) -> None:
    """Tell who is prepared what a client has. It has been here for a while: who only passes is told of to nobody."""
    lease = client.lease
    if not node.told_partners or lease is None or lease.plat == NOWHERE or not lease.token.serial:
        return
    for partner, (nonce, until_s) in node.told_partners.items():
        if until_s > node.now_s and not client.search.is_contested:
            known = make_departed(node, client, partner, 0.0)
            known.is_extended, known.claim_nonce = True, nonce
            node.send(partner, node.encode(write_info(node, known)))


def use(node: Node, client: Client) -> "Answer | None":
    """A client has just come: return what we were told of it beforehand, and claim it from who said so."""
    payload, told_s, _ = node.prepared.pop(client.mac, (b"", 0.0, 0.0))
    if not payload:
        return None
    header, info = wire.decode(payload)
    assert isinstance(info, wire.Info)
    lease, search, former = read_lease(node, client, info), client.search, former_of(client)
    if lease is None or lease.until_s - (node.now_s - told_s) <= node.now_s:
        return None
    lease.until_s -= node.now_s - told_s
    search.place = header.sender
    if former is not None:
        former.place = header.sender
    search.spent = lease.plat, lease.token.serial  # INFO is to bring a newer one, or nothing
    node.count("arrivals_prepared")
    own_plats.follow(node, client, info.own_plat)
    return Answer(
        header.sender, header.nonce, lease, [each for each in info.addresses if node.is_client_ipv6(each)]
    )


def renew_mapping(node: Node, client: Client, claimant: bytes) -> None:
    """A claim was refused: if we had prepared who made it, the client may be mapped there by now."""
    lease = client.lease
    if claimant in node.told_partners and lease is not None and lease.request is None and lease.roam is None:
        lease.is_returned = True
        if node.is_home(lease):
            renew(node, client)
        else:  # if that is STALE it is claimed from where it is mapped
            client.state, client.search.is_after_stale = Roaming(), False
            start_roam(node, client)
