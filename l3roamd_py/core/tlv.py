# SPDX-License-Identifier: ISC
"""Type, length, value: what the roaming protocol's messages are made of. No I/O.

offset  size        field
0       1           type
1       1           length of all, so 2 at the least
2       length - 2  value
"""

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# of all messages but SEEK, CLAIM, INFO and ACK, and of those to nodes that are extended
TLV_LEASE, TLV_CLAIM_NONCE, TLV_AT, TLV_RESULT, TLV_PROOF, TLV_PLACE, TLV_PEER, TLV_OWN_PLAT = range(4, 12)


class DecodeError(ValueError):
    """The peer's fault: the caller drops the datagram."""


def walk(payload: bytes, offset: int) -> dict[int, bytes]:
    """Return type and value of the TLVs from an offset on. Raises DecodeError; it always ends."""
    tlvs: dict[int, bytes] = {}
    while offset < len(payload):
        end = offset + payload[offset + 1] if offset + 1 < len(payload) else 0
        if end < offset + 2 or end > len(payload):
            raise DecodeError(f"the TLV at {offset} of {len(payload)} ends at {end}")
        if payload[offset] in tlvs:
            raise DecodeError(f"TLV {payload[offset]} comes twice")
        tlvs[payload[offset]] = payload[offset + 2 : end]
        offset = end
    return tlvs


def put(kind: int, value: bytes) -> bytes:
    """Return the TLV."""
    return bytes((kind, len(value) + 2)) + value


def need(tlvs: dict[int, bytes], kind: int, size: int | None = None) -> bytes:
    """Return the value of a TLV that must be there. Raises DecodeError if it is not, or is of another size."""
    if kind not in tlvs:
        raise DecodeError(f"TLV {kind} is missing")
    if size is not None and len(tlvs[kind]) != size:
        raise DecodeError(f"TLV {kind} of {len(tlvs[kind])} bytes, not {size}")
    return tlvs[kind]


def unpack(layout: str, value: bytes) -> "tuple[Any, ...]":
    """Return the fields of a value. Raises DecodeError if it is of another size."""
    size = struct.calcsize(layout)
    if len(value) != size:
        raise DecodeError(f"a TLV of {len(value)} bytes, not {size}")
    return struct.unpack(layout, value)
