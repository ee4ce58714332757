# SPDX-License-Identifier: ISC
"""A client's addresses: routes to its IPv6 ones; whose its IPv4 one is, until when and through which PLAT. No I/O."""

from l3roamd_py.core.actions import (
    AddNeighbour,
    AddRoute,
    CloseGate,
    LeavePlat,
    OpenGate,
    RefuseAtGate,
    ReleaseLease,
    RemoveNeighbour,
    RemoveRoute,
)
from l3roamd_py.core.client import NEVER, NOWHERE, Absent, Client, Lease
from l3roamd_py.core.node import Node, describe
from l3roamd_py.core.requests import request_token, start_roam
from l3roamd_py.core.token import NO_TOKEN
from l3roamd_py.core.wire import ADDRESSES_MAX
from runtime.log import WARNING


def add_address(node: Node, client: Client, address: bytes) -> None:
    """Route an IPv6 address to the client; of more than INFO has room for the oldest goes."""
    if address in client.addresses:
        return
    if len(client.addresses) >= ADDRESSES_MAX:
        remove_address(node, client, client.addresses[0])
    client.addresses.append(address)
    node.do(AddRoute(client.mac, address))
    node.changes += 1


def remove_address(node: Node, client: Client, address: bytes) -> None:
    if address in client.addresses:
        client.addresses.remove(address)
        node.do(RemoveRoute(client.mac, address))
        node.changes += 1


def give_lease(node: Node, client: Client, lease: Lease) -> None:
    """Note whose address it is, until when, and send its traffic through its PLAT.

    It is pinned to the client: by ARP it would be whoever's who spoke last, and a newcomer may have the same one.
    """
    assert not node.is_taken(client.mac, lease.ipv4)
    if client.ipv4 != lease.ipv4:
        if client.ipv4 is not None:
            drop_ipv4(node, client)
        node.do(AddNeighbour(client.mac, lease.ipv4))
    elif client.lease is not None and client.lease.plat != lease.plat:
        _leave_plat(node, client.lease)
    client.ipv4, client.lease = lease.ipv4, lease
    node.by_ipv4[lease.ipv4] = client.mac
    node.use_plat(lease)
    node.changes += 1


def open_gate(node: Node, client: Client) -> None:
    if client.ipv4 is not None:
        node.do(OpenGate(client.mac, client.ipv4))


def _leave_plat(node: Node, lease: Lease) -> None:
    if lease.plat != NOWHERE:
        node.do(LeavePlat(node.at(lease.ipv4), lease.plat))


def drop_ipv4(node: Node, client: Client) -> None:
    """The client has no IPv4 address any more."""
    if client.ipv4 is None:
        return
    node.do(CloseGate(client.mac, client.ipv4))
    lease = client.lease
    if lease is not None:
        _leave_plat(node, lease)
        lease.roam = lease.roam_ack = lease.request = None
        lease.renew_s = NEVER
    node.do(RemoveNeighbour(client.mac, client.ipv4))
    node.by_ipv4.pop(client.ipv4, None)
    client.ipv4 = client.lease = None
    if isinstance(client.state, Absent):
        client.state.forget_s = node.now_s + node.options.departed_s
    node.changes += 1
    node.touch(client.mac)


def free_address(node: Node, mac: bytes, ipv4: bytes, is_granted: bool) -> bool:
    """Return whether an address is free for a client: whoever was only heard to use it yields to who was granted it."""
    resident = node.clients.get(node.by_ipv4.get(ipv4, mac))
    if not node.is_taken(mac, ipv4):
        return True
    if not is_granted or resident is None or (resident.lease is not None and resident.lease.is_granted):
        return False
    drop_ipv4(node, resident)
    node.count("squatters")
    node.log(WARNING, f"{describe(resident.mac, ipv4)} was not granted its address: it is another's now")
    refuse_at_gate(node, resident, ipv4)
    return True


def refuse(node: Node, client: Client, ipv4: bytes) -> None:
    """The address is somebody else's here: the resident loses nothing, the newcomer needs another one."""
    node.count("conflicts")
    if client.refused != ipv4:
        client.refused = ipv4
        resident = describe(node.by_ipv4[ipv4], ipv4)
        node.log(WARNING, f"{describe(client.mac)} comes with the address of {resident}: refused")
    refuse_at_gate(node, client, ipv4)
    if node.granted.get(client.mac, (None,))[0] == ipv4:
        del node.granted[client.mac]
        node.do(ReleaseLease(client.mac, ipv4))


