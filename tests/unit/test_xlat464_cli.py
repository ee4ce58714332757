# SPDX-License-Identifier: ISC
"""Addresses on the command line: CPython and MicroPython answer the same."""

import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address

import pytest
from test_xlat464 import IMPORTS, REPOSITORY

from xlat464 import address, node, rfc6052

PAIR = ("fddd:1::/48", "fddd:2::/48")
COMMAND_LINES = [
    (["node-prefix", "fddd:1337:1337::/48", "12:34:56:78:9a:bc"], 0, "fddd:1337:1337:1234:5678:9abc::/96"),
    (["node-prefix", "64:ff9b:1::/48", "12:34:56:78:9a:bc"], 0, "64:ff9b:1:1234:5678:9abc::/96"),
    (["node-prefix", "fddd:1337:1337::/48", "13:34:56:78:9a:bc"], 2, "is a multicast MAC"),
    (["node-prefix", "fddd:1337:1337::/49", "12:34:56:78:9a:bc"], 2, "expected a /48"),
    (["node-prefix", "fddd:1337:1337::/48"], 2, "node-prefix takes RANGE MAC"),
    (["management-address", "fddd:1337:1337:1234:5678:9abc::/96"], 0, "fddd:1337:1337:1234:5678:9abc:c000:1"),
    (["management-address", "fddd:1337:1337::/48"], 2, "expected a /96"),
    (["node-client", "fec0::/64", "12:34:56:78:9a:bc"], 0, "fec0::1034:56ff:fe78:9abc"),
    (["embed", "64:ff9b::/96", "192.0.2.33"], 0, "64:ff9b::c000:221"),
    (["extract", "2001:db8:122:344:c0:2:2100::", "64"], 0, "192.0.2.33"),
    (["extract", "2001:db8:122:344:c0:2:2100::", "65"], 2, "expected 32, 40, 48, 56, 64 or 96"),
    (["extract", "2001:db8:122:344:c0:2:2100::", "x"], 2, "expected 32, 40, 48, 56, 64 or 96"),
    (["check-ranges", "fddd:1337:1337::/48", "fddd:1337:1338::/48"], 0, ""),
    (["check-ranges", "fddd:1337:1337::/48", "fddd:1337:1337::/48"], 2, "two different ones"),
    (
        [
            "check-ranges",
            "fddd:1::/48",
            "fddd:2::/48",
            "--pool",
            "10.126.0.9/32",
            "--client-range",
            "10.126.0.0/16",
        ],
        2,
        "overlaps the client range",
    ),
    (["check-ranges", "fddd:1::/48", "fddd:2::/48", "--pull", "10.126.0.9/32"], 2, "'--pull' is no option"),
    (["check-ranges", "fddd:1::/48", "fddd:2::/48", "--pool"], 2, "--pool needs a prefix"),
    (["pref64", "auto", *PAIR], 0, "fddd:2::/96"),
    (["pref64", "off", *PAIR], 0, ""),
    (["pref64", "64:ff9b::/96", *PAIR, "fd46::/64", "fd47::/64"], 0, "64:ff9b::/96"),
    (
        ["pref64", "64:ff9b::/95", *PAIR],
        2,
        "'64:ff9b::/95' is no /96, expected auto (which is fddd:2::/96), off, or",
    ),
    (["pref64", "on", *PAIR], 2, "'on' is no /96"),
    (["pref64", "fddd:1::/96", *PAIR], 2, "lies in clat_range, expected"),
    (["pref64", "fd47::/96", *PAIR, "fd46::/64", "fd47::/64"], 2, "lies in fd47::/64, which is in use"),
    (["pref64", "fddd:2::5678:9abc:0:0/96", *PAIR], 2, "is a node's, in plat_range"),
    (["pref64", "2001:db8:0:0:8000::/96", *PAIR], 2, "has bits 64 to 71 set"),
    (["prefix4", "10.0.0.0/8"], 0, "10.0.0.0/8"),
    (["prefix6", "2001:DB8:0::/32"], 0, "2001:db8::/32"),
    (["first-last", "10.23.0.8/29"], 0, "10.23.0.8 10.23.0.15"),
    (["nonsense"], 2, "'nonsense' is no command"),
    ([], 2, "a command is missing, expected one of "),
    (["--help"], 0, "usage: xlat464"),
]


@pytest.mark.parametrize(("arguments", "status", "text"), COMMAND_LINES)
def test_the_command_line_answers_the_same_on_both(micropython, arguments, status, text):
    on_cpython = subprocess.run(
        [sys.executable, "-m", "xlat464", *arguments], cwd=REPOSITORY, capture_output=True, text=True
    )
    on_micropython = micropython.run("-m", "xlat464", *arguments)
    for result in (on_cpython, on_micropython):
        assert result.returncode == status, result.stderr
        if status:
            assert result.stdout == ""
            assert result.stderr.count("\n") == 1
            assert text in result.stderr
        elif text.startswith("usage"):
            assert result.stdout.startswith(text)
        else:
            assert result.stdout.strip() == text
    said, on_router = on_cpython.stdout.splitlines(), on_micropython.stdout.splitlines()
    if text.startswith("usage"):  # a router's names the commands and leaves out what they are for
        said = [line for line in said if not line.startswith("      ")]
    assert (said, on_cpython.stderr) == (on_router, on_micropython.stderr)


def test_micropython_computes_what_cpython_computes(micropython):
    """Thousands of calls in one process, good and bad: values, and messages of errors, are the same."""
    import random

    chance = random.Random(464)
    calls = []
    for _ in range(300):
        six = b"".join(chance.choice([b"\0\0", chance.randbytes(2)]) for _ in range(8))
        length = chance.choice([0, 32, 40, 48, 56, 64, 96, 128, chance.randrange(129)])
        text = "".join(chance.choice("0123456789abcf::../") for _ in range(chance.randrange(30)))
        four, mac = chance.randbytes(4), chance.randbytes(6)
        calls += [
            f"address.format_ipv6({six!r})",
            f"address.parse_ipv6({str(IPv6Address(six))!r})",
            f"address.parse_ipv6({text!r})",
            f"address.parse_ipv4({text!r})",
            f"address.parse_prefix6({text!r})",
            f"address.parse_prefix4({str(IPv4Address(four)) + '/24'!r})",
            f"address.parse_mac({mac.hex(':')!r})",
            f"address.mask({six!r}, {length})",
            f"rfc6052.embed(address.mask({six!r}, {length}), {length}, {four!r})",
            f"rfc6052.extract({six!r}, {length})",
            f"node.node_prefix(address.mask({six!r}, 48), {mac!r})",
            f"node.node_client_address(address.mask({six!r}, 64), {mac!r})",
        ]
    for call, answer in zip(calls, micropython.each(IMPORTS, calls), strict=True):
        assert answer == outcome(call), call


def outcome(call):
    """What CPython makes of a call, in the form in which micropython.each reports it."""
    try:
        value = eval(call, {"address": address, "node": node, "rfc6052": rfc6052})
    except ValueError as error:
        return f"ValueError: {error}"
    return list(value) if isinstance(value, tuple) else value
