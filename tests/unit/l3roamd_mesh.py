# SPDX-License-Identifier: ISC
"""A mesh without a kernel: several cores, a network that loses and reorders, babel, gates, maps, clients. One clock.

Everything that is random comes from one seed, so that a failure can be had again.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

from l3roamd_babel import Babel
from l3roamd_mesh_node import CLAT_RANGE, CLIENT_IPV6, CLIENTS, PLAT_RANGE, Client, Kernel, Node

from l3roamd_py.core import actions as do
from l3roamd_py.core import events, wire
from l3roamd_py.kernel.node_routes import ASKED_MAX
from xlat464.node import management_address, node_client_address

__all__ = ["CLAT_RANGE", "CLIENTS", "CLIENT_IPV6", "PLAT_RANGE", "Client", "Kernel", "Node"]
LEGACY = bytes.fromhex("fd000000000000000000000000000005")
STRANGER = bytes.fromhex("fddd133713370200000000eec0000001")  # a node of the mesh that is nobody's here
CONVERGENCE_S = 15.0  # after a walk, until all have come to rest


@dataclass
class Air:
    """What the network does to a datagram, and how long babel takes to tell of an address."""

    delay_s: float = 0.005  # of a link
    jitter_s: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    convergence_s: float = 0.5


class Mesh:
    """Nodes are numbered from 1; the numbers in `platnodes` have an exit, and the first of them is everybody's.

    columns: nodes stand in rows of so many, and who is next to them hears what they send to the group; 0: all do.
    """

    node_type = Node
    is_recorded = True  # what nodes do, and what is sent

    def __init__(
        self,
        nodes: int = 4,
        platnodes: tuple[int, ...] = (4,),
        air: Air | None = None,
        seed: int = 0,
        columns: int = 0,
        **options,
    ):
        self.random = random.Random(seed)
        self.air = air or Air()
        self.options = options
        self.now_s = 1000.0
        self.lease_s = 3600  # as the DHCP servers give it
        self._agenda: list[tuple[float, int, Callable, tuple]] = []
        self._count = 0
        self.clients: dict[bytes, Client] = {}
        self.babel = Babel(seed)
        self.part: set[int] = set()  # these nodes hear no others while the mesh is in two parts
        self.translator_s = 0.001  # what a pair takes,
        self.untranslatable: set[bytes] = set()  # and what it is not made for
        self.refused: list[tuple[Node, bytes]] = []  # addresses that somebody was told cannot be reached
        self.overheard: list[tuple[Node, events.Datagram]] = []
        self.columns, self._owners, self._near = columns, {}, {}
        self.nodes = []
        for number in range(1, nodes + 1):
            self.add_node(self.node_type(self, number, number in platnodes))
        if platnodes:
            self.choose(self.nodes[platnodes[0] - 1])

    def add_node(self, node: Node) -> None:
        self.nodes.append(node)
        for prefix in filter(None, (node.clat, node.plat)):
            self._owners[management_address(prefix)] = node

    def distance(self, one: Node, other: Node) -> int:
        """How many links lie between two nodes."""
        if not self.columns:
            return abs(one.number - other.number)
        rows = (one.number - 1) // self.columns - (other.number - 1) // self.columns
        columns = (one.number - 1) % self.columns - (other.number - 1) % self.columns
        return max(abs(rows), abs(columns))

    def neighbours(self, node: Node) -> list[Node]:
        """Who hears what a node sends to the group."""
        if node.number not in self._near:
            self._near[node.number] = [
                each
                for each in self.nodes
                if each is not node and (not self.columns or self.distance(node, each) == 1)
            ]
        return self._near[node.number]

    def known_nodes(self, node: Node) -> list[Node]:
        """The clatnodes that babel has a route to; some of many, as l3roamd_py/kernel/node_routes.py has it."""
        found = self.nodes
        if len(found) > ASKED_MAX + 1:
            first = self.random.randrange(len(found))
            found = (found[first:] + found[:first])[: ASKED_MAX + 1]
        return [each for each in found if each is not node][:ASKED_MAX]

    def choose(self, platnode: Node) -> None:
        for node in self.nodes:
            node.handle(events.PlatChosen(platnode.plat))

    def after(self, delay_s: float, call: Callable, *values) -> None:
        self.at(self.now_s + delay_s, call, *values)

    def at(self, at_s: float, call: Callable, *values) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (at_s, self._count, call, values))

    def run(self, duration_s: float, steps: int = 200_000) -> None:
        until_s = self.now_s + duration_s
        while self._agenda and self._agenda[0][0] <= until_s:
            self.now_s, _, call, values = heapq.heappop(self._agenda)
            call(*values)
            steps -= 1
            assert steps > 0, "the mesh does not come to rest"
        self.now_s = until_s

    def split(self, *numbers: int) -> None:
        """Cut these nodes off from the others; what babel had told goes with the links."""
        self.part = set(numbers)

    def heal(self) -> None:
        self.part = set()
        for node in self.nodes:
            self.after(3 * self.random.random(), lambda node=node: node.handle(events.NodeAppeared()))

    def is_cut(self, one: int, other: int) -> bool:
        return (one in self.part) != (other in self.part)

    def leads_to(self, node: "Node", there: "Node") -> bool:
        """Whether babel at one node has a route to another."""
        return not there.is_gone and not self.is_cut(node.number, there.number)

    def owner(self, address: bytes) -> Node | None:
        """Whose management address this is."""
        return self._owners.get(address)

    def carry(self, sender: Node | None, target: Node, datagram: events.Datagram) -> None:
        if sender is not None and self.is_cut(sender.number, target.number):
            return
        if self.is_recorded:
            self.overheard.append((target, datagram))
        delay_s = self.air.delay_s * (self.distance(sender, target) if self.columns and sender else 1)
        for _ in range(1 + (self.random.random() < self.air.duplication)):
            if sender is target:
                self.after(0.0, target.handle, datagram)
            elif self.random.random() >= self.air.loss:
                jitter_s = self.random.random() * self.air.jitter_s
                self.after(delay_s + jitter_s, self._arrive, target, datagram)

    def spread(
        self,
        sender: Node,
        targets: list[Node],
        source: bytes,
        payload: bytes,
        destination: bytes | None = None,
    ) -> None:
        """Carry one datagram to many. destination: None for each one's own address."""
        for target in targets:
            to = management_address(target.clat) if destination is None else destination
            self.carry(sender, target, events.Datagram(source, to, payload))

    def _arrive(self, target: Node, datagram: events.Datagram) -> None:
        """What follows an old route of babel's to a node that has not the address any more ends there."""
        address = datagram.destination
        if address[:8] != CLIENTS[:8] or address in target.kernel.node_clients:
            target.handle(datagram)

    def announce(self, node: Node, address: bytes, is_there: bool) -> None:
        mine = node.kernel.node_clients
        (mine.add if is_there else mine.discard)(address)
        self.babel.announce(address, node.number, is_there, self.now_s, self.air.convergence_s)

    def route(self, node: Node, address: bytes) -> Node | None:
        """The node to which packets for a node-client address go: ourselves, or the nearest."""
        if address in node.kernel.node_clients:
            return node
        told = self.babel.told(node.number, address, self.now_s)
        known = [self.nodes[number - 1] for number in sorted(told) if not self.is_cut(node.number, number)]
        return min(known, key=lambda there: self.distance(node, there)) if known else None

    def join(self, client: Client, node: Node, lease_s: int = 3600) -> None:
        """A new client comes and gets a lease."""
        self.clients[client.mac] = client
        client.node = node
        node.handle(events.ClientSeen(client.mac))
        self.after(0.2, lambda: node.handle(events.LeaseGranted(client.mac, client.ipv4, lease_s)))

    def move(self, client: Client, node: Node, is_polite: bool = False) -> None:
        """A client walks: the new node sees it, then a packet of it comes to the gate; the old one may be told."""
        old, client.node = client.node, node
        if is_polite and old is not None:
            old.handle(events.ClientGone(client.mac))
        self.after(0.001, lambda: self._appear(client, node, None))
        self.after(0.003, lambda: self._appear(client, node, client.ipv4))

    def _appear(self, client: Client, node: Node, ipv4: bytes | None) -> None:
        is_gated = ipv4 is not None and (client.mac, ipv4) not in node.kernel.opened
        if ipv4 is not None and node.kernel.refused.get((client.mac, ipv4), 0.0) > self.now_s:
            return
        if client.node is node and (ipv4 is None or is_gated):
            node.handle(events.ClientSeen(client.mac, ipv4))

    def knock(self, client: Client, ipv4: bytes | None = None) -> None:
        """The client sends a packet; ipv4: if not from its own address."""
        if client.node is not None:
            self._appear(client, client.node, ipv4 or client.ipv4)

    def send_to(self, client: Client, ipv4: bytes) -> bool:
        """A client has a packet for another one's address; return whether it would arrive now."""
        node, other = client.node, next((c for c in self.clients.values() if c.ipv4 == ipv4), None)
        assert node is not None
        if ipv4 not in client.arp and (other is None or other.node is not node):
            node.handle(events.Wanted(client.mac, client.ipv4, ipv4, True))
            if ipv4 not in client.arp:
                return False
        if ipv4 not in node.kernel.reached:
            node.handle(events.Wanted(client.mac, client.ipv4, ipv4))
            if ipv4 not in node.kernel.reached:
                return False
        if other is None or other.node is node or (client.mac, client.ipv4) not in node.kernel.opened:
            return other is not None and other.node is node
        at = node.kernel.pairs.get(ipv4)
        there = next((n for n in self.nodes if at == n.clat[:12] + ipv4), None)
        back = None if there is None else there.kernel.pairs.get(client.ipv4)
        return there is other.node and back == node.clat[:12] + client.ipv4

    def address(self, client: Client) -> bytes:
        return node_client_address(CLIENTS, client.mac)

    def serving(self, client: Client) -> list[Node]:
        """The nodes that claim to serve it."""
        return [node for node in self.nodes if self.address(client) in node.kernel.node_clients]

    def follow(self, node: Node, address: bytes) -> list[Node]:
        """The nodes that a packet for an IPv6 address comes by, from one of them on; the last has the client's route.

        None of them if it is dropped. Where there is no route babel leads to any node with one, the first in number.
        """
        way, to = [node], address
        while len(way) <= 2 * len(self.nodes):
            for translation in (way[-1].kernel.client, way[-1].kernel.care_of):
                other, until_s = translation.get(to, (to, 0.0))
                to = other if until_s > self.now_s else to
            if to == address:
                there = [each for each in self.nodes if any(to == route[1] for route in each.kernel.routes)]
            else:
                there = [each for each in self.nodes if each.clat[:12] == to[:12]]
            if not there or way[-1] in there:
                return way if there and to == address else []
            way.append(there[0])
        raise AssertionError("it goes in circles: " + " ".join(str(each.number) for each in way))

    def path(self, client: Client, ipv4: bytes | None = None) -> tuple[bytes, bytes] | None:
        """The PLAT and the source that it sees, if packets pass there and back; None: they do not."""
        node, ipv4 = client.node, ipv4 or client.ipv4
        if node is None or (client.mac, ipv4) not in node.kernel.opened:
            return None
        at = node.clat[:12] + ipv4
        plat, until_s = node.kernel.plats.get(at, (node.kernel.current, self.now_s + 1))
        platnode = None if plat is None else self.owner(management_address(plat))
        if platnode is None or until_s <= self.now_s:
            return None
        mapped, home_until_s, _ = platnode.kernel.home_of.get(at, (at, 0.0, 0))
        home = mapped if home_until_s > self.now_s else at
        back = platnode.kernel.at_of.get(home, home)
        is_back_mapped = platnode.kernel.home_of.get(back, (home, 0.0, 0))[1] > self.now_s
        return (plat, home) if (back if is_back_mapped else home) == at else None


