# SPDX-License-Identifier: ISC
"""Clients that do not answer, and what a restart restored: are they here, and if not, where? No I/O.

Two nodes may serve one client. The mesh was in two parts, or one of them was dead, while the client walked from one to
the other. So nobody let go of it. Both have its node-client address then, and babel hides from each the way to the
other, for it has that address itself. Who of us is wrong is told by the client alone, when it is asked:

    it answers             it is ours, and we claim it from our neighbours: the other node may be one
    it does not (Absent)   we give its node-client address up for a while, ask on, and look where babel leads then:
                           to another node: that one has the client, we forget it
                           nowhere: it sleeps, or is away; we take the address again, for whoever claims it, and look
                           once more after a while
All clients are asked when a node has come back to the mesh.

What a restart restores may be out of date: a client may have walked to another node while nobody was here.

    it answers                we serve it on, and ask all others who has it too: who has it and does not find it there
                              lets it go, and what that node says is newer than what we remember
    it does not, in time      it went to where we do not know: its gate closes, and its node-client address leads to
                              who has it. Its lease is kept for the node that claims it, or until it is here again
    another node claims it    it is answered when it is known whether the client is here
Its gate stays as the kernel has it meanwhile, so that a restart is not noticed; nothing is sent to its PLAT. But not
for long: what a client that comes back in this time sends is a stranger's to the PLAT.
"""

from l3roamd_py.core import departed, grants
from l3roamd_py.core.actions import CheckElsewhere, RemoveNodeClient, Unlearn
from l3roamd_py.core.addresses import open_gate
from l3roamd_py.core.client import AT_ONCE, NEVER, UNKNOWN, Absent, Client, Restored, Roaming, Served, can_ask
from l3roamd_py.core.doubt import doubt
from l3roamd_py.core.node import Node, describe
from l3roamd_py.core.requests import start_roam
from l3roamd_py.core.search import claim_from_all
from l3roamd_py.core.service import announce, ask_client, drop, forget, new_served, serve
from runtime.log import INFO

ALL = b""  # whose timer it is that asks them all


# Asking


def ask(node: Node, client: Client) -> None:
    if not client.presence.unanswered:
        client.presence.first_asked_s = node.now_s
    client.presence.unanswered += 1
    client.presence.check_s = node.now_s + node.options.idle_probe_s
    ask_client(node, client)


def wait_for_sign(node: Node, client: Client) -> None:
    """It cannot be asked: its next frame shall make us look again."""
    client.presence.unanswered += 1
    client.presence.check_s = node.now_s + node.options.idle_s
    node.do(Unlearn(client.mac))


def postpone(node: Node, client: Client) -> None:
    """Ask later: one that cannot be asked now, or that sends, if it answers or not."""
    since_s = client.presence.seen_s if can_ask(client) else node.now_s
    client.presence.check_s = since_s + node.options.idle_s


def on_node_appeared(node: Node) -> None:
    """A node can be reached that could not: it may have clients of ours. Babel needs a moment to tell of them."""
    if node.clients and (sweep, ALL) not in node.timers:
        wait_s = node.options.sweep_wait_s * (1 + _random(node))
        at_s = max(node.now_s + wait_s, node.swept_s + node.options.sweep_pause_s)
        node.timers.set((sweep, ALL), at_s)


def sweep(node: Node, _: bytes) -> None:
    """Ask all clients, one after the other: as if they had been silent for long."""
    at_s = node.swept_s = node.now_s
    for client in node.clients.values():
        state, presence = client.state, client.presence
        if isinstance(state, Absent):
            state.next_s = at_s
        elif isinstance(state, (Roaming, Served)) and can_ask(client):
            presence.unanswered, presence.check_s, presence.swept_s = 0, at_s, node.now_s
        node.touch(client.mac)
        at_s += node.options.sweep_pace_s


# Absent


def mark_absent(node: Node, client: Client) -> None:
    """It does not answer: keep its lease for whoever claims it."""
    node.count("absences")
    forget_s = NEVER if client.lease is not None else node.now_s + node.options.departed_s
    client.state = Absent(node.now_s, forget_s)
    client.presence.check_s = NEVER
    if client.search.claim is not None:
        client.search.claim.next_s = NEVER
    node.ports.leave(client.mac)
    _give_address_up(node, client, client.state)


def forget_absent(node: Node, client: Client) -> None:
    """It does not answer, and has nothing to keep for it."""
    forget(node, client, "absences")


