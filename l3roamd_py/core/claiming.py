# SPDX-License-Identifier: ISC
"""Role B's question: who had this client? No I/O.

It goes to the client's node-client address, which babel routes to the node that serves it; or right to where we know
that the client went. Each copy goes to our neighbours on the mesh as well, as a client has seldom come from farther
away: first for who has the client alone, and while babel knows no way, or nobody answers at its end, for who knows
where it went, too. Asked at once, those would tell what is out of date. If all of them are silent as well, every
clatnode that babel knows is asked: quick walks over several hops leave babel and the neighbours behind. (A node that
lets the address go may be at the end of old routes for seconds: babeld before 1.12.2 has to wait for the next update
then, even with another route at hand.)
"""

from l3roamd_py.core import wire
from l3roamd_py.core.actions import ProbeClient, SendClaim, SendToNodes
from l3roamd_py.core.client import Client, Exchange, State
from l3roamd_py.core.node import Node
from l3roamd_py.core.serving import ask_client, can_ask

UNKNOWN = bytes(16)  # place of a client that went while we were not there


def ask(node: Node, client: Client, nonce: int | None = None) -> None:
    """Ask who had a client that has just come."""
    client.state = State.CLAIMING
    node.claiming.add(client.mac)
    _need_proof(node, client)
    ask_behind(node, client, nonce)


def ask_behind(node: Node, client: Client, nonce: int | None = None) -> None:
    """Ask while we serve the client already: nobody has answered yet, though babel knows somebody."""
    nonce = node.make_nonce() if nonce is None else nonce
    payload = node.encode(wire.Claim(client.mac), nonce, node.options.claim_ttl)
    client.answered_by = None
    node.timers.cancel(("grace", client.mac))
    client.claim = Exchange(nonce, payload, node.node_client(client.mac), node.now_s)
    client.claims += 1
    send_claim(node, client)


def send_claim(node: Node, client: Client) -> None:
    claim = client.claim
    assert claim is not None
    client.is_unrouted = False
    _send(node, client, claim)
    is_late = node.now_s >= claim.started_s + node.options.onward_after_s
    ask_neighbours(node, client, node.options.group_ttl if is_late else wire.FOR_ITS_NODE)
    if claim.sent in node.options.claim_nodes_copies:
        ask_nodes(node, client, node.options.group_ttl)
    next_s = node.repeat(claim, node.options.claim_at_s, node.options.claim_give_up_s)
    if claim.sent == len(node.options.claim_at_s):
        _need_proof(node, client)
        if client.former is None and client.heard is not None:
            node.do(ProbeClient(client.mac, client.heard))
    node.timers.set(("claim", client.mac), next_s)


def _need_proof(node: Node, client: Client) -> None:
    """Another node has it, or had it last: a late sign of it, or one of a moment, must not bring it to us."""
    known = client.former or client
    if client.former is not None or can_ask(client):
        client.is_verified = False
        ask_client(node, known)


def press(node: Node, client: Client) -> None:
    """A new sign of a client that we claim: who refused the last copy may have lost it since."""
    claim = client.claim
    if claim is not None and node.now_s >= claim.last_s + node.options.claim_press_s:
        claim.last_s = node.now_s
        _send(node, client, claim)


def known_place(client: Client) -> bytes | None:
    """Return the node that our CLAIM goes to; None: to whoever has the node-client address."""
    return None if client.place == UNKNOWN else client.place


def ask_neighbours(node: Node, client: Client, ttl: int) -> None:
    """The same CLAIM to whoever is next to us."""
    if client.claim is not None:
        node.send(wire.GROUP, node.encode(wire.Claim(client.mac), client.claim.nonce, ttl))


def ask_who_else(node: Node, client: Client) -> None:
    """We serve the client: who does so too, and does not find it, lets it go and says what it knows."""
    client.claim = Exchange(node.make_nonce(), b"", wire.GROUP, node.now_s)
    client.answered_by = None
    on_else_timer(node, client.mac)


def on_else_timer(node: Node, mac: bytes) -> None:
    """Once more: the mesh loses some, and nobody says that there is nobody."""
    client = node.clients.get(mac)
    claim = None if client is None else client.claim
    if client is None or claim is None or claim.payload or client.answered_by is not None:
        return
    ask_neighbours(node, client, wire.FOR_ITS_NODE)
    ask_nodes(node, client, wire.FOR_ITS_NODE)
    next_s = node.repeat(claim, node.options.else_at_s, 0.0)
    if claim.sent < len(node.options.else_at_s):
        node.timers.set(("else", mac), next_s)


def ask_nodes(node: Node, client: Client, ttl: int) -> None:
    """The same CLAIM to every clatnode that babel knows, but seldom: there may be hundreds."""
    if client.claim is not None and node.node_asks.is_within(b"", node.now_s):
        node.do(SendToNodes(node.encode(wire.Claim(client.mac), client.claim.nonce, ttl), node.address))


def ask_neighbours_alone(node: Node, client: Client) -> None:
    """A CLAIM of its own to whoever is next to us, and to nobody else."""
    client.claim = Exchange(node.make_nonce(), b"", wire.GROUP, node.now_s)
    ask_neighbours(node, client, node.options.group_ttl)


def _send(node: Node, client: Client, claim: Exchange) -> None:
    if client.former is not None:
        client.place = client.former.place  # it may have gone on since
    place = known_place(client)
    if place is None:
        node.do(SendClaim(client.mac, claim.destination, claim.payload))
    else:
        node.send(place, claim.payload)