def make_client(number: int, home: int) -> Client:
    return Client(bytes((2, 0xAA, 0, 0, 0, number)), bytes((10, home, 0, number)))


def joined(mesh: Mesh, node: int = 1, number: int = 9) -> Client:
    client = make_client(number, node)
    mesh.join(client, mesh.nodes[node - 1])
    mesh.run(2)
    return client


def check_converged(mesh: Mesh, client: Client) -> None:
    """Exactly one node serves the client, where it is, and lets it through; nothing is left at the others."""
    assert mesh.serving(client) == [client.node]
    assert mesh.path(client) is not None
    for node in mesh.nodes:
        if node is not client.node:
            assert client.mac not in node.core.node.clients
            assert (client.mac, client.ipv4) not in node.kernel.opened | node.kernel.neighbours
            assert node.clat[:12] + client.ipv4 not in node.kernel.plats


def check_goes_on(mesh: Mesh, client: Client, before: tuple[bytes, bytes] | None, within_s: float) -> None:
    """What it had open goes on after a time, and still does when all have come to rest."""
    mesh.run(within_s)
    assert mesh.path(client) == before
    mesh.run(CONVERGENCE_S)
    check_converged(mesh, client)
    assert mesh.path(client) == before


def forge(
    node: Node, body: wire.Body, sender: bytes = STRANGER, extended: bool = True, ttl: int = 8, nonce: int = 1
) -> list:
    """Let a node hear a datagram, and return what it did."""
    before = len(node.actions)
    payload = wire.encode(wire.Header(sender, nonce, ttl, extended), body)
    node.handle(events.Datagram(sender, node.core.options.address, payload))
    return node.actions[before:]


def sent(actions: list) -> list[wire.Body]:
    return [wire.decode(action.payload)[1] for action in actions if isinstance(action, do.Send)]
