# SPDX-License-Identifier: ISC
"""Role B: who had this client? Our CLAIM, and what follows when the question is over. No I/O.

The CLAIM goes to the client's node-client address, which babel routes to the node that serves it. If we know where the
client went, it goes right there. Each copy goes to our neighbours on the mesh as well, as a client has seldom come from
farther away. At first only the node that has the client may answer. While babel knows no way, or nobody answers at its
end, a node that knows where it went may answer too. Asked at once, those would tell what is out of date. If all of them
are silent as well, every clatnode that babel knows is asked. A client that walks quickly over several hops is faster
than babel and the neighbours. (A node that lets the address go may be at the end of old routes for seconds: babeld
before 1.12.2 has to wait for the next update then, even with another route at hand.)
"""

from l3roamd_py.core import own_plats, wire
from l3roamd_py.core.actions import CloseGate, ProbeClient, SendClaim, SendToNodes
from l3roamd_py.core.addresses import drop_ipv4, give_lease, may_have, open_gate, refuse
from l3roamd_py.core.client import (
    AT_ONCE,
    NEVER,
    NOWHERE,
    UNKNOWN,
    Claiming,
    Client,
    Exchange,
    Lease,
    Roaming,
    can_ask,
    former_of,
)
from l3roamd_py.core.departed import end_linger
from l3roamd_py.core.doubt import doubt
from l3roamd_py.core.info import accept_without_lease
from l3roamd_py.core.ipv6 import add_older
from l3roamd_py.core.node import Node, node_of
from l3roamd_py.core.onward import receive
from l3roamd_py.core.requests import end_roam, expect, request_token, start_roam
from l3roamd_py.core.service import announce, ask_client, new_served, serve

# Our CLAIM


def claim(node: Node, client: Client, nonce: int | None = None) -> None:
    """Ask who had a client that is Claiming."""
    node.claiming.add(client.mac)
    client.presence.check_s = NEVER
    _need_proof(node, client)
    _start_claim(node, client, nonce)
    former = former_of(client)
    if former is not None and former.ipv4 is not None:
        expect(node, client, former.ipv4)


def _start_claim(node: Node, client: Client, nonce: int | None = None) -> None:
    """Ask while we serve the client already: nobody has answered yet, though babel knows somebody."""
    search, nonce = client.search, node.make_nonce() if nonce is None else nonce
    payload = node.encode(wire.Claim(client.mac), nonce, node.options.claim_ttl)
    search.claim = Exchange(nonce, payload, node.node_client(client.mac), node.now_s)
    search.answered_by, search.answer, search.is_to_all, search.ended_s = None, None, False, NEVER
    search.rounds += 1
    if search.legacy is not None:
        search.legacy.grace_s = NEVER
    send_claim(node, client)


def claim_contested(node: Node, client: Client) -> None:
    """A contested client was heard: if we ask once more, the other node will let it go."""
    if (end_linger, client.mac) not in node.timers:
        client.search.place = None  # where it went is silent: ask whom babel knows, now that this is not us
    _start_claim(node, client)


def send_claim(node: Node, client: Client) -> None:
    """Send the next copy of our CLAIM, to all whom it is for."""
    search, claim, options = client.search, client.search.claim, node.options
    assert claim is not None
    if search.is_to_all:
        _ask_neighbours(node, client.mac, claim, wire.FOR_ITS_NODE)
        _ask_nodes(node, client.mac, claim, wire.FOR_ITS_NODE)
        return node.note_copy(claim, options.claim_all_at_s, options.claim_all_at_s[-1])
    search.is_unrouted = search.is_unreached = False
    resend_claim(node, client)
    is_late = node.now_s >= claim.started_s + options.onward_after_s
    _ask_neighbours(node, client.mac, claim, options.group_ttl if is_late else wire.FOR_ITS_NODE)
    if claim.sent in options.claim_nodes_copies:
        _ask_nodes(node, client.mac, claim, options.group_ttl)
    node.note_copy(claim, options.claim_at_s, options.claim_give_up_s)
    if claim.sent == len(options.claim_at_s):
        _need_proof(node, client)
        if former_of(client) is None and search.heard is not None:
            node.do(ProbeClient(client.mac, search.heard))
    return None


