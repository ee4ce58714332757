# SPDX-License-Identifier: ISC
"""Cases of what the roaming core stands on, for both Pythons: the wire, tokens, timers, rates, who has how many."""

import l3roamd_vectors as vectors

from l3roamd_py.core import wire
from l3roamd_py.core.groups import Groups
from l3roamd_py.core.options import Options
from l3roamd_py.core.ports import Ports
from l3roamd_py.core.rate import Rate
from l3roamd_py.core.timers import Timers
from l3roamd_py.core.token import NO_TOKEN, Token, TokenIssuer
from l3roamd_py.limits import limits_of
from xlat464.address import parse_ipv6

PROTOCOL = "docs/protocol.md"  # both are started in the repository


def documented():
    """The block under "Test vectors": a name, then its bytes in indented lines."""
    with open(PROTOCOL) as file:
        block = file.read().split("## Test vectors")[1].split("```")[1]
    found, name = {}, ""
    for line in block.strip().split("\n"):
        if line.startswith(" "):
            found[name] = found.get(name, "") + line.strip()
        else:
            name = line
    return {name: bytes.fromhex(text) for name, text in found.items()}


def case_wire_is_as_documented():
    texts = documented()
    assert set(texts) == set(vectors.VECTORS)
    for name, (header, body) in vectors.VECTORS.items():
        assert wire.encode(header, body) == texts[name], name
        assert wire.decode(texts[name]) == (header, body), name


def case_wire_takes_nothing_that_is_cut_off_badly():
    """A datagram without its last TLVs may be one; any other end is a DecodeError and nothing else."""
    for payload in documented().values():
        for end in range(len(payload)):
            try:
                wire.decode(payload[:end])
            except wire.DecodeError:
                pass


def case_wire_says_what_is_wrong():
    good = documented()["ACK"]
    for wrong in (
        b"",
        good[:23],
        b"\1" + good[1:],
        good[:2] + b"\x7f" + good[3:],
        good + b"\0",
        good + good[-8:],
    ):
        try:
            wire.decode(wrong)
        except wire.DecodeError:
            continue
        raise AssertionError("taken: %r" % wrong)


def case_token_is_known_to_its_issuer_alone():
    issuer = TokenIssuer(vectors.SECRET)
    token = issuer.make(vectors.HOME, 1 << 40, 0xFFFFFFFF)
    assert Token.decode(token.encode()) == token and issuer.is_ours(vectors.HOME, token)
    assert not issuer.is_ours(vectors.AT, token) and not issuer.is_ours(vectors.HOME, NO_TOKEN)
    assert not TokenIssuer(bytes(32)).is_ours(vectors.HOME, token)


def case_timers_give_what_is_due_in_order():
    timers = Timers()
    for at_s, key in ((3.0, "c"), (1.0, ("a", b"1")), (2.0, b"b"), (2.0, "d")):
        timers.set(key, at_s)
    timers.set("c", 0.5)
    timers.cancel("d")
    assert (timers.next_s, len(timers), "c" in timers, "d" in timers) == (0.5, 3, True, False)
    assert timers.pop_due(2.0) == ["c", ("a", b"1"), b"b"]
    assert timers.next_s is None and timers.pop_due(9.0) == []


def case_rate_is_of_each_sender():
    rate = Rate(10, 2, 2)
    assert [rate.is_within(b"a", 0.0) for _ in range(3)] == [True, True, False]
    assert rate.is_within(b"a", 0.2) and rate.is_within(b"b", 0.2)
    assert rate.is_within(b"c", 0.2) and len(rate) == 2  # the longest silent has given way


def case_groups_know_who_has_most():
    groups = Groups()
    one, two = bytes(12), bytes(11) + b"\1"
    for home in (one + b"aaaa", two + b"bbbb", two + b"cccc"):
        groups.put(home, True)
    groups.put(two + b"dddd", False)
    assert (groups.count(one + b"aaaa"), groups.count(two)) == (1, 3)
    assert groups.oldest_of_largest() == two + b"dddd"  # it is not mapped
    groups.remove(two + b"dddd")
    assert groups.oldest_of_largest() == two + b"bbbb"


def case_ports_have_room_for_so_many():
    ports = Ports(2, 1, 10.0)
    ports.add(b"a", "eth0")
    assert not ports.has_room("eth0", False) and ports.has_room("eth0", True)
    assert ports.least("eth0") == b"a"
    ports.note_proof(b"a")
    ports.leave(b"a")
    ports.add(b"b", "eth0")
    ports.note_proof(b"b")
    assert not ports.has_room("eth0", True) and ports.least("eth0") == b"a"
    ports.remove(b"a")
    assert ports.has_room("eth0", True) and ports.least("eth0") is None


def case_options_are_checked():
    clat, plat, clients = map(parse_ipv6, ("fddd:1337:1337::", "fddd:1337:1338::", "fddd:1337:1339::"))
    mine = clat[:6] + bytes((2, 0, 0, 0, 0, 1)) + bytes(4)
    options = Options(clat, plat, clients, clat=mine, claim_at_s=(0, 1))
    assert (options.claim_at_s, options.roam_give_up_s, Options.claim_at_s[1]) == ((0, 1), 1.0, 0.03)
    assert options.address == mine[:12] + bytes((192, 0, 0, 1))
    for kind, wrong in (
        (ValueError, lambda: Options(clat, plat, clients)),
        (ValueError, lambda: Options(mine, plat, clients, clat=mine)),
        (ValueError, lambda: Options(clat, plat, clients, plat=mine)),
        (TypeError, lambda: Options(clat, plat, clients, clat=mine, claim_at=1)),
    ):
        try:
            wrong()
        except kind:
            continue
        raise AssertionError("taken")


def case_limits_are_what_a_heap_has_room_for():
    """3 MiB where a word has 32 bits are 6 where it has 64; a node of one role has all the room for it."""
    both = limits_of(6 << 20, 8, True, True)
    assert both == limits_of(3 << 20, 4, True, True)
    assert 1000 <= both["max_clients"] <= 1200 and 300 <= both["max_roams"] <= 400
    assert limits_of(6 << 20, 8, False, True)["max_roams"] > 2000
    assert limits_of(6 << 20, 8, True, False)["max_clients"] > both["max_clients"]
    assert min(limits_of(0, 4, True, True).values()) == 64
    for name in both:
        assert hasattr(Options, name), name
