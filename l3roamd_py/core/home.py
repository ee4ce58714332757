# SPDX-License-Identifier: ISC
"""Role D, and the choice of the PLAT: leases of our own DHCP server, tokens for them, prefixd's news. No I/O.

Which PLATs there are is in plats.py.
"""

import logging

from l3roamd_py.core import away, wire
from l3roamd_py.core.actions import LookForPlace, SetCurrentPlat
from l3roamd_py.core.arrival import see
from l3roamd_py.core.client import NOWHERE, State
from l3roamd_py.core.leasing import request_token
from l3roamd_py.core.node import Node, describe, is_device, is_usable, node_of
from l3roamd_py.core.plats import move
from l3roamd_py.core.roaming import apply_grant, keep_proof, renew_in_time, roam
from l3roamd_py.core.serving import confirm, drop_ipv4, refuse_at_gate

EXPIRY_SLACK_S = 2.0  # DHCP servers count whole seconds


def grant(node: Node, mac: bytes, ipv4: bytes, lease_s: int, is_seen: bool, is_renewed: bool = False) -> None:
    """Our DHCP server leased an address."""
    if not is_device(mac) or not is_usable(ipv4) or lease_s <= 0 or node.options.clat is None:
        return node.count("leases_ignored")
    until_s = node.now_s + min(lease_s, node.options.max_lease_s)
    if mac not in node.granted and len(node.granted) >= node.options.max_granted:
        oldest = next(iter(node.granted))
        del node.granted[oldest]
        away.end(node, oldest)
    node.granted[mac] = (ipv4, until_s)
    away.watch(node, mac)
    node.changes += 1
    client = see(node, mac, is_proof=True) if is_seen else node.clients.get(mac)
    if client is None:
        return None
    if client.state in (State.CLAIMING, State.ROAMING) or client.believed_until_s is not None:
        if is_seen:
            client.is_verified = True
            client.granted = (ipv4, until_s, is_renewed)
        return None
    if is_seen:
        confirm(node, client)
    if is_seen or client.lease is None or client.lease.ipv4 == ipv4:
        apply_grant(node, client, ipv4, until_s, is_renewed)
    return None


def end_grant(node: Node, mac: bytes, ipv4: bytes) -> None:
    """Our DHCP server let a lease go: it was given back, or ran out here while another node may have renewed it."""
    granted, until_s = node.granted.get(mac, (None, 0.0))
    if granted == ipv4:
        del node.granted[mac]
        away.end(node, mac)
        node.changes += 1
    client = node.clients.get(mac)
    lease = None if client is None or client.ipv4 != ipv4 else client.lease
    soon_s = node.now_s + EXPIRY_SLACK_S
    if lease is not None and granted == ipv4 and until_s <= soon_s < lease.until_s:
        return node.count("leases_renewed_elsewhere")
    if client is not None and client.ipv4 == ipv4 and client.state in (State.SERVED, State.ABSENT):
        drop_ipv4(node, client)
    elif client is not None and client.granted is not None and client.granted[0] == ipv4:
        client.granted = None
    return None


def choose_plat(node: Node, prefix: bytes) -> None:
    node.current = prefix
    node.do(SetCurrentPlat(prefix))
    node.changes += 1
    _ask_for_proof(node, prefix)
    move(node, NOWHERE)


def _ask_for_proof(node: Node, plat: bytes) -> None:
    """Have the proof before the first roam needs it. Once: the PLAT gives it to a ROAM without one as well."""
    if node.options.clat is not None:
        node.proof_nonce = node.make_nonce()
        request = wire.TokenRequest(wire.Lease(node.address, plat, node.options.max_lease_s))
        node.send(node_of(plat), node.encode(request, node.proof_nonce))


def on_token(node: Node, header: wire.Header, grant: wire.TokenGrant) -> None:
    """The PLAT vouches for one of our homes, or for our prefix."""
    if grant.lease.home == node.address and grant.nonce == node.proof_nonce and grant.reason == wire.OK:
        node.proof_nonce = None
        return keep_proof(node, grant.lease)
    if grant.nonce in node.away_questions:
        return away.on_token(node, grant)
    client = node.clients.get(node.by_ipv4.get(grant.lease.home[12:], b""))
    if client is None or client.token is None or client.token.nonce != grant.nonce or client.lease is None:
        return node.count("tokens_unexpected")
    is_guest = grant.at == client.lease.home and node.is_of_client(grant.lease.home)
    if (client.lease.home != grant.lease.home and not is_guest) or client.lease.plat != grant.lease.plat:
        return node.count("tokens_unexpected")
    client.token = None
    node.timers.cancel(("token", client.mac))
    if grant.reason != wire.OK:
        node.count("tokens_refused")
        return node.timers.set(("again", client.mac), node.now_s + node.options.token_again_s)
    if is_guest:  # it roamed to us, and we have forgotten; its connections live where it is mapped
        client.lease.home = grant.lease.home
        node.count("homes_remembered")
    is_mapped = grant.at not in (None, client.lease.home)
    if grant.at is not None and is_mapped and not is_guest and not client.lease.is_returned:
        # somebody had this address before, and roamed with it: without a token ours cannot take the mapping along
        return node.do(LookForPlace(client.mac, grant.at))
    client.lease.token = grant.lease.token
    node.changes += 1
    renew_in_time(node, client, grant.lease.lease_s)
    if not is_mapped or client.roam is not None:
        return None
    if client.is_doubted:  # whether it is here at all is known in a moment
        return node.timers.set(("again", client.mac), node.now_s + node.options.idle_probe_s)
    if not is_guest:
        # a ROAM to itself brings home home
        node.count("homes_reclaimed")
    return roam(node, client)


def on_place_looked(node: Node, mac: bytes, place: bytes, is_live: bool) -> None:
    """A client has an address that is mapped to another node, as somebody roamed there with it.

    the address is    that node can be reached    it cannot
    granted           the mapping stays           it is brought home
    only heard        the newcomer is refused     the mapping stays
    Where it stays, what the client begins is answered here, and the mapping ends with the other's lease.
    """
    client = node.clients.get(mac)
    lease = None if client is None else client.lease
    if client is None or lease is None or lease.ipv4 != place[12:] or not node.is_home(lease):
        return None
    node.count("homes_away")
    if lease.is_granted and not is_live:
        lease.is_returned = True
        return request_token(node, client)
    if not lease.is_granted and is_live:
        drop_ipv4(node, client)
        sentence = f"{describe(mac, place[12:])} was not granted its address, which roams: refused"
        node.log(logging.WARNING, sentence)
        return refuse_at_gate(node, client, place[12:])
    return node.timers.set(("again", mac), node.now_s + node.options.token_again_s)
