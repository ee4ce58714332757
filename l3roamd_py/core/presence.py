# SPDX-License-Identifier: ISC
"""Is a client still here? Who left without a word is asked, and forgotten with its lease. No I/O."""

from l3roamd_py.core.actions import Unlearn
from l3roamd_py.core.claiming import ask_behind
from l3roamd_py.core.client import Client, State
from l3roamd_py.core.departure import consider, refuse_claim
from l3roamd_py.core.elsewhere import find, keep, look
from l3roamd_py.core.leasing import adopt
from l3roamd_py.core.node import Node
from l3roamd_py.core.serving import (
    ask_client,
    can_ask,
    confirm,
    drop_ipv4,
    forget,
    is_newcomer,
    keep_for_a_while,
    learn,
)


def on_gone(node: Node, mac: bytes) -> None:
    """The kernel says that a client left; a station may only have changed its band."""
    client = node.clients.get(mac)
    if client is None:
        return
    if client.state is State.CLAIMING:
        client.is_leaving = True  # whoever answers our CLAIM has let it go: somebody must know its lease
        client.is_verified = False
    elif not can_ask(client):
        forget(node, client)
    elif client.believed_until_s is None and client.state in (State.SERVED, State.ROAMING):
        client.is_leaving = True
        _ask(node, client)
        consider(node, client)


def _ask(node: Node, client: Client) -> None:
    """Ask now whether it is here, not when it has been silent for long."""
    client.probes = 0
    client.seen_s = node.now_s - node.options.idle_s
    on_idle_timer(node, client.mac)


def seek_proof(node: Node, client: Client) -> None:
    """Ask a new client as soon as it can be asked: a route to it, which the whole mesh carries, is for who is here."""
    if is_newcomer(client) and can_ask(client) and not client.probes:
        _ask(node, client)


def doubt(node: Node, client: Client) -> None:
    """Babel knows a node that serves the client, and it stayed silent: is the client here at all?"""
    if client.mac in node.clients and client.is_doubted and client.state is not State.CLAIMING:
        if can_ask(client):
            _ask(node, client)
        else:
            node.do(Unlearn(client.mac))  # its next frame shall make us look again


def look_again(node: Node, client: Client) -> None:
    """A sign of a client in doubt: it is here now, so the other node will let it go if we ask once more."""
    if client.is_doubted and client.state is State.SERVED and ("claim", client.mac) not in node.timers:
        if ("linger", client.mac) not in node.timers:
            client.place = None  # where it went is silent: ask whom babel knows, now that this is not us
        ask_behind(node, client)


def on_answer(node: Node, mac: bytes) -> None:
    """The client answered our ARP: it is here."""
    client = node.clients.get(mac)
    if client is None:
        return
    learn(node, client)
    client.seen_s, client.probes, client.is_leaving = node.now_s, 0, False
    look_again(node, client)
    confirm(node, client)
    keep(node, client)
    if client.state is State.ABSENT:
        find(node, client)
    if client.state is not State.CLAIMING:
        node.timers.set(("idle", mac), node.now_s + node.options.idle_s)
    refuse_claim(node, client)


def on_idle_timer(node: Node, mac: bytes) -> None:
    client, options = node.clients.get(mac), node.options
    if client is None or client.state in (State.CLAIMING, State.ABSENT):
        return None
    if node.now_s < client.seen_s + options.idle_s and not is_newcomer(client):
        return node.timers.set(("idle", mac), client.seen_s + options.idle_s)
    if not can_ask(client) and client.is_doubted:
        return forget(node, client)
    if not can_ask(client):  # the kernel will say when it leaves
        return node.timers.set(("idle", mac), node.now_s + options.idle_s)
    if client.probes < options.idle_probes:
        client.probes += 1
        ask_client(node, client)
        return node.timers.set(("idle", mac), node.now_s + options.idle_probe_s)
    return _miss(node, client)


def _miss(node: Node, client: Client) -> None:
    """Keep its lease for whoever claims it."""
    if client.state is State.ROAMING:
        client.probes = 0
        return node.timers.set(("idle", client.mac), node.now_s + node.options.idle_probe_s)
    if is_newcomer(client) and node.now_s < client.seen_s + node.options.idle_s:
        return node.timers.set(
            ("idle", client.mac), client.seen_s + node.options.idle_s
        )  # it sends, if it answers or not
    node.count("absences")
    if client.is_doubted or is_newcomer(client):
        return forget(node, client)
    client.state = State.ABSENT
    node.ports.leave(client.mac)
    if client.lease is None:
        keep_for_a_while(node, client)
    return look(node, client)


def on_lease_timer(node: Node, mac: bytes) -> None:
    """A lease is over."""
    client = node.clients.get(mac)
    if client is not None and client.state is State.ABSENT:
        return forget(node, client)
    if client is None or client.lease is None:
        return None
    if not client.lease.is_granted:
        return adopt(node, client, client.lease.ipv4, node.options.unleased_s, is_granted=False)
    node.count("leases_over")
    if not client.addresses:  # nothing is left to ask it by; its next sign, if it is here, is an arrival
        return forget(node, client)
    return drop_ipv4(node, client)
