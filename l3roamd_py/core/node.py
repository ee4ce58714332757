# SPDX-License-Identifier: ISC
"""What the roles of a node share: its clients, its tables, the time, what is to be done. No I/O."""

import math

from l3roamd_py.core import wire
from l3roamd_py.core.actions import (
    Action,
    AddNeighbour,
    AddRoute,
    CloseGate,
    Log,
    OpenGate,
    ProbeClient,
    RefuseAtGate,
    RemoveNeighbour,
    Send,
    StopSendingOn,
    UsePlat,
)
from l3roamd_py.core.client import (
    NEVER,
    NOWHERE,
    Away,
    Client,
    Departed,
    Exchange,
    Lease,
    Pairing,
    Sought,
    Verification,
)
from l3roamd_py.core.options import Options
from l3roamd_py.core.ports import Ports
from l3roamd_py.core.rate import Rate
from l3roamd_py.core.timers import Timers
from l3roamd_py.core.token import Token
from runtime.ordered import GoneKeys, OldestFirst
from xlat464.address import contains, format_ipv4, format_ipv6, format_mac
from xlat464.node import MANAGEMENT_IPV4, RANGE_LENGTH, node_client_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    TimerKey = tuple[Callable[["Node", bytes], None], bytes]  # what is done then, whose it is

RANGE_BYTES = RANGE_LENGTH // 8
NO_DEVICE = bytes(6)
ON_BRIDGE = (AddNeighbour, RemoveNeighbour, ProbeClient), (OpenGate, CloseGate, RefuseAtGate)
BESIDE = 0x46  # first byte of a made-up MAC: no group's, locally administered (IEEE 802 section 8.4)
LATE_S = 0.005  # what a copy of a message may be late without moving those after it
SPECIAL_IPV4 = MANAGEMENT_IPV4[:3]  # 192.0.0.0/24, RFC 6890: nodes' own addresses, no client's


