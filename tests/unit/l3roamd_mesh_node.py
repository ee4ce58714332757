# SPDX-License-Identifier: ISC
"""A node of the simulated mesh: a core, what its kernel holds, and what becomes of the core's actions there."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from l3roamd_py.core import actions as do
from l3roamd_py.core import events, wire
from l3roamd_py.core.core import Core
from l3roamd_py.core.mapping import Mapping
from l3roamd_py.core.options import Options
from l3roamd_py.kernel.node_routes import ASKED_MAX
from l3roamd_py.netfilter.nft.gate import REFUSED_MS
from xlat464.address import parse_ipv6
from xlat464.node import management_address, node_prefix

CLAT_RANGE, PLAT_RANGE = parse_ipv6("fddd:1337:1337::"), parse_ipv6("fddd:1338:1338::")
CLIENTS, CLIENT_IPV6 = parse_ipv6("fdff:0:0:1::"), parse_ipv6("fd11::")
NEVER = float("inf")
ROUNDED_S = 1e-6  # what is lost when one clock's time is told in another's


@dataclass
class Kernel:
    """What survives a daemon: gate, sets, maps, addresses."""

    opened: set[tuple[bytes, bytes]] = field(default_factory=set)
    node_clients: set[bytes] = field(default_factory=set)
    neighbours: set[tuple[bytes, bytes]] = field(default_factory=set)
    routes: set[tuple[bytes, bytes]] = field(default_factory=set)
    pinned: set[tuple[bytes, bytes]] = field(default_factory=set)  # of these, whatever anybody advertises
    care_of: dict[bytes, tuple[bytes, float]] = field(default_factory=dict)  # of whom it sends on, until
    client: dict[bytes, tuple[bytes, float]] = field(
        default_factory=dict
    )  # whose a care-of address is, until
    plats: dict[bytes, tuple[bytes, float]] = field(default_factory=dict)  # CLAT::ipv4 -> PLAT, until
    own_plats: dict[bytes, bytes] = field(default_factory=dict)  # IPv6 address that translates itself -> PLAT
    current: bytes | None = None
    home_of: dict[bytes, tuple[bytes, float, int]] = field(default_factory=dict)  # at -> home, until, serial
    at_of: dict[bytes, bytes] = field(default_factory=dict)
    pairs: dict[bytes, bytes] = field(default_factory=dict)  # other nodes' clients: IPv4 -> CLAT::ipv4
    wanted_pairs: dict[bytes, bytes] = field(default_factory=dict)  # the translator shall have
    reached: set[bytes] = field(default_factory=set)  # IPv4 addresses that no packet waits for
    refused: dict[tuple[bytes, bytes], float] = field(default_factory=dict)  # at the gate, until
    refuses: bool = False


@dataclass
class Client:
    mac: bytes
    ipv4: bytes | None
    node: "Node | None" = None
    is_asleep: bool = False
    answer_s: float = 0.002  # to ARP
    ipv6: bytes | None = None
    others: tuple[bytes, ...] = ()  # of IPv6, which it answers for too
    beside: tuple[bytes, ...] = ()  # other IPv4 addresses that answer behind its MAC
    arp: set[bytes] = field(default_factory=set)  # addresses that its node has answered for


def mac_of_node(number: int) -> bytes:
    return bytes((2, 0, 0, 0)) + number.to_bytes(2, "big")


class Node:
    def __init__(self, mesh, number: int, is_platnode: bool) -> None:
        self.mesh, self.number = mesh, number
        mac = mac_of_node(number)
        self.clat = node_prefix(CLAT_RANGE, mac)
        self.plat = node_prefix(PLAT_RANGE, mac) if is_platnode else None
        self.kernel = Kernel()
        self.routed: set[bytes] = set()  # IPv6 addresses that babel leads to
        self.ports: dict[bytes, str] = {}  # MAC -> the bridge's port
        self.actions: list[do.Action] = []
        self.is_up, self.lives = True, 0  # the daemon
        self.is_gone = False  # the whole node, for babel as well
        self.is_deaf_to_group = False
        self.unread: list[events.Event] | None = None  # what came while the daemon has no processor
        self.booted_s, self.pace = (
            0.0,
            1.0,
        )  # of its clock: when it began, and how many seconds it counts in one
        self.wakes_s = NEVER  # when it comes back
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
                **{"pref64": PLAT_RANGE, "partners": self.partners(), **self.mesh.options},
            )
        )
        core.node.port_of = lambda mac: self.ports.get(mac, "")
        core.node.reaches_all = lambda: len(self.mesh.nodes) <= ASKED_MAX + 1
        return core

    def partners(self) -> tuple[bytes, ...]:
        """The nodes that prepare for its clients, if the mesh has no others for all."""
        return ()

    @property
    def now_s(self) -> float:
        """What its own clock says."""
        return (self.mesh.now_s - self.booted_s) * self.pace

    def handle(self, event: events.Event) -> None:
        if not self.is_up:
            return
        if self.unread is not None:
            self.unread.append(event)
            return
        for action in self.core.handle(event, self.now_s):
            self.perform(action)
        self.wake()

    def wake(self) -> None:
        """Come back when the core wants it."""
        due_s = self.core.next_deadline_s
        if due_s is None:
            return
        at_s = max(self.mesh.now_s, due_s / self.pace + self.booted_s)
        if at_s < self.wakes_s:
            self.wakes_s = at_s
            self.mesh.at(at_s, self.tick)

    def tick(self) -> None:
        if self.mesh.now_s != self.wakes_s:
            return  # it came back earlier since
        self.wakes_s = NEVER
        due_s = self.core.next_deadline_s
        if not self.is_up or self.unread is not None or due_s is None:
            return
        if due_s <= self.now_s + ROUNDED_S:
            for action in self.core.handle(events.Tick(), max(due_s, self.now_s)):
                self.perform(action)
        self.wake()

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
        if self.mesh.is_recorded:
            self.actions.append(action)
        perform = PERFORM.get(type(action))
        if perform is not None:
            perform(self, action)

    def map_client(self, action: do.MapClient) -> None:
        if self.kernel.refuses:
            self.perform(action.failed())
            return
        self.unmap(action.home)
        until_s = self.mesh.now_s + action.lease_s
        self.kernel.home_of[action.at] = (action.home, until_s, action.serial)
        self.kernel.at_of[action.home] = action.at
        self.perform(action.done)

    def unmap(self, home: bytes) -> None:
        at = self.kernel.at_of.pop(home, None)
        # the place may be another home's since: this one's mapping ended by itself
        if at is not None and self.kernel.home_of.get(at, (home,))[0] == home:
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
            datagram = events.Datagram(self.core.node.address, action.destination, action.payload)
            self.mesh.carry(self, target, datagram)

    def check_elsewhere(self, action: do.CheckElsewhere) -> None:
        if self.mesh.route(self, action.address) not in (None, self):
            self.mesh.after(0.0, lambda: self.handle(events.FoundElsewhere(action.mac)))

    def check_place(self, action: do.CheckPlace) -> None:
        there = self.mesh.owner(management_address(action.place[:12] + bytes(4)))
        is_live = there is not None and self.mesh.leads_to(self, there)
        self.mesh.after(0.0, lambda: self.handle(events.PlaceChecked(action.mac, action.place, is_live)))

    def check_plat(self, action: do.CheckPlat) -> None:
        there = self.mesh.owner(management_address(action.plat))
        has_route = there is not None and self.mesh.leads_to(self, there)
        self.mesh.after(0.0, lambda: self.handle(events.PlatChecked(action.plat, has_route)))

    def unroute(self, action: do.RemoveRoute) -> None:
        self.kernel.routes.discard((action.mac, action.address))
        self.kernel.pinned.discard((action.mac, action.address))
        there = self.kernel.client.items()
        self.kernel.client = {key: value for key, value in there if value[0] != action.address}

    def send_on(self, action: do.SendOn) -> None:
        now_s, kept = self.mesh.now_s, self.kernel.care_of.items()
        told = {address: (care_of, now_s + action.for_s) for address, care_of in action.pairs}
        self.kernel.care_of = {key: value for key, value in kept if value[1] > now_s} | told

    def add_care_of(self, action: do.AddCareOf) -> None:
        now_s, kept = self.mesh.now_s, self.kernel.client.items()
        told = {care_of: (address, now_s + action.for_s) for address, care_of in action.pairs}
        self.kernel.client = {key: value for key, value in kept if value[1] > now_s} | told

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
            and action.address in (client.ipv6, *client.others)
        ):
            answer = events.ArpAnswered(action.mac, action.address)
            self.mesh.after(client.answer_s, lambda: self.handle(answer))

    def seek(self, action: do.SeekAddress) -> None:
        for client in self.mesh.clients.values():
            if (
                client.node is self
                and not client.is_asleep
                and action.address in (client.ipv6, *client.others)
            ):
                seen = events.AddressSeen(client.mac, action.address)
                self.mesh.after(0.002, lambda seen=seen: self.handle(seen))

    def renew_lease(self, action: do.RenewLease) -> None:
        granted = events.LeaseGranted(action.mac, action.ipv4, self.mesh.lease_s, False, True)
        self.mesh.after(0.05, lambda: self.handle(granted))

    def release_lease(self, action: do.ReleaseLease) -> None:
        """Its DHCP server is told that an address is somebody else's."""

    def refuse(self, action: do.RefuseAtGate) -> None:
        """A client's address is not its own: its packets come to no one's ears for a while."""
        self.kernel.opened.discard((action.mac, action.address))
        self.kernel.refused[action.mac, action.address] = self.mesh.now_s + REFUSED_MS / 1000

    def open(self, action: do.OpenGate) -> None:
        self.kernel.opened.add((action.mac, action.address))
        self.kernel.refused.pop((action.mac, action.address), None)

    def check_route(self, action: do.CheckRoute) -> None:
        answer = events.RouteChecked(action.address, action.address in self.routed)
        self.mesh.after(0.0, lambda: self.handle(answer))

    def add_pair(self, action: do.AddPair) -> None:
        def answer() -> None:
            is_made = action.ipv4 not in self.mesh.untranslatable
            if is_made and self.kernel.wanted_pairs.get(action.ipv4) == action.at:
                self.kernel.pairs[action.ipv4] = action.at
            self.handle(events.PairMade(action.ipv4, action.at, is_made))

        self.kernel.wanted_pairs[action.ipv4] = action.at
        self.mesh.after(self.mesh.translator_s, answer)

    def remove_pair(self, action: do.RemovePair) -> None:
        self.kernel.pairs.pop(action.ipv4, None)
        self.kernel.wanted_pairs.pop(action.ipv4, None)

    def pass_wanted(self, action: do.PassWanted) -> None:
        if action.is_lasting and len(action.address) == 4:
            self.kernel.reached.add(action.address)

    def drop_plat(self, action: do.DropPlat) -> None:
        plats = self.kernel.plats
        self.kernel.plats = {client: use for client, use in plats.items() if use[0] != action.plat}
        own = self.kernel.own_plats.items()
        self.kernel.own_plats = {client: plat for client, plat in own if plat != action.plat}

    def leave_plat(self, action: do.LeavePlat) -> None:
        self.kernel.plats.pop(action.client, None)
        self.kernel.own_plats.pop(action.client, None)

    def restart(self, down_s: float, saved: dict | None) -> None:
        """Die now, with what was saved before, and come back, unless the whole node dies meanwhile."""
        self.is_up = False
        self.lives += 1
        text, life = json.dumps(saved), self.lives

        def come_back() -> None:
            if self.lives != life:
                return
            now_s, kernel = self.now_s, self.kernel
            mappings = [
                Mapping(home, at, None, int(until_s - self.mesh.now_s), serial)
                for at, (home, until_s, serial) in kernel.home_of.items()
                if until_s > self.mesh.now_s
            ]
            self.core = self.make_core()
            self.is_up = True
            plats = [(at, plat) for at, (plat, _) in kernel.plats.items()] + list(kernel.own_plats.items())
            for action in self.core.restore(json.loads(text), now_s, set(kernel.opened), mappings, plats):
                self.perform(action)
            self.remove_others()
            self.wake()

        self.mesh.after(down_s, come_back)

    def remove_others(self) -> None:
        """Remove what the kernel has of nobody whom the daemon knows: as l3roamd_py/cleanup.py does."""
        node, kernel = self.core.node, self.kernel
        for address in kernel.node_clients - {
            node.node_client(mac) for mac in [*node.clients, *node.departed]
        }:
            self.mesh.announce(self, address, False)
        kernel.pairs.clear()
        kernel.wanted_pairs.clear()
        kernel.reached.clear()
        kernel.neighbours &= {(node.mac_of(client.mac), client.ipv4) for client in node.clients.values()}
        routed = {address for client in node.clients.values() for address in client.addresses}
        kernel.routes = {(mac, address) for mac, address in kernel.routes if address in routed}


