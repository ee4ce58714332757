# SPDX-License-Identifier: ISC
"""Role B's order to the PLAT: the client is here now; and the same again when its lease is renewed here. No I/O."""

import logging

from l3roamd_py.core import wire
from l3roamd_py.core.actions import LookForPlat
from l3roamd_py.core.claiming import ask
from l3roamd_py.core.client import NOWHERE, Client, Exchange, State
from l3roamd_py.core.departure import consider
from l3roamd_py.core.leasing import adopt, request_token, start_afresh
from l3roamd_py.core.node import Node, describe, node_of
from l3roamd_py.core.presence import doubt
from l3roamd_py.core.serving import drop_ipv4, hold, open_gate, use_plat
from xlat464.address import format_ipv6

PROOFS_MAX = 256  # PLATs; the oldest goes, and asks again


def roam(node: Node, client: Client, has_proven: bool = False) -> None:
    """Send ROAM for the lease that the client has; it is ready to receive by now."""
    lease = client.lease
    assert lease is not None
    client.has_proven = has_proven
    if lease.plat == NOWHERE:
        return _fail(node, client, "it has no PLAT")
    nonce = node.make_nonce()
    shown = wire.Lease(lease.home, lease.plat, node.seconds_left(lease), lease.token)
    body = wire.Roam(shown, node.at(lease.ipv4), node.proofs.get(lease.plat))
    client.roam = Exchange(nonce, node.encode(body, nonce), node_of(lease.plat), node.now_s)
    node.timers.cancel(("again", client.mac))
    return on_roam_timer(node, client.mac)


def on_roam_timer(node: Node, mac: bytes) -> None:
    client, options = node.clients.get(mac), node.options
    if client is None or client.roam is None:
        return None
    if client.roam.sent < len(options.roam_at_s):
        node.send(client.roam.destination, client.roam.payload)
        next_s = node.repeat(client.roam, options.roam_at_s, options.roam_give_up_s)
        return node.timers.set(("roam", mac), next_s)
    node.count("roams_unanswered")
    if client.state is State.ROAMING:
        return _fail(node, client, f"{format_ipv6(client.roam.destination)} does not answer")
    client.roam = None
    if client.lease is not None:
        node.do(LookForPlat(client.lease.plat))
    node.timers.set(("again", mac), node.now_s + options.token_again_s)
    return consider(node, client)


def _fail(node: Node, client: Client, why: str) -> None:
    """The client cannot keep its connections: it gets new ones."""
    node.count("roams_failed")
    node.log(logging.WARNING, f"{describe(client.mac, client.ipv4)} begins anew through our own PLAT: {why}")
    client.state = State.SERVED
    start_afresh(node, client)
    settle(node, client)
    doubt(node, client)


def on_roam_ack(node: Node, header: wire.Header, ack: wire.RoamAck) -> None:
    """Our ROAM's answer: only its owner knows the nonce, others are dropped."""
    client = node.clients.get(node.by_ipv4.get(ack.at[12:], b""))
    if client is None or client.roam is None or client.lease is None or client.roam.nonce != ack.nonce:
        return node.count("roam_acks_unexpected")
    if (ack.lease.home, ack.lease.plat) != (client.lease.home, client.lease.plat) or ack.at != node.at(
        client.lease.ipv4
    ):
        return node.count("roam_acks_unexpected")
    client.roam = None
    node.timers.cancel(("roam", client.mac))
    if ack.reason == wire.OK:
        return _succeed(node, client, ack.lease)
    if ack.reason == wire.NOT_PROVEN and not client.has_proven:
        return _prove(node, client, ack.lease)
    node.count("roams_refused")
    is_roaming = client.state is State.ROAMING
    if ack.reason == wire.STALE:
        client.spent_serial = client.lease.token.serial
    if ack.reason == wire.STALE and is_roaming and not client.has_asked_again:
        return _ask_again(node, client, ack.place)
    if ack.reason == wire.STALE and not is_roaming:
        return consider(node, client)  # somebody else has it by now; our lease shall end by itself
    why = wire.REASONS[ack.reason] if ack.reason < len(wire.REASONS) else f"reason {ack.reason}"
    return _fail(node, client, f"{format_ipv6(header.sender)} refuses: {why}")


def _succeed(node: Node, client: Client, granted: wire.Lease) -> None:
    lease = client.lease
    assert lease is not None
    lease.token = granted.token
    client.has_asked_again = False
    node.changes += 1
    renew_in_time(node, client, granted.lease_s)
    if client.state is State.ROAMING:
        client.state = State.SERVED
        node.count("roams")
        open_gate(node, client)
        if client.is_doubted:
            hold(node, client)  # our token was good: nobody else has had the client since
    settle(node, client)


def renew_in_time(node: Node, client: Client, lease_s: int) -> None:
    """The PLAT may keep a mapping or a token for less than the DHCP lease."""
    if client.lease is not None and lease_s + 1 < client.lease.until_s - node.now_s:
        node.timers.set(("again", client.mac), node.now_s + max(1.0, lease_s / 2))


def on_again_timer(node: Node, mac: bytes) -> None:
    client = node.clients.get(mac)
    if client is None or client.lease is None or client.state is State.CLAIMING:
        return
    use_plat(node, client)
    if node.is_home(client.lease):
        request_token(node, client)
    elif client.roam is None:
        roam(node, client)


def _prove(node: Node, client: Client, shown: wire.Lease) -> None:
    """The PLAT wants to know that we are at our own CLAT prefix: only there its proof is heard."""
    keep_proof(node, shown)
    node.count("roams_proven")
    roam(node, client, has_proven=True)


def keep_proof(node: Node, shown: wire.Lease) -> None:
    if len(node.proofs) >= PROOFS_MAX:
        del node.proofs[next(iter(node.proofs))]
    node.proofs[shown.plat] = shown.token


def _ask_again(node: Node, client: Client, place: bytes | None) -> None:
    """The token was used up meanwhile: who has the client by the PLAT's word, or who gave it, may have a fresh one."""
    assert client.lease is not None
    client.has_asked_again = True
    client.heard = client.lease.ipv4
    client.place = client.answered_by if place is None or not node.is_of_client(place) else node_of(place)
    drop_ipv4(node, client)
    # the same nonce: what others are about to answer to the first CLAIM is as good
    ask(node, client, None if client.claim is None else client.claim.nonce)


def settle(node: Node, client: Client) -> None:
    """It is decided whose the client is: what had to wait for that comes now."""
    granted, client.granted = client.granted, None
    if granted is not None:
        apply_grant(node, client, *granted)
    if client.roam is None:
        consider(node, client)


def apply_grant(node: Node, client: Client, ipv4: bytes, until_s: float, is_renewed: bool) -> None:
    """Our DHCP server granted an address: a renewal for who has it already, roamed or not."""
    lease = client.lease
    if lease is None or lease.ipv4 != ipv4 or node.is_home(lease):
        adopt(node, client, ipv4, until_s - node.now_s, is_granted=True)
        if client.lease is not None and client.lease.ipv4 == ipv4:
            client.lease.is_returned |= is_renewed
        return None
    lease.until_s = until_s
    node.timers.set(("lease", client.mac), until_s)
    use_plat(node, client)
    node.changes += 1
    return roam(node, client) if client.roam is None else None
