# SPDX-License-Identifier: ISC
"""A large simulated mesh: nodes in rows with a DHCP server each, exits, houses whose nodes prepare for one another."""

from l3roamd_mesh import CLIENT_IPV6, Mesh
from l3roamd_mesh_node import CLAT_RANGE, Kernel, Node, mac_of_node
from simulated_walker import MANY, Walker

from l3roamd_py.core import actions as do
from l3roamd_py.core import events, wire
from l3roamd_py.kernel.node_routes import ASKED_MAX
from xlat464.node import management_address, node_prefix

EXIT_OF_EACH = 50  # nodes, one is an exit
POOL_AT, POOL_SIZE = 0x0A2E0000, 1 << 16  # of IPv4 addresses: the same at each node, as in a site of Gluon
LOST_NODE_S = 16.0  # until babel has no route to a node without power any more, nor to its clients
HOUSE, HOUSES_OF_EACH = 3, 12  # nodes side by side that prepare for one another, in each dozen
MAC_AT = wire.HEADER_SIZE + 2  # of a CLAIM: after the type and length of its TLV
NEW_LEASE_S = 10.0  # until a client that is refused asks for another address


class Place(Node):
    """A node of the large mesh, with its DHCP server."""

    def __init__(self, mesh: "World", number: int, is_platnode: bool) -> None:
        self.here: dict[bytes, Walker] = {}
        self.row, self.column = divmod(number - 1, mesh.columns)
        super().__init__(mesh, number, is_platnode)
        self.set_clock()
        self.leases: dict[bytes, tuple[bytes, float]] = {}  # IPv4 -> MAC, until
        self.exit: Place | None = None  # as prefixd has chosen
        self.known_exits: frozenset[bytes] = frozenset()

    def set_clock(self) -> None:
        """It counts from its boot, and not quite as fast as the others."""
        self.booted_s = self.mesh.now_s - self.mesh.random.uniform(10, 1e6)
        self.pace = 1 + self.mesh.random.uniform(-1e-4, 1e-4)

    def partners(self) -> tuple[bytes, ...]:
        """The nodes of its house."""
        place = (self.number - 1) % HOUSES_OF_EACH
        first = self.number - place
        numbers = range(first, first + HOUSE) if place < HOUSE else ()
        return tuple(management_address(node_prefix(CLAT_RANGE, mac_of_node(each))) for each in numbers)

    def hear_claim(self, source: bytes, destination: bytes | None, payload: bytes, mac: bytes) -> None:
        """As `handle`. Most nodes know nothing of most clients, and only count what they hear: that is done here."""
        core, node = self.core, self.core.node
        if not self.is_up or self.unread is not None or mac in node.clients or mac in node.departed:
            to = management_address(self.clat) if destination is None else destination
            self.handle(events.Datagram(source, to, payload))
            return
        node.now_s = max(node.now_s, self.now_s)
        is_read = core.admission.sources.is_within(source, node.now_s)
        if is_read or core.admission.subjects.is_within(source + mac, node.now_s):
            node.count("claims_unknown")
        else:
            node.count("datagrams_too_fast")

    # DHCP

    def lease(self, walker: Walker) -> None:
        """A client asks for an address, and gets the one that it has if it may."""
        is_renewed = False
        if walker.ipv4 is not None and self._is_free(walker.ipv4, walker):
            is_renewed = walker.ipv4 in self.leases
        else:
            walker.ipv4 = self._choose(walker)
        ipv4, lease_s = walker.ipv4, self.mesh.lease_s
        self._note(walker.mac, ipv4, lease_s)
        walker.hear_lease(lease_s)
        self.handle(events.LeaseGranted(walker.mac, ipv4, lease_s, True, is_renewed))

    def _choose(self, walker: Walker) -> bytes:
        """As dnsmasq does: by the MAC, and on from there while an address is taken, or answers."""
        at = int.from_bytes(walker.mac, "big") * 2654435761
        while True:
            ipv4 = (POOL_AT + at % POOL_SIZE).to_bytes(4, "big")
            if ipv4[3] not in (0, 255) and self._is_free(ipv4, walker) and not self._answers(ipv4, walker):
                return ipv4
            at += 1

    def _is_free(self, ipv4: bytes, walker: Walker) -> bool:
        return self.leases.get(ipv4, (walker.mac, 0.0))[0] == walker.mac

    def _answers(self, ipv4: bytes, walker: Walker) -> bool:
        return any(mac != walker.mac and pinned == ipv4 for mac, pinned in self.kernel.neighbours)

    def _note(self, mac: bytes, ipv4: bytes, lease_s: float) -> None:
        self.leases[ipv4] = (mac, self.mesh.now_s + lease_s)
        self.mesh.after(lease_s + 0.5, lambda: self._expire(ipv4))

    def _expire(self, ipv4: bytes) -> None:
        mac, until_s = self.leases.get(ipv4, (b"", 0.0))
        if mac and until_s <= self.mesh.now_s:
            del self.leases[ipv4]
            self.handle(events.LeaseEnded(mac, ipv4))

    def renew_lease(self, action: do.RenewLease) -> None:
        def renew() -> None:
            if self.leases.get(action.ipv4, (action.mac, 0.0))[0] == action.mac:
                is_renewed = action.ipv4 in self.leases
                self._note(action.mac, action.ipv4, self.mesh.lease_s)
                self.handle(
                    events.LeaseGranted(action.mac, action.ipv4, self.mesh.lease_s, False, is_renewed)
                )

        self.mesh.after(0.05, renew)

    def release_lease(self, action: do.ReleaseLease) -> None:
        if self.leases.get(action.ipv4, (b"", 0.0))[0] == action.mac:
            del self.leases[action.ipv4]

    def refuse(self, action: do.RefuseAtGate) -> None:
        walker = self.mesh.clients.get(action.mac)
        if walker is not None and walker.ipv4 == action.address:
            walker.excused_s = self.mesh.now_s
        if walker is not None and walker.node is self and walker.ipv4 == action.address:
            self.mesh.after(NEW_LEASE_S, lambda: walker.ask_for_another(self, action.address))

    # What may happen to it

    def restart_daemon(self, down_s: float, saved: dict) -> None:
        self.restart(down_s, saved)
        self.mesh.after(down_s, self._dump)

    def _dump(self) -> None:
        """What a daemon reads when it starts: the bridge's table, and the DHCP server's leases."""
        if not self.is_up:
            return
        for walker in list(self.here.values()):
            if walker.mac not in self.core.node.clients:
                self.handle(events.ClientSeen(walker.mac, None, walker.is_wifi))
        # prefixd tells a daemon that has come what it knows
        self.exit, self.known_exits = None, frozenset()
        self.look_for_exits()
        self.handle(events.PlatsTold(self.known_exits, frozenset()))
        macs = set(self.here)
        for ipv4, (mac, until_s) in list(self.leases.items()):
            left_s = int(until_s - self.mesh.now_s)
            if left_s > 0:
                self.handle(events.LeaseGranted(mac, ipv4, left_s, mac in macs, True))

    def lose_power(self) -> None:
        mesh = self.mesh
        for address in sorted(self.kernel.node_clients):
            mesh.babel.announce(address, self.number, False, mesh.now_s, LOST_NODE_S)
        self.is_up, self.is_gone, self.kernel, self.leases = False, True, Kernel(), {}
        self.lives += 1
        for walker in list(self.here.values()):
            walker.lose_node()

    def boot(self) -> None:
        self.set_clock()
        self.booted_s = self.mesh.now_s
        self.is_up, self.is_gone, self.unread = True, False, None
        self.core, self.exit, self.known_exits = self.make_core(), None, frozenset()
        self.mesh.after(1.0, self.mesh.announce_nodes)

    def look_for_exits(self) -> None:
        """Have what prefixd and the kernel's routes tell of exits said."""
        if not self.is_up:
            return
        exits = [each for each in self.mesh.exits if self.mesh.leads_to(self, each)]
        known = frozenset(each.plat for each in exits)
        lost, self.known_exits = self.known_exits - known, known
        best = min(exits, key=lambda each: (self.mesh.distance(self, each), each.number), default=None)
        before, self.exit = self.exit, best
        if lost:
            self.handle(events.PlatsUnrouted(lost))
        if before is not None and before.plat in lost:
            self.handle(events.PlatLost(before.plat))
        if best is not None and best is not before:
            self.handle(events.PlatChosen(best.plat))


