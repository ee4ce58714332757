# SPDX-License-Identifier: ISC
"""The shim against a model of the kernel module: nothing counts as done that the listing does not show."""

import errno
import pickle

import pytest
from nat46_module import CLAT, LONG, ONE, OTHER, PLAT

from nat46 import (
    CallFailed,
    DeviceExists,
    ModuleMissing,
    NoDevice,
    NoPair,
    NotApplied,
    NotVisible,
    Pair,
    Refused,
    Rule,
    Unreadable,
    language,
    listing,
)


def written(target):
    return [data.decode() for data in target.module.writes]


def test_a_clat_is_made_configured_and_taken_away(translator, target):
    device = translator.create("clat", [CLAT])
    assert device.pairs[0].values["local.style"] == "RFC6052"
    device = translator.configure("clat", PLAT)
    assert device == translator.show("clat")
    assert device.pairs[0].values["local.v4"].prefixlen == 16
    assert device.pairs[0].hidden[0] == "remote.style"
    assert target.module.devices["clat"].pairs[0][1]["style"] == "RFC6052"
    assert translator.statistics("clat").out_packets == 3
    translator.delete("clat")
    assert translator.list() == ()
    assert [line.split()[0] for line in written(target)] == ["add", "config", "config", "del"]


def test_each_command_is_one_write_and_one_line(translator, target):
    translator.create("clat", [ONE, OTHER, CLAT])
    translator.remove("clat", ONE)
    assert len(target.module.writes) == 5
    assert all(line.count("\n") == 1 and line.endswith("\n") for line in written(target))


def test_keys_that_the_listing_hides_are_sent_before_those_that_it_shows(translator, target):
    translator.create(
        "clat",
        [
            "local.v4 10.0.0.0/8 remote.v6 64:ff9b::/96 remote.style RFC6052 local.style RFC6052 local.v6 fd00::/96"
        ],
    )
    keys = [
        word
        for word in written(target)[-1].split()
        if "." in word and word.split(".")[0] in ("local", "remote")
    ]
    assert keys == [key for key in reversed(listing.LISTED) if key in keys]


def test_pairs_stand_in_the_order_in_which_they_are_given(translator):
    device = translator.create("clat", [ONE, OTHER, CLAT])
    assert [str(pair.values["local.v4"]) for pair in device.pairs] == [
        "192.0.2.1/32",
        "192.0.2.2/32",
        "10.126.0.0/16",
    ]
    assert translator.create("none", []).pairs == ()


def test_values_may_be_text_a_mapping_or_a_pair(translator):
    changes = language.parse(f"config x {ONE}").changes
    pair = language.apply_changes(Pair(), changes)
    for i, form in enumerate((ONE, dict(changes), pair)):
        assert translator.create(f"d{i}", [form]).pairs[0].pair == pair
        assert translator.create(f"e{i}", form).pairs[0].pair == pair


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("add abcdefghijklmnop", "has 16 characters, expected at most 15"),
        ("config clat local.v5 ::/0", "is no key"),
        ("config clat local.v4 10.0.0.1/8", "bits set behind its length"),
        ("config clat local.v4 10.0.0.0/33", "is not an IPv4 prefix"),
        (
            "config clat remote.v6 64:ff9b::/97 remote.style RFC6052",
            "does not take v6 64:ff9b::/97, expected a length of",
        ),
        ("config clat remote.style RFC6052", "does not take v6 ::/0"),
        (
            "config clat remote.v6 64:ff9b::/96",
            "remote.style NONE maps one address to one, not 0.0.0.0/0 to 64:ff9b::/96",
        ),
        ("insert clat local.v4 192.0.2.1/32", "maps one address to one"),
        ("insert clat local.style MAP local.v4 0.0.0.0/0", "expected a length of 1 to 32"),
        ("insert clat local.style MAP local.v4 192.0.2.0/24 local.ea-len 7", "expected 8 to 24"),
        ("insert clat local.style MAP local.v4 192.0.2.0/24 local.ea-len 25", "expected 8 to 24"),
        (
            "insert clat local.style MAP0 local.v4 192.0.2.0/24 local.ea-len 16 local.psid-offset 9",
            "with 8 bits of port set does not take psid-offset 9, expected at most 8",
        ),
        (
            "insert clat local.style MAP local.v4 192.0.2.0/24 local.v6 2001:db8::/120 local.ea-len 16",
            "expected a length of at most 112",
        ),
        ("nonsense", "is no command"),
        ("config clat local.v4 10.0.0.0/8\nadd plat", "bits|prefix|no key"),
    ],
)
def test_what_the_module_would_swallow_is_refused_before_it_sees_it(translator, target, words, says):
    translator.create("clat", [CLAT])
    before = len(target.module.writes)
    with pytest.raises(Refused, match=says) as refused:
        translator.apply(words)
    assert len(target.module.writes) == before
    assert "\n" not in str(refused.value)


