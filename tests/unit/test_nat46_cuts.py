# SPDX-License-Identifier: ISC
"""Where the module's listing is cut, and any commands at all: the shim does what the language says or refuses."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nat46_module import CLAT, LONG, ONE, OTHER, PLAT, Module, ModuleTarget
from test_nat46_language import networks4, networks6

from nat46 import (
    Nat46Error,
    NotVisible,
    Pair,
    Refused,
    Rule,
    Translator,
    language,
    listing,
)


def test_a_pair_that_the_listing_cuts_is_made_and_its_hidden_keys_are_told(translator):
    device = translator.create("clat", [LONG.format("1111")])
    assert device.pairs[0].cut_key == "remote.v6"
    assert "remote.style" in device.pairs[0].hidden


def test_the_module_removes_a_pair_that_only_looks_the_same_so_the_shim_refuses(translator, target):
    translator.create("clat", [LONG.format("1111"), LONG.format("2222")])
    target.module.write(f"remove clat {LONG.format('2222')}".encode())
    (left,) = target.module.devices["clat"].pairs
    assert left[1]["v6"][0][-2:] == b"\x22\x22", "the model: the module has removed the other one"
    target.module.write(f"insert clat {LONG.format('1111')}".encode())
    sent = len(target.module.writes)
    with pytest.raises(NotVisible, match=r"cut before remote.v6, remote.style") as raised:
        translator.remove("clat", LONG.format("2222"))
    assert raised.value.keys[0] == "remote.v6"
    assert len(target.module.writes) == sent
    assert len(translator.remove("clat", LONG.format("2222"), although_cut=True).pairs) == 1


def test_a_cut_that_hides_only_what_means_nothing_is_no_obstacle(translator):
    translator.create("clat", [f"{CLAT} {PLAT}", ONE])
    assert len(translator.remove("clat", f"{CLAT} {PLAT}").pairs) == 1


@pytest.mark.parametrize("debug", [0, 1, 7, 10, 123, 2**31 - 1, -1, -12, -(2**31)])
@pytest.mark.parametrize("pair", [ONE, f"{CLAT} {PLAT}"])
def test_a_pair_is_removed_whatever_the_devices_debug_level(translator, target, debug, pair):
    translator.create("clat", [pair, OTHER])
    target.module.write(f"config clat debug {debug}".encode())
    # ONE's line is whole, so the level is known; the other's is cut, and the last pair's line tells it
    assert len(translator.remove("clat", pair).pairs) == 1
    translator.apply("remove clat " + OTHER)
    device = translator.insert("clat", f"{CLAT} {PLAT}")
    assert device.debug is None
    assert translator.remove("clat", f"{CLAT} {PLAT}").pairs == ()


@pytest.mark.parametrize("debug", [7, 123, -1, -12])
@pytest.mark.parametrize("behind", range(5))
def test_a_pair_is_removed_wherever_the_listing_cuts_the_debug_level(monkeypatch, debug, behind):
    shown = len(listing.shown_text(listing.EMPTY)) + len(" debug ") + behind
    monkeypatch.setattr(listing, "LINE_CHARS", shown)
    module = Module(shown + 1)
    module.write(f"add clat\nconfig clat debug {debug}".encode())
    assert Translator(ModuleTarget(module)).apply("remove clat").pairs == ()


rfc6052 = st.builds(
    lambda v4, v6, length: Rule("RFC6052", v4, v6.supernet(new_prefix=length)),
    networks4,
    networks6.filter(lambda network: network.prefixlen >= 96),
    st.sampled_from(language.RFC6052_LENGTHS),
)
one_to_one = st.builds(
    lambda v4, v6: Rule("NONE", v4, v6),
    networks4.filter(lambda network: network.prefixlen == 32),
    networks6.filter(lambda network: network.prefixlen == 128),
)
usable_rules = st.one_of(st.just(Rule()), rfc6052)
usable_pairs = st.builds(Pair, usable_rules, usable_rules)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(["config", "insert", "remove"]), usable_pairs), max_size=8),
    st.integers(120, 500),
)
def test_the_shim_and_the_language_agree_on_what_commands_do(steps, buflen):
    target = ModuleTarget(Module(buflen))
    translator = Translator(target)
    translator.create("d")
    pairs = (Pair(),)
    for name, pair in steps:
        command = language.parse(f"{name} d")
        command = type(command)("d", language.changes_of(pair))
        try:
            expected = language.apply(pairs, command)
        except language.ControlError:
            with pytest.raises(Refused):
                translator.apply(command)
            continue
        try:
            translator.apply(command)
        except NotVisible:
            continue
        pairs = expected
    if buflen == 500:
        assert tuple(shown.pair for shown in translator.show("d").pairs) == pairs
    shown = translator.show("d").pairs
    assert len(shown) == len(pairs)
    assert all(listing.fits(a, dict(language.changes_of(b))) for a, b in zip(shown, pairs, strict=True))


@given(
    st.text(max_size=30)
    | st.lists(
        st.sampled_from(["add", "del", "config", "clat", "remote.v6", "::/0", "\n", "debug", "1"])
    ).map(" ".join)
)
def test_any_text_is_carried_out_or_a_typed_error(text):
    with contextlib.suppress(Nat46Error):
        Translator(ModuleTarget()).apply(text)
