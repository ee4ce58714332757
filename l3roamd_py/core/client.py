# SPDX-License-Identifier: ISC
"""A client of a node, and all that is known of it: the evidence that judge.py reads. No I/O.

A client is in one of five states, and what belongs to one of them alone is in that state's object.

Claiming  it is on our bridge, our CLAIM is out, nobody has answered yet. Its gate is closed.
Roaming   the node that had it has answered, our ROAM to its PLAT is out. Its gate is closed.
Served    it is ours; the gate is open if its IPv4 address is known and nobody else's here.
Absent    as Served, but it answers no ARP: a CLAIM takes it unasked, and with its lease it is forgotten, or at once
          if another node serves it.
Restored  a restart found it in the kernel; whether it is still here is not known yet.

Whoever was let go is Departed: where it is now, and what we knew of it.

Times are those of the events' clock, in seconds. A deadline is NEVER while nothing is waited for.
"""

from l3roamd_py.core.token import NO_TOKEN, Token
from l3roamd_py.core.wire import RoamAck

NEVER = float("inf")
LONG_AGO = -NEVER
AT_ONCE = 0.0  # a deadline that has passed already
NOWHERE = bytes(16)  # the PLAT of a lease while there is none
UNKNOWN = bytes(16)  # the place of a client that went while we were not there


class Clock:
    """now_s: of the event that is handled. due_s: of the last Tick: deadlines before it are due."""

    __slots__ = ("due_s", "now_s")

    def __init__(self) -> None:
        self.now_s = self.due_s = 0.0


class Exchange:
    """A message that is repeated until its answer comes. next_s: when the next copy is due, or to give up."""

    __slots__ = ("destination", "last_s", "next_s", "nonce", "payload", "sent", "started_s")

    def __init__(self, nonce: int, payload: bytes, destination: bytes, started_s: float) -> None:
        self.nonce, self.payload, self.destination = nonce, payload, destination
        self.started_s = self.next_s = started_s
        self.sent = 0
        self.last_s = 0.0  # when the last copy left


class Roam(Exchange):
    """Our ROAM. answer: its ROAM_ACK, not judged yet; has_proof: it has the one that the PLAT asked for."""

    __slots__ = ("answer", "has_proof")

    def __init__(self, nonce: int, payload: bytes, destination: bytes, started_s: float) -> None:
        super().__init__(nonce, payload, destination, started_s)
        self.has_proof = False
        self.answer: RoamAck | None = None


class Lease:
    """home: CLATD::CLIENTIP; plat: NOWHERE if there is none; until_s: when it ends."""

    __slots__ = (
        "home",
        "is_granted",
        "is_returned",
        "plat",
        "renew_s",
        "request",
        "roam",
        "token",
        "until_s",
    )

    def __init__(
        self, home: bytes, plat: bytes, until_s: float, token: Token = NO_TOKEN, is_granted: bool = True
    ) -> None:
        self.home, self.plat, self.until_s, self.token = home, plat, until_s, token
        self.is_granted = is_granted  # by a DHCP server, not only heard
        # this client had this home before, so what is mapped for it is the client's own
        self.is_returned = False
        self.renew_s = NEVER  # when its token or its mapping is renewed
        self.request: Exchange | None = None  # our TOKEN_REQUEST
        self.roam: Roam | None = None

    @property
    def ipv4(self) -> bytes:
        return self.home[12:]


class Answer:
    """An INFO that was accepted, not judged yet. lease: None if there is none that can be used."""

    __slots__ = ("addresses", "lease", "sender")

    def __init__(self, sender: bytes, lease: Lease | None, addresses: list[bytes]) -> None:
        self.sender, self.lease, self.addresses = sender, lease, addresses


class Legacy:
    """A node of l3roamd version 0 that answered our CLAIM."""

    __slots__ = ("grace_s", "remind_s", "sender")

    def __init__(self, sender: bytes, grace_s: float, remind_s: float) -> None:
        self.sender = sender
        self.grace_s = grace_s  # until then a better answer may come
        self.remind_s = remind_s  # then the node is claimed from once more