class Counters:
    """How often what has happened: 0 for what never did."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def __getitem__(self, name: str) -> int:
        return self._counts.get(name, 0)

    def count(self, name: str, by: int = 1) -> None:
        self._counts[name] = self._counts.get(name, 0) + by

    def sorted(self) -> dict[str, int]:
        return {name: self._counts[name] for name in sorted(self._counts)}


class Node:
    """What the roles of a node share. A client of which something has become known is `touched` until it is judged."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.address = options.address
        self.prefixes = list(options.prefixes)  # of the clients' IPv6 addresses, each with its length
        self.now_s = 0.0  # the time of the event that is being handled
        self.due_s = 0.0  # of the last Tick
        self.clients: dict[bytes, Client] = {}
        self.owner_of: dict[
            bytes, bytes
        ] = {}  # address of either family -> MAC of the one client who has it here
        self.verifications: dict[
            bytes, Verification
        ] = {}  # IPv6 address -> why it may not be its owner's any more
        self.claiming: set[bytes] = set()  # MACs of those clients
        self.touched: dict[bytes, None] = {}
        self.ports = Ports(options.max_port_clients, options.max_port_newcomers, options.stranger_asks_per_s)
        # the name of the port behind which a MAC is, "" if that is not known
        self.port_of: "Callable[[bytes], str]" = lambda mac: ""
        # whether what goes to all clatnodes does so, or to some, as there are so many
        self.reaches_all: "Callable[[], bool]" = lambda: True
        self.departed: "OldestFirst[bytes, Departed]" = OldestFirst()
        # what our DHCP server leased: address -> MAC, end
        self.granted: "OldestFirst[bytes, tuple[bytes, float]]" = OldestFirst()
        self.away: dict[bytes, Away] = {}  # of those addresses, which roam
        self.away_questions: dict[int, bytes] = {}  # nonce -> address
        # who uses an address beside its own, or beside others: (MAC, address) -> what that client is called, and back
        self.beside: dict[tuple[bytes, bytes], bytes] = {}
        self.behind: dict[bytes, bytes] = {}
        self.current: bytes | None = None  # the PLAT for new leases
        self.lost_plats: set[bytes] = set()  # prefixd says so, route or not
        self.unrouted_plats: dict[bytes, float] = {}  # PLATs that have no route, since when
        self.proofs: "OldestFirst[bytes, Token]" = (
            OldestFirst()
        )  # PLAT -> its word that our CLAT prefix is ours
        self.proof_nonce: int | None = None  # of our request for one
        self.timers: "Timers[TimerKey]" = Timers()
        # see partners.py: who is to tell us of its clients -> our nonce; whom we tell -> its nonce, until when
        self.asked_partners: dict[bytes, int] = {}
        self.told_partners: dict[bytes, tuple[int, float]] = {}
        self.prepares = Rate(options.prepares_per_s, 2, 64)
        # MAC -> the INFO that came beforehand, when, until when its lease is
        self.prepared: "OldestFirst[bytes, tuple[bytes, float, float]]" = OldestFirst()
        self.node_asks = Rate(options.node_asks_per_s, options.node_asks_burst, 1)
        self.silent_claims = Rate(options.silent_per_s, options.silent_burst, 1)
        self.refusals = Rate(1 / options.refuse_pause_s, 1, options.max_clients)  # at the gate
        self.contests = Rate(options.beside_per_s, options.beside_burst, options.max_clients)
        self.new_addresses = Rate(options.addresses_per_s, options.addresses_burst, options.max_clients)
        self.seeks = Rate(options.seeks_per_s, options.seeks_burst, 1)
        self.sendings_on = Rate(options.sendings_on_per_s, options.sendings_on_burst, 1)
        # IPv6 addresses of clients that left, for which we may send on -> MAC, None when its route is gone
        self.sent_on: dict[bytes, bytes | None] = {}
        # (type, nonce) of others' messages that were here -> how often
        self.relayed: "OldestFirst[tuple[int, int], int]" = OldestFirst()
        self.sought: "OldestFirst[bytes, Sought]" = OldestFirst()  # address -> our search for it
        self.pairs: dict[bytes, Pairing] = {}  # IPv4 address of another node's client -> how it is reached
        self.sign: "Callable[[bytes], bytes] | None" = None  # what our FOUND has for nonces
        self.passed: set[bytes] = (
            set()
        )  # addresses of clients here, to which others' packets come by way of us
        self.own_seeks = Rate(options.own_seeks_per_s, options.own_seeks_burst, 1)
        self.client_seeks = Rate(options.client_seeks_per_s, options.client_seeks_burst, options.max_clients)
        self.swept_s = -NEVER  # when all clients were asked whether they are here
        self.counters: Counters = Counters()
        self.changes = 0  # grows with everything that a restart must not forget
        self._actions: list[Action] = []
        self.gone = GoneKeys(self.clients, self.owner_of)

    def touch(self, mac: bytes) -> None:
        self.touched[mac] = None

    def do(self, *actions: Action) -> None:
        self._actions += actions

    def pop_actions(self) -> list[Action]:
        actions, self._actions = self._actions, []
        if self.behind:
            actions = [self._on_bridge(action) for action in actions]
        return actions

    def _on_bridge(self, action: Action) -> Action:
        """The same with the MAC that the bridge knows."""
        for_ipv4, at_gate = ON_BRIDGE
        if isinstance(action, for_ipv4) and action.mac in self.behind:
            return type(action)(self.behind[action.mac], action.ipv4)
        if isinstance(action, at_gate) and action.mac in self.behind:
            return type(action)(self.behind[action.mac], action.address)
        return action

    def mac_of(self, name: bytes) -> bytes:
        """Return the MAC that a client's frames come from; it is called by that, unless it is one of several there."""
        return self.behind.get(name, name)

    def name_of(self, mac: bytes, address: bytes | None) -> bytes:
        """Return what the client is called that uses an address behind a MAC."""
        name = self.beside.get((mac, address or b""))
        if name is None or self.owner_of.get(address or b"") == mac:
            return mac
        return name if name in self.clients or name in self.departed else mac

    def add_beside(self, mac: bytes, ipv4: bytes) -> bytes:
        """Name a client that uses an address behind the MAC of another one: the same at every node."""
        if len(self.behind) >= self.options.max_clients:
            for place, name in list(self.beside.items()):
                if name not in self.clients and name not in self.departed:
                    del self.beside[place], self.behind[name]
        name = self.beside[mac, ipv4] = name_beside(mac, ipv4)
        self.behind[name] = mac
        return name

    def count(self, name: str) -> None:
        self.counters.count(name)

    def log(self, level: int, sentence: str) -> None:
        self.do(Log(level, sentence))

    def make_nonce(self) -> int:
        return int.from_bytes(self.options.random(4), "big")

    def encode(self, body: wire.Body, nonce: int | None = None, ttl: int = 1) -> bytes:
        """Return a datagram of ours."""
        nonce = self.make_nonce() if nonce is None else nonce
        return wire.encode(wire.Header(self.address, nonce, ttl, self.options.own is None), body)

    def send(self, destination: bytes, payload: bytes) -> None:
        self.do(Send(destination, payload, self.address))

    def acknowledge(self, mac: bytes, sender: bytes) -> None:
        """Tell the sender of INFO that it has been heard."""
        self.send(sender, self.encode(wire.Ack(mac)))

    def use_plat(self, lease: Lease) -> None:
        """Also for the current PLAT: when another is chosen later, the client must be in its own one's set already."""
        if lease.plat != NOWHERE:
            self.do(UsePlat(self.at(lease.ipv4), lease.plat, max(1, self.seconds_left(lease))))

    def route_addresses(self, client: Client) -> None:
        """The client is here: let the mesh know of its IPv6 addresses, and let pass what waits."""
        if not client.presence.is_routed:
            client.presence.is_routed = True
            for address in client.addresses:
                self.route_address(client.mac, address)

    def route_address(self, mac: bytes, address: bytes) -> None:
        if address in self.sent_on:
            del self.sent_on[address]
            self.do(StopSendingOn(address))
        self.do(AddRoute(mac, address), OpenGate(mac, address))

    def send_copy(self, exchange: Exchange, offsets_s: tuple[float, ...], give_up_s: float) -> None:
        """Send a copy to its destination, and note when the next one is due, or the give-up."""
        self.send(exchange.destination, exchange.payload)
        self.note_copy(exchange, offsets_s, give_up_s)

    def note_copy(self, exchange: Exchange, offsets_s: tuple[float, ...], give_up_s: float) -> None:
        """Note that a copy leaves now, and when the next one is due, or the give-up."""
        self.make_up(exchange, offsets_s)
        exchange.sent += 1
        exchange.last_s = self.now_s
        offset_s = offsets_s[exchange.sent] if exchange.sent < len(offsets_s) else give_up_s
        exchange.next_s = max(exchange.started_s + offset_s, self.now_s + 0.001)

    def make_up(self, exchange: Exchange, offsets_s: tuple[float, ...]) -> None:
        """The next copy is late, as after we had no processor: all that follows moves, for it must have its time."""
        if exchange.sent < len(offsets_s):
            late_s = self.now_s - exchange.started_s - offsets_s[exchange.sent]
            exchange.started_s += max(0.0, late_s - LATE_S)

    def node_client(self, mac: bytes) -> bytes:
        address: bytes = node_client_address(self.options.node_client_prefix, mac)
        return address

    def at(self, ipv4: bytes) -> bytes:
        """CLAT::ipv4 with our own CLAT prefix."""
        return own_address(self.options.clat, ipv4)

    def client_at(self, address: bytes) -> Client | None:
        """Return the client that has the IPv4 address in `CLAT::ipv4` here."""
        return self.clients.get(self.owner_of.get(address[12:], b""))

    def is_node(self, sender: bytes) -> bool:
        """Return whether this is the address at which a clatnode of our domain, and only it, hears us."""
        is_ours = self.options.own is None and contains(self.options.clat_range, RANGE_LENGTH, sender)
        return is_ours and node_of(sender) == sender

    def is_home(self, lease: Lease) -> bool:
        return lease.home == self.at(lease.ipv4)

    def is_of_other(self, mac: bytes, address: bytes) -> bool:
        """Return whether an address is somebody else's here."""
        return self.owner_of.get(address, mac) != mac

    def is_of_client(self, address: bytes) -> bool:
        """Return whether this is CLAT::ipv4 of the domain with an address that a client may have."""
        return address[:RANGE_BYTES] == self.options.clat_range[:RANGE_BYTES] and is_usable(address[12:])

    def is_client_ipv6(self, address: bytes) -> bool:
        return any(contains(prefix, length, address) for prefix, length in self.prefixes)

    def seconds_left(self, lease: Lease) -> int:
        """Return what is left of a lease, rounded up: with a second cut off at each roam, 300 of them would end it."""
        return max(0, min(math.ceil(lease.until_s - self.now_s), self.options.max_lease_s))


