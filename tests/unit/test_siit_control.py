# SPDX-License-Identifier: ISC
"""The control protocol without a socket: what a line asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat46 import language
from nat46.language import ControlError, Pair
from siit import control
from siit.control import Change, Question

CLAT = (
    "config clat local.v4 192.168.0.0/16 local.v6 fd00:1::/96 local.style RFC6052 "
    "remote.v4 0.0.0.0/0 remote.v6 64:ff9b::/96 remote.style RFC6052"
)
ONE = {"clat": (Pair(),)}


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("add plat", Change("plat", (Pair(),))),
        ("del clat", Change("clat", None)),
        ("show", Question("show", ("clat",))),
        ("stat clat", Question("stat", ("clat",))),
        ("  stat   clat ", Question("stat", ("clat",))),
        ("config clat debug 1", Change("clat", (Pair(),))),
        ("remove clat", Change("clat", ())),
    ],
)
def test_a_line_is_understood(line, request_):
    assert control.understand(line, ONE) == request_


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("add clat", "clat exists already"),
        ("del plat", "there is no device plat, expected one of clat"),
        ("config plat debug 1", "there is no device plat"),
        ("stat plat", "there is no device plat"),
        ("show clat clat", "one device name at most"),
        ("add", "needs the name"),
        ("add a/b", "is no device name"),
        ("config clat local.v5 ::/0", "is no key"),
        ("config clat local.style MAP", "for the kernel module only"),
        ("config clat remote.style MAP0", "for the kernel module only"),
        ("config clat local.style RFC6052 local.v6 fd00::/95", "does not fit RFC6052"),
        ("remove clat local.v4 10.0.0.0/8", "no pair"),
        ("nonsense", "is no command"),
        ("", "is no command"),
    ],
)
def test_a_wrong_line_is_refused_in_one_sentence(line, says):
    with pytest.raises(ControlError) as refused:
        control.understand(line, ONE)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_keys_may_come_one_by_one_in_any_order():
    devices = control.parse_state(
        "add clat\nconfig clat local.style RFC6052\n"
        "config clat local.v6 fd00:1::/96\nconfig clat local.v4 10.0.0.0/8\n"
    )
    assert control.make_sides(devices["clat"])[0][0].is_rfc6052


def test_the_state_file_makes_the_same_devices_again():
    devices = control.parse_state(
        f"# made by hand\nadd clat\n\n{CLAT}\ninsert clat local.v4 10.0.0.1/32 local.v6 2001:db8::1/128\n"
        "insert clat local.v4 10.0.0.2/32 local.v6 2001:db8::2/128\nadd plat\nremove plat\nadd third\n"
    )
    assert [len(pairs) for pairs in devices.values()] == [3, 0, 1]
    assert control.parse_state(control.format_state(devices)) == devices


def test_an_error_in_the_state_file_names_its_line():
    with pytest.raises(ControlError, match="line 3: there is no device plat"):
        control.parse_state("add clat\n\nconfig plat debug 1\n")


def test_show_is_what_the_kernel_modules_file_shows():
    devices = control.parse_state(f"add clat\n{CLAT}\n")
    add, config, empty = control.show(devices, ("clat",))
    assert (add, empty) == ("add clat", "")
    assert language.parse(config) == language.Config("clat", language.changes_of(devices["clat"][0], 0))


PAIR_CHANGES = st.sampled_from(
    [
        "local.v4 10.0.0.1/32 local.v6 2001:db8::1/128",
        "local.v4 10.0.0.2/32",
        "debug 1",
        "",
        "remote.v6 fd00::/96",
    ]
)
COMMANDS = st.builds(
    "{} {} {}".format,
    st.sampled_from(["add", "del", "config", "insert", "remove", "show", "stat"]),
    st.sampled_from(["clat", "plat"]),
    PAIR_CHANGES,
)


@given(st.lists(COMMANDS, max_size=30))
def test_any_history_of_commands_survives_the_state_file(lines):
    devices = {}
    for line in lines:
        try:
            request = control.understand(line.strip(), devices)
        except ControlError:
            continue
        if isinstance(request, Change):
            devices[request.device] = request.pairs
        devices = {name: pairs for name, pairs in devices.items() if pairs is not None}
    assert control.parse_state(control.format_state(devices)) == devices


def _refusal(text):
    try:
        control.understand(text, ONE)
    except ControlError as error:
        return str(error)
    return ""


WORDS = [
    "add",
    "clat",
    "config",
    "local.v4",
    "local.style",
    "RFC6052",
    "fd00::/96",
    "1.2.3.4/32",
    "=",
    "\0",
    "show",
]


@given(st.one_of(st.text(), st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=9))).map(" ".join)))
def test_no_text_raises_anything_but_a_control_error(text):
    assert b"\n" not in _refusal(text).encode("ascii", "backslashreplace")