def _give_address_up(node: Node, client: Client, state: Absent) -> None:
    options = node.options
    if client.is_announced:
        client.is_announced, state.from_s = False, node.now_s
        # not both at once: who takes it again first is seen by the other
        first_s = options.unannounced_s * (1 + _random(node) / 2)
        state.until_s = node.now_s + (options.look_again_s if state.rests else first_s)
        node.do(RemoveNodeClient(node.node_client(client.mac)))
    state.next_s = node.now_s + options.elsewhere_again_s


def check_elsewhere(node: Node, client: Client) -> None:
    assert isinstance(client.state, Absent)
    if not client.is_announced:
        node.do(CheckElsewhere(client.mac, node.node_client(client.mac)))
        if can_ask(client):
            ask_client(node, client)
    _give_address_up(node, client, client.state)


def rest(node: Node, client: Client) -> None:
    """Take the address again for a while: another node may have done so at the same moment, so we look again later."""
    state = client.state
    assert isinstance(state, Absent)
    node.do(CheckElsewhere(client.mac, node.node_client(client.mac)))  # a last time
    announce(node, client)
    state.next_s = node.now_s + node.options.announced_s * (1 + _random(node)) * 2**state.rests
    state.rests += 1


def on_found_elsewhere(node: Node, mac: bytes) -> None:
    """Babel leads to another node. A client that only sleeps has had time to say that it is here."""
    client = node.clients.get(mac)
    state = None if client is None else client.state
    if client is None or not isinstance(state, Absent):
        return
    if state.rests or node.now_s >= state.from_s + node.options.elsewhere_patience_s:
        state.is_elsewhere = True
        node.touch(mac)


def forget_elsewhere(node: Node, client: Client) -> None:
    node.count("clients_elsewhere")
    sentence = f"{describe(client.mac, client.ipv4)} is another node's: it walked while we could not hear"
    node.log(INFO, sentence)
    forget(node, client)


def serve_again(node: Node, client: Client) -> None:
    """An Absent client is here."""
    if isinstance(client.state, Absent) and client.state.rests:
        doubt(node, client)  # another node may have it as long as we
    client.state = Served()
    client.presence.check_s = node.now_s + node.options.idle_s
    node.ports.come_back(client.mac)
    if not client.is_announced:
        announce(node, client)
    # who has taken it meanwhile without our word is told, if it answers
    client.presence.swept_s = node.now_s
    if can_ask(client):
        ask_client(node, client)


# Restored


def restore_client(node: Node, client: Client, name: str) -> None:
    """Serve a client as the kernel does, until it is known whether it is here. name: of its state before."""
    options = node.options
    patience_s = options.restored_give_up_s + options.restored_pace_s * len(node.clients)
    # one that cannot be asked is given up: its next sign is an arrival
    serve(node, client, Restored(name, node.now_s + patience_s if can_ask(client) else AT_ONCE))
    client.is_announced = True
    node.touch(client.mac)


def ask_restored(node: Node, client: Client) -> None:
    assert isinstance(client.state, Restored)
    ask_client(node, client)
    client.state.next_s = min(node.now_s + node.options.restored_again_s, client.state.until_s)


def confirm_restored(node: Node, client: Client) -> None:
    """It is here."""
    lease, was_roaming = client.lease, client.state.name == Roaming.name
    announce(node, client)
    if lease is not None:
        lease.is_returned = True
        # an answer that is older than what we know is none
        client.search.spent = lease.plat, lease.token.serial
    claim_from_all(node, client)
    client.state = Roaming() if was_roaming and lease is not None else new_served(node)
    if lease is not None and was_roaming:
        start_roam(node, client)
    elif lease is not None:
        open_gate(node, client)
        # what we had asked its PLAT has had its answer without us; but who has it too answers first
        lease.renew_s = node.now_s + node.options.restored_quiet_s + _random(node)


def give_up_restored(node: Node, client: Client) -> None:
    """It is not to be found here."""
    node.count("restored_not_here")
    lease_s = 0.0 if client.lease is None else client.lease.until_s
    gone = departed.make_departed(node, client, UNKNOWN, max(node.now_s + node.options.departed_s, lease_s))
    grants.note_away(node, client)
    drop(node, client)
    node.do(RemoveNodeClient(node.node_client(client.mac)))
    if can_ask(gone):
        departed.remember(node, gone)


def _random(node: Node) -> float:
    """0 to 1: nodes that see the same at once shall not do the same at once."""
    return int.from_bytes(node.options.random(2), "big") / 0xFFFF
