# SPDX-License-Identifier: ISC
"""Is a client still here? Who left without a word is asked, and forgotten with its lease. No I/O."""

from l3roamd_py.core.actions import Unlearn
from l3roamd_py.core.claiming import ask_behind
from l3roamd_py.core.clients import Client, State, Table
from l3roamd_py.core.departure import consider, refuse_claim
from l3roamd_py.core.elsewhere import find, keep, look
from l3roamd_py.core.leasing import adopt
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


def on_gone(t: Table, mac: bytes) -> None:
    """The kernel says that a client left; a station may only have changed its band."""
    client = t.clients.get(mac)
    if client is None:
        return
    if client.state is State.CLAIMING:
        client.is_leaving = True  # whoever answers our CLAIM has let it go: somebody must know its lease
        client.is_verified = False
    elif not can_ask(client):
        forget(t, client)
    elif client.believed_until_s is None and client.state in (State.SERVED, State.ROAMING):
        client.is_leaving = True
        _ask(t, client)
        consider(t, client)


def _ask(t: Table, client: Client) -> None:
    """Ask now whether it is here, not when it has been silent for long."""
    client.probes = 0
    client.seen_s = t.now_s - t.options.idle_s
    on_idle_timer(t, client.mac)


def seek_proof(t: Table, client: Client) -> None:
    """Ask a new client as soon as it can be asked: a route to it, which the whole mesh carries, is for who is here."""
    if is_newcomer(client) and can_ask(client) and not client.probes:
        _ask(t, client)


def doubt(t: Table, client: Client) -> None:
    """Babel knows a node that serves the client, and it stayed silent: is the client here at all?"""
    if client.mac in t.clients and client.is_doubted and client.state is not State.CLAIMING:
        if can_ask(client):
            _ask(t, client)
        else:
            t.do(Unlearn(client.mac))  # its next frame shall make us look again


def look_again(t: Table, client: Client) -> None:
    """A sign of a client in doubt: it is here now, so the other node will let it go if we ask once more."""
    if client.is_doubted and client.state is State.SERVED and ("claim", client.mac) not in t.timers:
        if ("linger", client.mac) not in t.timers:
            client.place = None  # where it went is silent: ask whom babel knows, now that this is not us
        ask_behind(t, client)


def on_answer(t: Table, mac: bytes) -> None:
    """The client answered our ARP: it is here."""
    client = t.clients.get(mac)
    if client is None:
        return
    learn(t, client)
    client.seen_s, client.probes, client.is_leaving = t.now_s, 0, False
    look_again(t, client)
    confirm(t, client)
    keep(t, client)
    if client.state is State.ABSENT:
        find(t, client)
    if client.state is not State.CLAIMING:
        t.timers.set(("idle", mac), t.now_s + t.options.idle_s)
    refuse_claim(t, client)


def on_idle_timer(t: Table, mac: bytes) -> None:
    client, options = t.clients.get(mac), t.options
    if client is None or client.state in (State.CLAIMING, State.ABSENT):
        return None
    if t.now_s < client.seen_s + options.idle_s and not is_newcomer(client):
        return t.timers.set(("idle", mac), client.seen_s + options.idle_s)
    if not can_ask(client) and client.is_doubted:
        return forget(t, client)
    if not can_ask(client):  # the kernel will say when it leaves
        return t.timers.set(("idle", mac), t.now_s + options.idle_s)
    if client.probes < options.idle_probes:
        client.probes += 1
        ask_client(t, client)
        return t.timers.set(("idle", mac), t.now_s + options.idle_probe_s)
    return _miss(t, client)


def _miss(t: Table, client: Client) -> None:
    """Keep its lease for whoever claims it."""
    if client.state is State.ROAMING:
        client.probes = 0
        return t.timers.set(("idle", client.mac), t.now_s + t.options.idle_probe_s)
    if is_newcomer(client) and t.now_s < client.seen_s + t.options.idle_s:
        return t.timers.set(
            ("idle", client.mac), client.seen_s + t.options.idle_s
        )  # it sends, if it answers or not
    t.count("absences")
    if client.is_doubted or is_newcomer(client):
        return forget(t, client)
    client.state = State.ABSENT
    t.ports.leave(client.mac)
    if client.lease is None:
        keep_for_a_while(t, client)
    return look(t, client)


def on_lease_timer(t: Table, mac: bytes) -> None:
    """A lease is over."""
    client = t.clients.get(mac)
    if client is not None and client.state is State.ABSENT:
        return forget(t, client)
    if client is None or client.lease is None:
        return None
    if not client.lease.is_granted:
        return adopt(t, client, client.lease.ipv4, t.options.unleased_s, is_granted=False)
    t.count("leases_over")
    if not client.addresses:  # nothing is left to ask it by; its next sign, if it is here, is an arrival
        return forget(t, client)
    return drop_ipv4(t, client)
