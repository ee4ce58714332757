# SPDX-License-Identifier: ISC
"""A large simulated mesh and those who walk in it: nodes in rows with a DHCP server each, exits, phones and laptops.

What a client does is what phones do: it associates, says more or less unasked, asks for its address when it has none or
half of its time is over, takes new addresses for privacy, sleeps, walks on before all is done, or is switched off.
"""

from dataclasses import dataclass, field

from l3roamd_mesh import CLIENT_IPV6, Client, Mesh
from l3roamd_mesh_node import Kernel, Node

from l3roamd_py.core import actions as do
from l3roamd_py.core import events

EXIT_OF_EACH = 50  # nodes, one is an exit
POOL_AT, POOL_SIZE = 0x0A2E0000, 1 << 16  # of IPv4 addresses: the same at each node, as in a site of Gluon
LOST_NODE_S = 16.0  # until babel has no route to a node without power any more, nor to its clients
RETRIES_S = (0.2, 0.4, 0.8, 1.6, 3.2, 5.0)  # of a client whose packets do not pass; the last again and again
QUIET_SENDS_S = 20.0, 60.0  # one that says little sends something so often
PRIVACY_S = 600.0  # between two addresses for privacy, on average
PRIVACY_KEPT = 2
NEW_LEASE_S = 10.0  # until a client that is refused asks for another address


class Place(Node):
    """A node of the large mesh, with its DHCP server."""

    def __init__(self, mesh: "World", number: int, is_platnode: bool) -> None:
        super().__init__(mesh, number, is_platnode)
        self.set_clock()
        self.leases: dict[bytes, tuple[bytes, float]] = {}  # IPv4 -> MAC, until
        self.exit: Place | None = None  # as prefixd has chosen
        self.known_exits: frozenset[bytes] = frozenset()

    def set_clock(self) -> None:
        """It counts from its boot, and not quite as fast as the others."""
        self.booted_s = self.mesh.now_s - self.mesh.random.uniform(10, 1e6)
        self.pace = 1 + self.mesh.random.uniform(-1e-4, 1e-4)

    # DHCP

    def lease(self, walker: "Walker") -> None:
        """A client asks for an address, and gets the one that it has if it may."""
        is_renewed = False
        if walker.ipv4 is not None and self._is_free(walker.ipv4, walker):
            is_renewed = walker.ipv4 in self.leases
        else:
            walker.set_ipv4(self._choose(walker))
        ipv4, lease_s = walker.ipv4, self.mesh.lease_s
        self._note(walker.mac, ipv4, lease_s)
        walker.hear_lease(self, lease_s)
        self.handle(events.LeaseGranted(walker.mac, ipv4, lease_s, True, is_renewed))

    def _choose(self, walker: "Walker") -> bytes:
        """As dnsmasq does: by the MAC, and on from there while an address is taken, or answers."""
        at = int.from_bytes(walker.mac, "big") * 2654435761
        while True:
            ipv4 = (POOL_AT + at % POOL_SIZE).to_bytes(4, "big")
            if ipv4[3] not in (0, 255) and self._is_free(ipv4, walker) and not self._answers(ipv4, walker):
                return ipv4
            at += 1

    def _is_free(self, ipv4: bytes, walker: "Walker") -> bool:
        return self.leases.get(ipv4, (walker.mac, 0.0))[0] == walker.mac

    def _answers(self, ipv4: bytes, walker: "Walker") -> bool:
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
        here = [walker for walker in self.mesh.clients.values() if walker.node is self]
        for walker in here:
            if walker.mac not in self.core.node.clients:
                self.handle(events.ClientSeen(walker.mac, None, walker.is_wifi))
        # prefixd tells a daemon that has come what it knows
        self.exit, self.known_exits = None, frozenset()
        self.look_for_exits()
        self.handle(events.PlatsTold(self.known_exits, frozenset()))
        macs = {walker.mac for walker in here}
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
        for walker in mesh.clients.values():
            if walker.node is self:
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


