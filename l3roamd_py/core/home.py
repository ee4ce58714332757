# SPDX-License-Identifier: ISC
"""Role D, and the choice of the PLAT: leases of our own DHCP server, tokens for them, prefixd's news. No I/O.

Which PLATs there are is in plats.py.
"""

import logging

from l3roamd_py.core import away, wire
from l3roamd_py.core.actions import LookForPlace, SetCurrentPlat
from l3roamd_py.core.arrival import see
from l3roamd_py.core.clients import NOWHERE, State, Table, describe, is_device, is_usable, node_of
from l3roamd_py.core.leasing import request_token
from l3roamd_py.core.plats import move
from l3roamd_py.core.roaming import apply_grant, keep_proof, renew_in_time, roam
from l3roamd_py.core.serving import confirm, drop_ipv4, refuse_at_gate

EXPIRY_SLACK_S = 2.0  # DHCP servers count whole seconds


def grant(t: Table, mac: bytes, ipv4: bytes, lease_s: int, is_seen: bool, is_renewed: bool = False) -> None:
    """Our DHCP server leased an address."""
    if not is_device(mac) or not is_usable(ipv4) or lease_s <= 0 or t.options.clat is None:
        return t.count("leases_ignored")
    until_s = t.now_s + min(lease_s, t.options.max_lease_s)
    if mac not in t.granted and len(t.granted) >= t.options.max_granted:
        oldest = next(iter(t.granted))
        del t.granted[oldest]
        away.end(t, oldest)
    t.granted[mac] = (ipv4, until_s)
    away.watch(t, mac)
    t.changes += 1
    client = see(t, mac, is_proof=True) if is_seen else t.clients.get(mac)
    if client is None:
        return None
    if client.state in (State.CLAIMING, State.ROAMING) or client.believed_until_s is not None:
        if is_seen:
            client.is_verified = True
            client.granted = (ipv4, until_s, is_renewed)
        return None
    if is_seen:
        confirm(t, client)
    if is_seen or client.lease is None or client.lease.ipv4 == ipv4:
        apply_grant(t, client, ipv4, until_s, is_renewed)
    return None


def end_grant(t: Table, mac: bytes, ipv4: bytes) -> None:
    """Our DHCP server let a lease go: it was given back, or ran out here while another node may have renewed it."""
    granted, until_s = t.granted.get(mac, (None, 0.0))
    if granted == ipv4:
        del t.granted[mac]
        away.end(t, mac)
        t.changes += 1
    client = t.clients.get(mac)
    lease = None if client is None or client.ipv4 != ipv4 else client.lease
    soon_s = t.now_s + EXPIRY_SLACK_S
    if lease is not None and granted == ipv4 and until_s <= soon_s < lease.until_s:
        return t.count("leases_renewed_elsewhere")
    if client is not None and client.ipv4 == ipv4 and client.state in (State.SERVED, State.ABSENT):
        drop_ipv4(t, client)
    elif client is not None and client.granted is not None and client.granted[0] == ipv4:
        client.granted = None
    return None


def choose_plat(t: Table, prefix: bytes) -> None:
    t.current = prefix
    t.do(SetCurrentPlat(prefix))
    t.changes += 1
    _ask_for_proof(t, prefix)
    move(t, NOWHERE)


def _ask_for_proof(t: Table, plat: bytes) -> None:
    """Have the proof before the first roam needs it. Once: the PLAT gives it to a ROAM without one as well."""
    if t.options.clat is not None:
        t.proof_nonce = t.make_nonce()
        request = wire.TokenRequest(wire.Lease(t.address, plat, t.options.max_lease_s))
        t.send(node_of(plat), t.encode(request, t.proof_nonce))


def on_token(t: Table, header: wire.Header, grant: wire.TokenGrant) -> None:
    """The PLAT vouches for one of our homes, or for our prefix."""
    if grant.lease.home == t.address and grant.nonce == t.proof_nonce and grant.reason == wire.OK:
        t.proof_nonce = None
        return keep_proof(t, grant.lease)
    if grant.nonce in t.away_questions:
        return away.on_token(t, grant)
    client = t.clients.get(t.by_ipv4.get(grant.lease.home[12:], b""))
    if client is None or client.token is None or client.token.nonce != grant.nonce or client.lease is None:
        return t.count("tokens_unexpected")
    is_guest = grant.at == client.lease.home and t.is_of_client(grant.lease.home)
    if (client.lease.home != grant.lease.home and not is_guest) or client.lease.plat != grant.lease.plat:
        return t.count("tokens_unexpected")
    client.token = None
    t.timers.cancel(("token", client.mac))
    if grant.reason != wire.OK:
        t.count("tokens_refused")
        return t.timers.set(("again", client.mac), t.now_s + t.options.token_again_s)
    if is_guest:  # it roamed to us, and we have forgotten; its connections live where it is mapped
        client.lease.home = grant.lease.home
        t.count("homes_remembered")
    is_mapped = grant.at not in (None, client.lease.home)
    if grant.at is not None and is_mapped and not is_guest and not client.lease.is_returned:
        # somebody had this address before, and roamed with it: without a token ours cannot take the mapping along
        return t.do(LookForPlace(client.mac, grant.at))
    client.lease.token = grant.lease.token
    t.changes += 1
    renew_in_time(t, client, grant.lease.lease_s)
    if not is_mapped or client.roam is not None:
        return None
    if client.is_doubted:  # whether it is here at all is known in a moment
        return t.timers.set(("again", client.mac), t.now_s + t.options.idle_probe_s)
    if not is_guest:
        # a ROAM to itself brings home home
        t.count("homes_reclaimed")
    return roam(t, client)


def on_place_looked(t: Table, mac: bytes, place: bytes, is_live: bool) -> None:
    """A client has an address that is mapped to another node, as somebody roamed there with it.

    the address is    that node can be reached    it cannot
    granted           the mapping stays           it is brought home
    only heard        the newcomer is refused     the mapping stays
    Where it stays, what the client begins is answered here, and the mapping ends with the other's lease.
    """
    client = t.clients.get(mac)
    lease = None if client is None else client.lease
    if client is None or lease is None or lease.ipv4 != place[12:] or not t.is_home(lease):
        return None
    t.count("homes_away")
    if lease.is_granted and not is_live:
        lease.is_returned = True
        return request_token(t, client)
    if not lease.is_granted and is_live:
        drop_ipv4(t, client)
        sentence = f"{describe(mac, place[12:])} was not granted its address, which roams: refused"
        t.log(logging.WARNING, sentence)
        return refuse_at_gate(t, client, place[12:])
    return t.timers.set(("again", mac), t.now_s + t.options.token_again_s)
