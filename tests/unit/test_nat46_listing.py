# SPDX-License-Identifier: ISC
"""Reading a translator's listing: whole from siit, cut by the kernel module, never more than is there."""

import contextlib
from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nat46_module import Module
from test_nat46_language import pairs_

from nat46 import language, listing
from nat46.language import Pair
from nat46.listing import LINE_CHARS, LISTED, ListingError

CLAT = (
    "local.v4 10.126.0.0/16 local.v6 fddd:1337:1337:1234:5678:9abc::/96 local.style RFC6052 local.ea-len 0 "
    "local.psid-offset 0 remote.v4 0.0.0.0/0 remote.v6 fddd:1337:1338:1234:5678:9abd::/96 remote.style RFC6052 "
    "remote.ea-len 0 remote.psid-offset 0 debug 0"
)


def listed(*pairs, buflen=200, debug=0):
    """A listing by the module's model, of a device with these pairs."""
    module = Module(buflen)
    first, *others = language.commands_for("clat", pairs)
    for command in (first, *others):
        module.write(language.format(command).encode())
    if debug:
        module.write(f"config clat debug {debug}".encode())
    return module.read()


SEEN = CLAT.replace("10.126.0.0/16", "10.0.0.0/8").replace("fddd:1337:1337:1234:5678:9abc", "fddd:1337:1")


def test_a_clat_is_cut_where_the_real_module_was_seen_to_cut_it():
    (device,) = listing.parse(f"add clat\nconfig clat {SEEN[:LINE_CHARS]}\n\n")
    (pair,) = device.pairs
    assert pair.text.endswith(" remote.ea-le")
    assert pair.hidden == ("remote.ea-len", "remote.psid-offset", "debug")
    assert (pair.values["remote.style"], pair.cut_key, pair.cut_text) == ("RFC6052", "remote.ea-len", "")
    assert pair.pair is None
    assert device.debug is None


def test_two_prefixes_with_macs_hide_the_remote_style():
    assert listing.parse_pair(CLAT[:LINE_CHARS]).hidden[0] == "remote.style"


def test_a_whole_line_is_a_pair():
    line = CLAT.replace("fddd:1337:1337:1234:5678:9abc", "fd").replace("fddd:1337:1338:1234:5678:9abd", "fe")
    (device,) = listing.parse(f"add clat\nconfig clat {line[:-1]}7\n\n")
    assert device.debug == 7
    assert device.pairs[0].hidden == ()
    assert device.pairs[0].pair.local.v4 == IPv4Network("10.126.0.0/16")


@pytest.mark.parametrize("length", range(1, len(CLAT)))
def test_a_line_cut_anywhere_shows_whole_values_only(length):
    whole = dict(language.parse(f"config clat {CLAT}").changes)
    pair = listing.parse_pair(CLAT[:length])
    assert all(whole[key] == value for key, value in pair.values.items())
    assert set(pair.values) | set(pair.hidden) == set(LISTED)
    assert not pair.cut_text or listing.shown_value(whole[pair.cut_key]).startswith(pair.cut_text)
    assert listing.fits(pair, whole)


def test_a_line_of_just_the_buffer_may_have_lost_a_digit():
    line = (
        "local.v4 10.0.0.0/8 local.v6 ::/0 local.style NONE local.ea-len 0 local.psid-offset 0 remote.v4 0.0.0.0/0 "
        "remote.v6 %s/96 remote.style RFC6052 remote.ea-len 0 remote.psid-offset 0 debug 1"
    )
    for address in (
        "64:ff9b::",
        "fddd:1337:1338:1234:56::",
        "fddd:1337:1338:1234:5678::",
        "fddd:1337:1338:1234:5678:9::",
    ):
        whole = line % address
        shown = listing.parse_pair(whole[:LINE_CHARS])
        assert ("debug" in shown.values) == (len(whole) < LINE_CHARS)


@given(st.lists(pairs_, max_size=4).map(tuple), st.integers(60, 500), st.sampled_from([0, 7]))
def test_what_a_module_lists_fits_what_it_was_told_and_shows_each_pair_once(pairs, buflen, debug):
    (device,) = listing.parse(listed(*pairs, buflen=buflen, debug=debug))
    assert len(device.pairs) == len(pairs)
    for shown, pair in zip(device.pairs, pairs, strict=True):
        known = dict(language.changes_of(pair, debug if pairs else None))
        assert listing.fits(shown, known)
        assert listing.shown_text(known).startswith(shown.text)
        if buflen > 450:
            assert shown.pair == pair


@given(pairs_, pairs_)
def test_two_pairs_that_differ_where_it_shows_do_not_fit(one, other):
    (shown,) = listing.parse(listed(one))[0].pairs
    fits = listing.fits(shown, dict(language.changes_of(other)))
    text = listing.shown_text(dict(language.changes_of(other, 0)))[:LINE_CHARS]
    assert fits == (shown.text.removesuffix(" debug 0") == text.removesuffix(" debug 0"))


@pytest.mark.parametrize(
    ("prefix", "text"),
    [
        ("fddd:1:2:3:200:5efe::/96", "fddd:1:2:3:200:5efe:0.0.0.0/96"),
        ("fddd:1:2:3:0:5efe::/96", "fddd:1:2:3:0:5efe:0.0.0.0/96"),
        ("fddd::5efe:0:0/96", "fddd::5efe:0.0.0.0/96"),
        ("::ffff:0:0/96", "::ffff:0.0.0.0/96"),
        ("64:ff9b::/96", "64:ff9b::/96"),
        ("2001:db8:0:1::/64", "2001:db8:0:1::/64"),
    ],
)
def test_prefixes_are_written_as_the_kernel_prints_them(prefix, text):
    assert listing.shown_value(IPv6Network(prefix)) == text
    pair = Pair(language.Rule(v6=IPv6Network(prefix)))
    assert f" {text} " in listed(pair)
    assert listing.parse(listed(pair))[0].pairs[0].values["local.v6"] == IPv6Network(prefix)


def test_what_other_programs_have_set_is_kept_as_text():
    text = f"add a\nconfig a {CLAT.replace('10.126.0.0/16', '10.126.0.1/16')[:LINE_CHARS]}\n\nadd b\n\n"
    one, other = listing.parse(text)
    assert one.pairs[0].values["local.v4"] == "10.126.0.1/16"
    assert one.pairs[0].pair is None
    assert (other.name, other.pairs) == ("b", ())


def test_no_device_is_a_listing_too():
    assert listing.parse("") == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("add clat\n", "in the middle of a device"),  # no memory for its buffer: no pair, no empty line
        (f"add clat\nconfig clat {CLAT}\n", "in the middle of a device"),
        ("add a\nadd b\n\n", "expected 'config a '"),
        (f"config clat {CLAT}\n\n", "where a device begins"),
        ("add clat\nconfig clat local.v6 ::/0\n\n", "where local.v4 belongs"),
        (f"add clat\nconfig clat {CLAT} more words\n\n", "more"),
        ("<html>", "in the middle"),
    ],
)
def test_another_text_is_refused(text, says):
    with pytest.raises(ListingError, match=says):
        listing.parse(text)


@given(st.text(alphabet="ad clotrem.v46/:0\n", max_size=200) | st.text(max_size=50))
def test_any_text_is_a_listing_or_a_listing_error(text):
    with contextlib.suppress(ListingError):
        listing.parse(text)
