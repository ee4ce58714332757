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
from runtime.record import mutable

NEVER = float("inf")
LONG_AGO = -NEVER
AT_ONCE = 0.0  # a deadline that has passed already
NOWHERE = bytes(16)  # the PLAT of a lease while there is none
UNKNOWN = bytes(16)  # the place of a client that went while we were not there


@mutable("nonce payload destination started_s sent last_s next_s")
class Exchange:
    """A message that is repeated until its answer comes. next_s: when the next copy is due, or to give up."""

    nonce: int
    payload: bytes
    destination: bytes
    started_s: float
    sent: int = 0
    last_s: float = 0.0  # when the last copy left
    next_s: float = NEVER


@mutable("home plat until_s token is_granted is_returned left renew_s request roam roam_ack has_proof")
class Lease:
    """home: CLATD::CLIENTIP; plat: NOWHERE if there is none; until_s: when it ends."""

    home: bytes
    plat: bytes
    until_s: float
    token: Token = NO_TOKEN
    is_granted: bool = True  # by a DHCP server, not only heard
    is_returned: bool = False  # the client had this home before: what is mapped for it is the client's own
    left: bytes | None = (
        None  # who had the client before it began anew here: what is mapped there is its own, too
    )
    renew_s: float = NEVER  # when its token or its mapping is renewed
    request: Exchange | None = None  # our TOKEN_REQUEST
    roam: Exchange | None = None
    roam_ack: RoamAck | None = None  # not judged yet
    has_proof: bool = False  # our ROAM has the one that NOT_PROVEN brought

    @property
    def ipv4(self) -> bytes:
        return self.home[12:]


@mutable("sender nonce lease addresses")
class Answer:
    """An INFO that was accepted, not judged yet. lease: None if there is none that can be used."""

    sender: bytes
    nonce: int
    lease: Lease | None
    addresses: list[bytes]


@mutable("sender grace_s remind_s reminded asked_s")
class Legacy:
    """A node of l3roamd version 0 that answered our CLAIM."""

    sender: bytes
    grace_s: float  # until then a better answer may come
    remind_s: float  # then the client is asked, and when it is heard the node is claimed from once more,
    reminded: int = 0  # so often already: it answers each time
    asked_s: float = NEVER  # when the client was asked; NEVER: no sign of it is waited for


@mutable(
    "place claim rounds expected is_to_all is_unreached is_unrouted answer answered_by legacy heard is_contested"
    " ended_s anew_s spent is_after_stale"
)
class Search:
    """Who had this client? Our CLAIMs and what came of them."""

    place: bytes | None = None  # where it was before, if we know: our CLAIM goes there
    claim: Exchange | None = None  # stays for a late INFO
    rounds: int = 0  # CLAIMs that we made, one after the other
    expected: int = -1  # the nonce of the one that a PLAT knows of
    is_to_all: bool = False  # we serve the client, and ask who does so too
    is_unreached: bool = False  # no route led to where the last copy should go, not judged yet
    is_unrouted: bool = False  # babel knew nobody to send the last copy to
    answer: Answer | None = None
    answered_by: bytes | None = None  # the node that answered
    legacy: Legacy | None = None
    heard: bytes | None = None  # the IPv4 address that the client uses, not judged yet
    is_contested: bool = False  # babel knows another node that serves it, which stays silent
    ended_s: float = NEVER  # when it ended without an answer; NEVER: it has not
    anew_s: float = NEVER  # when the client was let in although nobody had answered
    # PLAT and serial of a token that another has used: who has no newer one of it has lost the client too
    spent: "tuple[bytes, int]" = (NOWHERE, 0)
    is_after_stale: bool = False  # it was asked again because the PLAT said STALE

    @property
    def is_running(self) -> bool:
        return self.claim is not None and self.claim.next_s < NEVER and not self.is_to_all


@mutable(
    "seen_s usual_s longest_s answers is_proven is_leaving is_routed check_s unanswered first_asked_s swept_s"
    " answered_s asked_s timed_s silent retry_s"
)
class Presence:
    """Is it here? What it was asked, what was heard of it."""

    seen_s: float
    usual_s: float | None = None  # what its answers usually take,
    longest_s: float = 0.0  # and the longest of them took; what is long ago counts less
    answers: int = 0  # that were timed
    is_proven: bool = False  # it has answered, got a lease, or the driver knows it
    is_leaving: bool = False  # the kernel says that it left, and nothing has been heard of it since
    is_routed: bool = (
        False  # its IPv6 addresses are: it has proven to be here, or another node said what they are
    )
    check_s: float = NEVER  # when it is asked whether it is still here
    unanswered: int = 0  # questions
    first_asked_s: float = LONG_AGO  # when the first of these was asked
    swept_s: float = NEVER  # when it was asked because a node came back
    answered_s: float = LONG_AGO
    asked_s: float = LONG_AGO  # by ARP
    timed_s: float | None = None  # when, if its answer is to be timed
    silent: "tuple[tuple[bytes, float], ...]" = ()  # IPv6 addresses that did not answer, until when to try them
    retry_s: float = LONG_AGO  # when they may be tried again


@mutable("sender nonce is_extended until_s questions next_s is_refuted")
class Rival:
    """Another node's CLAIM of a client of ours, not answered yet."""

    sender: bytes
    nonce: int
    is_extended: bool
    until_s: float
    questions: int = 0  # of ours to the client
    next_s: float = NEVER  # when the next one is due, or the client has not answered
    is_refuted: bool = False  # the client has answered


