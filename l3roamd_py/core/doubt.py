# SPDX-License-Identifier: ISC
"""Does another node announce a client that has come to us? Asked where not all nodes can be. No I/O.

A node that has lost a client gives its address up for a moment now and then, to see whether babel leads elsewhere
(absence.py). The client may come to us in this moment: babel knows nobody who has it, we ask 256 nodes of a thousand,
and that node takes the address again before it hears that we have it. Neither finds the other then, as each has the
address itself. So who has let in a newcomer gives the address up once, a while later, and sends CLAIM to where babel
leads. That is over before babel has told others.
"""

from l3roamd_py.core import wire
from l3roamd_py.core.actions import AddNodeClient, RemoveNodeClient, SendClaim
from l3roamd_py.core.client import Client, Exchange, Served
from l3roamd_py.core.node import Node


def doubt(node: Node, client: Client) -> None:
    """Nobody whom we asked had this client."""
    if not node.reaches_all():
        share = node.options.random(1)[0] / 0xFF
        node.timers.set((look, client.mac), node.now_s + node.options.doubt_after_s * (1 + share))


def look(node: Node, mac: bytes) -> None:
    if _announced(node, mac) is not None:
        node.do(RemoveNodeClient(node.node_client(mac)))
        node.timers.set((claim, mac), node.now_s + node.options.doubt_s)


def claim(node: Node, mac: bytes) -> None:
    """Who lets the client go only needs an ACK: what it knew is from before."""
    client = _announced(node, mac)
    if client is not None and not client.search.is_running:
        nonce = node.make_nonce()
        payload = node.encode(wire.Claim(mac), nonce, wire.FOR_ITS_NODE)
        client.search.claim = Exchange(nonce, payload, node.node_client(mac), node.now_s)
        client.search.answered_by = node.address
        node.do(SendClaim(mac, node.node_client(mac), payload))
    node.timers.set((end, mac), node.now_s + node.options.doubt_s)


def end(node: Node, mac: bytes) -> None:
    """Once more with the same nonce, for the answer may be on its way, and take the address again."""
    client = node.clients.get(mac)
    if client is not None and client.is_announced:
        asked, address = client.search.claim, node.node_client(mac)
        if asked is not None and asked.payload and client.search.answered_by == node.address:
            node.do(SendClaim(mac, address, asked.payload))
        node.do(AddNodeClient(address))


def _announced(node: Node, mac: bytes) -> Client | None:
    client = node.clients.get(mac)
    is_here = client is not None and isinstance(client.state, Served) and client.is_announced
    return client if is_here else None