def test_a_wrong_pair_makes_no_device(translator, target):
    with pytest.raises(Refused):
        translator.create("clat", [CLAT, "local.style RFC6052"])
    assert not target.module.writes


def test_devices_that_are_there_or_not_are_told_apart(translator, target):
    translator.create("clat")
    target.module.others.add("eth0")
    sent = len(target.module.writes)
    with pytest.raises(DeviceExists, match="clat is a device of this translator already"):
        translator.create("clat")
    with pytest.raises(DeviceExists, match="eth0 is a network device of another kind"):
        translator.create("eth0")
    for ask in (
        lambda: translator.configure("plat", CLAT),
        lambda: translator.insert("plat", ONE),
        lambda: translator.remove("plat", ONE),
        lambda: translator.delete("plat"),
        lambda: translator.show("plat"),
        lambda: translator.statistics("plat"),
    ):
        with pytest.raises(NoDevice, match="no device plat, expected one of clat"):
            ask()
    with pytest.raises(NoPair, match="exactly this one"):
        translator.remove("clat", ONE)
    translator.apply("remove clat")
    with pytest.raises(Refused, match="no pair left"):
        translator.configure("clat", CLAT)
    assert len(target.module.writes) == sent + 1


def test_a_write_that_changes_nothing_is_an_error_although_the_module_says_yes(translator, target):
    translator.create("clat", [CLAT])
    target.module.set_rule = lambda *_: False
    with pytest.raises(NotApplied) as raised:
        translator.configure("clat", PLAT)
    error = raised.value
    assert "remote.v6 fddd:1337:1338" in error.wanted[0]
    assert "remote.v6 ::/0" in error.found[0]
    assert "wanted 'local.v4" in str(error)


def test_a_create_that_fails_halfway_leaves_no_device(translator, target):
    target.module.insert = lambda *_: None  # as without memory: nat46_insert prints and returns
    with pytest.raises(NotApplied):
        translator.create("clat", [ONE, CLAT])
    assert translator.list() == ()


def test_a_create_whose_first_step_cannot_be_read_back_leaves_no_device(translator, target):
    read, readings = target.read, []

    def read_but_once():
        readings.append(1)
        if len(readings) == 2:  # behind the add
            raise CallFailed("read", "control", errno.ENOMEM)
        return read()

    target.read = read_but_once
    with pytest.raises(CallFailed):
        translator.create("clat")
    assert target.module.devices == {}
    readings.append(1)
    target.module.write(b"add clat")
    with pytest.raises(DeviceExists):
        translator.create("clat", [CLAT])
    assert list(target.module.devices) == ["clat"], "another's"


def test_debug_is_the_devices_and_a_create_sets_it(translator, target):
    assert translator.create("clat", [f"{CLAT} debug 4", ONE]).debug == 4
    assert target.module.devices["clat"].debug == 4
    with pytest.raises(Refused, match="expected one level of 1, 2"):
        translator.create("plat", [f"{CLAT} debug 1", f"{ONE} debug 2"])
    assert "plat" not in target.module.devices


def test_an_empty_name_makes_no_device_that_the_module_names(translator, target):
    with pytest.raises(Refused, match="'' is no device name"):
        translator.create("")
    with pytest.raises(Refused):
        translator.delete("")
    assert target.module.writes == []


@pytest.mark.parametrize("value", ["10.0.0.0/8 debug 3", "10.0.0.0/8\ndebug 3", ""])
def test_a_value_of_a_mapping_is_one_word(translator, target, value):
    translator.create("clat")
    with pytest.raises(Refused, match="is no single word"):
        translator.configure("clat", {"local.v4": value})
    assert target.module.devices["clat"].debug == 0


def test_a_name_that_nobody_can_print_is_quoted(translator):
    with pytest.raises(NoDevice) as raised:
        translator.show("a\nb")
    assert "\n" not in str(raised.value)


def test_a_pair_that_the_language_does_not_have_is_refused(translator, target):
    with pytest.raises(Refused, match="ea-len"):
        translator.create("clat", [Pair(Rule(ea_len=99))])
    assert target.module.writes == []