class Search:
    """Who had this client? Our CLAIMs and what came of them."""

    __slots__ = (
        "anew_s",
        "answer",
        "answered_by",
        "claim",
        "ended_s",
        "heard",
        "is_after_stale",
        "is_contested",
        "is_to_all",
        "is_unreached",
        "is_unrouted",
        "legacy",
        "place",
        "rounds",
        "spent_serial",
    )

    def __init__(self, place: bytes | None = None) -> None:
        self.claim: Exchange | None = None  # stays for a late INFO
        self.rounds = 0  # CLAIMs that we made, one after the other
        self.place = place  # where it was before, if we know: our CLAIM goes there
        self.is_to_all = False  # we serve the client, and ask who does so too
        self.is_unreached = False  # no route led to where the last copy should go, not judged yet
        self.is_unrouted = False  # babel knew nobody to send the last copy to
        self.answer: Answer | None = None
        self.answered_by: bytes | None = None  # the node that answered
        self.legacy: Legacy | None = None
        self.heard: bytes | None = None  # the IPv4 address that the client uses, not judged yet
        self.is_contested = False  # babel knows another node that serves it, which stays silent
        self.ended_s = NEVER  # when it ended without an answer; NEVER: it has not
        self.anew_s = NEVER  # when the client was let in although nobody had answered
        self.spent_serial = (
            0  # of a token that another has used: who has no newer one has lost the client too
        )
        self.is_after_stale = False  # it was asked again because the PLAT said STALE

    @property
    def is_running(self) -> bool:
        return self.claim is not None and self.claim.next_s < NEVER and not self.is_to_all


class Presence:
    """Is it here? What it was asked, what was heard of it."""

    __slots__ = (
        "answered_s",
        "asked_s",
        "check_s",
        "doubted_s",
        "is_leaving",
        "is_proven",
        "seen_s",
        "swept_s",
        "timed_s",
        "unanswered",
        "usual_s",
    )

    def __init__(self, seen_s: float, usual_s: float | None = None) -> None:
        self.seen_s = seen_s
        self.is_proven = False  # it has answered, got a lease, or the driver knows it
        self.is_leaving = False  # the kernel says that it left, and nothing has been heard of it since
        self.check_s = NEVER  # when it is asked whether it is still here
        self.unanswered = 0  # questions
        self.doubted_s = LONG_AGO  # when the first of these was asked
        self.swept_s = NEVER  # when it was asked because a node came back
        self.answered_s = LONG_AGO
        self.asked_s = LONG_AGO  # by ARP
        self.timed_s: float | None = None  # when, if its answer is to be timed
        self.usual_s = usual_s  # what its answers usually take


class Rival:
    """Another node's CLAIM of a client of ours, not answered yet."""

    __slots__ = ("is_extended", "is_refuted", "next_s", "nonce", "questions", "sender", "until_s")

    def __init__(self, sender: bytes, nonce: int, is_extended: bool, until_s: float) -> None:
        self.sender, self.nonce, self.is_extended, self.until_s = sender, nonce, is_extended, until_s
        self.questions = 0  # of ours to the client
        self.next_s = NEVER  # when the next one is due, or the client has not answered
        self.is_refuted = False  # the client has answered


class Departed:
    """A client that another node serves now. lease: as we had it when we let go."""

    __slots__ = (
        "addresses",
        "claim_nonce",
        "info",
        "ipv4",
        "is_acknowledged",
        "is_extended",
        "lease",
        "mac",
        "place",
        "presence",
        "told_s",
        "until_s",
    )

    def __init__(
        self,
        mac: bytes,
        place: bytes,
        is_extended: bool,
        until_s: float,
        ipv4: bytes | None,
        lease: Lease | None,
        addresses: list[bytes],
        presence: Presence,
    ) -> None:
        self.mac, self.place, self.is_extended, self.until_s = mac, place, is_extended, until_s
        self.ipv4, self.lease, self.addresses, self.presence = ipv4, lease, addresses, presence
        self.info: Exchange | None = None
        self.claim_nonce = 0  # that INFO answers
        self.told_s = 0.0  # when it was first told of this place
        self.is_acknowledged = False