def resend_claim(node: Node, client: Client) -> None:
    """Send CLAIM to the node that has the client, once more if that is silent."""
    search, claim, former = client.search, client.search.claim, former_of(client)
    assert claim is not None
    claim.last_s = node.now_s
    if former is not None:
        search.place = former.place  # it may have gone on since
    if search.place in (None, UNKNOWN):
        node.do(SendClaim(client.mac, claim.destination, claim.payload))
    else:
        node.send(search.place, claim.payload)


def _need_proof(node: Node, client: Client) -> None:
    """Another node has it, or had it last: a late sign of it, or one of a moment, must not bring it to us."""
    former = former_of(client)
    if former is not None or can_ask(client):
        client.presence.is_proven = False
        ask_client(node, former or client)


def _ask_neighbours(node: Node, mac: bytes, claim: Exchange, ttl: int) -> None:
    """The same CLAIM to whoever is next to us."""
    node.send(wire.GROUP, node.encode(wire.Claim(mac), claim.nonce, ttl))


def _ask_nodes(node: Node, mac: bytes, claim: Exchange, ttl: int) -> None:
    """The same CLAIM to every clatnode that babel knows, but seldom: there may be hundreds."""
    if node.node_asks.is_within(b"", node.now_s):
        node.do(SendToNodes(node.encode(wire.Claim(mac), claim.nonce, ttl), node.address))


def on_unreachable(node: Node, mac: bytes, is_retracted: bool) -> None:
    """Babel knows no node that serves this client; a neighbour may."""
    client = node.clients.get(mac)
    if client is None or client.search.place not in (None, UNKNOWN) or not client.search.is_running:
        return
    is_unrouted = client.search.place is None and not is_retracted
    if isinstance(client.state, Claiming):
        client.search.is_unrouted, client.search.is_unreached = is_unrouted, True
    else:
        client.search.is_unreached = is_unrouted
    node.touch(mac)


def ask_neighbours(node: Node, client: Client) -> None:
    """A copy of our CLAIM had nowhere to go."""
    search, claim = client.search, client.search.claim
    assert claim is not None
    search.is_unreached = False
    _ask_neighbours(node, client.mac, claim, node.options.group_ttl)
    if search.is_unrouted and claim.sent == 1:
        _ask_nodes(
            node, client.mac, claim, wire.FOR_ITS_NODE
        )  # babel may not have told yet who has it since a moment


def claim_from_all(node: Node, client: Client) -> None:
    """We serve the client: who does so too, and does not find it, lets it go and says what it knows."""
    search = client.search
    search.claim = Exchange(node.make_nonce(), b"", wire.GROUP, node.now_s)
    search.answered_by, search.is_to_all = None, True
    send_claim(node, client)


def claim_from_neighbours(node: Node, client: Client) -> None:
    """A client that was asked is here, as a node came back, or the client. Who lets it go only needs an ACK."""
    is_back = client.presence.swept_s != node.swept_s
    client.presence.swept_s = NEVER
    claim = client.search.claim = Exchange(node.make_nonce(), b"", wire.GROUP, node.now_s)
    client.search.answered_by = node.address
    _ask_neighbours(node, client.mac, claim, node.options.group_ttl)
    if is_back:  # another node may have taken it far away
        _ask_nodes(node, client.mac, claim, wire.FOR_ITS_NODE)


def remind(node: Node, client: Client) -> None:
    """A busy l3roamd reads of its kernel that the client is there after it let it go, and believes it for minutes.

    The client is asked first: one that walked back to that node would be let go too, and not served there for minutes.
    """
    legacy, options = client.search.legacy, node.options
    assert legacy is not None
    if client.presence.seen_s <= legacy.asked_s:
        legacy.asked_s, legacy.remind_s = node.now_s, NEVER
        return ask_client(node, client)
    if client.rival is None:
        node.send(legacy.sender, node.encode(wire.Claim(client.mac)))
    legacy.asked_s, legacy.remind_s = NEVER, node.now_s + options.legacy_again_s * 2**legacy.reminded
    legacy.reminded += 1
    if legacy.reminded >= options.legacy_reminders:
        client.search.legacy = None
    return None


# The question is over


def end_search(node: Node, client: Client) -> None:
    """All copies have left. Nobody answered, though babel knows somebody; but the client is here."""
    assert client.search.claim is not None
    client.search.claim.next_s = NEVER
    if not client.search.is_to_all:
        node.count("claims_unanswered")
        announce(node, client)


