# SPDX-License-Identifier: ISC
"""The roaming protocol's datagrams, UDP port 5523. No I/O; docs/protocol.md tells when they are sent.

A datagram is a header of 24 bytes, then TLVs: type (1), length (1, counts type and length too), value.

offset  size  field of the header
0       1     version   0
1       1     ttl       how often it may still be passed on, this time included
2       1     type      0 SEEK, 1 CLAIM, 2 INFO, 3 ACK (l3roamd's); 4 ROAM, 5 ROAM_ACK, 6 TOKEN_REQUEST, 7 TOKEN,
                        8 PREPARE, 9 EXPECT; 10 to 12: wire_pairs.py
3       1     extended  1: the sender understands all of this; 0: it is l3roamd version 0, which loops for ever
                        over a TLV that it does not know
4       4     nonce     random
8       16    sender    the node's address, where answers go

TLVs 0 to 3 mean something else in every message, as l3roamd numbers them. From 4 on a number means the same
everywhere. A TLV that is not known is skipped; one that is known may come once.
"""

import struct

from l3roamd_py.core.tlv import TLV_AT as TLV_AT
from l3roamd_py.core.tlv import TLV_CLAIM_NONCE as TLV_CLAIM_NONCE
from l3roamd_py.core.tlv import TLV_LEASE as TLV_LEASE
from l3roamd_py.core.tlv import TLV_OWN_PLAT as TLV_OWN_PLAT
from l3roamd_py.core.tlv import TLV_PLACE as TLV_PLACE
from l3roamd_py.core.tlv import TLV_PROOF as TLV_PROOF
from l3roamd_py.core.tlv import TLV_RESULT as TLV_RESULT
from l3roamd_py.core.tlv import DecodeError as DecodeError
from l3roamd_py.core.tlv import need, put, unpack, walk
from l3roamd_py.core.token import NO_TOKEN, TOKEN_SIZE, Token
from l3roamd_py.core.wire_pairs import PAIRED
from l3roamd_py.core.wire_pairs import Found as Found
from l3roamd_py.core.wire_pairs import Pair as Pair
from l3roamd_py.core.wire_pairs import Paired as Paired
from runtime.record import record
from xlat464.address import format_mac

TYPE_CHECKING = False
PORT = 5523
GROUP = bytes.fromhex("ff020000000000000000000000005523")
VERSION = 0
FOR_ITS_NODE = 1  # ttl of a CLAIM that only the node answers which serves the client
SEEK, CLAIM, INFO, ACK, ROAM, ROAM_ACK, TOKEN_REQUEST, TOKEN, PREPARE, EXPECT = range(10)
NEWEST = PAIRED
# reasons in RESULT
REASONS = (
    "ok", "bad token", "expired", "stale", "out of range", "full", "kernel", "not a platnode", "not proven",
)  # fmt: skip
OK, BAD_TOKEN, EXPIRED, STALE, OUT_OF_RANGE, FULL, KERNEL, NOT_A_PLATNODE, NOT_PROVEN = range(len(REASONS))
TLV_MAC = TLV_ADDRESS = TLV_PLAT = 0  # of CLAIM and ACK, of SEEK, of INFO
TLV_BASIC = 1  # of INFO
ADDRESSES_MAX = 15  # of a client in INFO: 8 + 15 * 16 fits the length's 8 bits

HEADER, HEADER_SIZE = "!BBBBI16s", 24
PLAT = "!H16s"
LEASE = "!16s16sI28s"
RESULT = "!IB"
NONCE = "!I"


class UnknownTypeError(DecodeError):
    """A message of a later version of this protocol."""


@record("sender nonce ttl extended")
class Header:
    """Of every message; its type goes with the body."""

    sender: bytes
    nonce: int
    ttl: int = 1
    extended: bool = True


@record("home plat lease_s token")
class Lease:
    """What a client's IPv4 address hangs on. TLV 4.

    offset  size  field
    0       16    home     CLATD::CLIENTIP, D being the node that leased the address
    16      16    plat     first address of the /96 of its PLAT
    32      4     lease_s  seconds left
    36      28    token    zeros: none
    """

    home: bytes
    plat: bytes
    lease_s: int
    token: Token = NO_TOKEN

    def encode(self) -> bytes:
        return struct.pack(LEASE, self.home, self.plat, self.lease_s, self.token.encode())

    @classmethod
    def decode(cls, value: bytes) -> "Lease":
        home, plat, lease_s, token = unpack(LEASE, value)
        return cls(home, plat, lease_s, Token.decode(token))


@record("address")
class Seek:
    """Who has this address?"""

    TYPE = SEEK
    address: bytes

    def tlvs(self) -> bytes:
        return put(TLV_ADDRESS, bytes(2) + self.address)

    @classmethod
    def build(cls, tlvs: dict[int, bytes]) -> "Seek":
        return cls(need(tlvs, TLV_ADDRESS, 18)[2:])


