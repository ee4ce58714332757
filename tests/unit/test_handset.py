# SPDX-License-Identifier: ISC
"""What the lab's phone makes of router advertisements."""

from hypothesis import given
from hypothesis import strategies as st

from sdk.handset import Network

HEAD = bytes.fromhex("86000000 40000384 00000000 00000000")
PREF64 = bytes.fromhex("2602 0708 fddd 1338 1338 0000 0000 0000")
GONE = PREF64[:2] + bytes(2) + PREF64[4:]


def test_a_prefix_lasts_as_long_as_it_is_said_to():
    network = Network()
    network.hear(HEAD + PREF64, 100)
    assert network.pref64 == "fddd:1338:1338::/96"
    network.expire(1899)
    assert network.pref64
    network.expire(1900)
    assert not network.pref64


def test_lifetime_0_ends_that_prefix_and_no_other():
    network = Network()
    network.hear(HEAD + PREF64, 100)
    network.hear(HEAD + bytes.fromhex("2602 0000 0064 ff9b 0000 0000 0000 0000"), 101)
    assert network.pref64 == "fddd:1338:1338::/96"
    network.hear(HEAD + GONE, 102)
    assert not network.pref64


def test_options_of_several_advertisements_add_up():
    network = Network()
    prefix = bytes.fromhex("0304 4040 00015180 00003840 00000000 fd46464646460000 0000000000000000")
    for options in (prefix, PREF64, bytes.fromhex("0501 0000 0000 055e")):
        network.hear(HEAD + options, 0)
    assert (network.pref64[:4], network.prefix.hex(), network.mtu) == ("fddd", "fd46464646460000", 1374)


@given(st.binary(max_size=100))
def test_no_bytes_break_it(options):
    network = Network()
    network.hear(HEAD + options, 0)
    network.hear(options, 0)