def _send(node: Node, action: do.Send) -> None:
    mesh, source = node.mesh, node.core.node.address
    if action.destination == wire.GROUP:
        targets = [near for near in mesh.neighbours(node) if not near.is_deaf_to_group]
        mesh.spread(node, targets, source, action.payload, wire.GROUP)
    elif (owner := mesh.owner(action.destination)) is not None:
        mesh.carry(node, owner, events.Datagram(source, action.destination, action.payload))


def _send_to_nodes(node: Node, action: do.SendToNodes) -> None:
    node.mesh.spread(node, node.mesh.known_nodes(node), action.source, action.payload)


PERFORM: dict[type, Callable] = {
    do.Send: _send,
    do.SendToNodes: _send_to_nodes,
    do.SendClaim: Node.claim,
    do.CheckElsewhere: Node.check_elsewhere,
    do.CheckPlace: Node.check_place,
    do.AddNodeClient: lambda node, a: node.mesh.announce(node, a.address, True),
    do.RemoveNodeClient: lambda node, a: node.mesh.announce(node, a.address, False),
    do.AddNeighbour: lambda node, a: node.kernel.neighbours.add((a.mac, a.ipv4)),
    do.RemoveNeighbour: lambda node, a: node.kernel.neighbours.discard((a.mac, a.ipv4)),
    do.AddRoute: lambda node, a: node.kernel.routes.add((a.mac, a.address)),
    do.RemoveRoute: Node.unroute,
    do.PinRoute: lambda node, a: node.kernel.pinned.add((a.mac, a.address)),
    do.UnpinRoute: lambda node, a: node.kernel.pinned.discard((a.mac, a.address)),
    do.SendOn: Node.send_on,
    do.StopSendingOn: lambda node, a: node.kernel.care_of.pop(a.address, None),
    do.AddCareOf: Node.add_care_of,
    do.ProbeClient: Node.probe,
    do.SolicitClient: Node.solicit,
    do.SeekAddress: Node.seek,
    do.OpenGate: Node.open,
    do.CloseGate: lambda node, a: node.kernel.opened.discard((a.mac, a.address)),
    do.UsePlat: lambda node, a: node.kernel.plats.update({a.client: (a.plat, node.mesh.now_s + a.lease_s)}),
    do.LeavePlat: Node.leave_plat,
    do.UsePlats: lambda node, a: node.kernel.own_plats.update(dict.fromkeys(a.clients, a.plat)),
    do.SetCurrentPlat: lambda node, a: setattr(node.kernel, "current", a.plat),
    do.CheckPlat: Node.check_plat,
    do.DropPlat: Node.drop_plat,
    do.RenewLease: lambda node, a: node.renew_lease(a),
    do.CheckRoute: Node.check_route,
    do.AddPair: Node.add_pair,
    do.RemovePair: Node.remove_pair,
    do.PassWanted: Node.pass_wanted,
    do.QueueWanted: lambda node, a: node.kernel.reached.discard(a.address),
    do.RefuseWanted: lambda node, a: node.mesh.refused.append((node, a.address)),
    do.AnswerArp: lambda node, a: node.mesh.clients[a.mac].arp.add(a.address),
    do.ReleaseLease: lambda node, a: node.release_lease(a),
    do.RefuseAtGate: lambda node, a: node.refuse(a),
    do.MapClient: Node.map_client,
    do.UnmapClient: Node.unmap_client,
}
