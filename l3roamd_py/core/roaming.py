# SPDX-License-Identifier: ISC
"""Role B's order to the PLAT: the client is here now; and the same again when its lease is renewed here. No I/O."""

import logging

from l3roamd_py.core import wire
from l3roamd_py.core.actions import LookForPlat
from l3roamd_py.core.claiming import ask
from l3roamd_py.core.clients import NOWHERE, Client, Exchange, State, Table, describe, node_of
from l3roamd_py.core.departure import consider
from l3roamd_py.core.leasing import adopt, request_token, start_afresh
from l3roamd_py.core.presence import doubt
from l3roamd_py.core.serving import drop_ipv4, hold, open_gate, use_plat
from xlat464.address import format_ipv6

PROOFS_MAX = 256  # PLATs; the oldest goes, and asks again


def roam(t: Table, client: Client, has_proven: bool = False) -> None:
    """Send ROAM for the lease that the client has; it is ready to receive by now."""
    lease = client.lease
    assert lease is not None
    client.has_proven = has_proven
    if lease.plat == NOWHERE:
        return _fail(t, client, "it has no PLAT")
    nonce = t.make_nonce()
    shown = wire.Lease(lease.home, lease.plat, t.seconds_left(lease), lease.token)
    body = wire.Roam(shown, t.at(lease.ipv4), t.proofs.get(lease.plat))
    client.roam = Exchange(nonce, t.encode(body, nonce), node_of(lease.plat), t.now_s)
    t.timers.cancel(("again", client.mac))
    return on_roam_timer(t, client.mac)


def on_roam_timer(t: Table, mac: bytes) -> None:
    client, options = t.clients.get(mac), t.options
    if client is None or client.roam is None:
        return None
    if client.roam.sent < len(options.roam_at_s):
        t.send(client.roam.destination, client.roam.payload)
        next_s = t.repeat(client.roam, options.roam_at_s, options.roam_give_up_s)
        return t.timers.set(("roam", mac), next_s)
    t.count("roams_unanswered")
    if client.state is State.ROAMING:
        return _fail(t, client, f"{format_ipv6(client.roam.destination)} does not answer")
    client.roam = None
    if client.lease is not None:
        t.do(LookForPlat(client.lease.plat))
    t.timers.set(("again", mac), t.now_s + options.token_again_s)
    return consider(t, client)


def _fail(t: Table, client: Client, why: str) -> None:
    """The client cannot keep its connections: it gets new ones."""
    t.count("roams_failed")
    t.log(logging.WARNING, f"{describe(client.mac, client.ipv4)} begins anew through our own PLAT: {why}")
    client.state = State.SERVED
    start_afresh(t, client)
    settle(t, client)
    doubt(t, client)


def on_roam_ack(t: Table, header: wire.Header, ack: wire.RoamAck) -> None:
    """Our ROAM's answer: only its owner knows the nonce, others are dropped."""
    client = t.clients.get(t.by_ipv4.get(ack.at[12:], b""))
    if client is None or client.roam is None or client.lease is None or client.roam.nonce != ack.nonce:
        return t.count("roam_acks_unexpected")
    if (ack.lease.home, ack.lease.plat) != (client.lease.home, client.lease.plat) or ack.at != t.at(
        client.lease.ipv4
    ):
        return t.count("roam_acks_unexpected")
    client.roam = None
    t.timers.cancel(("roam", client.mac))
    if ack.reason == wire.OK:
        return _succeed(t, client, ack.lease)
    if ack.reason == wire.NOT_PROVEN and not client.has_proven:
        return _prove(t, client, ack.lease)
    t.count("roams_refused")
    is_roaming = client.state is State.ROAMING
    if ack.reason == wire.STALE:
        client.spent_serial = client.lease.token.serial
    if ack.reason == wire.STALE and is_roaming and not client.has_asked_again:
        return _ask_again(t, client, ack.place)
    if ack.reason == wire.STALE and not is_roaming:
        return consider(t, client)  # somebody else has it by now; our lease shall end by itself
    why = wire.REASONS[ack.reason] if ack.reason < len(wire.REASONS) else f"reason {ack.reason}"
    return _fail(t, client, f"{format_ipv6(header.sender)} refuses: {why}")


def _succeed(t: Table, client: Client, granted: wire.Lease) -> None:
    lease = client.lease
    assert lease is not None
    lease.token = granted.token
    client.has_asked_again = False
    t.changes += 1
    renew_in_time(t, client, granted.lease_s)
    if client.state is State.ROAMING:
        client.state = State.SERVED
        t.count("roams")
        open_gate(t, client)
        if client.is_doubted:
            hold(t, client)  # our token was good: nobody else has had the client since
    settle(t, client)


def renew_in_time(t: Table, client: Client, lease_s: int) -> None:
    """The PLAT may keep a mapping or a token for less than the DHCP lease."""
    if client.lease is not None and lease_s + 1 < client.lease.until_s - t.now_s:
        t.timers.set(("again", client.mac), t.now_s + max(1.0, lease_s / 2))


def on_again_timer(t: Table, mac: bytes) -> None:
    client = t.clients.get(mac)
    if client is None or client.lease is None or client.state is State.CLAIMING:
        return
    use_plat(t, client)
    if t.is_home(client.lease):
        request_token(t, client)
    elif client.roam is None:
        roam(t, client)


def _prove(t: Table, client: Client, shown: wire.Lease) -> None:
    """The PLAT wants to know that we are at our own CLAT prefix: only there its proof is heard."""
    keep_proof(t, shown)
    t.count("roams_proven")
    roam(t, client, has_proven=True)


def keep_proof(t: Table, shown: wire.Lease) -> None:
    if len(t.proofs) >= PROOFS_MAX:
        del t.proofs[next(iter(t.proofs))]
    t.proofs[shown.plat] = shown.token


def _ask_again(t: Table, client: Client, place: bytes | None) -> None:
    """The token was used up meanwhile: who has the client by the PLAT's word, or who gave it, may have a fresh one."""
    assert client.lease is not None
    client.has_asked_again = True
    client.heard = client.lease.ipv4
    client.place = client.answered_by if place is None or not t.is_of_client(place) else node_of(place)
    drop_ipv4(t, client)
    # the same nonce: what others are about to answer to the first CLAIM is as good
    ask(t, client, None if client.claim is None else client.claim.nonce)


def settle(t: Table, client: Client) -> None:
    """It is decided whose the client is: what had to wait for that comes now."""
    granted, client.granted = client.granted, None
    if granted is not None:
        apply_grant(t, client, *granted)
    if client.roam is None:
        consider(t, client)


def apply_grant(t: Table, client: Client, ipv4: bytes, until_s: float, is_renewed: bool) -> None:
    """Our DHCP server granted an address: a renewal for who has it already, roamed or not."""
    lease = client.lease
    if lease is None or lease.ipv4 != ipv4 or t.is_home(lease):
        adopt(t, client, ipv4, until_s - t.now_s, is_granted=True)
        if client.lease is not None and client.lease.ipv4 == ipv4:
            client.lease.is_returned |= is_renewed
        return None
    lease.until_s = until_s
    t.timers.set(("lease", client.mac), until_s)
    use_plat(t, client)
    t.changes += 1
    return roam(t, client) if client.roam is None else None
