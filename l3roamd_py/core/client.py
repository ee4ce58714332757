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
from dataclasses import dataclass, field
from enum import Enum

from l3roamd_py.core.token import NO_TOKEN, Token

NOWHERE = bytes(16)  # the PLAT of a lease while there is none


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
