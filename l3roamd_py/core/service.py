# SPDX-License-Identifier: ISC
"""Serving a client: its node-client address, its IPv6 routes, the question whether it is here, its end. No I/O."""

from l3roamd_py.core import partners
from l3roamd_py.core.actions import AddNodeClient, ProbeClient, RemoveNodeClient, SolicitClient, Unlearn
from l3roamd_py.core.addresses import drop_ipv4
from l3roamd_py.core.client import (
    NEVER,
    Client,
    Departed,
    Presence,
    Restored,
    Roaming,
    Served,
    can_ask,
    former_of,
)
from l3roamd_py.core.departed import end_linger, forget_departed
from l3roamd_py.core.ipv6 import remove_address
from l3roamd_py.core.node import Node

LONGEST_KEPT = 0.9  # of the longest answer with each one after it
ADDRESSES_ASKED = 3  # the newest: some of a client's addresses are of the day before


def serve(node: Node, client: Client, state: Roaming | Served | Restored) -> None:
    """Serve a client from now on. Nobody finds it here until its node-client address is announced."""
    search, former = client.search, former_of(client)
    if former is not None:
        search.place = former.place
    client.state = state
    node.claiming.discard(client.mac)
    if search.claim is not None:
        search.claim.next_s = NEVER
    if search.legacy is not None:
        search.legacy.grace_s = NEVER
    client.presence.check_s = node.now_s + node.options.idle_s
    node.changes += 1


def new_served(node: Node) -> Served:
    return Served(node.now_s + node.options.measure_after_s)


def announce(node: Node, client: Client) -> None:
    """Take the client's node-client address: it can be found here."""
    search = client.search
    search.is_contested, search.answer = False, None
    if search.is_running and search.claim is not None:
        search.claim.next_s = NEVER
    client.is_announced = True
    node.ports.note_proof(client.mac)
    node.timers.cancel((end_linger, client.mac))
    node.do(AddNodeClient(node.node_client(client.mac)))
    node.route_addresses(client)


def ask_client(node: Node, client: Client | Departed) -> None:
    """Ask whether it is here: by ARP, or one without IPv4 by neighbour discovery."""
    # which question an answer is for it does not say: who asks often cannot make it seem a quick one
    if node.now_s > client.presence.asked_s + node.options.regret_s:
        client.presence.timed_s = node.now_s
    client.presence.asked_s = node.now_s
    if client.ipv4 is not None:
        return node.do(ProbeClient(client.mac, client.ipv4))
    if not client.addresses:
        return node.do(Unlearn(client.mac))  # its next frame says it
    return node.do(*(SolicitClient(client.mac, each) for each in client.addresses[-ADDRESSES_ASKED:]))


def note_answer_time(node: Node, presence: Presence) -> None:
    """It has answered: note what that usually takes. That it took longer once may be our own doing, if we are busy."""
    if presence.timed_s is not None:
        took_s, before_s = node.now_s - presence.timed_s, presence.usual_s
        presence.timed_s = None
        presence.answers += 1
        presence.longest_s = max(took_s, LONGEST_KEPT * presence.longest_s)
        if before_s is None or took_s < before_s:
            presence.usual_s = took_s
        else:
            presence.usual_s = before_s + (took_s - before_s) / 4


def measure(node: Node, client: Client) -> None:
    """Ask it, to note_answer_time what its answers take."""
    state = client.state
    assert isinstance(state, Served)
    state.measure_s = NEVER
    if can_ask(client) and state.measures < node.options.measures:
        state.measures += 1
        state.measure_s = node.now_s + node.options.measure_after_s
        ask_client(node, client)
        partners.tell(node, client)


def drop(node: Node, client: Client) -> None:
    """Let go of everything of a client but the node-client address."""
    drop_ipv4(node, client)
    for address in list(client.addresses):
        remove_address(node, client, address)
    node.clients.pop(client.mac, None)
    node.ports.remove(client.mac)
    node.claiming.discard(client.mac)
    node.gone.note()
    node.touch(client.mac)
    node.do(Unlearn(client.mac))
    node.changes += 1


def forget(node: Node, client: Client, counter: str | None = None) -> None:
    """The client is gone. One that came back to us without being heard is where it went before."""
    if counter is not None:
        node.count(counter)
    former = former_of(client)
    drop(node, client)
    if former is not None:
        node.departed[client.mac] = former
        node.timers.set((forget_departed, client.mac), max(former.until_s, node.now_s))
    elif client.is_announced:
        node.do(RemoveNodeClient(node.node_client(client.mac)))
