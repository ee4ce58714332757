# SPDX-License-Identifier: ISC
"""What every role does with a client of its own: take it, give it its IPv4 address, let go of it. No I/O."""

import logging

from l3roamd_py.core.actions import (
    AddNeighbour,
    AddNodeClient,
    AddRoute,
    CloseGate,
    LeavePlat,
    OpenGate,
    ProbeClient,
    RefuseAtGate,
    ReleaseLease,
    RemoveNeighbour,
    RemoveNodeClient,
    RemoveRoute,
    SolicitClient,
    Unlearn,
    UsePlat,
)
from l3roamd_py.core.client import NOWHERE, Client, Departed, Lease, State
from l3roamd_py.core.node import Node, describe
from l3roamd_py.core.wire import ADDRESSES_MAX

ADDRESSES_ASKED = 3  # the newest: some of a client's addresses are of the day before
# timers
OF_CLIENT = (
    "claim",
    "remind",
    "grace",
    "roam",
    "token",
    "again",
    "probe",
    "idle",
    "lease",
    "elsewhere",
    "belief",
    "measure",
    "else",
)


def take(node: Node, client: Client, is_found: bool = True) -> None:
    """Serve a client from now on. While it is doubted it cannot be found here: our CLAIM must find the other node.

    is_found: take its node-client address at once.
    """
    client.state = State.SERVED
    if client.former is not None:
        client.place, client.former = client.former.place, None
    node.claiming.discard(client.mac)
    for name in ("claim", "grace"):
        node.timers.cancel((name, client.mac))
    node.timers.set(("idle", client.mac), node.now_s + node.options.idle_s)
    if client.measures < node.options.measures:
        node.timers.set(("measure", client.mac), node.now_s + node.options.measure_after_s)
    if is_found and not client.is_doubted:
        hold(node, client)
    node.changes += 1


def hold(node: Node, client: Client) -> None:
    """Take the client's node-client address: it can be found here."""
    client.is_doubted = False
    client.has_address = True
    node.ports.settle(client.mac)
    node.timers.cancel(("linger", client.mac))
    node.do(AddNodeClient(node.node_client(client.mac)))


def is_newcomer(client: Client) -> bool:
    """Return whether it is new: nobody else had it, and nothing but frames with its MAC says that it is here."""
    is_ours = client.state is State.SERVED and client.believed_until_s is None
    return is_ours and not client.has_address and not client.is_doubted


def confirm(node: Node, client: Client) -> None:
    """It is here: it has answered, got a lease of our DHCP server, or the driver knows it."""
    client.is_verified = True
    node.ports.settle(client.mac)
    if is_newcomer(client):
        hold(node, client)


def give_lease(node: Node, client: Client, lease: Lease) -> None:
    """Note whose address it is, until when, and send its traffic through its PLAT.

    It is pinned to the client: by ARP it would be whoever's who spoke last, and a newcomer may have the same one.
    """
    assert not node.is_taken(client.mac, lease.ipv4)
    if client.ipv4 != lease.ipv4:
        drop_ipv4(node, client)
        node.do(AddNeighbour(client.mac, lease.ipv4))
    elif client.lease is not None and client.lease.plat != lease.plat:
        leave_plat(node, client)
    client.ipv4, client.lease = lease.ipv4, lease
    node.by_ipv4[lease.ipv4] = client.mac
    node.timers.set(("lease", client.mac), lease.until_s)
    use_plat(node, client)
    node.changes += 1


def use_plat(node: Node, client: Client) -> None:
    """Also for the current PLAT: when another is chosen later, the client must be in its own one's set already."""
    lease = client.lease
    if lease is not None and lease.plat != NOWHERE:
        node.do(UsePlat(node.at(lease.ipv4), lease.plat, max(1, node.seconds_left(lease))))


def open_gate(node: Node, client: Client) -> None:
    if client.ipv4 is not None:
        node.do(OpenGate(client.mac, client.ipv4))


def leave_plat(node: Node, client: Client) -> None:
    if client.lease is not None and client.lease.plat != NOWHERE:
        node.do(LeavePlat(node.at(client.lease.ipv4), client.lease.plat))


def drop_ipv4(node: Node, client: Client) -> None:
    """The client has no IPv4 address any more."""
    if client.ipv4 is None:
        return
    node.do(CloseGate(client.mac, client.ipv4))
    leave_plat(node, client)
    node.do(RemoveNeighbour(client.mac, client.ipv4))
    node.by_ipv4.pop(client.ipv4, None)
    client.ipv4 = client.lease = client.roam = client.token = None
    for name in ("roam", "token", "again", "lease", "probe"):
        node.timers.cancel((name, client.mac))
    if client.state is State.ABSENT:
        keep_for_a_while(node, client)
    node.changes += 1


