# SPDX-License-Identifier: ISC
"""Role B's door: who is taken in as a client, and who has to wait. No I/O.

Whoever can send frames can make up MACs, and each client costs memory and a CLAIM. So there is a bound for all clients
together, and one for each port of the bridge, see ports.py. Nothing is kept of who has to wait: each sign of it tries
again, and is answered by a question. Who answers that, or gets a lease of our DHCP server, comes before all others.
"""

import logging

from l3roamd_py.core.actions import ProbeClient, SolicitClient
from l3roamd_py.core.claiming import ask
from l3roamd_py.core.clients import Client, State, Table, is_usable
from l3roamd_py.core.serving import forget


def arrive(t: Table, mac: bytes, ipv4: bytes | None, is_proof: bool) -> Client | None:
    """Take a client in that has just come. is_proof: it is here for certain. None: there is no room for it."""
    options, port = t.options, t.port_of(mac)
    if len(t.clients) >= options.max_clients or len(t.claiming) >= options.max_claims:
        t.count("clients_too_many")
        return None
    if not t.ports.has_room(port, is_proof) and not (is_proof and _make_room(t, port)):
        _refuse(t, port, is_proof)
        if ipv4 is not None and is_usable(ipv4) and not is_proof:
            ask_stranger(t, ProbeClient(mac, ipv4))
        return None
    client = Client(mac, State.CLAIMING, t.now_s, former=t.departed.pop(mac, None))
    if client.former is not None:
        client.place, client.answer_s = client.former.place, client.former.answer_s
    t.clients[mac] = client
    t.ports.add(mac, port)
    t.count("arrivals")
    ask(t, client)
    return client


def _make_room(t: Table, port: str) -> bool:
    """Return whether one that has not proven to be here, or is away, could give way."""
    least = t.ports.least(port)
    if least is None:
        return False
    t.count("clients_displaced")
    forget(t, t.clients[least])
    return True


def _refuse(t: Table, port: str, is_proof: bool) -> None:
    t.count("clients_too_many_at_port" if is_proof else "newcomers_too_many_at_port")
    if t.ports.may_tell(port, t.now_s):
        most = t.ports.max_clients if is_proof else t.ports.max_newcomers
        kind = "clients" if is_proof else "clients that have not answered yet"
        sentence = f"{port or 'a port'} has {most} {kind}, as many as it may: others wait"
        t.log(logging.WARNING, sentence)


def ask_stranger(t: Table, question: ProbeClient | SolicitClient) -> None:
    """Ask somebody who waits whether it is here: its answer is proof."""
    if t.ports.may_ask(t.port_of(question.mac), t.now_s):
        t.do(question)
