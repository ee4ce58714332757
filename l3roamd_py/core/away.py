# SPDX-License-Identifier: ISC
"""Role D while a client is away: its address must not be leased to somebody else. No I/O.

The client renews its lease where it is, so here it runs out, and our DHCP server would give the address to the next who
asks. Before that we ask its PLAT whether the home is mapped still. If it is, our DHCP server hears a renewal in the
client's name, as often as it takes; when the client is back it finds its lease.
"""

from l3roamd_py.core import wire
from l3roamd_py.core.actions import RenewLease
from l3roamd_py.core.client import NOWHERE, Away, Client, State
from l3roamd_py.core.node import Node, node_of


def note(node: Node, client: Client) -> None:
    """A client leaves that has a lease of our DHCP server."""
    lease = client.lease
    granted, _ = node.granted.get(client.mac, (b"", 0.0))
    if lease is not None and lease.plat != NOWHERE and lease.ipv4 == granted and node.is_home(lease):
        node.away[client.mac] = Away(lease.plat)
        watch(node, client.mac)


def watch(node: Node, mac: bytes) -> None:
    """Come back before the lease of a client that is away ends, if it is."""
    granted = node.granted.get(mac)
    if mac in node.away and granted is not None:
        left_s = granted[1] - node.now_s
        node.timers.set(("away", mac), node.now_s + max(left_s - node.options.away_margin_s, left_s * 0.75))


def on_away_timer(node: Node, mac: bytes) -> None:
    away, granted, client = node.away.get(mac), node.granted.get(mac), node.clients.get(mac)
    is_here = client is not None and client.state is not State.CLAIMING
    if away is None or granted is None or is_here or granted[1] <= node.now_s:
        return end(node, mac)
    ipv4, until_s = granted
    node.away_questions.pop(away.nonce, None)
    away.nonce = node.make_nonce()
    node.away_questions[away.nonce] = mac
    request = wire.TokenRequest(wire.Lease(node.at(ipv4), away.plat, node.options.unleased_s))
    node.send(node_of(away.plat), node.encode(request, away.nonce))
    next_s = node.now_s + max(node.options.away_again_s, (until_s - node.now_s) / 4)
    return node.timers.set(("away", mac), min(next_s, until_s))


def on_token(node: Node, grant: wire.TokenGrant) -> None:
    """The answer to such a question."""
    mac = node.away_questions.pop(grant.nonce)
    ipv4, _ = node.granted.get(mac, (b"", 0.0))
    is_mapped = bool(ipv4) and grant.lease.home == node.at(ipv4) and grant.at not in (None, grant.lease.home)
    if is_mapped and grant.reason == wire.OK:
        node.count("leases_kept")
        node.do(RenewLease(mac, ipv4))


def end(node: Node, mac: bytes) -> None:
    away = node.away.pop(mac, None)
    if away is not None:
        node.away_questions.pop(away.nonce, None)
    node.timers.cancel(("away", mac))
