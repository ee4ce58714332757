# SPDX-License-Identifier: ISC
"""The language of the control socket: every line is a command or one sentence, answers have the C daemon's shape."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3roamd_py import control
from l3roamd_py.control import Command, CommandError, parse
from prefixd.link_roaming import PLATS_TOLD, plats_line
from runtime import server
from runtime.server import Refused


def first_line(data, has_ended):
    return server.first_line(data, has_ended, control.line_bytes(data))[0]


MAC, MAC_TEXT = bytes.fromhex("020000000001"), "02:00:00:00:00:01"
IPV6 = bytes.fromhex("20010db8000000000000000000000001")
MAPPED4 = bytes(10) + b"\xff\xff" + bytes((10, 126, 0, 23))


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("get_clients", ()),
        ("get_prefixes", ()),
        ("get_meshifs", ()),
        ("get_roams", ()),
        ("get_status", ()),
        ("add_prefix 2001:db8::/64", ((IPV6[:8] + bytes(8), 64),)),
        ("del_prefix 10.126.0.0/16", ((bytes(10) + b"\xff\xff" + bytes((10, 126, 0, 0)), 112),)),
        ("add_meshif mesh0", ("mesh0",)),
        ("del_meshif mesh0", ("mesh0",)),
        (f"probe 2001:db8::1 {MAC_TEXT}", (IPV6, MAC)),
        (f"probe 10.126.0.23 {MAC_TEXT}", (MAPPED4, MAC)),
        (f"add_address ::ffff:10.126.0.23 {MAC_TEXT}", (MAPPED4, MAC)),
        (f"del_address 2001:db8::1 {MAC_TEXT}", (IPV6, MAC)),
        ("has_route 2001:db8::1", (IPV6,)),
        ("verbosity debug", ("debug",)),
        ("set_platprefix 2001:db8::/96", (IPV6[:12] + bytes(4),)),
        ("set_platprefix 2001:db8::/96 2001:db8::/96", (IPV6[:12] + bytes(4), IPV6[:12] + bytes(4))),
        ("del_platprefix 2001:db8::/96", (IPV6[:12] + bytes(4),)),
        (f"lease add {MAC_TEXT} 10.126.0.23 300", ("add", MAC, bytes((10, 126, 0, 23)), 300)),
        (f"lease del {MAC_TEXT} 10.126.0.23", ("del", MAC, bytes((10, 126, 0, 23)))),
    ],
)
def test_a_line_is_its_command(line, values):
    name, *words = line.split()
    assert parse(line.encode()) == Command(name, values, tuple(words))
    assert parse(f"  {line}  ".encode()) == Command(name, values, tuple(words))


P1, P2, P3 = ("2001:db8::/96", "2001:db8::1:0:0/96", "2001:db8::2:0:0/96")


@pytest.mark.parametrize(
    ("line", "usable", "lost"),
    [
        ("plats lost end", 0, 0),
        (f"plats {P1} lost end", 1, 0),
        (f"plats {P1} {P2} lost {P3} end", 2, 1),
        (f"plats lost {P1} {P2} end", 0, 2),
    ],
)
def test_all_plats_are_told_in_one_line(line, usable, lost):
    told = parse(line.encode())
    assert (told.name, *map(len, told.values)) == ("plats", usable, lost)


@pytest.mark.parametrize("line", [f"plats {P1} lost {P2} end", f"plats {P1} {P2} {P3} lost end"])
def test_a_line_of_plats_that_was_cut_off_changes_nothing(line):
    for end in range(len(line)):
        with pytest.raises(CommandError):
            parse(line[:end].encode())


def test_a_line_of_plats_may_be_as_long_as_prefixd_makes_it_and_no_longer():
    longest = [
        bytes.fromhex("fddd13381338") + bytes([255 - i // 256, i % 256] * 3) + bytes(4) for i in range(300)
    ]
    line = plats_line(longest, longest[::-1]).encode()
    assert first_line(line, False) == line[:-1]
    assert [len(told) for told in parse(line[:-1]).values] == [PLATS_TOLD, PLATS_TOLD]
    assert first_line(line[:5000], False) is None
    with pytest.raises(Refused, match="more than"):
        first_line(b"plats " + b"x" * control.PLATS_BYTES, False)
    with pytest.raises(Refused, match="more than 1024 bytes"):
        first_line(b"platsx " + b"x" * 2000, False)
    with pytest.raises(CommandError, match="at most"):
        parse(b"plats " + f"{P1} ".encode() * control.PLATS_MAX + b"lost end")


def test_every_command_is_in_the_table_above_and_in_the_theory():
    assert all(name in control.__doc__ for name in control.COMMANDS)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "the line is empty, expected one of get_clients, "),
        (b"\xff\xfe", "not ASCII"),
        (b"nonsense", "'nonsense' is no command, expected one of get_clients, "),
        (b"add_prefix", "expected `add_prefix PREFIX`, not 0 words"),
        (b"get_clients now", "expected `get_clients`, not 1 words"),
        (b"add_prefix 2001:db8::1/64", "add_prefix: "),
        (b"add_meshif a/b", "no device name"),
        (b"add_meshif interfacetoolong", "no device name"),
        (b"probe 2001:db8::1 03:00:00:00:00:01", "multicast MAC"),
        (b"has_route 10.0.0.1", "not an IPv6 address"),
        (b"verbosity loud", "expected one of none, verbose, debug"),
        (b"set_platprefix 2001:db8::/64", "is a /64, expected a /96"),
        (b"lease take 02:00:00:00:00:01 10.0.0.1 3", "expected one of add, old, del"),
        (b"lease add 02:00:00:00:00:01 10.0.0.1 -3", "no number of seconds"),
        (b"lease add 02:00:00:00:00:01 10.0.0.1 99999999999", "no number of seconds"),
        ("lease add 02:00:00:00:00:01 10.0.0.1 ³".encode(), "not ASCII"),
    ],
)
def test_what_is_no_command_is_one_sentence(line, says):
    with pytest.raises(CommandError, match=r"^[^\n]*$") as caught:
        parse(line)
    assert says in str(caught.value)


def sentence_of(line):
    """What is wrong with a line, "" if nothing is; anything but CommandError is a bug."""
    try:
        assert parse(line).name in control.COMMANDS
    except CommandError as error:
        return str(error)
    return ""


@given(st.binary(max_size=200) | st.text(max_size=80).map(str.encode))
def test_no_line_raises_anything_else(line):
    assert "\n" not in sentence_of(line)


@given(st.sampled_from(sorted(control.COMMANDS)), st.lists(st.text(max_size=20), max_size=5))
def test_no_words_behind_a_command_raise_anything_else(name, words):
    assert "\n" not in sentence_of(" ".join([name, *words]).encode())


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_line_ends_as_the_c_daemon_lets_it_end(end):
    assert first_line(b"get_clients" + end + b"more\n", False) == b"get_clients"
    assert first_line(b"get_clients", False) is None
    assert first_line(b"get_clients", True) == b"get_clients"
    assert first_line(b"", True) is None


def test_a_line_without_end_is_refused_before_it_grows():
    for data in (b"x" * 1025, b"x" * 1025 + b"\n"):
        with pytest.raises(Refused, match="more than 1024 bytes"):
            first_line(data, False)


def test_answers_have_the_shape_and_the_spacing_of_json_c():
    assert control.clients_answer([]) == '{ "clients": 0 }'
    assert control.clients_answer(
        [(MAC_TEXT, "wlan0", {MAPPED4: 1, IPV6: 0}), ("02:00:00:00:00:02", "", {})]
    ) == (
        '{ "clients": 2, "clientlist": { "02:00:00:00:00:01": { "interface": "wlan0", "addresses": '
        '{ "::ffff:10.126.0.23": { "state": 1 }, "2001:db8::1": { "state": 0 } } }, '
        '"02:00:00:00:00:02": { "interface": "" } } }'
    )
    assert control.prefixes_answer([(IPV6[:8] + bytes(8), 64)]) == (
        '{ "prefixes": [ "::ffff:0.0.0.0", "fe80::", "2001:db8::" ] }'
    )
    assert control.meshifs_answer([]) == '{ "mesh_interfaces": [ ] }'
    assert control.meshifs_answer(["mesh0", "m1"]) == '{ "mesh_interfaces": [ "mesh0", "m1" ] }'
    assert control.has_route_answer("fd::1", True) == "found route fd::1/128: YES\n"


@given(st.text())
def test_whatever_a_text_holds_is_json(text):
    assert json.loads(control.spaced({text: [text, 1, {}]})).popitem()[1][1:] == [1, {}]
