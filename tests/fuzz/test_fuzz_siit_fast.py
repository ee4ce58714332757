# SPDX-License-Identifier: ISC
"""siit's fast path against its slow one: `make fuzz-fast` does the same with as many packets as one likes."""

import contextlib
import os
from pathlib import Path

import pytest
import siit_fast
from siit_fast import Hook, Refused
from siit_fast_packets import CLAT_SIDE, MTU6, PLAT_SIDE, ROLES, Maker

from siit.translator import NOTHING, Map, one_to_one, rfc6052

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="no /dev/net/tun"),
]
PACKETS = 10_000
PEER = one_to_one(bytes((10, 1, 7, 7)), bytes.fromhex("fd00006400010000aaaa0000") + bytes((10, 1, 7, 7)))
EAM = one_to_one(bytes((10, 1, 0, 1)), bytes.fromhex("20010db8") + bytes(11) + b"\x01")


def simple_through(hook, maker):
    """A simple packet that this kernel takes from us; what of it was translated, and left."""
    while True:
        sent = maker.simple()
        with contextlib.suppress(Refused):
            return sent, *hook.through(sent)


@pytest.mark.parametrize("role", ROLES)
def test_what_the_fast_path_translates_is_what_the_translator_makes(role):
    seen = siit_fast.run(role, PACKETS // len(ROLES), seed=464)
    became = {what: sum(count for (_, each), count in seen.items() if each == what) for _, what in seen}
    assert became["translated"] > PACKETS // len(ROLES) // 2
    assert became["left"] > PACKETS // len(ROLES) // 10


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [(CLAT_SIDE, NOTHING)],
        [(EAM, NOTHING), (CLAT_SIDE, PLAT_SIDE)],
        [(NOTHING, one_to_one(bytes((10, 2, 0, 1)), EAM.v6)), (CLAT_SIDE, PLAT_SIDE)],
        [(NOTHING, one_to_one(EAM.v4, PLAT_SIDE.v6[:12] + EAM.v4)), (CLAT_SIDE, PLAT_SIDE)],
        [(CLAT_SIDE, rfc6052(bytes(4), 0, PLAT_SIDE.v6, 64))],
        [(rfc6052(CLAT_SIDE.v4, 16, bytes.fromhex("fe80") + bytes(14), 96), PLAT_SIDE)],
        [(CLAT_SIDE, rfc6052(bytes(4), 0, bytes(16), 96))],
    ],
    ids=[
        "none",
        "half",
        "one-to-one",
        "outside",
        "inside-the-other",
        "another-length",
        "link-local",
        "compatible",
    ],
)
def test_rules_that_it_does_not_know_leave_everything_as_it_came(pairs):
    hook, maker = Hook(Map([ROLES["clat"]], MTU6)), Maker(1, "clat")
    try:
        assert simple_through(hook, maker)[1], "it translates"
        hook.use(Map(pairs, MTU6), has_rules=False)
        for _ in range(100):
            sent, translated, left = simple_through(hook, maker)
            assert [each[10:] for each in left] == [sent.data]
            assert not translated
        hook.use(Map([ROLES["clat"]], MTU6))
        assert simple_through(hook, maker)[1], "and translates again"
    finally:
        hook.close()


class ToPeers(Maker):
    """Packets between a client and that of another node."""

    def addresses(self, version):
        client = super().addresses(version)[0 if version == 4 else 1]
        return (client, PEER.v4) if version == 4 else (PEER.v6, client)


def test_what_has_a_pair_of_its_own_is_left_and_all_else_is_translated():
    hook, maker, peers = (
        Hook(Map([(NOTHING, PEER), ROLES["clat"]], MTU6)),
        Maker(3, "clat"),
        ToPeers(3, "clat"),
    )
    try:
        for _ in range(100):
            assert simple_through(hook, maker)[1], "as if there were none"
            sent, translated, left = simple_through(hook, peers)
            assert [each[10:] for each in left] == [sent.data]
            assert not translated
    finally:
        hook.close()


def test_the_counters_count_packets_and_bytes_of_each_version():
    hook, maker = Hook(Map([ROLES["plat"]], MTU6)), Maker(2, "plat")
    expected = {4: [0, 0], 6: [0, 0]}
    try:
        for _ in range(200):
            sent, translated, _ = simple_through(hook, maker)
            assert translated
            expected[sent.version][0] += 1
            expected[sent.version][1] += len(sent.data)
        assert hook.count() == (*expected[4], *expected[6])
    finally:
        hook.close()
