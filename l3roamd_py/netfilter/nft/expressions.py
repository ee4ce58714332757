# SPDX-License-Identifier: ISC
"""The expressions of nf_tables that our rules need (linux/netfilter/nf_tables.h). No I/O.

A rule is a list of expressions that hand values on in registers; each function here makes one expression. Register 1
holds up to 16 bytes; its third 32-bit word, where the next part of a concatenation with a MAC goes, is register 10.
"""

import sys

from runtime.netlink import attribute, nested, text, u16, u32, u64
from xlat464.address import mask

DROP, ACCEPT, JUMP, GOTO, RETURN = 0, 1, -3, -4, -5

REGISTER, REGISTER_2ND, REGISTER_3RD_WORD = 1, 2, 10
VERDICT_REGISTER = 0
LINK, NETWORK, TRANSPORT = 0, 1, 2  # bases of a payload expression
META_MARK, META_IIF_NAME, META_OIF_NAME, META_IIF_TYPE, META_L4_PROTOCOL = 3, 6, 7, 8, 16
CT_STATE, CT_MARK = 0, 3
CT_NEW = 8  # bit of a state: the flow has had no answer
EQUAL, NOT_EQUAL = 0, 1
FIB_ADDRESS_TYPE, FIB_DESTINATION = 3, 2

NAME_BYTES = 16  # IFNAMSIZ


def _expression(name: str, *body: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *body))


def _value(kind: int, value: bytes) -> bytes:
    return nested(kind, attribute(1, value))


def meta(key: int, register: int = REGISTER) -> bytes:
    return _expression("meta", u32(2, key), u32(1, register))


def set_mark(register: int = REGISTER) -> bytes:
    return _expression("meta", u32(2, META_MARK), u32(3, register))


def conntrack(key: int) -> bytes:
    return _expression("ct", u32(1, REGISTER), u32(2, key))


def set_conntrack_mark() -> bytes:
    return _expression("ct", u32(4, REGISTER), u32(2, CT_MARK))


def compare(value: bytes, operator: int = EQUAL) -> bytes:
    return _expression("cmp", u32(1, REGISTER), u32(2, operator), _value(3, value))


def compare_range(low: bytes, high: bytes) -> bytes:
    return _expression("range", u32(1, REGISTER), u32(2, EQUAL), _value(3, low), _value(4, high))


def device(key: int, name: str, operator: int = EQUAL) -> bytes:
    return meta(key) + compare(name.encode() + bytes(NAME_BYTES - len(name)), operator)


def load(base: int, offset: int, length: int, register: int = REGISTER) -> bytes:
    return _expression("payload", u32(1, register), u32(2, base), u32(3, offset), u32(4, length))


def store(
    base: int, offset: int, length: int, checksum_offset: int | None = None, is_summed: bool = True
) -> bytes:
    """Write the register to the packet. The transport checksum follows by the change of the pseudo header, or, if
    checksum_offset says where it lies from base, as an Internet checksum over what is written. is_summed: it must."""
    parts = [u32(5, REGISTER), u32(2, base), u32(3, offset), u32(4, length)]
    if not is_summed:
        pass
    elif checksum_offset is None:
        parts += [u32(6, 0), u32(7, 0), u32(8, 1)]
    else:
        parts += [u32(6, 1), u32(7, checksum_offset), u32(8, 0)]
    return _expression("payload", *parts)


def lookup(name: str, invert: bool = False) -> bytes:
    """Go on only if the register's value is in the set (invert: is not)."""
    return _expression("lookup", text(1, name), u32(2, REGISTER), u32(5, 1 if invert else 0))


def translate(name: str) -> bytes:
    """Put what the map has for the register's value into it; do not go on if it has nothing."""
    return _expression("lookup", text(1, name), u32(2, REGISTER), u32(3, REGISTER))


def update(name: str, expires_ms: int) -> bytes:
    """Have the register's value in a dynamic set for so long from now on; do not go on if the set is full."""
    return _expression("dynset", text(1, name), u32(3, 1), u32(4, REGISTER), u64(6, expires_ms))


def immediate(value: bytes) -> bytes:
    return _expression("immediate", u32(1, REGISTER), _value(2, value))


def verdict(code: int, chain: str = "") -> bytes:
    """chain: where JUMP and GOTO lead."""
    parts = [u32(1, code & 0xFFFFFFFF)] + ([text(2, chain)] if chain else [])
    return _expression("immediate", u32(1, VERDICT_REGISTER), nested(2, nested(2, *parts)))


def jump(chain: str) -> bytes:
    """Go through another chain, and on here."""
    return verdict(JUMP, chain)


def goto(chain: str) -> bytes:
    """Go through another chain, and not on here."""
    return verdict(GOTO, chain)


def bitwise(ones: bytes, xor: bytes, register: int = REGISTER) -> bytes:
    length = u32(3, len(ones))
    return _expression("bitwise", u32(1, register), u32(2, register), length, _value(4, ones), _value(5, xor))


def in_prefix(base: int, offset: int, prefix: bytes, length: int) -> bytes:
    """Go on only if an address of the packet lies in a prefix.

    By words of which a power of two bytes are compared, which is done without a call (nft_payload_fast_eval), from the
    last: there prefixes of one mesh differ.
    """
    if length % 8:
        masked = bitwise(mask(b"\xff" * len(prefix), length), bytes(len(prefix)))
        return load(base, offset, len(prefix)) + masked + compare(prefix)
    made, end, at = b"", length // 8, 0
    while at < end:
        step = 4 if end - at >= 4 else 2 if end - at >= 2 else 1
        made = load(base, offset + at, step) + compare(prefix[at : at + step]) + made
        at += step
    return made


def has(bits: int) -> bytes:
    """Go on only if the register has one of these bits; it has lost all others then, and its old value with them."""
    return bitwise(bits.to_bytes(4, sys.byteorder), bytes(4)) + compare(bytes(4), NOT_EQUAL)


def put_bit(bit: int, is_set: bool) -> bytes:
    """Set or clear a bit in the register."""
    others = (bit ^ 0xFFFFFFFF).to_bytes(4, sys.byteorder)
    return bitwise(others, (bit if is_set else 0).to_bytes(4, sys.byteorder))


def queue(number: int) -> bytes:
    """To NFQUEUE; on if nobody listens there."""
    return _expression("queue", u16(1, number), u16(2, 1), u16(3, 1))


def queue_of_xtables(number: int) -> bytes:
    """The same by iptables' target, where nf_tables has none of its own (linux/netfilter/xt_NFQUEUE.h, revision 3)."""
    options = [each.to_bytes(2, sys.byteorder) for each in (number, 1, 1, 0)]  # the last is room
    return _expression("target", text(1, "NFQUEUE"), u32(2, 3), attribute(3, b"".join(options)))


def below_rate(per_s: int, burst: int) -> bytes:
    """Go on only with packets below this rate."""
    return _expression("limit", u64(1, per_s), u64(2, 1), u32(3, burst))


def destination_type() -> bytes:
    """The kind of route that leads to the destination: a value of rtnetlink(7), rtm_type."""
    return _expression("fib", u32(1, REGISTER), u32(2, FIB_ADDRESS_TYPE), u32(3, FIB_DESTINATION))


def above_rate(per_s: int, burst: int) -> bytes:
    """Go on only with packets above this rate."""
    return _expression("limit", u64(1, per_s), u64(2, 1), u32(3, burst), u32(5, 1))