class Claiming:
    """former: it was ours before; whether it is here again must be proven."""

    __slots__ = ("former",)
    name = "claiming"

    def __init__(self, former: Departed | None = None) -> None:
        self.former = former


class Roaming:
    __slots__ = ()
    name = "roaming"


class Served:
    """measure_s: when it is asked to learn what its answers take; measures: how often it was."""

    __slots__ = ("measure_s", "measures")
    name = "served"

    def __init__(self, measure_s: float = NEVER) -> None:
        self.measure_s, self.measures = measure_s, 0


class Absent:
    """Its node-client address is given up for a while, to see whether babel leads to another node then."""

    __slots__ = ("from_s", "is_back", "is_elsewhere", "keep_s", "look_s", "until_s")
    name = "absent"

    def __init__(self, look_s: float, keep_s: float) -> None:
        self.look_s = look_s  # when we look for the next time
        self.from_s = self.until_s = 0.0  # how long the address is given up
        self.keep_s = keep_s  # when it is forgotten if it has no lease
        self.is_elsewhere = False  # babel leads to another node, not judged yet
        self.is_back = False  # a sign of it has come, not judged yet


class Restored:
    """name: the state in which it was; until_s: when it must have answered; next_s: when it is asked again."""

    __slots__ = ("is_here", "name", "next_s", "until_s")

    def __init__(self, name: str, until_s: float) -> None:
        self.name, self.until_s = name, until_s
        self.next_s = AT_ONCE
        self.is_here = False  # it has answered, not judged yet


State = Claiming | Roaming | Served | Absent | Restored


class Grant:
    """A lease of our DHCP server, not judged yet. is_renewed: nobody else can have had the address meanwhile."""

    __slots__ = ("ipv4", "is_renewed", "until_s")

    def __init__(self, ipv4: bytes, until_s: float, is_renewed: bool) -> None:
        self.ipv4, self.until_s, self.is_renewed = ipv4, until_s, is_renewed


class Client:
    __slots__ = (
        "addresses",
        "due_s",
        "grant",
        "ipv4",
        "is_announced",
        "lease",
        "mac",
        "presence",
        "refused",
        "rival",
        "search",
        "state",
    )

    def __init__(self, mac: bytes, state: State, seen_s: float, former: Departed | None = None) -> None:
        self.mac, self.state = mac, state
        self.ipv4: bytes | None = None
        self.lease: Lease | None = None
        self.addresses: dict[bytes, None] = {}  # IPv6, the oldest first
        self.search = Search(None if former is None else former.place)
        self.presence = Presence(seen_s, None if former is None else former.presence.usual_s)
        self.rival: Rival | None = None
        self.grant: Grant | None = None
        self.is_announced = False  # its node-client address is ours
        self.refused: bytes | None = None  # an address that it uses and that is somebody else's here
        self.due_s = NEVER  # for when its timer is set


class Away:
    """A client that our DHCP server gave its address to, and that roams. plat: of its lease; nonce: of our question."""

    __slots__ = ("nonce", "plat")

    def __init__(self, plat: bytes) -> None:
        self.plat, self.nonce = plat, -1


def can_ask(client: "Client | Departed") -> bool:
    """Return whether we know an address to ask a client by."""
    return client.ipv4 is not None or bool(client.addresses)


def is_newcomer(client: Client) -> bool:
    """Return whether it is new: nobody else had it, and nothing but frames with its MAC says that it is here."""
    return isinstance(client.state, Served) and not client.is_announced and not client.search.is_contested


def has_roam_out(client: Client) -> bool:
    return client.lease is not None and client.lease.roam is not None


def former_of(client: Client) -> Departed | None:
    """Return what we know of a client from before it came back, while it is not known whether it did."""
    return client.state.former if isinstance(client.state, Claiming) else None