@dataclass
class Walker(Client):
    """A client with a life of its own. privacy: its addresses beside the one of its MAC, the oldest first."""

    is_silent: bool = False
    is_wifi: bool = True
    is_trying: bool = False  # it tells of its IPv6 addresses when it associates
    has_ipv4: bool = True
    world: "World | None" = None
    visits: int = 0  # associations, so that what belongs to an earlier one is known
    lease_until_s: float = 0.0
    # when it last came with an address that was another's there, was with no node, or went on before all was done:
    # then nothing promises that its connections live
    excused_s: float = 0.0
    privacy: list[bytes] = field(default_factory=list)

    def addresses(self) -> list[bytes]:
        """What it sends from."""
        ipv4 = [] if self.ipv4 is None else [self.ipv4]
        ipv6 = [] if self.ipv6 is None else [self.ipv6, *self.privacy[-1:]]
        return ipv4 + ipv6

    def set_ipv4(self, ipv4: bytes | None) -> None:
        self.ipv4 = ipv4

    def associate(self, node: Place, is_polite: bool = False) -> None:
        """Come to a node; the one before may be told."""
        world, old = self.world, self.node
        assert world is not None
        if old is not None and old is not node:
            old_visit_s = 0.0 if is_polite else 60.0
            if is_polite or world.random.random() < 0.5:
                world.after(
                    old_visit_s, lambda: self.node is not old and old.handle(events.ClientGone(self.mac))
                )
        self.node = node
        self.visits += 1
        visit = self.visits
        self._later(visit, 0.001, self._show_association)
        if self.is_trying:
            self._later(visit, 0.05, self._try_addresses)
        if self.has_ipv4 and (self.ipv4 is None or world.random.random() < 0.3):
            self._later(visit, 0.15, self.ask_for_lease)
        self._later(visit, world.random.uniform(*QUIET_SENDS_S) if self.is_silent else 0.003, self.send)

    def _later(self, visit: int, delay_s: float, act) -> None:
        """Do something then, if it has not gone on."""
        self.world.after(delay_s, lambda: self.visits == visit and self.node is not None and act())

    def _show_association(self) -> None:
        self.node.handle(events.ClientSeen(self.mac, None, self.is_wifi))

    def _try_addresses(self) -> None:
        for address in filter(None, (self.ipv6, *self.privacy)):
            self.node.handle(events.AddressSeen(self.mac, address, is_sign=False))

    def send(self, failures: int = 0) -> None:
        """Send from each address. What does not pass is sent again."""
        opened = self.node.kernel.opened
        held = [address for address in self.addresses() if (self.mac, address) not in opened]
        for address in held:
            self.node.handle(events.ClientSeen(self.mac, address))
        if self.is_silent:
            delay_s = self.world.random.uniform(*QUIET_SENDS_S)
        else:
            delay_s = RETRIES_S[min(failures, len(RETRIES_S) - 1)] if held else QUIET_SENDS_S[1]
        self._later(self.visits, delay_s, lambda: self.send(failures + 1 if held else 0))

    def show(self) -> None:
        """Send something, as a user would who looks whether it works."""
        for address in self.addresses() if self.node is not None else ():
            if (self.mac, address) not in self.node.kernel.opened:
                self.node.handle(events.ClientSeen(self.mac, address))

    def ask_for_lease(self) -> None:
        if self.has_ipv4:
            self.node.lease(self)

    def ask_for_another(self, node: Place, refused: bytes) -> None:
        if self.node is node and self.ipv4 == refused:
            self.ipv4 = None
            self.ask_for_lease()

    def hear_lease(self, node: Place, lease_s: float) -> None:
        until_s = self.lease_until_s = self.world.now_s + lease_s
        self.world.after(lease_s / 2, lambda: self._renew(until_s))
        self.world.after(lease_s, lambda: self._end_lease(until_s))

    def _renew(self, until_s: float) -> None:
        if self.lease_until_s == until_s and self.node is not None:
            self.ask_for_lease()

    def _end_lease(self, until_s: float) -> None:
        if self.lease_until_s == until_s:
            self.ipv4 = None
            if self.node is not None:
                self.ask_for_lease()

    def take_new_address(self) -> None:
        """One more for privacy; the oldest goes."""
        world = self.world
        if self.ipv6 is not None and world.is_restless:
            self.privacy = [*self.privacy, CLIENT_IPV6[:8] + world.random.randbytes(8)][-PRIVACY_KEPT:]
            self.others = tuple(self.privacy)
        if self.ipv6 is not None:
            world.after(world.random.expovariate(1 / PRIVACY_S), self.take_new_address)

    def lose_node(self) -> None:
        """Its node is gone: it looks for another one."""
        here, self.node = self.node, None
        self.visits += 1
        visit = self.visits
        self.world.after(
            self.world.random.uniform(1, 3),
            lambda: self.visits == visit and self.associate(self.world.near(here)),
        )

    def leave(self) -> None:
        """Be switched off, or go home."""
        self.excused_s = self.world.now_s
        if self.node is not None:
            old, self.node = self.node, None
            self.visits += 1
            if self.world.random.random() < 0.5:
                old.handle(events.ClientGone(self.mac))


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
