# SPDX-License-Identifier: ISC
"""Role D's first half: a client's address is at home here, and its PLAT vouches for it with a token. No I/O."""

from l3roamd_py.core import wire
from l3roamd_py.core.actions import LookForPlat
from l3roamd_py.core.clients import NOWHERE, Client, Exchange, Lease, Table, node_of
from l3roamd_py.core.serving import give_lease, make_way, open_gate, refuse
from l3roamd_py.core.token import NO_TOKEN


def adopt(t: Table, client: Client, ipv4: bytes, lease_s: float, is_granted: bool) -> None:
    """Make us the home of a client's address, on the current PLAT unless it is on one of its own already."""
    if not make_way(t, client.mac, ipv4, is_granted):
        return refuse(t, client, ipv4)
    lease = Lease(t.at(ipv4), t.current or NOWHERE, t.now_s + lease_s, NO_TOKEN, is_granted)
    before = client.lease
    if before is not None and before.home == lease.home:
        lease.is_returned = before.is_returned
        if before.plat != NOWHERE:
            lease.plat, lease.token = before.plat, before.token
    give_lease(t, client, lease)
    open_gate(t, client)
    return request_token(t, client)


def start_afresh(t: Table, client: Client, delay_s: float = 0.0) -> None:
    """What the client had cannot be kept: new connections shall work, through the current PLAT."""
    old = client.lease
    if old is None:
        return
    client.roam = client.token = None
    for name in ("roam", "token", "again"):
        t.timers.cancel((name, client.mac))
    give_lease(
        t,
        client,
        Lease(t.at(old.ipv4), t.current or NOWHERE, max(old.until_s, t.now_s + 1), NO_TOKEN, old.is_granted),
    )
    open_gate(t, client)
    request_token(t, client, delay_s)


def request_token(t: Table, client: Client, delay_s: float = 0.0) -> None:
    lease = client.lease
    if lease is None or lease.plat == NOWHERE or not t.is_home(lease):
        return
    nonce = t.make_nonce()
    request = wire.TokenRequest(wire.Lease(lease.home, lease.plat, t.seconds_left(lease)))
    client.token = Exchange(nonce, t.encode(request, nonce), node_of(lease.plat), t.now_s + delay_s)
    t.timers.cancel(("again", client.mac))
    if delay_s:
        t.timers.set(("token", client.mac), t.now_s + delay_s)
    else:
        on_token_timer(t, client.mac)


def on_token_timer(t: Table, mac: bytes) -> None:
    client, options = t.clients.get(mac), t.options
    if client is None or client.token is None:
        return None
    if client.token.sent >= len(options.token_at_s):
        client.token = None
        t.count("tokens_unanswered")
        if client.lease is not None:
            t.do(LookForPlat(client.lease.plat))
        return t.timers.set(("again", mac), t.now_s + options.token_again_s)
    t.send(client.token.destination, client.token.payload)
    next_s = t.repeat(client.token, options.token_at_s, 2 * options.token_at_s[-1])
    return t.timers.set(("token", mac), next_s)
