# SPDX-License-Identifier: ISC
"""A mesh without a kernel: several cores, a network that loses and reorders, babel, gates, maps, clients. One clock.

Everything that is random comes from one seed, so that a failure can be had again.
"""

import heapq
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from l3roamd_py.core import actions as do
from l3roamd_py.core import events, wire
from l3roamd_py.core.core import Core
from l3roamd_py.core.mapping import Mapping
from l3roamd_py.core.options import Options
from xlat464.address import parse_ipv6
from xlat464.node import management_address, node_client_address, node_prefix

CLAT_RANGE, PLAT_RANGE = parse_ipv6("fddd:1337:1337::"), parse_ipv6("fddd:1338:1338::")
CLIENTS, CLIENT_IPV6 = parse_ipv6("fdff:0:0:1::"), parse_ipv6("fd11::")
LEGACY = bytes.fromhex("fd000000000000000000000000000005")
STRANGER = bytes.fromhex("fddd133713370200000000eec0000001")  # a node of the mesh that is nobody's here
SETTLE_S = 15.0  # after a walk, until all have come to rest


@dataclass
class Air:
    """What the network does to a datagram, and how long babel takes to tell of an address."""

    delay_s: float = 0.005
    jitter_s: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    convergence_s: float = 0.5


@dataclass
class Kernel:
    """What survives a daemon: gate, sets, maps, addresses."""

    opened: set[tuple[bytes, bytes]] = field(default_factory=set)
    node_clients: set[bytes] = field(default_factory=set)
    neighbours: set[tuple[bytes, bytes]] = field(default_factory=set)
    routes: set[tuple[bytes, bytes]] = field(default_factory=set)
    plats: dict[bytes, tuple[bytes, float]] = field(default_factory=dict)  # CLAT::ipv4 -> PLAT, until
    current: bytes | None = None
    home_of: dict[bytes, tuple[bytes, float, int]] = field(default_factory=dict)  # at -> home, until, serial
    at_of: dict[bytes, bytes] = field(default_factory=dict)
    refuses: bool = False


@dataclass
class Client:
    mac: bytes
    ipv4: bytes | None
    node: "Node | None" = None
    is_asleep: bool = False
    answer_s: float = 0.002  # to ARP
    ipv6: bytes | None = None
    beside: tuple[bytes, ...] = ()  # other IPv4 addresses that answer behind its MAC


