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
from l3roamd_py.core.client import NOWHERE, Asked, Client, Departed, Exchange, State
from l3roamd_py.core.events import Datagram
from l3roamd_py.core.node import Node, describe, node_of
from l3roamd_py.core.serving import ask_client, can_ask, drop, forget, is_newcomer
from xlat464.address import contains, format_ipv6
from xlat464.node import RANGE_LENGTH

IPV4_MAPPED = bytes(10) + b"\xff\xff"


def is_node(node: Node, sender: bytes) -> bool:
    """Return whether this is the address at which a clatnode of our domain, and only it, hears us."""
    return contains(node.options.clat_range, RANGE_LENGTH, sender) and node_of(sender) == sender


def is_host(address: bytes) -> bool:
    """Return whether a node of l3roamd version 0 may have this address: not a group, loopback or unspecified."""
    return address[0] != 0xFF and address[:15] != bytes(15)


def on_claim(node: Node, header: wire.Header, claim: wire.Claim, datagram: Datagram) -> None:
    mac = claim.mac
    if header.sender == node.address:
        return node.count("claims_own")
    if not (is_node(node, header.sender) if header.extended else is_host(header.sender)):
        return node.count("claims_bad_sender")
    departed = _find(node, mac)
    is_crossing = departed is not None and departed.is_acknowledged and departed.place == header.sender
    if departed is not None and not (is_crossing and mac in node.clients):
        if header.extended and header.ttl <= wire.FOR_ITS_NODE:
            return node.count("claims_elsewhere")
        return _redirect(node, departed, header, datagram.payload)
    if mac in node.clients:  # crossing: we claim it from each other, and what we knew is out of date
        return _note(node, node.clients[mac], header)
    return node.count("claims_unknown")


def _note(node: Node, client: Client, header: wire.Header) -> None:
    asked = client.asked
    if asked is not None and asked.sender != header.sender and asked.until_s >= node.now_s:
        return node.count("claims_second")  # it is passed on when the first one has the client
    if asked is not None and ("probe", client.mac) in node.timers:
        asked.nonce = header.nonce
        return None
    until_s = node.now_s + node.options.asked_s
    client.asked = Asked(header.sender, header.nonce, header.extended, until_s)
    return consider(node, client)


def consider(node: Node, client: Client) -> None:
    """Answer the CLAIM that a client of ours is under, if it is settled whose it is now."""
    if client.asked is None or client.state is State.CLAIMING or client.roam is not None:
        return
    if client.asked.until_s < node.now_s:
        client.asked = None
        node.count("claims_late")
    elif client.believed_until_s is not None:
        return  # in a moment it is known whether it is here
    elif client.is_doubted:  # what we know of it is worth nothing: the node that has it is asked as well
        client.asked = None
        node.count("claims_in_doubt")
    elif is_newcomer(client) and not can_ask(client):  # we have nothing to tell, and vouch for nobody
        node.count("claims_unproven")
        forget(node, client)
    elif client.state is State.ABSENT or client.is_leaving or not can_ask(client):
        let_go(node, client)
    elif ("probe", client.mac) not in node.timers:
        client.asked.until_s = node.now_s + patience_s(node, client)  # from now on: when we let go
        _ask(node, client, client.asked)


def _ask(node: Node, client: Client, asked: Asked) -> None:
    """Ask the client if it is here. What we ask late may be answered late: the last question has its time."""
    at_s, asked.questions = node.options.probe_at_s, asked.questions + 1
    ask_client(node, client)
    if asked.questions < len(at_s):
        return node.timers.set(
            ("probe", client.mac), node.now_s + at_s[asked.questions] - at_s[asked.questions - 1]
        )
    asked.until_s = max(asked.until_s, node.now_s + patience_s(node, client) - at_s[-1])
    return node.timers.set(("probe", client.mac), asked.until_s)


def patience_s(node: Node, client: Client) -> float:
    """How long a client may take to answer that it is here: another node waits for so long if it is not."""
    options = node.options
    usual_s = 0.0 if client.answer_s is None else options.probe_times * client.answer_s
    return max(options.probe_give_up_s, min(usual_s, options.probe_most_s))


def on_probe_timer(node: Node, mac: bytes) -> None:
    client = node.clients.get(mac)
    if client is None or client.asked is None:
        return None
    if client.asked.questions < len(node.options.probe_at_s):
        return _ask(node, client, client.asked)
    if node.believed.is_within(b"", node.now_s):
        return let_go(node, client)
    client.asked = None
    return node.count("claims_too_many")


def refuse_claim(node: Node, client: Client) -> None:
    """The client is here: whoever claims it is wrong, or lies."""
    if client.asked is not None and ("probe", client.mac) in node.timers:
        node.timers.cancel(("probe", client.mac))
        node.count("claims_refused")
        sender = format_ipv6(client.asked.sender)
        node.log(logging.DEBUG, f"{describe(client.mac)} is here: the claim of {sender} is refused")
        client.asked = None


