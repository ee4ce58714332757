# SPDX-License-Identifier: ISC
"""Role A: another node claims a client that we serve, or served. No I/O.

    CLAIM for a client that is SERVED   ask it; if it answers within three times what its answer usually takes, the
                                        claim is refused, else let go
                              ABSENT    let go, and if the kernel said that it left as well
                              CLAIMING, or with a ROAM out: after that, for only then we know what to tell
                              departed  to its new place: tell again; to others: pass the CLAIM on to the new place
To let go is to close the gate, to tell INFO until it is acknowledged, to remove all that belongs to the client, and to
keep its node-client address until babel has the new one.
"""

import logging

from l3roamd_py.core import away, wire
from l3roamd_py.core.actions import CloseGate, RemoveNodeClient
from l3roamd_py.core.clients import (
    NOWHERE,
    Asked,
    Client,
    Departed,
    Exchange,
    State,
    Table,
    describe,
    node_of,
)
from l3roamd_py.core.events import Datagram
from l3roamd_py.core.serving import ask_client, can_ask, drop, forget, is_newcomer
from xlat464.address import contains, format_ipv6
from xlat464.node import RANGE_LENGTH

IPV4_MAPPED = bytes(10) + b"\xff\xff"


def is_node(t: Table, sender: bytes) -> bool:
    """Return whether this is the address at which a clatnode of our domain, and only it, hears us."""
    return contains(t.options.clat_range, RANGE_LENGTH, sender) and node_of(sender) == sender


def is_host(address: bytes) -> bool:
    """Return whether a node of l3roamd version 0 may have this address: not a group, loopback or unspecified."""
    return address[0] != 0xFF and address[:15] != bytes(15)


def on_claim(t: Table, header: wire.Header, claim: wire.Claim, datagram: Datagram) -> None:
    mac = claim.mac
    if header.sender == t.address:
        return t.count("claims_own")
    if not (is_node(t, header.sender) if header.extended else is_host(header.sender)):
        return t.count("claims_bad_sender")
    departed = _find(t, mac)
    is_crossing = departed is not None and departed.is_acknowledged and departed.place == header.sender
    if departed is not None and not (is_crossing and mac in t.clients):
        if header.extended and header.ttl <= wire.FOR_ITS_NODE:
            return t.count("claims_elsewhere")
        return _redirect(t, departed, header, datagram.payload)
    if mac in t.clients:  # crossing: we claim it from each other, and what we knew is out of date
        return _note(t, t.clients[mac], header)
    return t.count("claims_unknown")


def _note(t: Table, client: Client, header: wire.Header) -> None:
    asked = client.asked
    if asked is not None and asked.sender != header.sender and asked.until_s >= t.now_s:
        return t.count("claims_second")  # it is passed on when the first one has the client
    if asked is not None and ("probe", client.mac) in t.timers:
        asked.nonce = header.nonce
        return None
    until_s = t.now_s + t.options.asked_s
    client.asked = Asked(header.sender, header.nonce, header.extended, until_s)
    return consider(t, client)


def consider(t: Table, client: Client) -> None:
    """Answer the CLAIM that a client of ours is under, if it is settled whose it is now."""
    if client.asked is None or client.state is State.CLAIMING or client.roam is not None:
        return
    if client.asked.until_s < t.now_s:
        client.asked = None
        t.count("claims_late")
    elif client.believed_until_s is not None:
        return  # in a moment it is known whether it is here
    elif client.is_doubted:  # what we know of it is worth nothing: the node that has it is asked as well
        client.asked = None
        t.count("claims_in_doubt")
    elif is_newcomer(client) and not can_ask(client):  # we have nothing to tell, and vouch for nobody
        t.count("claims_unproven")
        forget(t, client)
    elif client.state is State.ABSENT or client.is_leaving or not can_ask(client):
        let_go(t, client)
    elif ("probe", client.mac) not in t.timers:
        client.asked.until_s = t.now_s + patience_s(t, client)  # from now on: when we let go
        _ask(t, client, client.asked)


def _ask(t: Table, client: Client, asked: Asked) -> None:
    """Ask the client if it is here. What we ask late may be answered late: the last question has its time."""
    at_s, asked.questions = t.options.probe_at_s, asked.questions + 1
    ask_client(t, client)
    if asked.questions < len(at_s):
        return t.timers.set(
            ("probe", client.mac), t.now_s + at_s[asked.questions] - at_s[asked.questions - 1]
        )
    asked.until_s = max(asked.until_s, t.now_s + patience_s(t, client) - at_s[-1])
    return t.timers.set(("probe", client.mac), asked.until_s)


def patience_s(t: Table, client: Client) -> float:
    """How long a client may take to answer that it is here: another node waits for so long if it is not."""
    options = t.options
    usual_s = 0.0 if client.answer_s is None else options.probe_times * client.answer_s
    return max(options.probe_give_up_s, min(usual_s, options.probe_most_s))


def on_probe_timer(t: Table, mac: bytes) -> None:
    client = t.clients.get(mac)
    if client is None or client.asked is None:
        return None
    if client.asked.questions < len(t.options.probe_at_s):
        return _ask(t, client, client.asked)
    if t.believed.is_within(b"", t.now_s):
        return let_go(t, client)
    client.asked = None
    return t.count("claims_too_many")


