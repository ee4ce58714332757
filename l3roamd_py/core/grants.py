# SPDX-License-Identifier: ISC
"""Role D: the leases that our own DHCP server gave. No I/O.

While a client is away its address must not be leased to somebody else. It renews its lease where it is, so here it runs
out, and our DHCP server would give the address to the next who asks. Before that we ask its PLAT whether the home is
mapped still. If it is, our DHCP server hears a renewal in the client's name, as often as it takes; when the client is
back it finds its lease.
"""

from l3roamd_py.core import wire
from l3roamd_py.core.actions import RenewLease
from l3roamd_py.core.addresses import drop_ipv4
from l3roamd_py.core.client import NOWHERE, Absent, Away, Client, Grant, Served
from l3roamd_py.core.node import Node, is_device, is_usable, node_of
from runtime.ordered import oldest

EXPIRY_SLACK_S = 2.0  # DHCP servers count whole seconds


def note_grant(node: Node, mac: bytes, ipv4: bytes, lease_s: int) -> Grant | None:
    """Our DHCP server leased an address. None: not one that a client can have."""
    if not is_device(mac) or not is_usable(ipv4) or lease_s <= 0 or node.options.clat is None:
        node.count("leases_ignored")
        return None
    until_s = node.now_s + min(lease_s, node.options.max_lease_s)
    if ipv4 not in node.granted and len(node.granted) >= node.options.max_granted:
        first = oldest(node.granted)
        del node.granted[first]
        forget_away(node, first)
    node.granted[ipv4] = (mac, until_s)
    watch_away(node, ipv4)
    node.changes += 1
    return Grant(ipv4, until_s, False)


def end_grant(node: Node, mac: bytes, ipv4: bytes) -> None:
    """Our DHCP server let a lease go: it was given back, or ran out here while another node may have renewed it."""
    owner, until_s = node.granted.get(ipv4, (b"", 0.0))
    is_granted = owner == mac
    if is_granted:
        del node.granted[ipv4]
        forget_away(node, ipv4)
        node.changes += 1
    client = node.clients.get(node.owner_of.get(ipv4, mac) if is_granted else mac)
    lease = None if client is None or client.ipv4 != ipv4 else client.lease
    soon_s = node.now_s + EXPIRY_SLACK_S
    if lease is not None and is_granted and until_s <= soon_s < lease.until_s:
        return node.count("leases_renewed_elsewhere")
    if client is None:
        return None
    is_served = isinstance(client.state, Absent) or client.state.name == Served.name
    if lease is not None and is_granted and until_s <= soon_s and isinstance(client.state, Served):
        lease.until_s = min(lease.until_s, node.now_s)  # the client is asked whether it uses it on
        return node.touch(client.mac)
    if client.ipv4 == ipv4 and is_served:
        drop_ipv4(node, client)
    elif client.grant is not None and client.grant.ipv4 == ipv4:
        client.grant = None
    return None


def note_away(node: Node, client: Client) -> None:
    """A client leaves that has a lease of our DHCP server."""
    lease = client.lease
    if lease is not None and lease.plat != NOWHERE and lease.ipv4 in node.granted and node.is_home(lease):
        node.away[lease.ipv4] = Away(lease.plat)
        watch_away(node, lease.ipv4)


def watch_away(node: Node, ipv4: bytes) -> None:
    """Come back before the lease of a client that is away ends, if it is."""
    granted = node.granted.get(ipv4)
    if ipv4 in node.away and granted is not None:
        left_s = granted[1] - node.now_s
        at_s = node.now_s + max(left_s - node.options.away_margin_s, left_s * 0.75)
        node.timers.set((ask_for_away, ipv4), at_s)


def ask_for_away(node: Node, ipv4: bytes) -> None:
    """Ask the PLAT whether a home is mapped still."""
    away, granted = node.away.get(ipv4), node.granted.get(ipv4)
    if away is None or granted is None or ipv4 in node.owner_of or granted[1] <= node.now_s:
        return forget_away(node, ipv4)
    _, until_s = granted
    node.away_questions.pop(away.nonce, None)
    away.nonce = node.make_nonce()
    node.away_questions[away.nonce] = ipv4
    request = wire.TokenRequest(wire.Lease(node.at(ipv4), away.plat, node.options.unleased_s))
    node.send(node_of(away.plat), node.encode(request, away.nonce))
    next_s = node.now_s + max(node.options.away_again_s, (until_s - node.now_s) / 4)
    return node.timers.set((ask_for_away, ipv4), min(next_s, until_s))


def on_token(node: Node, grant: wire.TokenGrant) -> None:
    """The answer to such a question."""
    ipv4 = node.away_questions.pop(grant.nonce)
    mac, _ = node.granted.get(ipv4, (b"", 0.0))
    is_mapped = bool(mac) and grant.lease.home == node.at(ipv4) and grant.at not in (None, grant.lease.home)
    if is_mapped and grant.reason == wire.OK:
        node.count("leases_kept")
        node.do(RenewLease(mac, ipv4))


def forget_away(node: Node, ipv4: bytes) -> None:
    away = node.away.pop(ipv4, None)
    if away is not None:
        node.away_questions.pop(away.nonce, None)
    node.timers.cancel((ask_for_away, ipv4))
