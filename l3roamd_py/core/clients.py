# SPDX-License-Identifier: ISC
"""The clients of a node, and what the roles of a roam share: the tables, the time, what to do next. No I/O.

A client is in one of four states.

CLAIMING  it is on our bridge, our CLAIM is out, nobody has answered yet. Its gate is closed.
ROAMING   the node that had it has answered, our ROAM to its PLAT is out. Its gate is closed.
SERVED    it is ours; the gate is open if its IPv4 address is known and nobody else's here.
ABSENT    as SERVED, but it answers no ARP: a CLAIM takes it unasked, and with its lease it is forgotten, or at once
          if another node serves it.

Whoever was let go is in `departed`, by its MAC: where it is now, and what we knew of it.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from l3roamd_py.core import wire
from l3roamd_py.core.actions import Action, Log, Send
from l3roamd_py.core.options import Options
from l3roamd_py.core.ports import Ports
from l3roamd_py.core.rate import Rate
from l3roamd_py.core.timers import Timers
from l3roamd_py.core.token import NO_TOKEN, Token
from xlat464.address import contains, format_ipv4, format_mac
from xlat464.node import MANAGEMENT_IPV4, RANGE_LENGTH, node_client_address

NOWHERE = bytes(16)  # the PLAT of a lease while there is none
RANGE_BYTES = RANGE_LENGTH // 8
LATE_S = 0.005  # what a copy of a message may be late without moving those after it
SPECIAL_IPV4 = MANAGEMENT_IPV4[:3]  # 192.0.0.0/24, RFC 6890: nodes' own addresses, no client's


class State(Enum):
    CLAIMING = "claiming"
    ROAMING = "roaming"
    SERVED = "served"
    ABSENT = "absent"


@dataclass(slots=True)
class Lease:
    """home: CLATD::CLIENTIP; plat: NOWHERE if there is none; until_s: when it ends."""

    home: bytes
    plat: bytes
    until_s: float
    token: Token = NO_TOKEN
    is_granted: bool = True  # by a DHCP server, not only heard
    is_returned: bool = (
        False  # this client had this home before, so what is mapped for it is the client's own
    )

    @property
    def ipv4(self) -> bytes:
        return self.home[12:]


@dataclass(slots=True)
class Exchange:
    """A message that is repeated until its answer comes."""

    nonce: int
    payload: bytes
    destination: bytes
    started_s: float
    sent: int = 0
    last_s: float = 0.0  # when the last copy left


@dataclass(slots=True)
class Asked:
    """Another node's CLAIM of a client of ours, not answered yet."""

    sender: bytes
    nonce: int
    is_extended: bool
    until_s: float
    questions: int = 0  # of ours to the client


@dataclass(slots=True)
class Departed:
    """A client that another node serves now. lease: as we had it when we let go."""

    mac: bytes
    place: bytes
    is_extended: bool
    until_s: float
    ipv4: bytes | None
    lease: Lease | None
    addresses: tuple[bytes, ...]
    info: Exchange | None = None
    claim_nonce: int = 0  # that INFO answers
    told_s: float = 0.0  # when it was first told of this place
    is_acknowledged: bool = False
    asked_s: float = -math.inf  # as in Client
    timed_s: float | None = None
    answer_s: float | None = None


@dataclass(slots=True)
class Away:
    """A client that our DHCP server gave its address to, and that roams. plat: of its lease; nonce: of our question."""

    plat: bytes
    nonce: int = -1


@dataclass(slots=True)
class Client:
    mac: bytes
    state: State
    seen_s: float
    ipv4: bytes | None = None
    lease: Lease | None = None
    addresses: dict[bytes, None] = field(default_factory=dict)  # IPv6, the oldest first
    heard: bytes | None = None  # the IPv4 address that it used while it was CLAIMING
    granted: tuple[bytes, float, bool] | None = None  # what our DHCP server gave it meanwhile
    place: bytes | None = None  # where it was before, if we know: our CLAIM goes there
    claim: Exchange | None = None  # stays for a late INFO
    anew_s: float = math.inf  # when it was let in although nobody had answered
    is_unrouted: bool = False  # babel knew nobody to send its last copy to
    claims: int = 0  # that we made for it, one after the other
    answered_by: bytes | None = None  # the node that answered it
    legacy: bytes | None = None  # one of l3roamd version 0 that did
    roam: Exchange | None = None
    token: Exchange | None = None
    asked: Asked | None = None
    former: Departed | None = None  # it was ours before; whether it is here again must be proven
    has_address: bool = False  # the node-client address is ours
    is_verified: bool = False  # it has been heard since the CLAIM
    is_doubted: bool = False  # babel knows another node that serves it: it is not to be found here yet
    spent_serial: int = 0  # of a token that another has used: who has no newer one has lost the client too
    has_asked_again: bool = False  # after STALE, once
    has_proven: bool = False  # its ROAM has the proof that NOT_PROVEN brought
    refused: bytes | None = None  # an address that it uses and that is somebody else's here
    refused_s: float = -math.inf  # when the gate was last told of one
    is_leaving: bool = False  # the kernel says that it left, and nothing has been heard of it since
    believed_until_s: float | None = None  # what a restart restored, not proven yet: see belief.py
    asked_s: float = -math.inf  # when it was asked by ARP
    timed_s: float | None = None  # when, if its answer is to be timed
    answer_s: float | None = None  # what its answers usually take
    measures: int = 0  # questions to learn that
    probes: int = 0
    is_swept: bool = False  # it is asked because a node came back, and has not answered yet
    look_from_s: float = 0.0  # when we gave its node-client address up to see whether another node has it
    look_until_s: float = 0.0


