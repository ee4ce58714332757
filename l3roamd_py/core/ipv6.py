# SPDX-License-Identifier: ISC
"""A client's IPv6 addresses: routes to them, and whose they are. No I/O."""

from l3roamd_py.core.actions import (
    CloseGate,
    LeavePlat,
    OpenGate,
    PinRoute,
    RemoveRoute,
    SolicitClient,
    UnpinRoute,
    UsePlats,
)
from l3roamd_py.core.addresses import refuse, refuse_foreign
from l3roamd_py.core.client import Client, Verification
from l3roamd_py.core.node import Node


def hear_address(node: Node, client: Client, address: bytes) -> None:
    """A client uses an IPv6 address: it is the client's, unless it lies elsewhere or is somebody else's here.

    The mesh hears of it when the client has answered, so it is asked at once.
    """
    if address in client.addresses:
        if client.presence.is_routed:
            node.do(OpenGate(client.mac, address))
        elif node.contests.is_within(client.mac, node.now_s):
            node.do(SolicitClient(client.mac, address))  # it was tentative when it was asked, perhaps
    elif not node.is_client_ipv6(address):
        refuse_foreign(node, client, address)
    elif node.is_of_other(client.mac, address):
        verification = node.verifications.get(address)
        if verification is not None and verification.rival is None:
            verification.rival = client.mac  # who waits for the answer
            node.timers.set((finish_verification, address), node.now_s + node.options.verify_again_s)
        elif verification is None and node.contests.is_within(client.mac, node.now_s):
            verify_address(node, address, client.mac)
    elif node.new_addresses.is_within(client.mac, node.now_s):
        add_address(node, client, address)
        if not client.presence.is_routed:
            node.do(SolicitClient(client.mac, address))
    else:
        node.count("addresses_too_fast")


def add_address(node: Node, client: Client, address: bytes) -> None:
    """Route an IPv6 address to the client, if it is nobody else's; of too many the oldest goes."""
    if address in client.addresses or node.is_of_other(client.mac, address):
        return
    if len(client.addresses) >= node.options.max_addresses:
        remove_address(node, client, client.addresses[0])
    client.addresses.append(address)
    node.owner_of[address] = client.mac
    if client.presence.silent:
        client.presence.silent = tuple([each for each in client.presence.silent if each[0] != address])
    if client.own_plat is not None:
        node.do(UsePlats((address,), client.own_plat))
    if client.presence.is_routed:
        node.route_address(client.mac, address)
    node.changes += 1


def add_older(node: Node, client: Client, addresses: list[bytes]) -> None:
    """Route what another node tells of a client, or what we knew before: older than what has been heard of it here.

    It is asked for its newest addresses, and may not have these any more.
    """
    heard = tuple(client.addresses)
    room = node.options.max_addresses - len(heard)
    for address in addresses[-room:] if room > 0 else ():
        add_address(node, client, address)
    client.addresses[:] = [each for each in client.addresses if each not in heard] + list(heard)


def remove_address(node: Node, client: Client, address: bytes) -> None:
    if address in client.addresses:
        client.addresses.remove(address)
        del node.owner_of[address]
        node.verifications.pop(address, None)
        node.timers.cancel((finish_verification, address))
        node.timers.cancel((let_neighbour_be, address))
        if client.presence.is_routed:
            node.do(CloseGate(client.mac, address))
            if address not in node.sent_on:
                node.do(RemoveRoute(client.mac, address))
        if client.own_plat is not None:
            node.do(LeavePlat(address, client.own_plat))
        node.changes += 1


def verify_address(node: Node, address: bytes, rival: bytes | None = None) -> None:
    """Ask the owner of an IPv6 address whether it still has it: its neighbour entry has failed, or a rival uses it."""
    verification = node.verifications[address] = Verification(rival)
    _ask_owner(node, address, verification)


def _ask_owner(node: Node, address: bytes, verification: Verification) -> None:
    verification.asked += 1
    node.do(SolicitClient(node.owner_of[address], address))
    again_s = node.options.silent_again_s if verification.rival is None else node.options.verify_again_s
    node.timers.set((finish_verification, address), node.now_s + again_s)


def finish_verification(node: Node, address: bytes) -> None:
    """The owner of an IPv6 address had its time to answer."""
    verification, owner = node.verifications[address], node.clients[node.owner_of[address]]
    rival = None if verification.rival is None else node.clients.get(verification.rival)
    if not verification.is_answered and verification.asked < node.options.verify_times:
        return _ask_owner(node, address, verification)
    del node.verifications[address]
    if verification.is_answered:
        if rival is not None:
            refuse(node, rival, address)
        return None
    node.count("addresses_silent")
    remove_address(node, owner, address)
    node.touch(owner.mac)
    if rival is not None:
        hear_address(node, rival, address)
    else:
        known = owner.presence.silent[1 - node.options.max_silent :]
        owner.presence.silent = known + ((address, node.now_s + node.options.silent_s),)
    return None


def keep_neighbour(node: Node, address: bytes) -> None:
    """Somebody has told the kernel that an address is another MAC's: it is its owner's, if that one answers.

    The entry is pinned only while somebody does so: a pinned neighbour is never found silent.
    """
    owner = node.owner_of.get(address)
    if owner is None:
        return
    node.count("neighbours_taken")
    node.do(PinRoute(owner, address))
    node.timers.set((let_neighbour_be, address), node.now_s + node.options.pinned_s)
    if address not in node.verifications:
        verify_address(node, address)


def let_neighbour_be(node: Node, address: bytes) -> None:
    node.do(UnpinRoute(node.owner_of[address], address))


def retry_silent(node: Node, client: Client) -> None:
    """The client is here: ask it for the addresses that did not answer before."""
    presence = client.presence
    if presence.retry_s <= node.now_s:
        presence.retry_s = node.now_s + node.options.silent_retry_s
        presence.silent = tuple([each for each in presence.silent if each[1] > node.now_s])
        node.do(*(SolicitClient(client.mac, address) for address, _ in presence.silent))