@record("mac")
class Claim:
    """This client is with me now."""

    TYPE = CLAIM
    mac: bytes

    def tlvs(self) -> bytes:
        return put(TLV_MAC, self.mac)

    @classmethod
    def build(cls, tlvs: dict[int, bytes]) -> "Claim":
        return cls(_need_mac(need(tlvs, TLV_MAC, 6)))


@record("mac")
class Ack:
    """I have your INFO."""

    TYPE = ACK
    mac: bytes

    def tlvs(self) -> bytes:
        return put(TLV_MAC, self.mac)

    @classmethod
    def build(cls, tlvs: dict[int, bytes]) -> "Ack":
        return cls(_need_mac(need(tlvs, TLV_MAC, 6)))


@record("mac addresses plat lease_s lease claim_nonce own_plat")
class Info:
    """What I knew of the client that you claimed; it is yours now.

    addresses: its IPv6 addresses, and its IPv4 address as ::ffff:a.b.c.d. lease, claim_nonce (the nonce of the CLAIM
    that this answers) and own_plat (the PLAT of what it has translated itself) go to nodes that are extended, and to no
    others.
    """

    TYPE = INFO
    mac: bytes
    addresses: tuple[bytes, ...] = ()
    plat: bytes = bytes(16)
    lease_s: int = 0  # 16 bits on the wire: a legacy field, `lease` has the true one
    lease: Lease | None = None
    claim_nonce: int | None = None
    own_plat: bytes | None = None

    def tlvs(self) -> bytes:
        addresses = b"".join(self.addresses[:ADDRESSES_MAX])
        parts = put(TLV_PLAT, struct.pack(PLAT, min(self.lease_s, 0xFFFF), self.plat))
        parts += put(TLV_BASIC, self.mac + addresses)
        if self.lease is not None:
            parts += put(TLV_LEASE, self.lease.encode())
        if self.claim_nonce is not None:
            parts += put(TLV_CLAIM_NONCE, struct.pack(NONCE, self.claim_nonce))
        if self.own_plat is not None:
            parts += put(TLV_OWN_PLAT, self.own_plat)
        return parts

    @classmethod
    def build(cls, tlvs: dict[int, bytes]) -> "Info":
        basic = need(tlvs, TLV_BASIC)
        if len(basic) < 6 or (len(basic) - 6) % 16:
            raise DecodeError(f"a client of {len(basic)} bytes, expected 6 and 16 for each address")
        lease_s, plat = unpack(PLAT, tlvs[TLV_PLAT]) if TLV_PLAT in tlvs else (0, bytes(16))
        lease = Lease.decode(tlvs[TLV_LEASE]) if TLV_LEASE in tlvs else None
        nonce = unpack(NONCE, tlvs[TLV_CLAIM_NONCE])[0] if TLV_CLAIM_NONCE in tlvs else None
        own_plat = need(tlvs, TLV_OWN_PLAT, 16) if TLV_OWN_PLAT in tlvs else None
        addresses = tuple(basic[at : at + 16] for at in range(6, len(basic), 16))
        return cls(_need_mac(basic[:6]), addresses, plat, lease_s, lease, nonce, own_plat)


@record("lease at proof")
class Roam:
    """To the PLAT: what comes from `at` (CLATB::CLIENTIP) is of lease.home, for lease.lease_s seconds.

    proof: the PLAT's word that CLATB is the sender's, from a ROAM_ACK that said NOT_PROVEN.
    """

    TYPE = ROAM
    lease: Lease
    at: bytes
    proof: Token | None = None

    def tlvs(self) -> bytes:
        proof = b"" if self.proof is None else put(TLV_PROOF, self.proof.encode())
        return put(TLV_LEASE, self.lease.encode()) + put(TLV_AT, self.at) + proof

    @classmethod
    def build(cls, tlvs: dict[int, bytes]) -> "Roam":
        proof = Token.decode(need(tlvs, TLV_PROOF, TOKEN_SIZE)) if TLV_PROOF in tlvs else None
        return cls(Lease.decode(need(tlvs, TLV_LEASE)), need(tlvs, TLV_AT, 16), proof)


@record("lease at nonce reason place")
class RoamAck:
    """The PLAT's answer; nonce is the ROAM's, lease has a fresh token for OK, a proof for NOT_PROVEN.

    place: for STALE, where the home is mapped: who serves the client now, as far as the PLAT knows.
    """

    TYPE = ROAM_ACK
    lease: Lease
    at: bytes
    nonce: int
    reason: int
    place: bytes | None = None

    def tlvs(self) -> bytes:
        result = put(TLV_RESULT, struct.pack(RESULT, self.nonce, self.reason))
        place = b"" if self.place is None else put(TLV_PLACE, self.place)
        return put(TLV_LEASE, self.lease.encode()) + put(TLV_AT, self.at) + result + place

    @classmethod
    def build(cls, tlvs: dict[int, bytes]) -> "RoamAck":
        nonce, reason = unpack(RESULT, need(tlvs, TLV_RESULT))
        place = need(tlvs, TLV_PLACE, 16) if TLV_PLACE in tlvs else None
        return cls(Lease.decode(need(tlvs, TLV_LEASE)), need(tlvs, TLV_AT, 16), nonce, reason, place)