class World(Mesh):
    """Nodes in a square, an exit to each fifty. is_restless: clients walk."""

    node_type = Place
    is_recorded = False

    def __init__(self, nodes: int, clients: int, seed: int, **options) -> None:
        self.seed = seed
        columns = max(2, int(nodes**0.5))
        exits = tuple(range(EXIT_OF_EACH // 2, nodes + 1, EXIT_OF_EACH)) or (1,)
        super().__init__(nodes, exits, None, seed, columns, **options)
        self.exits = [self.nodes[number - 1] for number in exits]
        self.is_restless = False
        for number in range(clients):
            walker = self._make_walker(number)
            self.clients[walker.mac] = walker

    def distance(self, one: Place, other: Place) -> int:
        return max(abs(one.row - other.row), abs(one.column - other.column))

    def known_nodes(self, node: Place) -> list[Place]:
        count = len(self.nodes)
        if count <= ASKED_MAX + 1:
            return [each for each in self.nodes if each is not node]
        first = self.random.randrange(count)
        found = [self.nodes[(first + number) % count] for number in range(ASKED_MAX + 1)]
        return [each for each in found if each is not node][:ASKED_MAX]

    def spread(
        self,
        sender: Place,
        targets: list[Place],
        source: bytes,
        payload: bytes,
        destination: bytes | None = None,
    ) -> None:
        """Most of all that is sent are CLAIMs to many: those that arrive at the same time do so as one."""
        if payload[2] != wire.CLAIM:
            super().spread(sender, targets, source, payload, destination)
            return
        air, chance, arrivals, row, column = self.air, self.random.random, {}, sender.row, sender.column
        for target in targets:
            if self.part and self.is_cut(sender.number, target.number):
                continue
            rows, columns = abs(row - target.row), abs(column - target.column)
            delay_s = air.delay_s * (rows if rows > columns else columns)
            for _ in range(1 + (air.duplication > 0 and chance() < air.duplication)):
                if not air.loss or chance() >= air.loss:
                    late_s = chance() * air.jitter_s if air.jitter_s else 0.0
                    arrivals.setdefault(delay_s + late_s, []).append(target)
        mac = payload[MAC_AT : MAC_AT + 6]
        for delay_s, nodes in arrivals.items():
            self.after(delay_s, self._arrive_at, nodes, source, destination, payload, mac)

    def _arrive_at(
        self, nodes: list[Place], source: bytes, destination: bytes | None, payload: bytes, mac: bytes
    ) -> None:
        self._count += len(nodes) - 1
        for node in nodes:
            node.hear_claim(source, destination, payload, mac)

    def choose(self, platnode: Node) -> None:
        """Each node chooses its own exit, when all are there."""

    def _make_walker(self, number: int) -> Walker:
        chance = self.random
        mac = bytes((2, 0xAA)) + number.to_bytes(4, "big")
        kind = chance.random()
        walker = Walker(
            mac, None, has_ipv4=kind > 0.1, world=self, answer_s=chance.choice([0.001, 0.002, 0.02])
        )
        if kind < 0.9:
            walker.ipv6 = CLIENT_IPV6[:8] + bytes((mac[0] ^ 2, *mac[1:3], 0xFF, 0xFE, *mac[3:]))
        walker.is_silent, walker.is_wifi = chance.random() < 0.3, chance.random() < 0.8
        walker.is_trying = chance.random() < 0.5
        if walker.ipv6 is not None and chance.random() < 0.01:
            walker.kept = MANY
            walker.take_addresses(MANY)
        return walker

    def near(self, node: Place) -> Place:
        """A node beside another one that has power, or any."""
        found = [each for each in self.neighbours(node) if not each.is_gone]
        return self.random.choice(found or [each for each in self.nodes if not each.is_gone])

    def announce_nodes(self) -> None:
        """A node is back: the others hear of it by babel."""
        for node in self.nodes:
            self.after(self.random.uniform(0, 3), lambda node=node: node.handle(events.NodeAppeared()))
        self.look_for_exits()

    def look_for_exits(self) -> None:
        for node in self.nodes:
            self.after(self.random.uniform(0.5, 4), node.look_for_exits)

    def split(self, *numbers: int) -> None:
        super().split(*numbers)
        self.look_for_exits()

    def heal(self) -> None:
        super().heal()
        self.look_for_exits()
