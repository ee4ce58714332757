# SPDX-License-Identifier: ISC
"""The control language: what it takes, what it refuses and how, and what commands do to a device's pairs."""

from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat46 import language
from nat46.language import Add, Config, ControlError, Del, Insert, Pair, Remove, Rule, apply, format, parse

# --- strategies -------------------------------------------------------------

devices = st.text(
    alphabet=[chr(c) for c in range(ord("!"), ord("~") + 1) if chr(c) not in "/:%"], min_size=1, max_size=15
).filter(lambda name: name not in (".", "..", "all", "default"))
networks4 = st.builds(
    lambda n, length: IPv4Network((n, length), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)
)
networks6 = st.builds(
    lambda n, length: IPv6Network((n, length), strict=False), st.integers(0, 2**128 - 1), st.integers(0, 128)
)
rules = st.builds(
    Rule, st.sampled_from(language.STYLES), networks4, networks6, st.integers(0, 48), st.integers(0, 16)
)
pairs_ = st.builds(Pair, rules, rules)
values = {
    "v4": networks4,
    "v6": networks6,
    "style": st.sampled_from(language.STYLES),
    "ea-len": st.integers(0, 48),
    "psid-offset": st.integers(0, 16),
}
all_values = {f"{side}.{key}": value for side in ("local", "remote") for key, value in values.items()}
all_values["debug"] = st.integers(0, 2**31 - 1)
changes_ = st.lists(st.sampled_from(sorted(all_values)), unique=True).flatmap(
    lambda keys: st.tuples(*[st.tuples(st.just(key), all_values[key]) for key in keys])
)
commands = st.one_of(
    st.builds(Add, devices),
    st.builds(Del, devices),
    st.builds(Config, devices, changes_),
    st.builds(Insert, devices, changes_),
    st.builds(Remove, devices, changes_),
)
words = st.sampled_from(
    [
        *language.NAMES.values(),
        *language.KEYS,
        *language.STYLES,
        "clat",
        "10.0.0.0/8",
        "64:ff9b::/96",
        "7",
        "\n",
        "\t",
        "-1",
    ]
)

# --- text -------------------------------------------------------------------

CLAT = (
    "config clat local.v4 10.126.0.0/16 local.v6 fddd:1337:1337:1234:5678:9abc::/96 local.style RFC6052 "
    "remote.v4 0.0.0.0/0 remote.v6 fddd:1337:1338:1234:5678:9abd::/96 remote.style RFC6052"
)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("add clat", Add("clat")),
        ("  add   clat \n", Add("clat")),
        ("del clat", Del("clat")),
        ("config clat", Config("clat")),
        ("insert clat debug 5", Insert("clat", (("debug", 5),))),
        (
            "remove plat local.v4 192.0.2.1/32 local.v6 2001:db8::1/128 local.style NONE",
            Remove(
                "plat",
                (
                    ("local.v4", IPv4Network("192.0.2.1/32")),
                    ("local.v6", IPv6Network("2001:db8::1/128")),
                    ("local.style", "NONE"),
                ),
            ),
        ),
        (
            "config m local.style MAP local.ea-len 16 local.psid-offset 6 remote.style MAP0",
            Config(
                "m",
                (
                    ("local.style", "MAP"),
                    ("local.ea-len", 16),
                    ("local.psid-offset", 6),
                    ("remote.style", "MAP0"),
                ),
            ),
        ),
    ],
)
def test_commands_are_read_as_nat46_reads_them(line, command):
    assert parse(line) == command


def test_the_clats_command_comes_back_letter_by_letter():
    assert format(parse(CLAT)) == CLAT