def give_up_search(node: Node, client: Client) -> None:
    """Babel knows a node that serves the client, and it stayed silent: is the client here at all?"""
    search = client.search
    assert search.claim is not None
    node.count("claims_unanswered")
    search.is_contested, search.ended_s, search.claim.next_s = True, node.now_s, NEVER
    if not isinstance(client.state, Claiming):
        verify(client)


def verify(client: Client) -> None:
    """Have it asked at once."""
    client.presence.unanswered, client.presence.check_s = 0, AT_ONCE


def take_over(node: Node, client: Client) -> None:
    """Make the client ours as INFO has it.

    First come neighbour entry, PLAT and ROAM, in this order: packets from the PLAT may come before its answer. Then
    comes what the gate need not wait for: ACK, node-client address, IPv6 routes.
    """
    search, answer = client.search, client.search.answer
    assert answer is not None
    assert answer.lease is not None
    lease = answer.lease
    may: bool | None = not node.is_of_other(client.mac, lease.ipv4)
    if not may:
        may = may_have(node, client, lease.ipv4, is_granted=lease.token.serial > 0)
    if may is None:
        return  # who has its address here is asked
    search.heard = None
    if not may:
        refuse(node, client, lease.ipv4)
        accept_without_lease(node, client, answer)
        client.presence.is_proven = True  # it has no address that we could ask it by
        return
    if client.ipv4 is not None:
        node.do(CloseGate(client.mac, client.ipv4))  # late: it began anew already
    give_lease(node, client, lease)
    search.is_contested, search.answer = False, None
    is_unproven = former_of(client) is not None and not client.presence.is_proven
    claim, is_prepared = search.claim, search.answered_by is None
    assert claim is not None
    next_s = claim.next_s
    serve(node, client, Roaming())
    if client.presence.is_leaving or is_unproven:  # is it here?
        client.presence.check_s = node.now_s + node.options.idle_probe_s
    start_roam(node, client)
    if not is_prepared:
        node.acknowledge(client.mac, answer.sender)
    announce(node, client)
    if is_prepared:
        claim.next_s = next_s  # who has it does not know yet that it walked
    receive(node, client, answer)


def serve_alone(node: Node, client: Client) -> None:
    """Nobody had the client, or nobody tells: it is ours, with the lease that we know of, if any."""
    search, former = client.search, former_of(client)
    lease = None if former is None or search.answered_by is not None else former.lease
    if lease is not None and lease.until_s > node.now_s:
        may = may_have(node, client, lease.ipv4, lease.is_granted)
        if may is None:
            return  # who has its address here is asked
        lease = lease if may else None
    is_new = former is None and search.answered_by is None
    search.anew_s, search.answer = node.now_s, None
    if former is not None:
        if search.answered_by is None and former.own_plat is not None:  # of before a restart it is not known
            own_plats.use(node, client, former.own_plat)
        add_older(node, client, former.addresses)
    serve(node, client, new_served(node))
    client.presence.is_proven |= client.grant is not None
    if former is not None and not client.presence.is_proven:
        # what we were told may be out of date
        client.presence.check_s = node.now_s + node.options.idle_probe_s
    if search.is_contested:
        search.ended_s = node.now_s
        verify(client)
    elif not is_new or client.presence.is_proven:
        announce(node, client)
    if is_new:
        doubt(node, client)
    if client.grant is not None:
        search.heard = None
    if lease is not None and lease.until_s > node.now_s:
        search.heard = None
        _resume(node, client, lease)


def _resume(node: Node, client: Client, lease: Lease) -> None:
    """Go on with a lease that we had before."""
    lease.is_returned = True
    if lease.plat == NOWHERE and node.is_home(lease):
        lease.plat = node.current or NOWHERE  # there was none when the client left
    give_lease(node, client, lease)
    if node.is_home(lease):
        open_gate(node, client)
        request_token(node, lease)
    else:
        client.state = Roaming()
        start_roam(node, client)


def claim_by_place(node: Node, client: Client) -> None:
    """The token was used up meanwhile: who has the client by the PLAT's word, or who gave it, may have a fresh one."""
    search, lease = client.search, client.lease
    assert lease is not None
    assert lease.roam_ack is not None
    place = lease.roam_ack.place
    end_roam(node, client)
    search.is_after_stale, search.heard = True, lease.ipv4
    search.place = search.answered_by if place is None or not node.is_of_client(place) else node_of(place)
    drop_ipv4(node, client)
    client.state = Claiming()
    # the same nonce: what others are about to answer to the first CLAIM is as good
    claim(node, client, None if search.claim is None else search.claim.nonce)