def refuse_claim(t: Table, client: Client) -> None:
    """The client is here: whoever claims it is wrong, or lies."""
    if client.asked is not None and ("probe", client.mac) in t.timers:
        t.timers.cancel(("probe", client.mac))
        t.count("claims_refused")
        sender = format_ipv6(client.asked.sender)
        t.log(logging.DEBUG, f"{describe(client.mac)} is here: the claim of {sender} is refused")
        client.asked = None


def let_go(t: Table, client: Client) -> None:
    asked = client.asked
    assert asked is not None
    until_s = t.now_s + t.options.departed_s
    departed = Departed(
        client.mac,
        asked.sender,
        asked.is_extended,
        until_s,
        client.ipv4,
        client.lease,
        tuple(client.addresses),
        told_s=t.now_s,
        asked_s=client.asked_s,
        timed_s=client.timed_s,
        answer_s=client.answer_s,
    )
    away.note(t, client)
    remember(t, departed)
    # before INFO, of which ROAM comes: what passed after that would be a stranger's to the PLAT
    if client.ipv4 is not None:
        t.do(CloseGate(client.mac, client.ipv4))
    tell(t, departed, asked.nonce)
    drop(t, client)
    t.timers.set(("linger", client.mac), until_s)  # while nobody has acknowledged, claims shall find us
    t.count("departures")


def remember(t: Table, departed: Departed) -> None:
    if len(t.departed) >= t.options.max_departed:
        end_departed(t, next(iter(t.departed)))
    t.departed[departed.mac] = departed
    t.timers.set(("departed", departed.mac), departed.until_s)


def tell(t: Table, departed: Departed, claim_nonce: int) -> None:
    """Send INFO, and again until its ACK comes."""
    lease = departed.lease
    left_s = 0 if lease is None else t.seconds_left(lease)
    addresses = list(departed.addresses)
    if departed.ipv4 is not None:
        addresses.insert(0, IPV4_MAPPED + departed.ipv4)
    info = wire.Info(
        departed.mac,
        tuple(addresses[: wire.ADDRESSES_MAX]),
        NOWHERE if lease is None else lease.plat,
        left_s,
        wire.Lease(lease.home, lease.plat, left_s, lease.token)
        if departed.is_extended and lease is not None and left_s
        else None,
        claim_nonce if departed.is_extended else None,
    )
    nonce, departed.claim_nonce = t.make_nonce(), claim_nonce
    departed.info = Exchange(nonce, t.encode(info, nonce), departed.place, t.now_s)
    _send_info(t, departed)


def _send_info(t: Table, departed: Departed) -> None:
    info, options = departed.info, t.options
    assert info is not None
    t.send(info.destination, info.payload)
    next_s = t.repeat(info, options.info_at_s, 2 * options.info_at_s[-1])
    t.timers.set(("info", departed.mac), next_s)


def _find(t: Table, mac: bytes) -> Departed | None:
    """Where a client went. One that seems to be back is there until it is ours again."""
    client = t.clients.get(mac)
    return t.departed.get(mac) if client is None else client.former


def on_info_timer(t: Table, mac: bytes) -> None:
    departed = _find(t, mac)
    if departed is None or departed.info is None:
        return None
    if departed.info.sent < len(t.options.info_at_s):
        return _send_info(t, departed)
    departed.info = None
    return t.count("infos_unanswered")


def on_ack(t: Table, header: wire.Header, ack: wire.Ack) -> None:
    departed = _find(t, ack.mac)
    if departed is None or departed.info is None or departed.place != header.sender:
        return t.count("acks_unexpected")
    departed.info, departed.is_acknowledged = None, True
    if ("linger", ack.mac) in t.timers:
        t.timers.set(("linger", ack.mac), t.now_s + t.options.linger_s)
    t.changes += 1
    return t.timers.cancel(("info", ack.mac))


def _redirect(t: Table, departed: Departed, header: wire.Header, payload: bytes) -> None:
    """A claim for a client that went on: its new place did not hear us, or babel has not told of it yet."""
    is_deaf = not departed.is_acknowledged and t.now_s > departed.told_s + t.options.info_deaf_s
    if is_deaf and departed.mac not in t.clients:
        # who claimed it then does not hear: perhaps the client was there for a moment only. If not, the CLAIM finds it
        if header.sender != departed.place:
            _pass_on(t, departed, header, payload)
        departed.place, departed.is_extended = header.sender, header.extended
        departed.told_s = t.now_s
    if header.sender != departed.place:
        return _pass_on(t, departed, header, payload)
    info = departed.info
    is_told = info is not None and info.destination == departed.place and departed.claim_nonce == header.nonce
    if is_told and info is not None and t.now_s < info.last_s + t.options.claim_press_s:
        return t.count("claims_too_fast")
    return tell(t, departed, header.nonce)


def _pass_on(t: Table, departed: Departed, header: wire.Header, payload: bytes) -> None:
    onward = wire.pass_on(payload, t.options.claim_ttl)
    if onward is None or not departed.is_extended or not header.extended:
        return t.count("claims_not_passed_on")
    t.count("claims_passed_on")
    return t.send(departed.place, onward)


def on_linger_timer(t: Table, mac: bytes) -> None:
    """Babel has the new place by now, if there is one."""
    client = t.clients.get(mac)
    if client is None or not client.has_address:
        t.do(RemoveNodeClient(t.node_client(mac)))


def end_departed(t: Table, mac: bytes) -> None:
    """Forget where a client went."""
    is_known = t.departed.pop(mac, None) is not None
    if is_known and ("linger", mac) in t.timers:
        on_linger_timer(t, mac)
    for name in ("departed", "linger", "info"):
        t.timers.cancel((name, mac))
    t.changes += 1