TimerKey = tuple[str, bytes]  # what for, whose


class Table:
    """What the roles of a node share. `now_s` is the time of the event that is being handled."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.address = options.address
        self.now_s = 0.0
        self.clients: dict[bytes, Client] = {}
        self.by_ipv4: dict[bytes, bytes] = {}  # address -> MAC of the one client who has it here
        self.claiming: set[bytes] = set()  # MACs of those clients
        self.ports = Ports(options.max_port_clients, options.max_port_newcomers, options.stranger_asks_per_s)
        # the name of the port behind which a MAC is, "" if that is not known
        self.port_of: Callable[[bytes], str] = lambda mac: ""
        self.departed: dict[bytes, Departed] = {}
        # what our DHCP server leased: MAC -> address, end
        self.granted: dict[bytes, tuple[bytes, float]] = {}
        self.away: dict[bytes, Away] = {}  # of those, who roams
        self.away_questions: dict[int, bytes] = {}  # nonce -> MAC
        self.current: bytes | None = None  # the PLAT for new leases
        self.unrouted_plats: dict[bytes, float] = {}  # PLATs that have no route, since when
        self.proofs: dict[bytes, Token] = {}  # PLAT -> its word that our CLAT prefix is ours
        self.proof_nonce: int | None = None  # of our request for one
        self.timers: Timers[TimerKey] = Timers()
        self.node_asks = Rate(options.node_asks_per_s, options.node_asks_burst, 1)
        self.believed = Rate(options.believed_per_s, options.believed_burst, 1)
        self.swept_s = -math.inf  # when all clients were asked whether they are here
        self.counters: Counter[str] = Counter()
        self.changes = 0  # grows with everything that a restart must not forget
        self._actions: list[Action] = []

    def do(self, *actions: Action) -> None:
        self._actions += actions

    def take_actions(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    def count(self, name: str) -> None:
        self.counters[name] += 1

    def log(self, level: int, sentence: str) -> None:
        self.do(Log(level, sentence))

    def make_nonce(self) -> int:
        return int.from_bytes(self.options.random(4), "big")

    def encode(self, body: wire.Body, nonce: int | None = None, ttl: int = 1) -> bytes:
        """Return a datagram of ours."""
        nonce = self.make_nonce() if nonce is None else nonce
        return wire.encode(wire.Header(self.address, nonce, ttl), body)

    def send(self, destination: bytes, payload: bytes) -> None:
        self.do(Send(destination, payload, self.address))

    def repeat(self, exchange: Exchange, offsets_s: tuple[float, ...], give_up_s: float) -> float:
        """Note that a copy leaves now, and return when the next is due, or the give-up."""
        self.make_up(exchange, offsets_s)
        exchange.sent += 1
        exchange.last_s = self.now_s
        offset_s = offsets_s[exchange.sent] if exchange.sent < len(offsets_s) else give_up_s
        return max(exchange.started_s + offset_s, self.now_s + 0.001)

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

    def is_home(self, lease: Lease) -> bool:
        return lease.home == self.at(lease.ipv4)

    def is_taken(self, mac: bytes, ipv4: bytes) -> bool:
        """Return whether an address is somebody else's here."""
        return self.by_ipv4.get(ipv4, mac) != mac

    def is_of_client(self, address: bytes) -> bool:
        """Return whether this is CLAT::ipv4 of the domain with an address that a client may have."""
        return address[:RANGE_BYTES] == self.options.clat_range[:RANGE_BYTES] and is_usable(address[12:])

    def is_client_ipv6(self, address: bytes) -> bool:
        return any(contains(prefix, length, address) for prefix, length in self.options.prefixes)

    def seconds_left(self, lease: Lease) -> int:
        """Return what is left of a lease, rounded up: with a second cut off at each roam, 300 of them would end it."""
        return max(0, min(math.ceil(lease.until_s - self.now_s), self.options.max_lease_s))


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
    return len(mac) == 6 and not mac[0] & 1 and mac != bytes(6)


def describe(mac: bytes, ipv4: bytes | None = None) -> str:
    text: str = format_mac(mac)
    return text if ipv4 is None else f"{text} ({format_ipv4(ipv4)})"