def test_what_another_program_has_put_into_a_device_meanwhile_is_not_taken_away(translator, target):
    def meddle(command):
        if command.startswith("config"):
            target.module.write(b"config clat local.v4 172.16.0.0/12")

    target.meddle = meddle
    with pytest.raises(NotApplied) as raised:
        translator.create("clat", [CLAT])
    assert "172.16.0.0/12" in raised.value.found[0]
    assert [device.name for device in translator.list()] == ["clat"]


@pytest.mark.parametrize("words", [f"config clat {PLAT}", f"insert clat {ONE}", f"remove clat {ONE}"])
def test_a_device_that_disappears_meanwhile_is_told_as_such(translator, target, words):
    translator.create("clat", [ONE, CLAT])
    target.meddle = lambda _: target.module.devices.pop("clat", None)
    with pytest.raises(NotApplied, match="the device is not there") as raised:
        translator.apply(words)
    assert raised.value.found is None


@pytest.mark.parametrize("words", [f"config clat {PLAT}", f"insert clat {ONE}", f"remove clat {ONE}"])
def test_a_second_writer_is_noticed(translator, target, words):
    translator.create("clat", [ONE, CLAT])
    target.meddle = lambda _: target.module.write(f"insert clat {OTHER}".encode())
    with pytest.raises(NotApplied) as raised:
        translator.apply(words)
    assert len(raised.value.found) == len(raised.value.wanted) + 1


def test_the_error_names_the_pair_that_is_not_as_wanted_although_others_are_cut(translator, target):
    translator.create("clat", [CLAT])
    target.meddle = lambda _: target.module.write(b"config clat local.v4 172.16.0.0/12")
    with pytest.raises(
        NotApplied, match=r"wanted 'local.v4 10\.126\.0\.0/16 .*, found 'local.v4 172\.16\.0\.0/12 "
    ):
        translator.insert("clat", LONG.format("1"))


def test_a_device_of_hundreds_of_pairs_is_read_once_a_command_and_each_pair_once(
    translator, target, monkeypatch
):
    pairs, read, readings, parse_pair, parsed = 200, target.read, [], listing.parse_pair, []
    target.read = lambda: readings.append(1) or read()
    monkeypatch.setattr(listing, "parse_pair", lambda text: parsed.append(text) or parse_pair(text))
    device = translator.create(
        "clat", [f"local.v4 10.0.0.{i}/32 local.v6 2001:db8::{i:x}/128 {PLAT}" for i in range(pairs)]
    )
    assert [str(pair.values["local.v6"]) for pair in device.pairs[::99]] == [
        f"2001:db8::{i:x}/128" if i else "2001:db8::/128" for i in range(0, pairs, 99)
    ]
    assert len(readings) == pairs + 2  # before the device, after it, after each of its pairs
    assert len(parsed) == pairs + 1  # the empty one that comes with a device, too


def test_a_device_is_down_before_it_is_deleted(translator, target):
    translator.create("clat", [CLAT])
    target.meddle = lambda command: target.taken_down.append(command)
    translator.delete("clat")
    assert target.taken_down == ["clat", "del clat"]


def test_a_delete_is_confirmed(translator, target):
    translator.create("clat")
    target.meddle = lambda _: target.module.write(b"add clat")
    with pytest.raises(NotApplied, match="still there"):
        translator.delete("clat")


def test_half_a_listing_is_no_listing(translator, target):
    translator.create("clat", [CLAT])
    text = target.read()
    target.read = lambda: text.split("\n")[0] + "\n"
    with pytest.raises(Unreadable):
        translator.list()


@pytest.mark.parametrize(
    "error",
    [
        NoDevice("clat", ("plat",)),
        NoPair("clat", "local.v4 10.0.0.0/8", ()),
        NotApplied("config clat", ("a",), ("b",)),
        NotVisible("clat", "local.v4 10.0.0.0/8", ("remote.v6",)),
        ModuleMissing("open", "control", errno.ENOENT, "load it"),
        Unreadable("control", "it ends"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_the_same_in_another_process(error):
    there = pickle.loads(pickle.dumps(error))
    assert (type(there), str(there), vars(there)) == (type(error), str(error), vars(error))
    assert getattr(there, "errno", None) == getattr(error, "errno", None)


def test_debug_is_the_devices_and_shows_in_every_line(translator):
    device = translator.create("clat", [ONE, OTHER])
    assert device.debug == 0
    device = translator.configure("clat", "debug 12")
    assert [pair.values["debug"] for pair in device.pairs] == [12, 12]
