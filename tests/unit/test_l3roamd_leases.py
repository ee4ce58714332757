# SPDX-License-Identifier: ISC
"""What dnsmasq says: its lease file, its dhcp-script, and the release that it is asked for."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3roamd_py import leases
from l3roamd_py.control import parse
from l3roamd_py.dhcp_script import FOREVER_S, line_for
from l3roamd_py.leases import LeaseLine, encode_release, parse_file

SCRIPT = Path(__file__).resolve().parents[2] / "files/l3roamd-py/usr/lib/l3roamd-py/dhcp-script"
MAC, MAC_TEXT = bytes.fromhex("020000000001"), "02:00:00:00:00:01"
IPV4 = bytes((10, 126, 0, 23))
LEASE = (MAC_TEXT, "10.126.0.23")
TEXT = " ".join(LEASE)
NOW_S = 1_790_000_000.5


def test_a_lease_file_is_its_leases():
    text = f"""\
1790000300 {MAC_TEXT} 10.126.0.23 phone 01:{MAC_TEXT}
1789999999 02:00:00:00:00:02 10.126.0.24 * *
0 02:00:00:00:00:03 10.126.0.25 forever *
600 02:00:00:00:00:04 10.126.0.26 clockless *
duid 00:01:00:01:2a:00:00:00:02:00:00:00:00:09
1790000300 1234567 2001:db8::7 tablet 00:01:00:01
"""
    assert list(parse_file(text, NOW_S)) == [
        LeaseLine(MAC, IPV4, 300),
        LeaseLine(bytes.fromhex("020000000003"), bytes((10, 126, 0, 25)), FOREVER_S),
        LeaseLine(bytes.fromhex("020000000004"), bytes((10, 126, 0, 26)), 600),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "1790000300",
        f"1790000300 {MAC_TEXT}",
        f"1790000300 {MAC_TEXT} 10.126.0.999 x *",
        "1790000300 03:00:00:00:00:01 10.126.0.23 x *",
        f"-5 {MAC_TEXT} 10.126.0.23 x *",
        f"99999999999999999999 {MAC_TEXT} 10.126.0.23 x *",
        f"²³ {MAC_TEXT} 10.126.0.23 x *",
    ],
)
def test_a_line_that_is_no_lease_costs_no_other(line):
    good = f"1790000300 {MAC_TEXT} 10.126.0.23 phone *\n"
    assert list(parse_file(f"{line}\n{good}", NOW_S)) == [LeaseLine(MAC, IPV4, 300)]


@given(st.text())
def test_no_text_is_too_strange_for_a_lease_file(text):
    assert all(lease.lease_s > 0 for lease in parse_file(text, NOW_S))


@pytest.mark.parametrize(
    ("words", "environment", "line"),
    [
        (["add", *LEASE, "phone"], {"DNSMASQ_TIME_REMAINING": "299"}, f"lease add {TEXT} 299"),
        (["old", *LEASE], {"DNSMASQ_LEASE_LENGTH": "600"}, f"lease old {TEXT} 600"),
        (["add", *LEASE], {}, f"lease add {TEXT} {FOREVER_S}"),
        (["add", *LEASE], {"DNSMASQ_TIME_REMAINING": "x"}, f"lease add {TEXT} {FOREVER_S}"),
        (["del", *LEASE, "*"], {}, f"lease del {TEXT}"),
        (["init"], {}, None),
        (["tftp", "1", "2", "3"], {}, None),
        (["add", "00:01:00:01:2a", "2001:db8::7"], {}, None),
    ],
)
def test_a_call_of_the_script_is_a_line_for_the_socket(words, environment, line):
    assert line_for(words, environment.get) == line
    assert line is None or parse(line.encode()).name == "lease"


NO_CALLS = (
    ["add"],
    ["add", MAC_TEXT],
    ["add", "x", "10.0.0.1"],
    ["add", MAC_TEXT, "10.0.0"],
    ["del", "ff:ff:ff:ff:ff:ff", "10.0.0.1"],
)


@pytest.mark.parametrize("words", NO_CALLS)
def test_a_call_that_dnsmasq_would_not_make_is_refused(words):
    with pytest.raises(ValueError, match=r"^[^\n]*$"):
        line_for(words, {}.get)


def test_a_release_is_what_a_client_would_send():
    packet = encode_release(bytes((10, 126, 0, 1)), MAC, IPV4, 0x12345678)
    assert packet[:8] == bytes.fromhex("01010600 12345678")
    assert packet[12:16] == IPV4  # ciaddr
    assert packet[28:34] == MAC
    assert len(packet) == 240 + 3 + 6 + 1
    assert packet[236:] == leases.MAGIC + bytes((53, 1, 7, 54, 4, 10, 126, 0, 1, 255))


@pytest.mark.parametrize("status", [0, 1])
def test_the_script_hands_leases_on_and_fails_nobody(tmp_path, status):
    program, told = tmp_path / "l3roamd_py", tmp_path / "told"
    program.write_text(f'#!/bin/sh\necho "$DNSMASQ_TIME_REMAINING" "$@" >>{told}\nexit {status}\n')
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "DNSMASQ_TIME_REMAINING": "299"}
    for words in (
        ["add", MAC_TEXT, "10.126.0.23", "my phone"],
        ["init"],
        ["arp-add", MAC_TEXT, "10.0.0.1"],
        [],
    ):
        assert subprocess.run([SCRIPT, *words], env=environment, check=False).returncode == 0
    assert told.read_text() == f"299 lease add {MAC_TEXT} 10.126.0.23 my phone\n"
