# SPDX-License-Identifier: ISC
"""Role B: a client came to our bridge. No I/O.

ClientSeen, unknown MAC   CLAIM, the gate stays closed
INFO with its lease       neighbour, PLAT set, ROAM: in this order, for packets from the PLAT may come before its
                          answer does; then what the gate need not wait for: ACK, node-client address, IPv6 routes
ROAM_ACK                  the gate opens (see roaming)
INFO without a lease, no answer, no route to anybody and no neighbour who answers: the client is new, the gate opens
"""

from l3roamd_py.core import presence, wire
from l3roamd_py.core.actions import CloseGate, OpenGate
from l3roamd_py.core.admitting import arrive
from l3roamd_py.core.belief import ask_again, prove
from l3roamd_py.core.claiming import ask, ask_neighbours, ask_nodes, known_place, press, send_claim
from l3roamd_py.core.clients import Client, Exchange, Lease, State, Table, is_device, is_usable
from l3roamd_py.core.departure import is_host, is_node, refuse_claim
from l3roamd_py.core.elsewhere import find, keep
from l3roamd_py.core.leasing import adopt, request_token
from l3roamd_py.core.presence import doubt, look_again, seek_proof
from l3roamd_py.core.roaming import roam, settle
from l3roamd_py.core.serving import (
    add_address,
    confirm,
    forget,
    give_lease,
    hold,
    is_newcomer,
    learn,
    make_way,
    open_gate,
    refuse,
    refuse_at_gate,
    take,
)
from xlat464.address import contains, mask
from xlat464.node import NODE_LENGTH, RANGE_LENGTH


def see(t: Table, mac: bytes, ipv4: bytes | None = None, is_proof: bool = False) -> Client | None:
    """A client is here; ipv4 is what it uses, if the gate has a packet of it. None: it is not taken in.

    is_proof: more than a frame with its MAC says so.
    """
    if not is_device(mac) or t.options.clat is None:
        t.count("not_clients")
        return None
    client = t.clients.get(mac) or arrive(t, mac, ipv4, is_proof)
    if client is None:
        return None
    t.ports.add(mac, t.port_of(mac))
    look_again(t, client)
    if client.state is State.CLAIMING:
        press(t, client)
        has_unlearnt = client.former is not None and client.former.ipv4 is None
        client.is_verified |= has_unlearnt and client.claim is not None and t.now_s > client.claim.started_s
    if client.former is None and (is_proof or (client.probes and client.ipv4 is None)):
        confirm(t, client)  # the latter is the answer of one that cannot be asked by ARP
    client.seen_s, client.is_leaving = t.now_s, False
    client.probes = client.probes if is_newcomer(client) else 0
    if client.believed_until_s is not None:
        _see_believed(t, client, ipv4)
        return client
    if client.ipv4 is None:
        keep(t, client)  # the answer of one that cannot be asked by ARP
    if client.state is State.ABSENT:
        find(t, client)
        t.timers.set(("idle", mac), t.now_s + t.options.idle_s)
    if ipv4 is not None and is_usable(ipv4):
        _hear(t, client, ipv4)
    elif ipv4 is None:
        refuse_claim(t, client)  # a packet may have waited at the gate, but this is news
    seek_proof(t, client)
    return client


def _see_believed(t: Table, client: Client, ipv4: bytes | None) -> None:
    """A sign of a client that a restart restored: its own word is proof, the bridge's is a reason to ask.

    One without IPv4 was forgotten by the bridge when it was asked, so that its answer is a sign.
    """
    if ipv4 == client.ipv4:
        prove(t, client)
    else:
        ask_again(t, client)


def on_answer(t: Table, mac: bytes, ipv4: bytes) -> None:
    """A client answered our ARP: it is here, even if that came too late to keep it, or if we did not take it in."""
    departed = t.departed.get(mac)
    if departed is None and mac not in t.clients:
        see(t, mac, ipv4, is_proof=True)
        return
    if departed is not None and t.now_s <= departed.told_s + t.options.regret_s:
        t.count("departures_regretted")
        learn(t, departed)
        if see(t, mac, departed.ipv4) is None:
            return
    presence.on_answer(t, mac)
    client = t.clients.get(mac)
    if client is not None and client.believed_until_s is not None:
        prove(t, client)


def _hear(t: Table, client: Client, ipv4: bytes) -> None:
    """The client uses this address; a packet of it waits at the gate."""
    if client.state is State.CLAIMING:
        client.heard = ipv4
        if client.former is not None:
            client.is_verified = client.claim is None or t.now_s > client.claim.started_s
    elif client.state is State.SERVED:
        lease = client.lease
        if client.ipv4 == ipv4:
            t.do(OpenGate(client.mac, ipv4))
        elif lease is not None and lease.is_granted:
            t.count("foreign_addresses")
            refuse_at_gate(t, client, ipv4)
        elif lease is None and ("claim", client.mac) in t.timers:
            client.heard = ipv4  # whoever has it may answer now that it is here
        elif lease is None or t.now_s > lease.until_s - t.options.unleased_s + 1:  # once a second at most
            _adopt_heard(t, client, ipv4)