@given(commands)
def test_every_command_survives_its_text(command):
    text = format(command)
    assert parse(text) == command
    assert parse(text + "\n") == command
    assert text.isprintable()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "an empty line is no command, expected one of add, del, config, insert, remove"),
        ("   \n", "an empty line is no command, expected one of add, del, config, insert, remove"),
        ("ad clat", "'ad' is no command, expected one of add, del, config, insert, remove"),
        ("add", "add needs the name of a device behind it"),
        ("add a/b", "'a/b' is no device name, expected printable ASCII characters without / : %"),
        ("add clat%d", "'clat%d' is no device name, expected printable ASCII characters without / : %"),
        ("add ..", "'..' is no device name, expected printable ASCII characters without / : %"),
        ("add all", "'all' is the kernel's word for every device, expected another name"),
        ("del default", "'default' is the kernel's word for every device, expected another name"),
        (
            "add abcdefghijklmnop",
            "'abcdefghijklmnop' has 16 characters, expected at most 15 in a device name",
        ),
        ("add clat plat", "add takes one device name, not 'plat' behind it as well"),
        ("add\tclat", "'add?clat' is no command, expected one of add, del, config, insert, remove"),
        (
            "add clat\nadd plat",
            "'clat?add' is no device name, expected printable ASCII characters without / : %",
        ),
        ("config clat local.v4", "local.v4 needs a value behind it"),
        (
            "config clat local.v4 10.0.0.0",
            "local.v4: '10.0.0.0' is not an IPv4 prefix like 10.0.0.0/8",
        ),
        (
            "config clat local.v4 10.0.0.1/8",
            "local.v4: '10.0.0.1/8' has bits set behind its length, expected 10.0.0.0/8",
        ),
        (
            "config clat remote.v6 64:ff9b::/129",
            "remote.v6: '64:ff9b::/129' is not an IPv6 prefix like fddd:1337::/48",
        ),
        (
            "config clat local.style rfc6052",
            "local.style: 'rfc6052' is no style, expected one of NONE, MAP, MAP0, RFC6052",
        ),
        ("config clat local.ea-len 49", "local.ea-len: '49' is no number, expected 0 to 48"),
        ("config clat local.psid-offset -1", "local.psid-offset: '-1' is no number, expected 0 to 16"),
        ("config clat debug 1x", "debug: '1x' is no number, expected 0 to 2147483647"),
        ("config clat debug 1 debug 2", "debug is given twice, expected it once"),
        (
            "config clat local.v5 10.0.0.0/8",
            "'local.v5' is no key, expected one of local.v4, local.v6, local.style, local.ea-len, "
            "local.psid-offset, remote.v4, remote.v6, remote.style, remote.ea-len, remote.psid-offset, debug",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(line, sentence):
    with pytest.raises(ControlError) as raised:
        parse(line)
    assert str(raised.value) == sentence


@given(st.text() | st.lists(words | st.text(max_size=5), max_size=12).map(" ".join))
def test_any_text_is_a_command_or_a_control_error(text):
    try:
        command = parse(text)
    except ControlError as error:
        sentence = str(error)
    else:
        assert parse(format(command)) == command
        return
    assert sentence.isprintable()
    assert len(sentence) < 300


# --- what commands do -------------------------------------------------------

A = "local.v4 192.0.2.1/32 local.v6 2001:db8::1/128"
B = "local.v4 192.0.2.2/32 local.v6 2001:db8::2/128"


FRESH = (Pair(),)


def after(*lines, pairs=FRESH):
    for line in lines:
        pairs = apply(pairs, parse(line))
    return pairs


def pair_of(changes):
    return language.apply_changes(Pair(), parse(f"config d {changes}").changes)


def test_config_changes_the_last_pair_and_only_the_keys_it_names():
    first, last = after(f"insert d {A}", f"config d {B}", "config d local.style MAP debug 3")
    assert first == pair_of(A)
    assert last == pair_of(f"{B} local.style MAP")


def test_insert_goes_first_and_starts_from_an_empty_pair():
    assert after(f"config d {A} remote.style MAP", f"insert d {B}") == (
        pair_of(B),
        pair_of(f"{A} remote.style MAP"),
    )


def test_remove_takes_the_first_pair_that_matches_exactly():
    pairs = after(f"insert d {A}", f"insert d {B}", f"insert d {A}")
    assert after(f"remove d {A}", pairs=pairs) == (pair_of(B), pair_of(A), Pair())
    assert after("remove d", pairs=pairs) == (pair_of(A), pair_of(B), pair_of(A))


def test_remove_of_a_pair_that_is_not_there_is_an_error():
    with pytest.raises(ControlError, match="d has no pair that is exactly this one"):
        after("remove d local.v4 192.0.2.1/32")  # A without its local.v6


def test_a_device_whose_last_pair_is_gone_wants_an_insert():
    with pytest.raises(ControlError, match="no pair left to configure"):
        after("remove d", f"config d {A}")
    assert after("remove d", f"insert d {A}") == (pair_of(A),)


def test_add_and_del_change_no_pairs():
    with pytest.raises(ControlError, match="add changes a device, not its pairs"):
        after("add d")


@given(st.lists(pairs_, max_size=5).map(tuple))
def test_commands_for_rebuilds_a_device_through_text(pairs):
    first, *others = [parse(format(command)) for command in language.commands_for("d", pairs)]
    rebuilt = (Pair(),)
    for command in others:
        rebuilt = apply(rebuilt, command)
    assert first == Add("d")
    assert rebuilt == pairs


def test_show_prints_what_nat46_prints():
    assert language.show("clat", after(f"insert clat {A}"), debug=2) == [
        "add clat",
        "insert clat local.v4 192.0.2.1/32 local.v6 2001:db8::1/128 local.style NONE local.ea-len 0 "
        "local.psid-offset 0 remote.v4 0.0.0.0/0 remote.v6 ::/0 remote.style NONE remote.ea-len 0 "
        "remote.psid-offset 0 debug 2",
        "config clat local.v4 0.0.0.0/0 local.v6 ::/0 local.style NONE local.ea-len 0 local.psid-offset 0 "
        "remote.v4 0.0.0.0/0 remote.v6 ::/0 remote.style NONE remote.ea-len 0 remote.psid-offset 0 debug 2",
    ]


@given(st.lists(pairs_, min_size=1, max_size=2).map(tuple))
def test_what_is_shown_of_one_or_two_pairs_can_be_read_back(pairs):
    rebuilt = (Pair(),)
    for line in language.show("d", pairs)[1:]:
        rebuilt = apply(rebuilt, parse(line))
    # the config line comes last and meets the empty pair that `add` made
    assert rebuilt == pairs
