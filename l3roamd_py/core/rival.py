# SPDX-License-Identifier: ISC
"""Role A: another node claims a client that we serve. No I/O.

The client is asked. If it answers within three times its usual time, the claim is refused. Otherwise it is let go: its
gate is closed, INFO is sent until it is acknowledged, and all that belongs to the client is removed.
"""

from l3roamd_py.core import departed, grants, onward, partners, wire
from l3roamd_py.core.actions import CloseGate
from l3roamd_py.core.client import Client, Restored, Rival
from l3roamd_py.core.events import Datagram
from l3roamd_py.core.info import is_host, told_addresses
from l3roamd_py.core.node import Node, describe
from l3roamd_py.core.pairs import leave
from l3roamd_py.core.relay import pass_unknown_on
from l3roamd_py.core.requests import pass_roam_on
from l3roamd_py.core.service import ask_client, drop, forget
from runtime.log import DEBUG
from xlat464.address import format_ipv6

TIMER_S = 0.001  # what a timer is late, as those of poll(2)


def on_claim(node: Node, header: wire.Header, claim: wire.Claim, datagram: Datagram) -> None:
    if header.sender == node.address:
        return node.count("claims_own")
    # a node of version 0 has nothing to tell but addresses, and to whoever asks
    is_extended = header.extended and node.options.own is None
    if not (node.is_node(header.sender) if is_extended else is_host(header.sender)):
        return node.count("claims_bad_sender")
    gone, client = departed.find_departed(node, claim.mac), node.clients.get(claim.mac)
    is_crossing = gone is not None and gone.is_acknowledged and gone.place == header.sender
    if gone is not None and not (is_crossing and client is not None):
        if header.extended and header.ttl <= wire.FOR_ITS_NODE:
            return node.count("claims_elsewhere")
        return departed.answer_claim(node, gone, header, datagram.payload)
    if client is not None:  # crossing: we claim it from each other, and what we knew is out of date
        return _note_rival(node, client, header)
    return pass_unknown_on(node, header, claim)


def _note_rival(node: Node, client: Client, header: wire.Header) -> None:
    rival = client.rival
    if rival is not None and rival.sender != header.sender and rival.until_s >= node.now_s:
        return node.count("claims_second")  # it is passed on when the first one has the client
    if rival is not None and rival.questions:
        rival.nonce = header.nonce
        return None
    until_s = node.now_s + node.options.asked_s
    client.rival = Rival(header.sender, header.nonce, header.extended, until_s)
    return node.touch(client.mac)


def ask_for_rival(node: Node, client: Client) -> None:
    """Ask the client if it is here. What we ask late may be answered late: the last question has its time."""
    rival, patience_s = client.rival, _patience_s(node, client)
    assert rival is not None
    again_s = min(node.options.probe_again_s, 0.4 * patience_s)
    if not rival.questions:
        rival.until_s = node.now_s + patience_s  # from now on: when we let go
    rival.questions += 1
    ask_client(node, client)
    if rival.questions < node.options.probes:
        rival.next_s = node.now_s + again_s
    else:
        rival.until_s = max(rival.until_s, node.now_s + patience_s - again_s - TIMER_S)
        rival.next_s = rival.until_s


def _patience_s(node: Node, client: Client) -> float:
    """How long a client may take to answer that it is here: another node waits for so long if it is not."""
    options, presence = node.options, client.presence
    least_s, answer_s = options.probe_give_up_s, options.probe_times * (presence.usual_s or 0.0)
    if presence.answers >= options.measures:
        least_s = max(options.probe_least_s, min(least_s, options.probe_times * presence.longest_s))
    return max(least_s, min(answer_s, options.probe_most_s))


def _dismiss(node: Node, client: Client, counter: str) -> None:
    client.rival = None
    node.count(counter)


def dismiss_claim(node: Node, client: Client) -> None:
    """What we know of the client is out of date, so there is nothing to tell."""
    _dismiss(node, client, "claims_contested")


def dismiss_late_claim(node: Node, client: Client) -> None:
    """Who claimed it has given up by now."""
    _dismiss(node, client, "claims_late")


def disown(node: Node, client: Client) -> None:
    """Nothing but a frame says that it is here: whoever claims it may have it."""
    forget(node, client, "claims_unproven")


def refuse_claim(node: Node, client: Client) -> None:
    """The client is here: whoever claims it is wrong, or lies."""
    assert client.rival is not None
    sender = format_ipv6(client.rival.sender)
    node.log(DEBUG, f"{describe(client.mac)} is here: the claim of {sender} is refused")
    partners.renew_mapping(node, client, client.rival.sender)
    if not client.rival.is_extended:
        # version 0 has a client that nobody tells of, and nobody would find it there: it lets go of it if it is claimed
        node.send(client.rival.sender, node.encode(wire.Claim(client.mac)))
    _dismiss(node, client, "claims_refused")


def let_go_silent(node: Node, client: Client) -> None:
    """It has not answered: let it go, but not without number."""
    if node.silent_claims.is_within(b"", node.now_s):
        let_go(node, client)
    else:
        _dismiss(node, client, "claims_too_many")


def let_go(node: Node, client: Client) -> None:
    rival = client.rival
    assert rival is not None
    if isinstance(client.state, Restored):
        node.count("restored_not_here")
    until_s = node.now_s + node.options.departed_s
    gone = departed.make_departed(node, client, rival.sender, until_s)
    gone.is_extended, gone.told_s = rival.is_extended, node.now_s
    grants.note_away(node, client)
    departed.remember(node, gone)
    # before INFO, of which ROAM comes: what passed after that would be a stranger's to the PLAT
    if client.ipv4 is not None:
        node.do(CloseGate(client.mac, client.ipv4))
    if (
        node.options.plat is not None and node.options.pref64 is not None
    ):  # what is open at the exit here goes on
        node.do(*[CloseGate(client.mac, address) for address in client.addresses])
    onward.begin(node, client, gone, told_addresses(gone))
    departed.tell(node, gone, rival.nonce)
    if client.lease is not None and rival.is_extended:
        pass_roam_on(node, client.lease, rival.sender, rival.nonce)
    if client.ipv4 is not None and gone.is_extended:
        leave(node, client.ipv4, gone.place)
    drop(node, client)
    # while nobody has acknowledged, claims shall find us
    node.timers.set((departed.end_linger, client.mac), until_s)
    node.count("departures")