def keep_for_a_while(node: Node, client: Client) -> None:
    """It is not here and has no lease: keep what we know of it for as long as of one that we let go."""
    node.timers.set(("lease", client.mac), node.now_s + node.options.departed_s)


def can_ask(client: Client) -> bool:
    return client.ipv4 is not None or bool(client.addresses)


def ask_client(node: Node, client: Client | Departed) -> None:
    """Ask whether it is here: by ARP, or one without IPv4 by neighbour discovery, and the bridge shows its answer."""
    if client.ipv4 is not None:
        # which question an answer is for it does not say: who asks often cannot make it seem a quick one
        if node.now_s > client.asked_s + node.options.regret_s:
            client.timed_s = node.now_s
        client.asked_s = node.now_s
        return node.do(ProbeClient(client.mac, client.ipv4))
    node.do(Unlearn(client.mac))
    return node.do(*(SolicitClient(client.mac, each) for each in [*client.addresses][-ADDRESSES_ASKED:]))


def make_way(node: Node, mac: bytes, ipv4: bytes, is_granted: bool) -> bool:
    """Return whether an address is free for a client: whoever was only heard to use it yields to who was granted it."""
    resident = node.clients.get(node.by_ipv4.get(ipv4, mac))
    if not node.is_taken(mac, ipv4):
        return True
    if not is_granted or resident is None or (resident.lease is not None and resident.lease.is_granted):
        return False
    drop_ipv4(node, resident)
    node.count("squatters")
    node.log(
        logging.WARNING, f"{describe(resident.mac, ipv4)} was not granted its address: it is another's now"
    )
    refuse_at_gate(node, resident, ipv4)
    return True


def learn(node: Node, client: Client | Departed) -> None:
    """It has answered: note what that usually takes. That it took longer once may be our own doing, if we are busy."""
    if client.timed_s is not None:
        took_s, before_s = node.now_s - client.timed_s, client.answer_s
        client.timed_s = None
        is_less = before_s is None or took_s < before_s
        client.answer_s = took_s if is_less or before_s is None else before_s + (took_s - before_s) / 4


def on_measure_timer(node: Node, mac: bytes) -> None:
    client = node.clients.get(mac)
    if client is not None and client.ipv4 is not None and client.measures < node.options.measures:
        client.measures += 1
        ask_client(node, client)
        node.timers.set(("measure", mac), node.now_s + node.options.measure_after_s)


def refuse(node: Node, client: Client, ipv4: bytes) -> None:
    """The address is somebody else's here: the resident loses nothing, the newcomer needs another one."""
    node.count("conflicts")
    if client.refused != ipv4:
        client.refused = ipv4
        resident = describe(node.by_ipv4[ipv4], ipv4)
        node.log(logging.WARNING, f"{describe(client.mac)} comes with the address of {resident}: refused")
    refuse_at_gate(node, client, ipv4)
    if node.granted.get(client.mac, (None,))[0] == ipv4:
        del node.granted[client.mac]
        node.do(ReleaseLease(client.mac, ipv4))


def refuse_at_gate(node: Node, client: Client, ipv4: bytes) -> None:
    """Seldom: whoever makes addresses up must not keep the kernel's rules busy. What is not refused waits in vain."""
    if node.now_s >= client.refused_s + node.options.refuse_pause_s:
        client.refused_s = node.now_s
        node.do(RefuseAtGate(client.mac, ipv4))


def add_address(node: Node, client: Client, address: bytes) -> None:
    """Route an IPv6 address to the client; of more than INFO has room for the oldest goes."""
    if address in client.addresses:
        return
    if len(client.addresses) >= ADDRESSES_MAX:
        remove_address(node, client, next(iter(client.addresses)))
    client.addresses[address] = None
    node.do(AddRoute(client.mac, address))
    node.changes += 1


def remove_address(node: Node, client: Client, address: bytes) -> None:
    if address in client.addresses:
        del client.addresses[address]
        node.do(RemoveRoute(client.mac, address))
        node.changes += 1


def drop(node: Node, client: Client) -> None:
    """Let go of everything of a client but the node-client address."""
    drop_ipv4(node, client)
    for address in list(client.addresses):
        remove_address(node, client, address)
    for name in OF_CLIENT:
        node.timers.cancel((name, client.mac))
    node.clients.pop(client.mac, None)
    node.ports.remove(client.mac)
    node.claiming.discard(client.mac)
    node.do(Unlearn(client.mac))
    node.changes += 1


def forget(node: Node, client: Client) -> None:
    """The client is gone. One that came back to us without being heard is where it went before."""
    drop(node, client)
    former = client.former
    if former is not None:
        node.departed[client.mac] = former
        node.timers.set(("departed", client.mac), max(former.until_s, node.now_s))
    elif client.has_address:
        node.do(RemoveNodeClient(node.node_client(client.mac)))
