# SPDX-License-Identifier: ISC
"""PLATs for the cases of prefixd's modules, on both Pythons."""

from xlat464.address import parse_prefix6

RANGE = parse_prefix6("fddd:1337:1338::/48")[0]


def plat(number):
    return RANGE[:6] + bytes((0, 1, 0, 2, number >> 8, number & 255)) + bytes(4)


A, B, C = plat(1), plat(2), plat(3)
