# SPDX-License-Identifier: ISC
"""Messages of l3roamd version 0 that are passed on, so that two of its nodes hear each other past us. No I/O.

SEEK asks for an address that no route leads to. There is no answer to it: each node asks on its own bridge, and babel
tells of the client that is found so. It goes on to all neighbours, once for each nonce. CLAIM goes on to where we know
that the client went. Both are written anew, as a TLV that version 0 does not know would have it loop for ever.
"""

from l3roamd_py.core import wire
from l3roamd_py.core.actions import SeekAddress
from l3roamd_py.core.client import Departed
from l3roamd_py.core.info import IPV4_MAPPED
from l3roamd_py.core.node import Node
from l3roamd_py.core.pairs import answer_seek
from runtime.ordered import oldest

COPIES = 3  # of a CLAIM whose sender repeats it


def _is_new(node: Node, kind: int, nonce: int, most: int = 1) -> bool:
    """Count a message, and return whether it may go on: one that goes round in circles has to end."""
    times = node.relayed.pop((kind, nonce), 0)
    if len(node.relayed) >= node.options.max_relayed:
        del node.relayed[oldest(node.relayed)]
    node.relayed[kind, nonce] = times + 1
    return times < most


def _renew(header: wire.Header, body: wire.Body) -> bytes:
    """Return the same message with a ttl one less; who says 1 means us alone, and we know who it is for."""
    ttl = max(1, header.ttl - 1)
    return wire.encode(wire.Header(header.sender, header.nonce, ttl, header.extended), body)


def on_seek(node: Node, header: wire.Header, seek: wire.Seek) -> None:
    """Somebody looks for an address: ask for it here, and pass the question on."""
    if header.sender == node.address or not _is_new(node, wire.SEEK, header.nonce):
        return node.count("seeks_again")
    if not node.seeks.is_within(b"", node.now_s):
        return node.count("seeks_too_many")
    node.count("seeks")
    if node.options.clat is not None and seek.address[:12] == IPV4_MAPPED:
        if answer_seek(node, header, seek.address[12:]):
            return None
    elif node.options.has_clients and node.is_client_ipv6(seek.address):
        node.do(SeekAddress(seek.address))
    if header.ttl > 1:
        node.send(wire.GROUP, _renew(header, seek))
    return None


def pass_claim_on(node: Node, departed: Departed, header: wire.Header, payload: bytes) -> None:
    """Pass on a CLAIM for a client that went on to another node."""
    claim = wire.Claim(departed.mac)
    if header.extended:
        onward = wire.pass_on(payload, node.options.claim_ttl)
        if onward is not None and not departed.is_extended:
            onward = _renew(wire.Header(header.sender, header.nonce, onward[1] + 1), claim)
    else:  # its ttl is always 1
        onward = _renew(header, claim) if _is_new(node, wire.CLAIM, header.nonce, COPIES) else None
    if onward is None:
        return node.count("claims_not_passed_on")
    node.count("claims_passed_on")
    return node.send(departed.place, onward)


def pass_unknown_on(node: Node, header: wire.Header, claim: wire.Claim) -> None:
    """A CLAIM for a client of which we know nothing: version 0 passes it on to its neighbours, if its ttl lasts."""
    node.count("claims_unknown")
    if not header.extended and header.ttl > 1 and _is_new(node, wire.CLAIM, header.nonce):
        node.count("claims_passed_on")
        node.send(wire.GROUP, _renew(header, claim))