class Node:
    def __init__(self, mesh: "Mesh", number: int, is_platnode: bool) -> None:
        self.mesh, self.number = mesh, number
        mac = bytes((2, 0, 0, 0, 0, number))
        self.clat = node_prefix(CLAT_RANGE, mac)
        self.plat = node_prefix(PLAT_RANGE, mac) if is_platnode else None
        self.kernel = Kernel()
        self.ports: dict[bytes, str] = {}  # MAC -> the bridge's port
        self.actions: list[do.Action] = []
        self.is_up = True  # the daemon
        self.is_gone = False  # the whole node, for babel as well
        self.is_deaf_to_group = False
        self.unread: list[events.Event] | None = None  # what came while the daemon has no processor
        self.core = self.make_core()

    def make_core(self) -> Core:
        core = Core(
            Options(
                CLAT_RANGE,
                PLAT_RANGE,
                CLIENTS,
                clat=self.clat,
                plat=self.plat,
                prefixes=((CLIENT_IPV6, 64),),
                random=self.mesh.random.randbytes,
                **self.mesh.options,
            )
        )
        core.node.port_of = lambda mac: self.ports.get(mac, "")
        return core

    def handle(self, event: events.Event) -> None:
        if not self.is_up:
            return
        if self.unread is not None:
            self.unread.append(event)
            return
        now_s = self.mesh.now_s
        for action in self.core.handle(event, now_s):
            self.perform(action)
        self.wake()

    def wake(self) -> None:
        """Come back when the core wants it."""
        due_s = self.core.next_deadline_s
        if due_s is not None:
            self.mesh.after(max(0.0, due_s - self.mesh.now_s), lambda: self.tick(due_s))

    def tick(self, due_s: float) -> None:
        if self.is_up and self.unread is None and self.core.next_deadline_s == due_s:
            self.handle(events.Tick())

    def stall(self, duration_s: float) -> None:
        """Have no processor for a while. What comes waits; the answers to ARP are in the socket that is read last."""
        self.unread = [] if self.unread is None else self.unread

        def go_on() -> None:
            unread, self.unread = self.unread or [], None
            for event in sorted(unread, key=lambda each: isinstance(each, events.ArpAnswered)):
                self.handle(event)
            if self.is_up:
                self.wake()

        self.mesh.after(duration_s, go_on)

    def perform(self, action: do.Action) -> None:
        self.actions.append(action)
        PERFORM.get(type(action), lambda node, action: None)(self, action)

    def map_client(self, action: do.MapClient) -> None:
        if self.kernel.refuses:
            self.perform(action.failed)
            return
        self.unmap(action.home)
        until_s = self.mesh.now_s + action.lease_s
        self.kernel.home_of[action.at] = (action.home, until_s, action.serial)
        self.kernel.at_of[action.home] = action.at
        self.perform(action.done)

    def unmap(self, home: bytes) -> None:
        at = self.kernel.at_of.pop(home, None)
        if at is not None:
            self.kernel.home_of.pop(at, None)

    def unmap_client(self, action: do.UnmapClient) -> None:
        self.unmap(action.home)
        if action.done:
            self.perform(action.done)

    def claim(self, action: do.SendClaim) -> None:
        target = self.mesh.route(self, action.destination)
        if target is None:
            self.mesh.after(0.0, lambda: self.handle(events.ClaimUnreachable(action.mac)))
        else:
            datagram = events.Datagram(self.core.options.address, action.destination, action.payload)
            self.mesh.carry(self, target, datagram)

    def look(self, action: do.CheckElsewhere) -> None:
        if self.mesh.route(self, action.address) not in (None, self):
            self.mesh.after(0.0, lambda: self.handle(events.FoundElsewhere(action.mac)))

    def check_place(self, action: do.CheckPlace) -> None:
        there = self.mesh.owner(management_address(action.place[:12] + bytes(4)))
        is_live = there is not None and self.mesh.leads_to(self, there)
        self.mesh.after(0.0, lambda: self.handle(events.PlaceChecked(action.mac, action.place, is_live)))

    def check_plat(self, action: do.CheckPlat) -> None:
        there = next((node for node in self.mesh.nodes if node.plat == action.plat), None)
        has_route = there is not None and self.mesh.leads_to(self, there)
        self.mesh.after(0.0, lambda: self.handle(events.PlatChecked(action.plat, has_route)))

    def probe(self, action: do.ProbeClient) -> None:
        client = self.mesh.clients.get(action.mac)
        if client is None or client.node is not self or client.is_asleep:
            return
        if action.ipv4 in (client.ipv4, *client.beside):
            answer = events.ArpAnswered(action.mac, action.ipv4)
            self.mesh.after(client.answer_s, lambda: self.handle(answer))

    def solicit(self, action: do.SolicitClient) -> None:
        client = self.mesh.clients.get(action.mac)
        if (
            client is not None
            and client.node is self
            and not client.is_asleep
            and client.ipv6 == action.address
        ):
            answer = events.ArpAnswered(action.mac, action.address)
            self.mesh.after(client.answer_s, lambda: self.handle(answer))

    def seek(self, action: do.SeekAddress) -> None:
        for client in self.mesh.clients.values():
            if client.node is self and not client.is_asleep and client.ipv6 == action.address:
                seen = events.AddressSeen(client.mac, action.address)
                self.mesh.after(0.002, lambda seen=seen: self.handle(seen))

    def renew_lease(self, action: do.RenewLease) -> None:
        granted = events.LeaseGranted(action.mac, action.ipv4, self.mesh.lease_s, False, True)
        self.mesh.after(0.05, lambda: self.handle(granted))

    def drop_plat(self, action: do.DropPlat) -> None:
        plats = self.kernel.plats
        self.kernel.plats = {client: use for client, use in plats.items() if use[0] != action.plat}

    def restart(self, down_s: float, saved: dict | None) -> None:
        """Die now, with what was saved before, and come back."""
        self.is_up = False
        text = json.dumps(saved)

        def come_back() -> None:
            now_s, kernel = self.mesh.now_s, self.kernel
            mappings = [
                Mapping(home, at, None, int(until_s - now_s), serial)
                for at, (home, until_s, serial) in kernel.home_of.items()
                if until_s > now_s
            ]
            self.core = self.make_core()
            self.is_up = True
            plats = [(at, plat) for at, (plat, _) in kernel.plats.items()]
            for action in self.core.restore(json.loads(text), now_s, set(kernel.opened), mappings, plats):
                self.perform(action)
            self.wake()

        self.mesh.after(down_s, come_back)


