# SPDX-License-Identifier: ISC
"""Role B's question: who had this client? No I/O.

It goes to the client's node-client address, which babel routes to the node that serves it; or right to where we know
that the client went.
"""

from l3roamd_py import wire
from l3roamd_py.actions import ProbeClient, SendClaim
from l3roamd_py.clients import Client, Exchange, State, Table


def ask(t: Table, client: Client) -> None:
    nonce = t.make_nonce()
    payload = t.encode(wire.Claim(client.mac), nonce, t.options.claim_ttl)
    destination = client.place or t.node_client(client.mac)
    client.state, client.answered_by = State.CLAIMING, None
    t.claiming.add(client.mac)
    client.claim = Exchange(nonce, payload, destination, t.now_s)
    if client.former is not None and client.former.ipv4 is not None:
        # it went to another node: a late sign of it must not bring it back
        t.do(ProbeClient(client.mac, client.former.ipv4))
    send_claim(t, client)


def send_claim(t: Table, client: Client) -> None:
    claim = client.claim
    assert claim is not None
    if client.place is None:
        t.do(SendClaim(client.mac, claim.destination, claim.payload))
    else:
        t.send(claim.destination, claim.payload)
    next_s = t.repeat(claim, t.options.claim_at_s, t.options.claim_give_up_s)
    t.timers.set(("claim", client.mac), next_s)