def _adopt_heard(t: Table, client: Client, ipv4: bytes) -> None:
    """Give the client the address that it uses, with what is left of its lease if our DHCP server gave it."""
    granted, until_s = t.granted.get(client.mac, (b"", 0.0))
    if granted == ipv4 and until_s > t.now_s:
        return adopt(t, client, ipv4, until_s - t.now_s, is_granted=True)
    return adopt(t, client, ipv4, t.options.unleased_s, is_granted=False)


def on_info(t: Table, header: wire.Header, info: wire.Info) -> None:
    client = t.clients.get(info.mac)
    if client is None:
        return t.count("infos_unknown")
    if not header.extended:
        return _on_legacy_info(t, client, header, info)
    if client.claim is None or info.claim_nonce != client.claim.nonce or not is_node(t, header.sender):
        return t.count("infos_forged")
    is_spent = info.lease is not None and 0 < info.lease.token.serial <= client.spent_serial
    if client.answered_by is not None or is_spent or not _may_take(t, client):
        return _acknowledge(t, client, header.sender)  # a duplicate, worthless, or too late
    client.answered_by = header.sender
    t.timers.cancel(("claim", client.mac))
    _take_answer(t, client, info, header.sender)
    if t.clients.get(client.mac) is client:  # it may have been claimed or forgotten at once
        _add_addresses(t, client, info)
    return None


def _take_answer(t: Table, client: Client, info: wire.Info, sender: bytes) -> None:
    """Make the client ours as INFO has it."""
    lease = _read_lease(t, client, info)
    if lease is not None and not make_way(t, client.mac, lease.ipv4, lease.token.serial > 0):
        refuse(t, client, lease.ipv4)
        client.heard = lease = None
        client.is_verified = True  # who had it let it go, and it has no address that we could ask it by
    if lease is not None:
        return _take_over(t, client, lease, sender)
    _acknowledge(t, client, sender)
    former = client.former
    if former is not None and former.ipv4 is None and not former.addresses:
        client.is_verified = True  # it cannot be asked, and nobody else has it now
    return settle_alone(t, client) if client.state is State.CLAIMING else hold(t, client)


def _may_take(t: Table, client: Client) -> bool:
    """Return whether an INFO is still of use: the client is not another node's roam already, nor long at home."""
    assert client.claim is not None
    if client.state is State.CLAIMING:
        return True
    is_late = t.now_s > min(
        client.claim.started_s + t.options.claim_late_s, client.anew_s + t.options.anew_late_s
    )
    return not is_late and client.state is State.SERVED and client.roam is None


def _read_lease(t: Table, client: Client, info: wire.Info) -> Lease | None:
    """Return the lease in INFO, if it is one that this domain can have and that the client still wants."""
    lease = info.lease
    if lease is None or not lease.lease_s:
        return None
    in_range = contains(t.options.plat_range, RANGE_LENGTH, lease.plat) or lease.plat == bytes(16)
    if not t.is_of_client(lease.home) or not in_range or mask(lease.plat, NODE_LENGTH) != lease.plat:
        t.count("infos_bad_lease")
        return None
    if client.granted is not None and client.granted[0] != lease.home[12:]:
        return None  # it has another address from our own DHCP server by now
    left_s = min(lease.lease_s, t.options.max_lease_s)
    return Lease(lease.home, lease.plat, t.now_s + left_s, lease.token)


def _take_over(t: Table, client: Client, lease: Lease, sender: bytes) -> None:
    if client.ipv4 is not None:
        t.do(CloseGate(client.mac, client.ipv4))  # late: it began anew already
    give_lease(t, client, lease)
    client.is_doubted = False
    is_unproven = client.former is not None and not client.is_verified
    take(t, client, is_found=False)
    client.state = State.ROAMING
    client.heard = None
    if client.is_leaving or is_unproven:  # is it here?
        t.timers.set(("idle", client.mac), t.now_s + t.options.idle_probe_s)
        client.seen_s = t.now_s - t.options.idle_s
    roam(t, client)
    _acknowledge(t, client, sender)
    if t.clients.get(client.mac) is client:
        hold(t, client)


def _acknowledge(t: Table, client: Client, sender: bytes) -> None:
    t.send(sender, t.encode(wire.Ack(client.mac)))


def _add_addresses(t: Table, client: Client, info: wire.Info) -> None:
    for address in info.addresses:
        if t.is_client_ipv6(address):
            add_address(t, client, address)


def _on_legacy_info(t: Table, client: Client, header: wire.Header, info: wire.Info) -> None:
    """l3roamd version 0 knows IPv6 addresses only, and nothing proves that it is asked: others may still answer."""
    if not is_host(header.sender):
        return t.count("infos_forged")
    if client.state is State.CLAIMING and client.claim is not None:
        t.count("infos_legacy")
        _add_addresses(t, client, info)
        client.legacy = header.sender
        if ("grace", client.mac) not in t.timers:  # the first one's: a client waits
            from_s = max(t.now_s, client.claim.started_s + t.options.onward_after_s)
            t.timers.set(("grace", client.mac), from_s + t.options.legacy_grace_s)
        t.timers.set(("remind", client.mac), t.now_s + t.options.legacy_remind_s)
    return _acknowledge(t, client, header.sender)