def _send(node: Node, action: do.Send) -> None:
    mesh = node.mesh
    to_all = action.destination == wire.GROUP
    targets = (
        [n for n in mesh.nodes if n is not node and not n.is_deaf_to_group]
        if to_all
        else [mesh.owner(action.destination)]
    )
    for target in filter(None, targets):
        datagram = events.Datagram(node.core.options.address, action.destination, action.payload)
        node.mesh.carry(node, target, datagram)


def _send_to_nodes(node: Node, action: do.SendToNodes) -> None:
    for other in node.mesh.nodes:
        if other is not node:
            there = management_address(other.clat)
            node.mesh.carry(node, other, events.Datagram(action.source, there, action.payload))


PERFORM: dict[type, Callable] = {
    do.Send: _send,
    do.SendToNodes: _send_to_nodes,
    do.SendClaim: Node.claim,
    do.CheckElsewhere: Node.look,
    do.CheckPlace: Node.check_place,
    do.AddNodeClient: lambda node, a: node.mesh.announce(node, a.address, True),
    do.RemoveNodeClient: lambda node, a: node.mesh.announce(node, a.address, False),
    do.AddNeighbour: lambda node, a: node.kernel.neighbours.add((a.mac, a.ipv4)),
    do.RemoveNeighbour: lambda node, a: node.kernel.neighbours.discard((a.mac, a.ipv4)),
    do.AddRoute: lambda node, a: node.kernel.routes.add((a.mac, a.address)),
    do.RemoveRoute: lambda node, a: node.kernel.routes.discard((a.mac, a.address)),
    do.ProbeClient: Node.probe,
    do.SolicitClient: Node.solicit,
    do.SeekAddress: Node.seek,
    do.OpenGate: lambda node, a: node.kernel.opened.add((a.mac, a.address)),
    do.CloseGate: lambda node, a: node.kernel.opened.discard((a.mac, a.address)),
    do.UsePlat: lambda node, a: node.kernel.plats.update({a.client: (a.plat, node.mesh.now_s + a.lease_s)}),
    do.LeavePlat: lambda node, a: node.kernel.plats.pop(a.client, None),
    do.SetCurrentPlat: lambda node, a: setattr(node.kernel, "current", a.plat),
    do.CheckPlat: Node.check_plat,
    do.DropPlat: Node.drop_plat,
    do.RenewLease: Node.renew_lease,
    do.MapClient: Node.map_client,
    do.UnmapClient: Node.unmap_client,
}


