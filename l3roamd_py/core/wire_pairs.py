# SPDX-License-Identifier: ISC
"""Messages about IPv4 between clients of different nodes: FOUND (10), PAIR (11), PAIRED (12). No I/O.

Each goes from the management address of one node to that of another; `at` is where a client of the sender's is.
"""

import struct

from l3roamd_py.core.tlv import TLV_AT, TLV_CLAIM_NONCE, TLV_PEER, need, put, unpack
from runtime.record import record

FOUND, PAIR, PAIRED = 10, 11, 12
NONCE = "!I"


@record("at nonce")
class Found:
    """The client that you look for is at `at`. nonce: of your SEEK or PAIR; the header's is for your next PAIR.

    An `at` of another node than the sender's says that the client went there.
    """

    TYPE = FOUND
    at: bytes
    nonce: int

    def tlvs(self) -> bytes:
        return put(TLV_AT, self.at) + put(TLV_CLAIM_NONCE, struct.pack(NONCE, self.nonce))

    @classmethod
    def build(cls, tlvs: dict[int, bytes]) -> "Found":
        return cls(need(tlvs, TLV_AT, 16), unpack(NONCE, need(tlvs, TLV_CLAIM_NONCE))[0])


@record("at peer nonce")
class Pair:
    """My client `at` and yours, `peer`, have packets for each other. nonce: that of your FOUND."""

    TYPE = PAIR
    at: bytes
    peer: bytes
    nonce: int

    def tlvs(self) -> bytes:
        nonce = put(TLV_CLAIM_NONCE, struct.pack(NONCE, self.nonce))
        return put(TLV_AT, self.at) + put(TLV_PEER, self.peer) + nonce

    @classmethod
    def build(cls, tlvs: dict[int, bytes]) -> "Pair":
        nonce = unpack(NONCE, need(tlvs, TLV_CLAIM_NONCE))[0]
        return cls(need(tlvs, TLV_AT, 16), need(tlvs, TLV_PEER, 16), nonce)


class Paired(Pair):
    """The answer to PAIR: mine can reach yours. nonce: the PAIR's."""

    TYPE = PAIRED
