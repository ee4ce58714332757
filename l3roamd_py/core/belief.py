# SPDX-License-Identifier: ISC
"""What a restart restores is a belief: a client may have walked to another node while nobody was here. No I/O.

    it answers                we serve it on, and ask all others who has it too: who has it and does not find it there
                              lets it go, and what that node says is newer than what we remember
    it does not, in time      it went to where we do not know: its gate closes, and its node-client address leads to
                              who has it. Its lease is kept for the node that claims it, or until it is here again
    another node claims it    it is answered when it is known whether the client is here
Its gate stays as the kernel has it meanwhile, so that a restart is not noticed; nothing is sent to its PLAT. But not
for long: what a client that comes back in this time sends is a stranger's to the PLAT.
"""

from l3roamd_py.core import away
from l3roamd_py.core.actions import RemoveNodeClient
from l3roamd_py.core.claiming import UNKNOWN, ask_who_else
from l3roamd_py.core.client import Client, Departed, State
from l3roamd_py.core.departure import let_go, remember
from l3roamd_py.core.node import Node
from l3roamd_py.core.roaming import roam, settle
from l3roamd_py.core.serving import ask_client, can_ask, drop, hold, open_gate, take


def believe(node: Node, client: Client, state: State) -> None:
    """Serve a client as the kernel does, until it is known whether it is here. state: ROAMING or SERVED."""
    take(node, client, is_found=False)
    client.state, client.has_address = state, True
    if not can_ask(client):
        return disprove(node, client)  # nothing is lost with it: its next sign is an arrival
    client.believed_until_s = (
        node.now_s + node.options.belief_give_up_s + node.options.belief_pace_s * len(node.clients)
    )
    return ask_again(node, client)


def ask_again(node: Node, client: Client) -> None:
    ask_client(node, client)
    assert client.believed_until_s is not None
    next_s = min(node.now_s + node.options.belief_again_s, client.believed_until_s)
    node.timers.set(("belief", client.mac), next_s)


def on_belief_timer(node: Node, mac: bytes) -> None:
    client = node.clients.get(mac)
    if client is None or client.believed_until_s is None:
        return None
    if (
        node.now_s >= client.believed_until_s + node.options.belief_again_s
    ):  # we had no processor when it was due
        client.believed_until_s = node.now_s + node.options.belief_again_s
    if node.now_s >= client.believed_until_s:
        return disprove(node, client)
    return ask_again(node, client)


def prove(node: Node, client: Client) -> None:
    """It is here."""
    client.believed_until_s = None
    node.timers.cancel(("belief", client.mac))
    hold(node, client)
    lease = client.lease
    if lease is not None:
        lease.is_returned = True
        client.spent_serial = lease.token.serial  # an answer that is older than what we know is none
    ask_who_else(node, client)
    if lease is not None and client.state is State.ROAMING:
        return roam(node, client)
    client.state = State.SERVED
    if lease is not None:
        open_gate(node, client)
        # what we had asked its PLAT has had its answer without us; but who has it too answers first
        wait_s = node.options.belief_quiet_s + int.from_bytes(node.options.random(2), "big") / 0xFFFF
        node.timers.set(("again", client.mac), node.now_s + wait_s)
    return settle(node, client)


def disprove(node: Node, client: Client) -> None:
    """It is not to be found here."""
    node.count("beliefs_disproven")
    client.believed_until_s = None
    asked = client.asked
    if asked is not None and asked.until_s >= node.now_s:
        return let_go(node, client)
    lease_s = 0.0 if client.lease is None else client.lease.until_s
    until_s = max(node.now_s + node.options.departed_s, lease_s)
    addresses = tuple(client.addresses)
    away.note(node, client)
    former = Departed(client.mac, UNKNOWN, False, until_s, client.ipv4, client.lease, addresses)
    drop(node, client)
    node.do(RemoveNodeClient(node.node_client(client.mac)))
    if former.ipv4 is not None or addresses:
        remember(node, former)
    return None
