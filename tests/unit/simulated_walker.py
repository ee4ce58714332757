# SPDX-License-Identifier: ISC
"""Who walks in the large simulated mesh: phones, laptops, machines with many addresses.

What a client does is what phones do: it associates, says more or less unasked, asks for its address when it has none or
half of its time is over, takes new addresses for privacy, sleeps, walks on before all is done, or is switched off.
"""

from dataclasses import dataclass, field

from l3roamd_mesh import CLIENT_IPV6, Client, Mesh, Node

from l3roamd_py.core import events

RETRIES_S = (0.2, 0.4, 0.8, 1.6, 3.2, 5.0)  # of a client whose packets do not pass; the last again and again
QUIET_SENDS_S = 20.0, 60.0  # one that says little sends something so often
PRIVACY_S = 600.0  # between two addresses for privacy, on average
FEW, MANY = 2, 18  # addresses for privacy that are kept; INFO has room for 15 of all
RENEWED_AT = 0.5, 0.875  # of a lease's time: RFC 2131 section 4.4.5
NOTICED_S = (
    60.0,
    300.0,
)  # after it left without a word: a station is given up, a bridge forgets (its ageing_time)
TALK_S = (0.5, 1.0, 2.0, 5.0, 20.0)  # when one that has asked for another by ARP sends to it


@dataclass
class Walker(Client):
    """A client with a life of its own. privacy: its addresses beside the one of its MAC, the oldest first."""

    is_silent: bool = False
    is_wifi: bool = True
    is_trying: bool = False  # it tells of its IPv6 addresses when it associates
    has_ipv4: bool = True
    world: Mesh | None = None
    visits: int = 0  # associations, so that what belongs to an earlier one is known
    lease_until_s: float = 0.0
    # when it last came with an address that was another's there, was with no node, or went on before all was done:
    # then nothing promises that its connections live
    excused_s: float = 0.0
    kept: int = FEW
    privacy: list[bytes] = field(default_factory=list)

    def addresses(self) -> list[bytes]:
        """What it sends from."""
        ipv4 = [] if self.ipv4 is None else [self.ipv4]
        ipv6 = [] if self.ipv6 is None else [self.ipv6, *self.privacy[-1 if self.kept == FEW else -MANY :]]
        return ipv4 + ipv6

    def _be_at(self, node: Node | None) -> None:
        if self.node is not None:
            del self.node.here[self.mac]
        self.node = node
        self.visits += 1
        if node is not None:
            node.here[self.mac] = self

    def associate(self, node: Node, is_polite: bool = False) -> None:
        """Come to a node; the one before may be told."""
        world, old = self.world, self.node
        assert world is not None
        if old is not None and old is not node:
            self._go_from(old, 0.0 if is_polite else world.random.choice(NOTICED_S))
        self._be_at(node)
        visit = self.visits
        self._later(visit, 0.001, self._show_association)
        if self.is_trying:
            self._later(visit, 0.05, self._try_addresses)
        if self.has_ipv4 and (self.ipv4 is None or world.random.random() < 0.3):
            self._later(visit, 0.15, self.ask_for_lease)
        self._later(visit, world.random.uniform(*QUIET_SENDS_S) if self.is_silent else 0.003, self.send)

    def _go_from(self, old: Node, noticed_s: float) -> None:
        """Have the kernel say so: a driver when it gives a station up, or the bridge, which forgets it in the end."""
        self.world.after(noticed_s, lambda: self.node is not old and old.handle(events.ClientGone(self.mac)))

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
        is_held = self.show()
        if self.is_silent:
            delay_s = self.world.random.uniform(*QUIET_SENDS_S)
        else:
            delay_s = RETRIES_S[min(failures, len(RETRIES_S) - 1)] if is_held else QUIET_SENDS_S[1]
        self._later(self.visits, delay_s, lambda: self.send(failures + 1 if is_held else 0))

    def show(self) -> bool:
        """Send from each address, as a user would who looks whether it works; return whether something was held."""
        if self.node is None:
            return False
        opened = self.node.kernel.opened
        held = [address for address in self.addresses() if (self.mac, address) not in opened]
        for address in held:
            self.node.handle(events.ClientSeen(self.mac, address))
        return bool(held)

    # To another client

    def call(self, ipv4: bytes) -> None:
        """Ask by ARP for the address of another client, and send to it for a while."""
        self.arp.discard(ipv4)
        self._want(ipv4, is_arp=True)
        for delay_s in TALK_S:
            self._later(self.visits, delay_s, lambda: ipv4 in self.arp and self._want(ipv4))

    def _want(self, ipv4: bytes, is_arp: bool = False) -> None:
        kernel, own = self.node.kernel, self.ipv4
        if own is not None and (is_arp or ((self.mac, own) in kernel.opened and ipv4 not in kernel.reached)):
            self.node.handle(events.Wanted(self.mac, own, ipv4, is_arp))

    # DHCP

    def ask_for_lease(self) -> None:
        if self.has_ipv4:
            self.node.lease(self)

    def ask_for_another(self, node: Node, refused: bytes) -> None:
        if self.node is node and self.ipv4 == refused:
            self.ipv4 = None
            self.ask_for_lease()

    def hear_lease(self, lease_s: float) -> None:
        until_s = self.lease_until_s = self.world.now_s + lease_s
        for share in RENEWED_AT:
            self.world.after(lease_s * share, lambda: self._renew(until_s))
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
            self.take_addresses(1)
        if self.ipv6 is not None:
            world.after(world.random.expovariate(1 / PRIVACY_S), self.take_new_address)

    def take_addresses(self, count: int) -> None:
        new = [CLIENT_IPV6[:8] + self.world.random.randbytes(8) for _ in range(count)]
        self.privacy = [*self.privacy, *new][-self.kept :]
        self.others = tuple(self.privacy)

    # Without a node

    def lose_node(self) -> None:
        """Its node is gone: it looks for another one."""
        here = self.node
        self._be_at(None)
        visit = self.visits
        self.world.after(
            self.world.random.uniform(1, 3),
            lambda: self.visits == visit and self.associate(self.world.near(here)),
        )

    def leave(self) -> None:
        """Be switched off, or go home."""
        self.excused_s = self.world.now_s
        if self.node is not None:
            old = self.node
            self._be_at(None)
            self._go_from(old, self.world.random.choice((0.0, NOTICED_S[-1])))