def name_beside(mac: bytes, ipv4: bytes) -> bytes:
    """Return a MAC, locally administered, of whoever uses an address behind a MAC."""
    return bytes((BESIDE, sum(mac) & 0xFF)) + ipv4


def own_address(clat: bytes | None, ipv4: bytes) -> bytes:
    assert clat is not None, "a node without CLAT has no clients"
    return clat[:12] + ipv4  # rfc6052.embed with a length of 96, without its checks


def node_of(address: bytes) -> bytes:
    """Return the management address of the node whose prefix an address lies in: only its owner hears us there."""
    return address[:12] + MANAGEMENT_IPV4  # node.management_address, without its checks


def is_usable(ipv4: bytes) -> bool:
    """Return whether a client may have this address: no network's, no group's, no node's own."""
    return 0 < ipv4[0] < 224 and ipv4[0] != 127 and ipv4[:2] != b"\xa9\xfe" and ipv4[:3] != SPECIAL_IPV4


def is_device(mac: bytes) -> bool:
    return len(mac) == 6 and not mac[0] & 1 and mac != NO_DEVICE


def describe(mac: bytes, address: bytes | None = None) -> str:
    text: str = format_mac(mac)
    if address is None:
        return text
    return f"{text} ({format_ipv4(address) if len(address) == 4 else format_ipv6(address)})"
