# SPDX-License-Identifier: ISC
"""Which datagrams are read: so many a second from each source, and what a flood in its name must not keep out. No I/O.

A source address is easy to forge, so a flood in the name of a node would silence that node. Therefore an answer with
the nonce of a question of ours is always read. Above the source's share, a ROAM with a token of ours has a smaller
share for each home. CLAIM, ACK and TOKEN_REQUEST prove nothing: they have one for each source and client.
"""

from l3roamd_py.core import pairs, wire
from l3roamd_py.core.node import Node
from l3roamd_py.core.options import Options
from l3roamd_py.core.platnode import Platnode
from l3roamd_py.core.rate import Rate


class Admission:
    def __init__(self, options: Options) -> None:
        self.sources = Rate(options.rate_per_s, options.burst, options.max_senders)
        self.subjects = Rate(options.subject_rate_per_s, options.subject_burst, options.max_senders)

    def is_wanted(self, node: Node, platnode: Platnode | None, source: bytes, body: wire.Body) -> bool:
        """Return whether a message of a source that sends too much is to be heard all the same."""
        if isinstance(body, (wire.Claim, wire.Ack)):
            return self.subjects.is_within(source + body.mac, node.now_s)
        if isinstance(body, wire.TokenRequest):
            return self.subjects.is_within(source + body.lease.home, node.now_s)
        if isinstance(body, wire.Roam):
            is_signed = platnode is not None and platnode.is_signed(body.lease)
            return is_signed and self.subjects.is_within(body.lease.home, node.now_s)
        return is_answer(node, body)


def is_answer(node: Node, body: wire.Body) -> bool:
    """Return whether a message has the nonce of a question of ours that waits for it."""
    if isinstance(body, wire.Info):
        client = node.clients.get(body.mac)
        claim = None if client is None else client.search.claim
        return claim is not None and body.claim_nonce == claim.nonce
    if isinstance(body, wire.RoamAck):
        client = node.client_at(body.at)
        roam = None if client is None or client.lease is None else client.lease.roam
        return roam is not None and body.nonce == roam.nonce
    if isinstance(body, wire.TokenGrant):
        client = node.client_at(body.lease.home)
        request = None if client is None or client.lease is None else client.lease.request
        is_token = request is not None and body.nonce == request.nonce
        return is_token or body.nonce == node.proof_nonce or body.nonce in node.away_questions
    if isinstance(body, wire.Found):
        sought = node.sought.get(body.at[12:])
        return sought is not None and body.nonce in sought.nonces
    if isinstance(body, wire.Paired):
        return pairs.is_answer(node, body)
    return False