def let_go(node: Node, client: Client) -> None:
    asked = client.asked
    assert asked is not None
    until_s = node.now_s + node.options.departed_s
    departed = Departed(
        client.mac,
        asked.sender,
        asked.is_extended,
        until_s,
        client.ipv4,
        client.lease,
        tuple(client.addresses),
        told_s=node.now_s,
        asked_s=client.asked_s,
        timed_s=client.timed_s,
        answer_s=client.answer_s,
    )
    away.note(node, client)
    remember(node, departed)
    # before INFO, of which ROAM comes: what passed after that would be a stranger's to the PLAT
    if client.ipv4 is not None:
        node.do(CloseGate(client.mac, client.ipv4))
    tell(node, departed, asked.nonce)
    drop(node, client)
    node.timers.set(("linger", client.mac), until_s)  # while nobody has acknowledged, claims shall find us
    node.count("departures")


def remember(node: Node, departed: Departed) -> None:
    if len(node.departed) >= node.options.max_departed:
        end_departed(node, next(iter(node.departed)))
    node.departed[departed.mac] = departed
    node.timers.set(("departed", departed.mac), departed.until_s)


def tell(node: Node, departed: Departed, claim_nonce: int) -> None:
    """Send INFO, and again until its ACK comes."""
    lease = departed.lease
    left_s = 0 if lease is None else node.seconds_left(lease)
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
    nonce, departed.claim_nonce = node.make_nonce(), claim_nonce
    departed.info = Exchange(nonce, node.encode(info, nonce), departed.place, node.now_s)
    _send_info(node, departed)


def _send_info(node: Node, departed: Departed) -> None:
    info, options = departed.info, node.options
    assert info is not None
    node.send(info.destination, info.payload)
    next_s = node.repeat(info, options.info_at_s, 2 * options.info_at_s[-1])
    node.timers.set(("info", departed.mac), next_s)


def _find(node: Node, mac: bytes) -> Departed | None:
    """Where a client went. One that seems to be back is there until it is ours again."""
    client = node.clients.get(mac)
    return node.departed.get(mac) if client is None else client.former


def on_info_timer(node: Node, mac: bytes) -> None:
    departed = _find(node, mac)
    if departed is None or departed.info is None:
        return None
    if departed.info.sent < len(node.options.info_at_s):
        return _send_info(node, departed)
    departed.info = None
    return node.count("infos_unanswered")


def on_ack(node: Node, header: wire.Header, ack: wire.Ack) -> None:
    departed = _find(node, ack.mac)
    if departed is None or departed.info is None or departed.place != header.sender:
        return node.count("acks_unexpected")
    departed.info, departed.is_acknowledged = None, True
    if ("linger", ack.mac) in node.timers:
        node.timers.set(("linger", ack.mac), node.now_s + node.options.linger_s)
    node.changes += 1
    return node.timers.cancel(("info", ack.mac))


def _redirect(node: Node, departed: Departed, header: wire.Header, payload: bytes) -> None:
    """A claim for a client that went on: its new place did not hear us, or babel has not told of it yet."""
    is_deaf = not departed.is_acknowledged and node.now_s > departed.told_s + node.options.info_deaf_s
    if is_deaf and departed.mac not in node.clients:
        # who claimed it then does not hear: perhaps the client was there for a moment only. If not, the CLAIM finds it
        if header.sender != departed.place:
            _pass_on(node, departed, header, payload)
        departed.place, departed.is_extended = header.sender, header.extended
        departed.told_s = node.now_s
    if header.sender != departed.place:
        return _pass_on(node, departed, header, payload)
    info = departed.info
    is_told = info is not None and info.destination == departed.place and departed.claim_nonce == header.nonce
    if is_told and info is not None and node.now_s < info.last_s + node.options.claim_press_s:
        return node.count("claims_too_fast")
    return tell(node, departed, header.nonce)


def _pass_on(node: Node, departed: Departed, header: wire.Header, payload: bytes) -> None:
    onward = wire.pass_on(payload, node.options.claim_ttl)
    if onward is None or not departed.is_extended or not header.extended:
        return node.count("claims_not_passed_on")
    node.count("claims_passed_on")
    return node.send(departed.place, onward)


def on_linger_timer(node: Node, mac: bytes) -> None:
    """Babel has the new place by now, if there is one."""
    client = node.clients.get(mac)
    if client is None or not client.has_address:
        node.do(RemoveNodeClient(node.node_client(mac)))


def end_departed(node: Node, mac: bytes) -> None:
    """Forget where a client went."""
    is_known = node.departed.pop(mac, None) is not None
    if is_known and ("linger", mac) in node.timers:
        on_linger_timer(node, mac)
    for name in ("departed", "linger", "info"):
        node.timers.cancel((name, mac))
    node.changes += 1