def refuse_at_gate(node: Node, client: Client, ipv4: bytes) -> None:
    """Seldom: whoever makes addresses up must not keep the kernel's rules busy. What is not refused waits in vain."""
    if node.refusals.is_within(client.mac, node.now_s):
        node.do(RefuseAtGate(client.mac, ipv4))


def adopt(node: Node, client: Client, ipv4: bytes, lease_s: float, is_granted: bool) -> None:
    """Make us the home of a client's address, on the current PLAT unless it is on one of its own already."""
    if not free_address(node, client.mac, ipv4, is_granted):
        return refuse(node, client, ipv4)
    lease = Lease(node.at(ipv4), node.current or NOWHERE, node.now_s + lease_s, NO_TOKEN, is_granted)
    before = client.lease
    if before is not None and before.home == lease.home:
        lease.is_returned, lease.roam, lease.roam_ack = before.is_returned, before.roam, before.roam_ack
        if before.plat != NOWHERE:
            lease.plat, lease.token = before.plat, before.token
    give_lease(node, client, lease)
    open_gate(node, client)
    return request_token(node, lease)


def adopt_grant(node: Node, client: Client) -> None:
    """Our DHCP server granted an address: a renewal for who has it already, roamed or not."""
    grant, client.grant = client.grant, None
    assert grant is not None
    lease = client.lease
    if lease is None or lease.ipv4 != grant.ipv4 or node.is_home(lease):
        adopt(node, client, grant.ipv4, grant.until_s - node.now_s, is_granted=True)
        if client.lease is not None and client.lease.ipv4 == grant.ipv4:
            client.lease.is_returned |= grant.is_renewed
        return
    lease.until_s = grant.until_s
    node.use_plat(lease)
    node.changes += 1
    if lease.roam is None:
        start_roam(node, client)


def use_address(node: Node, client: Client) -> None:
    """The client uses an address; a packet of it waits at the gate."""
    heard, client.search.heard = client.search.heard, None
    assert heard is not None
    lease = client.lease
    if client.ipv4 == heard:
        open_gate(node, client)
    elif lease is not None and lease.is_granted:
        node.count("foreign_addresses")
        refuse_at_gate(node, client, heard)
    elif lease is None or node.now_s > lease.until_s - node.options.unleased_s + 1:  # once a second at most
        granted, until_s = node.granted.get(client.mac, (b"", 0.0))
        if granted == heard and until_s > node.now_s:
            adopt(node, client, heard, until_s - node.now_s, is_granted=True)
        else:
            adopt(node, client, heard, node.options.unleased_s, is_granted=False)


def extend_lease(node: Node, client: Client) -> None:
    """A lease that was only heard is over: the client may use the address on."""
    assert client.ipv4 is not None
    adopt(node, client, client.ipv4, node.options.unleased_s, is_granted=False)


def start_afresh(node: Node, client: Client, delay_s: float = 0.0) -> None:
    """What the client had cannot be kept: new connections shall work, through the current PLAT."""
    old = client.lease
    if old is None:
        return
    until_s = max(old.until_s, node.now_s + 1)
    lease = Lease(node.at(old.ipv4), node.current or NOWHERE, until_s, NO_TOKEN, old.is_granted)
    give_lease(node, client, lease)
    open_gate(node, client)
    request_token(node, lease, delay_s)


def on_place_checked(node: Node, mac: bytes, place: bytes, is_live: bool) -> None:
    """A client has an address that is mapped to another node, as somebody roamed there with it.

    the address is    that node can be reached    it cannot
    granted           the mapping stays           it is brought home
    only heard        the newcomer is refused     the mapping stays
    Where it stays, what the client begins is answered here, and the mapping ends with the other's lease.
    """
    client = node.clients.get(mac)
    lease = None if client is None else client.lease
    if client is None or lease is None or lease.ipv4 != place[12:] or not node.is_home(lease):
        return
    node.count("homes_away")
    node.touch(mac)
    if lease.is_granted and not is_live:
        lease.is_returned = True
        request_token(node, lease)
    elif not lease.is_granted and is_live:
        drop_ipv4(node, client)
        sentence = f"{describe(mac, place[12:])} was not granted its address, which roams: refused"
        node.log(WARNING, sentence)
        refuse_at_gate(node, client, place[12:])
    else:
        lease.renew_s = node.now_s + node.options.token_again_s
