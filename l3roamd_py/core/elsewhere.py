# SPDX-License-Identifier: ISC
"""Does another node serve a client of ours as well? No I/O.

It does when the mesh was in two parts, or one of us was dead, while the client walked from one to the other: nobody was
there to let go of it. Both have its node-client address then, and babel hides from each the way to the other, for it
has that address itself. Who of us is wrong is told by the client alone, when it is asked:

    it answers             it is ours, and we claim it from our neighbours: the other node may be one
    it does not (ABSENT)   we give its node-client address up for a while, ask on, and look where babel leads then:
                           to another node: that one has the client, we forget it
                           nowhere: it sleeps, or is away; we take the address again, for whoever claims it
All clients are asked when a node has come back to the mesh.
"""

import logging

from l3roamd_py.core.actions import LookElsewhere, RemoveNodeClient
from l3roamd_py.core.claiming import ask_neighbours_alone
from l3roamd_py.core.client import Client, State
from l3roamd_py.core.node import Node, describe
from l3roamd_py.core.serving import ask_client, can_ask, forget, hold

ALL = b""  # whose timer it is that asks them all


def on_node_appeared(node: Node) -> None:
    """A node can be reached that could not: it may have clients of ours. Babel needs a moment to tell of them."""
    if node.clients and ("sweep", ALL) not in node.timers:
        wait_s = node.options.sweep_wait_s * (1 + _random(node))
        node.timers.set(("sweep", ALL), max(node.now_s + wait_s, node.swept_s + node.options.sweep_pause_s))


def on_sweep_timer(node: Node, _: bytes) -> None:
    """Ask all clients, one after the other: as if they had been silent for long."""
    at_s = node.swept_s = node.now_s
    for client in node.clients.values():
        if client.state is State.ABSENT:
            node.timers.set(("elsewhere", client.mac), at_s)
        elif client.state is not State.CLAIMING and client.believed_until_s is None and can_ask(client):
            client.seen_s, client.probes, client.is_swept = at_s - node.options.idle_s, 0, True
            node.timers.set(("idle", client.mac), at_s)
        at_s += node.options.sweep_pace_s


def keep(node: Node, client: Client) -> None:
    """A client that was asked because a node came back is here. The answer of who lets it go only needs its ACK."""
    is_asking = (
        client.state is State.CLAIMING or client.roam is not None or ("claim", client.mac) in node.timers
    )
    if client.is_swept and not is_asking:
        client.is_swept = False
        ask_neighbours_alone(node, client)
        client.answered_by = node.address


def look(node: Node, client: Client) -> None:
    """The client has become ABSENT, or is still."""
    options = node.options
    if client.has_address:
        client.has_address = False
        client.look_from_s = node.now_s
        # not both at once: who takes it again first is seen by the other
        client.look_until_s = node.now_s + options.look_s * (1 + _random(node) / 2)
        node.do(RemoveNodeClient(node.node_client(client.mac)))
    node.timers.set(("elsewhere", client.mac), node.now_s + options.look_again_s)


def on_elsewhere_timer(node: Node, mac: bytes) -> None:
    client = node.clients.get(mac)
    if client is None or client.state is not State.ABSENT:
        return None
    if not client.has_address and node.now_s >= client.look_until_s:
        return hold(node, client)
    if not client.has_address:
        node.do(LookElsewhere(mac, node.node_client(mac)))
        if can_ask(client):
            ask_client(node, client)
    return look(node, client)


def on_found_elsewhere(node: Node, mac: bytes) -> None:
    """Babel leads to another node. A client that only sleeps has had time to say that it is here."""
    client = node.clients.get(mac)
    if client is None or client.state is not State.ABSENT or client.has_address:
        return
    if node.now_s >= client.look_from_s + node.options.look_patience_s:
        node.count("clients_elsewhere")
        node.log(
            logging.INFO, f"{describe(mac, client.ipv4)} is another node's: it walked while we could not hear"
        )
        forget(node, client)


def find(node: Node, client: Client) -> None:
    """An ABSENT client is here."""
    client.state = State.SERVED
    node.ports.come_back(client.mac)
    node.timers.cancel(("elsewhere", client.mac))
    if not client.has_address:
        hold(node, client)
        client.is_swept = True  # who has taken it meanwhile without our word is told, if it answers
        if can_ask(client):
            ask_client(node, client)


def _random(node: Node) -> float:
    """0 to 1: nodes that see the same at once shall not do the same at once."""
    return int.from_bytes(node.options.random(2), "big") / 0xFFFF
