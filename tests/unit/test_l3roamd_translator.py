# SPDX-License-Identifier: ISC
"""Pairs of other nodes' clients in the module nat46, as its control file takes and shows them."""

import pytest
from nat46_module import Module

from l3roamd_py.kernel.translator import Translator, TranslatorError
from xlat464.address import parse_ipv4, parse_ipv6

EXIT = "local.v4 10.46.0.0/16 local.v6 fddd:1337:1337:200:0:a::/96 local.style RFC6052"
PEERS = [
    (parse_ipv4(f"10.46.253.{number}"), parse_ipv6(f"fddd:1337:1337:1234:5678:9abc:a2e:fd{number:02x}"))
    for number in (191, 192, 254)
]


@pytest.fixture
def module(tmp_path):
    """The module, its control file, and a translator that writes to it."""
    made, control = Module(), tmp_path / "control"
    made.write(b"add clat\n")
    made.write(f"config clat {EXIT}\n".encode())
    control.write_text("")
    return made, control, Translator("clat", str(control))


def carry_out(module, control):
    """What was written is one command, of one line."""
    command = control.read_text()
    assert command.count("\n") == 1
    module.write(command.encode())
    control.write_text(module.read())


def test_pairs_come_before_that_of_the_exit_and_go_one_by_one(module):
    nat46, control, translator = module
    before = nat46.read()
    for ipv4, ipv6 in PEERS:
        translator.insert(ipv4, ipv6)
        carry_out(nat46, control)
    assert sorted(translator.pairs()) == sorted(PEERS), "although the listing is cut off"
    nat46.write(b"config clat remote.v4 0.0.0.0/0 remote.v6 fddd:1338::/96 remote.style RFC6052\n")
    control.write_text(nat46.read())
    assert sorted(translator.pairs()) == sorted(PEERS), "prefixd's command is for the last"
    translator.remove(*PEERS[1])
    carry_out(nat46, control)
    assert sorted(translator.pairs()) == [PEERS[0], PEERS[2]]
    for peer in (PEERS[0], PEERS[2]):
        translator.remove(*peer)
        carry_out(nat46, control)
    assert translator.pairs() == []
    assert nat46.read().count("\n") == before.count("\n")


def test_a_translator_that_is_not_there_is_said(tmp_path):
    with pytest.raises(TranslatorError, match="did not take `insert clat"):
        Translator("clat", str(tmp_path / "none" / "control")).insert(*PEERS[0])
