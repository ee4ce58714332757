# SPDX-License-Identifier: ISC
"""Role D's first half: a client's address is at home here, and its PLAT vouches for it with a token. No I/O."""

from l3roamd_py.core import wire
from l3roamd_py.core.actions import LookForPlat
from l3roamd_py.core.client import NOWHERE, Client, Exchange, Lease
from l3roamd_py.core.node import Node, node_of
from l3roamd_py.core.serving import give_lease, make_way, open_gate, refuse
from l3roamd_py.core.token import NO_TOKEN


def adopt(node: Node, client: Client, ipv4: bytes, lease_s: float, is_granted: bool) -> None:
    """Make us the home of a client's address, on the current PLAT unless it is on one of its own already."""
    if not make_way(node, client.mac, ipv4, is_granted):
        return refuse(node, client, ipv4)
    lease = Lease(node.at(ipv4), node.current or NOWHERE, node.now_s + lease_s, NO_TOKEN, is_granted)
    before = client.lease
    if before is not None and before.home == lease.home:
        lease.is_returned = before.is_returned
        if before.plat != NOWHERE:
            lease.plat, lease.token = before.plat, before.token
    give_lease(node, client, lease)
    open_gate(node, client)
    return request_token(node, client)


def start_afresh(node: Node, client: Client, delay_s: float = 0.0) -> None:
    """What the client had cannot be kept: new connections shall work, through the current PLAT."""
    old = client.lease
    if old is None:
        return
    client.roam = client.token = None
    for name in ("roam", "token", "again"):
        node.timers.cancel((name, client.mac))
    give_lease(
        node,
        client,
        Lease(
            node.at(old.ipv4),
            node.current or NOWHERE,
            max(old.until_s, node.now_s + 1),
            NO_TOKEN,
            old.is_granted,
        ),
    )
    open_gate(node, client)
    request_token(node, client, delay_s)


def request_token(node: Node, client: Client, delay_s: float = 0.0) -> None:
    lease = client.lease
    if lease is None or lease.plat == NOWHERE or not node.is_home(lease):
        return
    nonce = node.make_nonce()
    request = wire.TokenRequest(wire.Lease(lease.home, lease.plat, node.seconds_left(lease)))
    client.token = Exchange(nonce, node.encode(request, nonce), node_of(lease.plat), node.now_s + delay_s)
    node.timers.cancel(("again", client.mac))
    if delay_s:
        node.timers.set(("token", client.mac), node.now_s + delay_s)
    else:
        on_token_timer(node, client.mac)


def on_token_timer(node: Node, mac: bytes) -> None:
    client, options = node.clients.get(mac), node.options
    if client is None or client.token is None:
        return None
    if client.token.sent >= len(options.token_at_s):
        client.token = None
        node.count("tokens_unanswered")
        if client.lease is not None:
            node.do(LookForPlat(client.lease.plat))
        return node.timers.set(("again", mac), node.now_s + options.token_again_s)
    node.send(client.token.destination, client.token.payload)
    next_s = node.repeat(client.token, options.token_at_s, 2 * options.token_at_s[-1])
    return node.timers.set(("token", mac), next_s)
