# SPDX-License-Identifier: ISC
"""Which PLATs are there: what clients use and is not is left. No I/O.

    prefixd names it lost, or says del_platprefix    it is left at once
    prefixd names it usable                          it stays
    prefixd does not know it, or is not there        it stays while the kernel has a route: a client may have come
                                                     with a PLAT that is too far, or one too many, for prefixd here
A client keeps the PLAT that it began with when another is chosen, for its connections live there. When its PLAT is left
it moves to the current one: its connections are lost anyhow.
"""

from l3roamd_py.core.actions import DropPlat, LookForPlat, SetCurrentPlat
from l3roamd_py.core.clients import NOWHERE, State, Table
from l3roamd_py.core.departure import consider
from l3roamd_py.core.leasing import start_afresh


def lose_plat(t: Table, prefix: bytes) -> None:
    t.unrouted_plats.pop(prefix, None)
    t.timers.cancel(("plat", prefix))
    if t.current == prefix:
        t.current = None
        t.do(SetCurrentPlat(None))
    move(t, prefix)
    t.do(DropPlat(prefix))
    t.changes += 1


def move(t: Table, prefix: bytes) -> None:
    """Bring the clients of a PLAT to the current one, with their requests for tokens one after the other."""
    delay_s = 0.0
    for client in list(t.clients.values()):
        if client.lease is None or client.lease.plat != prefix or client.state is State.CLAIMING:
            continue
        is_roaming = client.state is State.ROAMING
        if is_roaming:
            client.state = State.SERVED
        start_afresh(t, client, delay_s)
        if is_roaming or client.asked is not None:
            consider(t, client)
        delay_s += t.options.token_pace_s


def take_plats(t: Table, usable: frozenset[bytes], lost: frozenset[bytes]) -> None:
    """This is how it is, whatever was said, or lost, before."""
    for prefix in _used(t):
        if prefix in lost:
            lose_plat(t, prefix)
        elif prefix not in usable:
            t.do(LookForPlat(prefix))


def _used(t: Table) -> list[bytes]:
    """The PLATs that clients use, and the one for those to come, which is the last."""
    found = {client.lease.plat for client in t.clients.values() if client.lease is not None}
    return [*sorted(found - {NOWHERE, t.current}), *filter(None, [t.current])]


def on_unrouted(t: Table, prefixes: frozenset[bytes]) -> None:
    """Babel may have another way in a moment. Anybody can announce PLATs, and take them back again and again."""
    for prefix in _used(t):
        if prefix in prefixes and prefix not in t.unrouted_plats:
            t.unrouted_plats[prefix] = t.now_s
            t.timers.set(("plat", prefix), t.now_s + t.options.plat_patience_s)


def on_looked(t: Table, prefix: bytes, has_route: bool) -> None:
    since_s = t.unrouted_plats.get(prefix)
    if has_route:
        t.unrouted_plats.pop(prefix, None)
        t.timers.cancel(("plat", prefix))
    elif since_s is not None and t.now_s >= since_s + t.options.plat_patience_s:
        t.count("plats_unrouted")
        lose_plat(t, prefix)
    else:
        on_unrouted(t, frozenset((prefix,)))


def on_plat_timer(t: Table, prefix: bytes) -> None:
    t.do(LookForPlat(prefix))
