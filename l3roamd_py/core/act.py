# SPDX-License-Identifier: ISC
"""Verdicts of judge.py about more than one part of a client. Any other is a function of its part. No I/O."""

from l3roamd_py.core import addresses, requests, search, service, signs
from l3roamd_py.core.client import Absent, Client, Roaming, Served
from l3roamd_py.core.node import Node, describe
from runtime.log import WARNING

HANDOFF_MS = (10, 25, 50, 100, 250, 500, 1000)  # upper bounds of what handoffs are counted by


def let_in(node: Node, client: Client) -> None:
    """The PLAT sends what is the client's to us: let it in."""
    requests.accept(node, client)
    client.state = service.new_served(node)
    node.count("roams")
    _count_handoff(node, client)
    addresses.open_gate(node, client)
    if client.search.is_contested:
        service.announce(node, client)  # our token was good: nobody else has had the client since


def _count_handoff(node: Node, client: Client) -> None:
    """How long it was here without IPv4: since our CLAIM."""
    claim = client.search.claim
    if claim is None:
        return
    took_ms = int(1000 * (node.now_s - claim.started_s))
    node.counters.count("handoffs_ms", took_ms)
    bounds = [bound for bound in HANDOFF_MS if took_ms <= bound]
    node.count(f"handoffs_to_{bounds[0]}_ms" if bounds else "handoffs_longer")


def ask_for_home(node: Node, client: Client) -> None:
    """A home is mapped to us by a later token than ours, as a restart lost it: its PLAT says which, with a new one."""
    lease = client.lease
    assert lease is not None
    requests.end_roam(node, client)
    if isinstance(client.state, Roaming):
        client.state = service.new_served(node)
        addresses.open_gate(node, client)
    lease.home = node.at(lease.ipv4)
    requests.request_token(node, lease)
    if client.search.is_contested:
        service.announce(node, client)  # it is mapped to us: nobody else has had the client since


def begin_anew(node: Node, client: Client) -> None:
    """The client cannot keep its connections: it gets new ones."""
    why = requests.end_roam(node, client)
    node.count("roams_failed")
    sentence = f"{describe(client.mac, client.ipv4)} begins anew through our own PLAT: {why}"
    node.log(WARNING, sentence)
    if isinstance(client.state, (Roaming, Absent)):
        client.state = service.new_served(node)
        node.ports.come_back(client.mac)
    addresses.start_afresh(node, client)
    if client.search.is_contested:
        search.verify(client)


def use_address(node: Node, client: Client) -> None:
    """It uses an address. One beside its own is that of a client of its own, if it is anybody's."""
    beside = addresses.use_address(node, client)
    if beside is not None:
        signs.see_beside(node, client, beside)
    elif client.mac in node.behind and client.ipv4 is None and client.search.heard is None:
        service.forget(node, client)


def end_lease(node: Node, client: Client) -> None:
    """Its lease is over; its IPv6 addresses stay."""
    node.count("leases_over")
    addresses.drop_ipv4(node, client)
    if isinstance(client.state, Roaming):
        client.state = Served()


def forget_with_lease(node: Node, client: Client) -> None:
    """Its lease is over, and nothing else is known to ask it by."""
    service.forget(node, client, "leases_over")


def forget_unproven(node: Node, client: Client) -> None:
    """It seemed to have come, and has not been found here."""
    service.forget(node, client, "arrivals_unproven")
