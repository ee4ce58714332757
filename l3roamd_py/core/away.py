# SPDX-License-Identifier: ISC
"""Role D while a client is away: its address must not be leased to somebody else. No I/O.

The client renews its lease where it is, so here it runs out, and our DHCP server would give the address to the next who
asks. Before that we ask its PLAT whether the home is mapped still. If it is, our DHCP server hears a renewal in the
client's name, as often as it takes; when the client is back it finds its lease.
"""

from l3roamd_py.core import wire
from l3roamd_py.core.actions import RenewLease
from l3roamd_py.core.clients import NOWHERE, Away, Client, State, Table, node_of


def note(t: Table, client: Client) -> None:
    """A client leaves that has a lease of our DHCP server."""
    lease = client.lease
    granted, _ = t.granted.get(client.mac, (b"", 0.0))
    if lease is not None and lease.plat != NOWHERE and lease.ipv4 == granted and t.is_home(lease):
        t.away[client.mac] = Away(lease.plat)
        watch(t, client.mac)


def watch(t: Table, mac: bytes) -> None:
    """Come back before the lease of a client that is away ends, if it is."""
    granted = t.granted.get(mac)
    if mac in t.away and granted is not None:
        left_s = granted[1] - t.now_s
        t.timers.set(("away", mac), t.now_s + max(left_s - t.options.away_margin_s, left_s * 0.75))


def on_away_timer(t: Table, mac: bytes) -> None:
    away, granted, client = t.away.get(mac), t.granted.get(mac), t.clients.get(mac)
    is_here = client is not None and client.state is not State.CLAIMING
    if away is None or granted is None or is_here or granted[1] <= t.now_s:
        return end(t, mac)
    ipv4, until_s = granted
    t.away_questions.pop(away.nonce, None)
    away.nonce = t.make_nonce()
    t.away_questions[away.nonce] = mac
    request = wire.TokenRequest(wire.Lease(t.at(ipv4), away.plat, t.options.unleased_s))
    t.send(node_of(away.plat), t.encode(request, away.nonce))
    next_s = t.now_s + max(t.options.away_again_s, (until_s - t.now_s) / 4)
    return t.timers.set(("away", mac), min(next_s, until_s))


def on_token(t: Table, grant: wire.TokenGrant) -> None:
    """The answer to such a question."""
    mac = t.away_questions.pop(grant.nonce)
    ipv4, _ = t.granted.get(mac, (b"", 0.0))
    is_mapped = bool(ipv4) and grant.lease.home == t.at(ipv4) and grant.at not in (None, grant.lease.home)
    if is_mapped and grant.reason == wire.OK:
        t.count("leases_kept")
        t.do(RenewLease(mac, ipv4))


def end(t: Table, mac: bytes) -> None:
    away = t.away.pop(mac, None)
    if away is not None:
        t.away_questions.pop(away.nonce, None)
    t.timers.cancel(("away", mac))
