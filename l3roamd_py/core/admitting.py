# SPDX-License-Identifier: ISC
"""Role B's door: who is taken in as a client, and who has to wait. No I/O.

Whoever can send frames can make up MACs, and each client costs memory and a CLAIM. So there is a bound for all clients
together, and one for each port of the bridge, see ports.py. Nothing is kept of who has to wait: each sign of it tries
again, and is answered by a question. Who answers that, or gets a lease of our DHCP server, comes before all others.
"""

import logging

from l3roamd_py.core.actions import ProbeClient, SolicitClient
from l3roamd_py.core.claiming import ask
from l3roamd_py.core.client import Client, State
from l3roamd_py.core.node import Node, is_usable
from l3roamd_py.core.serving import forget


def arrive(node: Node, mac: bytes, ipv4: bytes | None, is_proof: bool) -> Client | None:
    """Take a client in that has just come. is_proof: it is here for certain. None: there is no room for it."""
    options, port = node.options, node.port_of(mac)
    if len(node.clients) >= options.max_clients or len(node.claiming) >= options.max_claims:
        node.count("clients_too_many")
        return None
    if not node.ports.has_room(port, is_proof) and not (is_proof and _make_room(node, port)):
        _refuse(node, port, is_proof)
        if ipv4 is not None and is_usable(ipv4) and not is_proof:
            ask_stranger(node, ProbeClient(mac, ipv4))
        return None
    client = Client(mac, State.CLAIMING, node.now_s, former=node.departed.pop(mac, None))
    if client.former is not None:
        client.place, client.answer_s = client.former.place, client.former.answer_s
    node.clients[mac] = client
    node.ports.add(mac, port)
    node.count("arrivals")
    ask(node, client)
    return client


def _make_room(node: Node, port: str) -> bool:
    """Return whether one that has not proven to be here, or is away, could give way."""
    least = node.ports.least(port)
    if least is None:
        return False
    node.count("clients_displaced")
    forget(node, node.clients[least])
    return True


def _refuse(node: Node, port: str, is_proof: bool) -> None:
    node.count("clients_too_many_at_port" if is_proof else "newcomers_too_many_at_port")
    if node.ports.may_tell(port, node.now_s):
        most = node.ports.max_clients if is_proof else node.ports.max_newcomers
        kind = "clients" if is_proof else "clients that have not answered yet"
        sentence = f"{port or 'a port'} has {most} {kind}, as many as it may: others wait"
        node.log(logging.WARNING, sentence)


def ask_stranger(node: Node, question: ProbeClient | SolicitClient) -> None:
    """Ask somebody who waits whether it is here: its answer is proof."""
    if node.ports.may_ask(node.port_of(question.mac), node.now_s):
        node.do(question)