@mutable(
    "mac place is_extended until_s ipv4 lease addresses presence told_s is_acknowledged info claim_nonce info_nonce"
    " seeks own_plat"
)
class Departed:
    """A client that another node serves now. lease: as we had it when we let go."""

    mac: bytes
    place: bytes
    is_extended: bool
    until_s: float
    ipv4: bytes | None
    lease: Lease | None
    addresses: list[bytes]
    presence: Presence
    told_s: float = 0.0  # when it was first told of this place
    is_acknowledged: bool = False
    info: Exchange | None = None
    claim_nonce: int = -1  # that INFO answers
    info_nonce: int = 0
    seeks: int = 0  # how often its place was told the addresses that INFO did not tell
    own_plat: bytes | None = None


@mutable("former")
class Claiming:
    """former: it was ours before; whether it is here again must be proven."""

    name = "claiming"
    former: Departed | None = None


@mutable()
class Roaming:
    name = "roaming"


@mutable("measure_s measures")
class Served:
    """measure_s: when it is asked to learn what its answers take; measures: how often it was."""

    name = "served"
    measure_s: float = NEVER
    measures: int = 0


@mutable("next_s forget_s from_s until_s rests is_elsewhere is_back")
class Absent:
    """Its node-client address is given up for a while, to see whether babel leads to another node then."""

    name = "absent"
    next_s: float  # when we look for the next time
    forget_s: float  # when it is forgotten if it has no lease
    from_s: float = 0.0  # how long the address is given up
    until_s: float = 0.0
    rests: int = 0  # how often the address was taken again
    is_elsewhere: bool = False  # babel leads to another node, not judged yet
    is_back: bool = False  # a sign of it has come, not judged yet


@mutable("name until_s next_s is_here")
class Restored:
    """name: of the state in which it was."""

    name: str
    until_s: float  # when it must have answered
    next_s: float = AT_ONCE  # when it is asked again
    is_here: bool = False  # it has answered, not judged yet


@mutable("rival asked is_answered")
class Verification:
    """Is an IPv6 address still its owner's? It is asked. rival: who uses it too, None if it is silent alone."""

    rival: bytes | None = None
    asked: int = 0
    is_answered: bool = False


TYPE_CHECKING = False
if TYPE_CHECKING:
    from l3roamd_py.core.actions import Action

    State = Claiming | Roaming | Served | Absent | Restored


@mutable("ipv4 until_s is_renewed")
class Grant:
    """A lease of our DHCP server, not judged yet."""

    ipv4: bytes
    until_s: float
    is_renewed: bool  # nobody else can have had the address meanwhile


@mutable("ipv4 since_s questions next_s is_refused")
class Contest:
    """An address that a client is to have while another one may be in use: a resident's, or one of its own."""

    ipv4: bytes
    since_s: float  # when that one was first asked for
    questions: int = 0
    next_s: float = NEVER  # when the next question is due, or the decision
    is_refused: bool = False  # it has answered


@mutable("mac state search presence addresses ipv4 lease rival grant is_announced contest own_plat")
class Client:
    mac: bytes
    state: "State"
    search: Search
    presence: Presence
    addresses: list[bytes]  # IPv6, the oldest first
    ipv4: bytes | None = None
    lease: Lease | None = None
    rival: Rival | None = None
    grant: Grant | None = None
    is_announced: bool = False  # its node-client address is ours
    contest: Contest | None = None
    own_plat: bytes | None = None  # see own_plats.py


@mutable("plat nonce")
class Away:
    """A client that our DHCP server gave its address to, and that roams. plat: of its lease; nonce: of our question."""

    plat: bytes
    nonce: int = -1


@mutable("started_s place askers nonces sent is_missing")
class Sought:
    """An address that we look for. place: the node to ask, None: all; askers: the clients that wait, IPv4 -> MAC."""

    started_s: float
    place: bytes | None
    askers: dict[bytes, bytes]
    nonces: list[int]  # of our SEEKs
    sent: int = 0
    is_missing: bool = False  # nobody has it, until a while is over


@mutable("mac exchange is_agreed is_corrected")
class Party:
    """A client of ours in a Pairing. exchange: our PAIR, while it is not answered."""

    mac: bytes
    exchange: Exchange | None = None
    is_agreed: bool = False  # the other node lets its client answer ours
    is_corrected: bool = False  # we had a nonce of before a restart of that node


@mutable("place cookie parties at is_made waiting check_s used_s heard_s moved_to asked_s")
class Pairing:
    """The client of another node, for which clients of ours have packets. place: that node."""

    place: bytes
    cookie: int  # the nonce by which it knows that we are who we say
    parties: dict[bytes, Party]  # by their IPv4 address
    at: bytes | None = None  # what is translated to its address
    is_made: bool = False  # the translator has it,
    waiting: "tuple[Action, ...]" = ()  # and these have waited for it
    check_s: float = NEVER
    used_s: float = LONG_AGO  # when a packet of a client of ours was for it
    heard_s: float = LONG_AGO  # when its node asked for it
    moved_to: bytes | None = None  # its node says that it went there
    asked_s: float = LONG_AGO  # when its node was asked because another one says to have it


def make_client(mac: bytes, state: "State", seen_s: float) -> Client:
    former = state.former if isinstance(state, Claiming) else None
    search = Search() if former is None else Search(former.place)
    presence, was = Presence(seen_s), None if former is None else former.presence
    if was is not None:
        presence.usual_s, presence.longest_s, presence.answers = was.usual_s, was.longest_s, was.answers
    return Client(mac, state, search, presence, [])


def can_ask(client: Client | Departed) -> bool:
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
