# SPDX-License-Identifier: ISC
"""Which pairs a translator could do anything with: prefix lengths by style. Pure.

The kernel module checks none of this (try_parse_rule_arg takes every number), and translates by what it got:

RFC6052  xlate_v4_to_nat64 knows the six lengths of RFC 6052 section 2.2 and writes no prefix for another one, so that
         packets leave with 01:01:01:... as address; xlate_nat64_to_v4 then matches nothing.
NONE     xlate_v4_to_v6 and xlate_v6_to_v4 map one /32 to one /128, and fail for all other lengths. A rule of 0.0.0.0/0
         and ::/0 is an empty one.
MAP      xlate_map_v4_to_v6 shifts by what the lengths leave over, and copies behind v6's prefix into 16 bytes: a sum
         that does not fit is undefined behaviour in the kernel, and a write past the end of its stack buffer.
"""

from nat46 import language
from nat46.language import RFC6052_LENGTHS, ControlError, Rule
from nat46.listing import Foreign, Known

PORT_BITS = 16
IPV6_BITS = 128


def check(known: Known) -> None:
    """Raise ControlError if a side of the pair has lengths that its style cannot take.

    A side of which a value that matters is unknown, or another program's, passes.
    """
    for side in language.SIDES:
        style = known.get(f"{side}.style")
        if style not in CHECKS:
            continue
        needs, find_fault = CHECKS[str(style)]
        values = {name: known.get(f"{side}.{name}") for name in needs}
        if any(value is None or isinstance(value, Foreign) for value in values.values()):
            continue
        rule = Rule(**{name.replace("-", "_"): value for name, value in values.items()})  # type: ignore[arg-type]
        if fault := find_fault(rule):
            raise ControlError(f"{side}.style {style} {fault}")


def _check_rfc6052(rule: Rule) -> str:
    if rule.v6.prefixlen in RFC6052_LENGTHS:
        return ""
    *lengths, last = map(str, RFC6052_LENGTHS)
    return f"does not take v6 {rule.v6}, expected a length of {', '.join(lengths)} or {last}, in the same command"


def _check_none(rule: Rule) -> str:
    lengths = (rule.v4.prefixlen, rule.v6.prefixlen)
    if lengths == (32, 128) or (rule.v4, rule.v6) == (language.ANY4, language.ANY6):
        return ""
    return f"maps one address to one, not {rule.v4} to {rule.v6}, expected a /32 and a /128, or another style"


def _check_map(rule: Rule) -> str:
    suffix_bits = 32 - rule.v4.prefixlen
    psid_bits = rule.ea_len - suffix_bits
    if not rule.v4.prefixlen:
        return f"does not take v4 {rule.v4}, expected a length of 1 to 32"
    if not 0 <= psid_bits <= PORT_BITS:
        return (
            f"with v4 {rule.v4} does not take ea-len {rule.ea_len}, "
            f"expected {suffix_bits} to {suffix_bits + PORT_BITS}"
        )
    if rule.psid_offset + psid_bits > PORT_BITS:
        return (
            f"with {psid_bits} bits of port set does not take psid-offset {rule.psid_offset}, "
            f"expected at most {PORT_BITS - psid_bits}"
        )
    if rule.v6.prefixlen + rule.ea_len > IPV6_BITS:
        return (
            f"with ea-len {rule.ea_len} does not take v6 {rule.v6}, "
            f"expected a length of at most {IPV6_BITS - rule.ea_len}"
        )
    return ""


OF_MAP = ("v4", "v6", "ea-len", "psid-offset")
CHECKS = {
    "RFC6052": (("v6",), _check_rfc6052),
    "NONE": (("v4", "v6"), _check_none),
    "MAP": (OF_MAP, _check_map),
    "MAP0": (OF_MAP, _check_map),
}