@record("lease")
class TokenRequest:
    """To the PLAT: I leased this home; the token in lease means nothing."""

    TYPE = TOKEN_REQUEST
    lease: Lease

    def tlvs(self) -> bytes:
        return put(TLV_LEASE, self.lease.encode())

    @classmethod
    def build(cls, tlvs: dict[int, bytes]) -> "TokenRequest":
        return cls(Lease.decode(need(tlvs, TLV_LEASE)))


@record("lease nonce reason at")
class TokenGrant:
    """The message TOKEN. nonce is the request's; at says where else this home is mapped to, if it is."""

    TYPE = TOKEN
    lease: Lease
    nonce: int
    reason: int
    at: bytes | None = None

    def tlvs(self) -> bytes:
        at = b"" if self.at is None else put(TLV_AT, self.at)
        result = put(TLV_RESULT, struct.pack(RESULT, self.nonce, self.reason))
        return put(TLV_LEASE, self.lease.encode()) + at + result

    @classmethod
    def build(cls, tlvs: dict[int, bytes]) -> "TokenGrant":
        nonce, reason = unpack(RESULT, need(tlvs, TLV_RESULT))
        at = need(tlvs, TLV_AT, 16) if TLV_AT in tlvs else None
        return cls(Lease.decode(need(tlvs, TLV_LEASE)), nonce, reason, at)


@record()
class Prepare:
    """Tell me of your clients before they walk to me, by INFO with this nonce."""

    TYPE = PREPARE

    def tlvs(self) -> bytes:
        return b""

    @classmethod
    def build(cls, _: dict[int, bytes]) -> "Prepare":
        return cls()


@record("at proof")
class Expect:
    """To the PLAT: who had the client may send ROAM in our place, with this nonce and without a proof."""

    TYPE = EXPECT
    at: bytes
    proof: Token

    def tlvs(self) -> bytes:
        return put(TLV_AT, self.at) + put(TLV_PROOF, self.proof.encode())

    @classmethod
    def build(cls, tlvs: dict[int, bytes]) -> "Expect":
        return cls(need(tlvs, TLV_AT, 16), Token.decode(need(tlvs, TLV_PROOF, TOKEN_SIZE)))


if TYPE_CHECKING:
    from collections.abc import Callable

    Body = (
        Seek
        | Claim
        | Info
        | Ack
        | Roam
        | RoamAck
        | TokenRequest
        | TokenGrant
        | Prepare
        | Expect
        | Found
        | Pair
        | Paired
    )
else:
    Body = object  # for annotations alone
BUILD: "tuple[Callable[[dict[int, bytes]], Body], ...]" = (
    Seek.build,
    Claim.build,
    Info.build,
    Ack.build,
    Roam.build,
    RoamAck.build,
    TokenRequest.build,
    TokenGrant.build,
    Prepare.build,
    Expect.build,
    Found.build,
    Pair.build,
    Paired.build,
)


def encode(header: Header, body: Body) -> bytes:
    """Return the datagram."""
    packed = struct.pack(HEADER, VERSION, header.ttl, body.TYPE, header.extended, header.nonce, header.sender)
    return packed + body.tlvs()


def decode(payload: bytes) -> tuple[Header, Body]:
    """Return what a datagram says. Raises DecodeError and nothing else."""
    if len(payload) < HEADER_SIZE:
        raise DecodeError(f"{len(payload)} bytes, less than a header")
    version, ttl, kind, extended, nonce, sender = struct.unpack_from(HEADER, payload)
    if version != VERSION:
        raise DecodeError(f"version {version}, expected {VERSION}")
    if kind >= len(BUILD):
        raise UnknownTypeError(f"message type {kind} is unknown")
    return Header(sender, nonce, ttl, extended != 0), BUILD[kind](walk(payload, HEADER_SIZE))


def refuse(payload: bytes, reason: int) -> bytes:
    """Return a ROAM_ACK with another reason in the place of OK, and without its token."""
    header, body = decode(payload)
    assert isinstance(body, RoamAck)
    lease = Lease(body.lease.home, body.lease.plat, body.lease.lease_s)
    return encode(header, RoamAck(lease, body.at, body.nonce, reason))


def pass_on(payload: bytes, ttl_max: int) -> bytes | None:
    """Return the datagram for the next node, its ttl one less; None if it has come far enough.

    ttl_max: what nobody has a reason to exceed.
    """
    ttl = min(payload[1], ttl_max) - 1
    return payload[:1] + bytes((ttl,)) + payload[2:] if ttl > 0 else None


def _need_mac(mac: bytes) -> bytes:
    if mac[0] & 1 or mac == bytes(6):
        raise DecodeError(f"{format_mac(mac)} is not the address of one device")
    return mac