def on_remind_timer(t: Table, mac: bytes) -> None:
    """A busy l3roamd reads of its kernel that the client is there after it let it go, and believes it for minutes."""
    client = t.clients.get(mac)
    if client is not None and client.legacy is not None and client.asked is None:
        t.send(client.legacy, t.encode(wire.Claim(mac)))
        client.legacy = None


def on_claim_timer(t: Table, mac: bytes) -> None:
    client = t.clients.get(mac)
    if client is None or client.claim is None:
        return None
    t.make_up(client.claim, t.options.claim_at_s)
    is_new = client.is_unrouted and t.now_s >= client.claim.started_s + t.options.unrouted_give_up_s
    if is_new and client.state is State.CLAIMING and ("grace", mac) not in t.timers:
        return settle_alone(t, client)
    if client.claim.sent < len(t.options.claim_at_s):
        return send_claim(t, client)
    return _give_up(t, client, client.claim)


def on_grace_timer(t: Table, mac: bytes) -> None:
    """Nobody but nodes of version 0 has answered."""
    client = t.clients.get(mac)
    if client is None or client.claim is None or client.state is not State.CLAIMING:
        return None
    return settle_alone(t, client) if client.is_unrouted else _give_up(t, client, client.claim)


def _give_up(t: Table, client: Client, claim: Exchange) -> None:
    t.count("claims_unanswered")
    if client.state is not State.CLAIMING:
        heard, client.heard = client.heard, None
        if heard is not None and client.lease is None:
            _adopt_heard(t, client, heard)
        # hold it if it is here still, while whom babel knows stays silent
        return hold(t, client) if client.seen_s >= claim.last_s else doubt(t, client)
    client.is_doubted = True
    settle_alone(t, client)
    return doubt(t, client)


def on_unreachable(t: Table, mac: bytes, is_retracted: bool) -> None:
    """Babel knows no node that serves this client; a neighbour may."""
    client = t.clients.get(mac)
    if client is None or known_place(client) is not None or ("claim", mac) not in t.timers:
        return
    if client.state is State.CLAIMING:
        client.is_unrouted = client.place is None and not is_retracted
        ask_neighbours(t, client, t.options.group_ttl)
        if client.is_unrouted and client.claim is not None and client.claim.sent == 1:
            ask_nodes(t, client, wire.FOR_ITS_NODE)  # babel may not have told yet who has it since a moment
    elif client.place is None and not is_retracted:
        t.timers.cancel(("claim", mac))
        hold(t, client)


def _is_passing(t: Table, client: Client) -> bool:
    """Return whether a client was heard when it came, and never since: it may be back where its CLAIM was refused.

    Let in, it would begin anew when it comes again, before that node has let it go.
    """
    claim, options = client.claim, t.options
    if claim is None or client.heard is None or t.now_s < claim.started_s + options.claim_give_up_s:
        return False
    moment_s = options.claim_at_s[-1] if client.claims == 1 else 0.0
    return client.seen_s < claim.started_s + moment_s


def settle_alone(t: Table, client: Client) -> None:
    """Nobody had the client, or nobody tells: it is ours, with the lease that we know of, if any."""
    is_unproven = client.former is not None and not client.is_verified
    # babel knows a node that has it, which stays silent: it may have been there again when that node looked
    is_passing = client.is_doubted and _is_passing(t, client)
    is_contested = client.is_doubted and client.granted is None and (client.heard is None or is_passing)
    may_ask = (
        client.answered_by is None and not client.is_leaving and client.claims < t.options.arrival_rounds
    )
    if may_ask and (is_unproven or is_contested):
        return ask(t, client)  # no other sign of an idle client may come
    if client.is_leaving or is_unproven or (is_contested and is_passing):
        t.count("arrivals_unproven")
        return forget(t, client)
    lease = client.lease
    if lease is None and client.former is not None and client.answered_by is None:
        lease = client.former.lease
    client.anew_s = t.now_s
    heard, client.heard = client.heard, None
    for address in () if client.former is None else client.former.addresses:
        add_address(t, client, address)
    # nobody else had it
    is_new = client.former is None and client.answered_by is None
    take(t, client, is_found=not is_new or client.is_verified or client.granted is not None)
    is_left = lease is not None and lease.until_s > t.now_s
    if lease is not None and is_left and make_way(t, client.mac, lease.ipv4, lease.is_granted):
        _resume(t, client, lease)
    elif heard is not None and client.granted is None:
        _adopt_heard(t, client, heard)
    settle(t, client)
    return seek_proof(t, client) if t.clients.get(client.mac) is client else None


def _resume(t: Table, client: Client, lease: Lease) -> None:
    """Go on with a lease that we held before."""
    lease.is_returned = True
    give_lease(t, client, lease)
    if t.is_home(lease):
        open_gate(t, client)
        request_token(t, client)
    else:
        client.state = State.ROAMING
        roam(t, client)