class Mesh:
    """Nodes are numbered from 1; the numbers in `platnodes` have an exit, and the first of them is everybody's."""

    def __init__(
        self,
        nodes: int = 4,
        platnodes: tuple[int, ...] = (4,),
        air: Air | None = None,
        seed: int = 0,
        **options,
    ):
        self.random = random.Random(seed)
        self.air = air or Air()
        self.options = options
        self.now_s = 1000.0
        self.lease_s = 3600  # as the DHCP servers give it
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.clients: dict[bytes, Client] = {}
        self.told: dict[tuple[int, bytes], set[int]] = {}  # who a node believes to have an address
        self.part: set[int] = set()  # these nodes hear no others while the mesh is in two parts
        self.overheard: list[tuple[Node, events.Datagram]] = []
        self.nodes = [Node(self, number, number in platnodes) for number in range(1, nodes + 1)]
        if platnodes:
            self.choose(self.nodes[platnodes[0] - 1])

    def choose(self, platnode: Node) -> None:
        for node in self.nodes:
            node.handle(events.PlatChosen(platnode.plat))

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (self.now_s + delay_s, self._count, call))

    def run(self, duration_s: float, steps: int = 200_000) -> None:
        until_s = self.now_s + duration_s
        while self._agenda and self._agenda[0][0] <= until_s:
            self.now_s, _, call = heapq.heappop(self._agenda)
            call()
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
        for node in self.nodes:
            if address == management_address(node.clat) or (
                node.plat and address == management_address(node.plat)
            ):
                return node
        return None

    def carry(self, sender: Node | None, target: Node, datagram: events.Datagram) -> None:
        if sender is not None and self.is_cut(sender.number, target.number):
            return
        self.overheard.append((target, datagram))
        for _ in range(1 + (self.random.random() < self.air.duplication)):
            if sender is target:
                self.after(0.0, lambda: target.handle(datagram))
            elif self.random.random() >= self.air.loss:
                delay_s = self.air.delay_s + self.random.random() * self.air.jitter_s
                self.after(delay_s, lambda: self._arrive(target, datagram))

    def _arrive(self, target: Node, datagram: events.Datagram) -> None:
        """What follows an old route of babel's to a node that has not the address any more ends there."""
        address = datagram.destination
        if address[:8] != CLIENTS[:8] or address in target.kernel.node_clients:
            target.handle(datagram)

    def announce(self, node: Node, address: bytes, is_there: bool) -> None:
        mine = node.kernel.node_clients
        (mine.add if is_there else mine.discard)(address)
        for other in self.nodes:
            if other is not node:
                tell = self._told(other, address, node.number, is_there)
                self.after(self.air.convergence_s * (0.2 + 0.8 * self.random.random()), tell)

    def _told(self, other: Node, address: bytes, number: int, is_there: bool) -> Callable[[], None]:
        def tell() -> None:
            known = self.told.setdefault((other.number, address), set())
            # what babel tells last is what is true: an update may overtake another
            is_true = address in self.nodes[number - 1].kernel.node_clients
            (known.add if is_true else known.discard)(number)

        return tell

    def route(self, node: Node, address: bytes) -> Node | None:
        """The node to which packets for a node-client address go: ourselves, or the nearest by number."""
        if address in node.kernel.node_clients:
            return node
        told = self.told.get((node.number, address), set())
        known = {number for number in told if not self.is_cut(node.number, number)}
        return self.nodes[min(known, key=lambda n: abs(n - node.number)) - 1] if known else None

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
        is_held = ipv4 is not None and (client.mac, ipv4) not in node.kernel.opened
        if client.node is node and (ipv4 is None or is_held):
            node.handle(events.ClientSeen(client.mac, ipv4))

    def knock(self, client: Client, ipv4: bytes | None = None) -> None:
        """The client sends a packet; ipv4: if not from its own address."""
        if client.node is not None:
            self._appear(client, client.node, ipv4 or client.ipv4)

    def address(self, client: Client) -> bytes:
        return node_client_address(CLIENTS, client.mac)

    def holders(self, client: Client) -> list[Node]:
        """The nodes that claim to serve it."""
        return [node for node in self.nodes if self.address(client) in node.kernel.node_clients]

    def path(self, client: Client, ipv4: bytes | None = None) -> tuple[bytes, bytes] | None:
        """The PLAT and the source that it sees, if packets pass there and back; None: they do not."""
        node, ipv4 = client.node, ipv4 or client.ipv4
        if node is None or (client.mac, ipv4) not in node.kernel.opened:
            return None
        at = node.clat[:12] + ipv4
        plat, until_s = node.kernel.plats.get(at, (node.kernel.current, self.now_s + 1))
        platnode = next((n for n in self.nodes if n.plat == plat), None)
        if platnode is None or plat is None or until_s <= self.now_s:
            return None
        mapped = {
            place: home
            for place, (home, until_s, _) in platnode.kernel.home_of.items()
            if until_s > self.now_s
        }
        home = mapped.get(at, at)
        back = next((place for place, of in mapped.items() if of == home), home)
        return (plat, home) if back == at else None


def make_client(number: int, home: int) -> Client:
    return Client(bytes((2, 0xAA, 0, 0, 0, number)), bytes((10, home, 0, number)))


def joined(mesh: Mesh, node: int = 1, number: int = 9) -> Client:
    client = make_client(number, node)
    mesh.join(client, mesh.nodes[node - 1])
    mesh.run(2)
    return client


def check_settled(mesh: Mesh, client: Client) -> None:
    """Exactly one node serves the client, where it is, and lets it through; nothing is left at the others."""
    assert mesh.holders(client) == [client.node]
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
    mesh.run(SETTLE_S)
    check_settled(mesh, client)
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
