# SPDX-License-Identifier: ISC
"""Role C: what a ROAM must have to move a client, and what becomes of those that have been before."""

import l3roamd_vectors as v
import pytest
from l3roamd_mesh import CLAT_RANGE, CLIENTS, PLAT_RANGE

from l3roamd_py.core import wire
from l3roamd_py.core.actions import MapClient, Send, UnmapClient
from l3roamd_py.core.core import Core
from l3roamd_py.core.events import Datagram, Tick
from l3roamd_py.core.mapping import Mapping
from l3roamd_py.core.node import node_of
from l3roamd_py.core.options import Options
from l3roamd_py.core.token import NO_TOKEN, Token, TokenIssuer

NOW_S = 5000.0
ELSEWHERE = bytes.fromhex("fddd133713370200000000ee") + v.IPV4
OUTSIDE = bytes.fromhex("fd00000000000000000000ee") + v.IPV4


def replace(body, **changes):
    """The same message with other values."""
    return type(body)(**{name: getattr(body, name) for name in body.__slots__} | changes)


def make_core(**options) -> Core:
    """A platnode whose secret is that of the vectors."""
    options = {"plat": v.PLAT, "random": lambda size: bytes(range(size)), **options}
    return Core(Options(CLAT_RANGE, PLAT_RANGE, CLIENTS, **options))


def make_token(serial: int, home: bytes = v.HOME, expiry_s: int = 9000) -> Token:
    return TokenIssuer(v.SECRET).make(home, serial, expiry_s)


def send(
    core: Core, body: wire.Body, now_s: float = NOW_S, nonce: int = 7, sender: bytes | None = None
) -> list:
    sender = node_of(body.at) if isinstance(body, wire.Roam) and sender is None else sender or v.NODE_B
    payload = wire.encode(wire.Header(sender, nonce), body)
    return core.handle(Datagram(sender, v.NODE_C, payload), now_s)


def roam(
    token: Token, at: bytes = v.AT, home: bytes = v.HOME, plat: bytes = v.PLAT, lease_s: int = 600
) -> wire.Roam:
    proof = TokenIssuer(v.SECRET).make(node_of(at), 1, 2**32 - 1)
    return wire.Roam(wire.Lease(home, plat, lease_s, token), at, proof)


def answer(actions: list) -> tuple[bytes, wire.Body]:
    """Where the answer goes, if all goes well, and what it says."""
    (action,) = actions
    done = action if isinstance(action, Send) else action.done
    return done.destination, wire.decode(done.payload)[1]


def test_a_good_roam_is_mapped_and_answered_with_a_fresh_token():
    core = make_core()
    (action,) = actions = send(core, roam(make_token(10)))
    assert isinstance(action, MapClient)
    assert (action.home, action.at, action.was, action.lease_s, action.serial) == (
        v.HOME,
        v.AT,
        None,
        600,
        10,
    )
    destination, ack = answer(actions)
    assert destination == v.NODE_B
    assert (ack.reason, ack.nonce, ack.at, ack.lease.home) == (wire.OK, 7, v.AT, v.HOME)
    assert TokenIssuer(v.SECRET).is_ours(v.HOME, ack.lease.token)
    assert ack.lease.token.serial > 10
    refusal = wire.decode(action.failed().payload)[1]
    assert (refusal.reason, refusal.lease.token) == (wire.KERNEL, NO_TOKEN)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (roam(make_token(10), plat=PLAT_RANGE), wire.NOT_A_PLATNODE),
        (roam(make_token(10, OUTSIDE), home=OUTSIDE), wire.OUT_OF_RANGE),
        (roam(make_token(10), at=v.AT[:12] + bytes((10, 0, 0, 1))), wire.OUT_OF_RANGE),
        (roam(NO_TOKEN), wire.BAD_TOKEN),
        (roam(make_token(10, ELSEWHERE)), wire.BAD_TOKEN),
        (roam(TokenIssuer(bytes(32)).make(v.HOME, 10, 9000)), wire.BAD_TOKEN),
        (roam(Token(11, 9000, make_token(10).mac)), wire.BAD_TOKEN),
        (roam(Token(10, 9001, make_token(10).mac)), wire.BAD_TOKEN),
        (roam(make_token(10, expiry_s=5000)), wire.EXPIRED),
    ],
)
def test_a_bad_roam_is_refused_with_its_reason_and_changes_nothing(body, reason):
    core = make_core()
    destination, ack = answer(send(core, body))
    assert (ack.reason, ack.lease.token) == (reason, NO_TOKEN)
    assert destination[:12] == body.at[:12]
    assert not core.platnode.entries


@pytest.mark.parametrize("at", [OUTSIDE, v.NODE_B, v.AT[:12] + b"\xe0\0\0\1", v.AT[:12] + bytes(4)])
def test_a_roam_to_where_no_client_can_be_is_dropped(at):
    core = make_core()
    assert send(core, roam(make_token(10, v.HOME[:12] + at[12:]), at, v.HOME[:12] + at[12:])) == []
    assert core.counters["roams_out_of_range"] == 1


@pytest.mark.parametrize(
    "proof",
    [
        None,
        NO_TOKEN,
        TokenIssuer(v.SECRET).make(v.HOME, 1, 2**32 - 1),
        TokenIssuer(v.SECRET).make(node_of(v.HOME), 1, 2**32 - 1),
        TokenIssuer(v.SECRET).make(node_of(v.AT), 1, int(NOW_S)),
        TokenIssuer(bytes(32)).make(node_of(v.AT), 1, 2**32 - 1),
    ],
)
def test_who_has_a_token_still_maps_nothing_at_a_prefix_of_others(proof):
    core = make_core()
    body = replace(roam(make_token(10)), proof=proof)
    destination, ack = answer(send(core, body))
    assert (destination, ack.reason) == (v.NODE_B, wire.NOT_PROVEN)
    assert not core.platnode.entries
    (action,) = send(core, replace(body, proof=ack.lease.token))  # its owner, and nobody else, hears this
    assert (action.home, action.at) == (v.HOME, v.AT)


def expect(core: Core, proof: Token, at: bytes = v.AT, nonce: int = 7, now_s: float = NOW_S) -> None:
    assert send(core, wire.Expect(at, proof), now_s, nonce) == []


def test_who_had_a_client_may_say_where_it_is_if_that_node_expects_it():
    core = make_core()
    unproven = wire.Roam(roam(make_token(10)).lease, v.AT)
    expect(core, v.PROOF)
    for nonce, now_s in ((8, NOW_S), (7, NOW_S + 1.1)):
        assert answer(send(core, unproven, now_s, nonce, v.NODE_A))[1].reason == wire.NOT_PROVEN
    expect(core, v.PROOF, now_s=NOW_S + 2)
    destination, ack = answer(send(core, unproven, NOW_S + 2.9, sender=v.NODE_A))
    assert (destination, ack.reason, ack.nonce) == (v.NODE_B, wire.OK, 7)
    home = v.NODE_D[:11] + b"\xd1" + v.IPV4
    other = wire.Roam(roam(make_token(20, home), home=home).lease, v.AT)
    assert answer(send(core, other, NOW_S + 2.9, sender=v.NODE_A))[1].reason == wire.NOT_PROVEN, "once"


@pytest.mark.parametrize("at", [v.AT, v.HOME])
def test_a_node_that_has_asked_itself_expects_nothing_any_more(at):
    """A claim of long ago may be answered when the client has gone on: its token must not be used up."""
    core, proof = make_core(), TokenIssuer(v.SECRET).make(node_of(at), 1, 2**32 - 1)
    expect(core, proof, at)
    assert answer(send(core, roam(make_token(10), at)))[1].reason == wire.OK
    later = wire.Roam(roam(make_token(20)).lease, at)
    assert answer(send(core, later, sender=v.NODE_A))[1].reason == wire.NOT_PROVEN


@pytest.mark.parametrize(
    ("proof", "at"),
    [
        (NO_TOKEN, v.AT),
        (make_token(10), v.AT),
        (TokenIssuer(bytes(32)).make(v.NODE_B, 1, 2**32 - 1), v.AT),
        (TokenIssuer(v.SECRET).make(v.NODE_B, 1, int(NOW_S)), v.AT),
        (v.PROOF, ELSEWHERE),
    ],
)
def test_nobody_expects_a_client_at_a_prefix_of_others(proof, at):
    core = make_core()
    expect(core, proof, at)
    assert core.counters["expects_not_proven"] == 1
    unproven = wire.Roam(roam(make_token(10)).lease, at)
    assert answer(send(core, unproven))[1].reason == wire.NOT_PROVEN


def test_what_nodes_expect_is_bounded():
    core = make_core(max_expected=10, rate_per_s=1e9, burst=1e9)
    for number in range(1, 100):
        expect(core, v.PROOF, v.AT[:15] + bytes((number,)))
    assert len(core.platnode.expected) == 10


def test_a_node_may_ask_for_the_proof_of_its_own_prefix_before():
    core = make_core()
    destination, grant = answer(send(core, wire.TokenRequest(wire.Lease(v.NODE_B, v.PLAT, 600))))
    assert (destination, grant.reason) == (v.NODE_B, wire.OK)
    (action,) = send(core, replace(roam(make_token(10)), proof=grant.lease.token))
    assert isinstance(action, MapClient)


def test_a_renewal_and_the_way_home_need_no_proof():
    core = make_core()
    _, ack = answer(send(core, roam(make_token(10))))
    _, again = answer(send(core, replace(roam(ack.lease.token), proof=None)))
    assert again.reason == wire.OK
    assert answer(send(core, replace(roam(again.lease.token, v.HOME), proof=None)))[1].reason == wire.OK


def test_a_replayed_roam_is_stale_once_the_client_went_on():
    core = make_core()
    first = roam(make_token(10))
    _, ack = answer(send(core, first))
    (moved,) = send(core, roam(ack.lease.token, ELSEWHERE))
    assert (moved.was, moved.at) == (v.AT, ELSEWHERE)
    for replayed in (first, roam(make_token(10), v.HOME), roam(ack.lease.token, v.AT)):
        assert answer(send(core, replayed))[1].reason == wire.STALE
    assert core.platnode.entries[v.HOME].at == ELSEWHERE


def test_a_duplicate_gets_the_same_answer_and_the_same_mapping():
    core = make_core()
    first = send(core, roam(make_token(10)))
    again = send(core, roam(make_token(10)), NOW_S + 0.1)
    assert answer(again) == answer(first)
    assert (again[0].was, again[0].at) == (v.AT, v.AT)


def test_who_was_where_another_is_now_is_mapped_there_no_longer():
    """Two clients had the same address at their homes, and one came to a node after the other."""
    core = make_core()
    send(core, roam(make_token(10, ELSEWHERE), home=ELSEWHERE))
    unmap, mapped = send(core, roam(make_token(11)))
    assert (unmap, mapped.home) == (UnmapClient(ELSEWHERE, v.AT), v.HOME)
    assert [each.home for each in core.platnode.mappings()] == [v.HOME]
    asked = wire.TokenRequest(wire.Lease(ELSEWHERE, v.PLAT, 600))
    assert answer(send(core, asked))[1].at is None
    assert answer(send(core, roam(make_token(9, ELSEWHERE), home=ELSEWHERE)))[1].reason == wire.STALE


def test_at_home_nothing_is_mapped_and_old_roams_stay_worthless():
    core = make_core()
    old = roam(make_token(10))
    _, ack = answer(send(core, old))
    (action,) = actions = send(core, roam(ack.lease.token, v.HOME))
    assert isinstance(action, UnmapClient)
    assert (action.home, action.was) == (v.HOME, v.AT)
    assert answer(actions)[1].reason == wire.OK
    assert answer(send(core, old))[1].reason == wire.STALE
    assert answer(send(core, roam(ack.lease.token)))[1].reason == wire.STALE
    (action,) = actions = send(core, roam(ack.lease.token, v.HOME))
    assert isinstance(action, UnmapClient), "a duplicate's answer comes after what the first one brings about"
    assert (action.was, answer(actions)[1].reason) == (None, wire.OK)
    core.handle(Tick(), 9001)
    assert not core.platnode.entries, "until the tokens are over"
    assert answer(send(core, old, 9001))[1].reason == wire.EXPIRED


def test_a_lease_of_nothing_unmaps():
    core = make_core()
    _, ack = answer(send(core, roam(make_token(10))))
    (action,) = send(core, roam(ack.lease.token, lease_s=0))
    assert isinstance(action, UnmapClient)


def test_a_mapping_ends_with_its_lease_but_its_serial_with_the_tokens():
    core = make_core()
    send(core, roam(make_token(10), lease_s=60))
    core.handle(Tick(), NOW_S + 61)
    assert core.platnode.entries[v.HOME].at is None
    assert answer(send(core, roam(make_token(9)), NOW_S + 62))[1].reason == wire.STALE
    core.handle(Tick(), 9000.5)
    assert not core.platnode.entries
    assert core.next_deadline_s is None


def test_without_tokens_in_the_domain_any_roam_will_do():
    core = make_core(is_roam_auth_required=False)
    for at in (v.AT, ELSEWHERE, v.AT):
        (action,) = send(core, roam(NO_TOKEN, at))
        assert (action.at, isinstance(action, MapClient)) == (at, True)


def test_without_tokens_no_serial_that_somebody_says_is_believed():
    core = make_core(is_roam_auth_required=False)
    mine = roam(Token((1 << 64) - 1, 0, bytes(16)))
    (action,) = send(core, mine)
    after = make_core(is_roam_auth_required=False)
    after.restore(core.snapshot(NOW_S), NOW_S + 1, (), [Mapping(v.HOME, v.AT, None, 599, action.serial)])
    for each in (after, core):
        assert answer(send(each, wire.TokenRequest(wire.Lease(v.HOME, v.PLAT, 600))))[1].reason == wire.OK
        (action,) = send(each, replace(mine, at=ELSEWHERE), NOW_S + 300)
        assert (action.was, action.at) == (v.AT, ELSEWHERE)
        send(each, wire.Seek(v.V6), NOW_S + 700)
        assert each.platnode.entries[v.HOME].at == ELSEWHERE, "the new lease counts"


def test_a_token_goes_to_the_owner_of_the_home_and_each_is_later_than_the_last():
    core = make_core()
    serials = []
    for _ in range(3):
        destination, grant = answer(send(core, wire.TokenRequest(wire.Lease(v.HOME, v.PLAT, 600))))
        assert (destination, grant.reason, grant.nonce, grant.at) == (v.NODE_D, wire.OK, 7, None)
        assert answer(send(core, roam(grant.lease.token)))[1].reason == wire.OK
        serials.append(grant.lease.token.serial)
        core.platnode.entries.clear()
    assert serials == sorted(set(serials))
    assert send(core, wire.TokenRequest(wire.Lease(OUTSIDE, v.PLAT, 600))) == []
    assert (
        answer(send(core, wire.TokenRequest(wire.Lease(v.HOME, PLAT_RANGE, 600))))[1].reason
        == wire.NOT_A_PLATNODE
    )


def test_who_leases_a_mapped_home_is_told_where_it_is():
    core = make_core()
    send(core, roam(make_token(10)))
    assert answer(send(core, wire.TokenRequest(wire.Lease(v.HOME, v.PLAT, 600))))[1].at == v.AT


def test_a_restart_keeps_the_secret_and_the_serials():
    core = make_core()
    _, ack = answer(send(core, roam(make_token(10))))
    at_home = v.HOME[:12] + bytes((10, 0, 0, 9))
    send(core, roam(make_token(20, at_home), at_home, at_home))
    saved = core.snapshot(NOW_S)
    after = make_core(random=lambda size: bytes(size))
    assert after.restore(saved, NOW_S + 1, (), [Mapping(v.HOME, v.AT, None, 599, 10)]) == []
    assert answer(send(after, roam(make_token(19, at_home), at_home, at_home)))[1].reason == wire.STALE
    assert answer(send(after, roam(make_token(9), ELSEWHERE)))[1].reason == wire.STALE
    (action,) = send(after, roam(ack.lease.token, ELSEWHERE))
    assert (action.was, action.at) == (v.AT, ELSEWHERE)


def test_a_flood_in_the_name_of_a_node_keeps_nothing_out_that_has_a_token():
    core = make_core()
    for _ in range(300):
        send(core, roam(NO_TOKEN))
    (action,) = send(core, roam(make_token(10)))
    assert isinstance(action, MapClient)
    assert core.counters["datagrams_too_fast"] == 200
    assert answer(send(core, wire.TokenRequest(wire.Lease(v.HOME, v.PLAT, 600))))[1].reason == wire.OK
    assert send(core, wire.Seek(v.V6)) == []


def test_one_sender_cannot_have_more_than_its_share():
    core = make_core()
    done = sum(len(send(core, roam(make_token(10)), NOW_S)) for _ in range(300))
    assert done == 100 + 20  # and 20 for this home: its token is ours
    assert core.counters["datagrams_too_fast"] == 180
    assert len(send(core, roam(make_token(10)), NOW_S + 1)) == 1


def test_a_home_that_comes_home_displaces_what_was_mapped_there():
    """Its node had taken an older home of the client's to its address, and knows better now."""
    core = make_core()
    send(core, roam(make_token(10)))
    actions = send(core, roam(make_token(20, v.AT), home=v.AT), nonce=8)
    assert UnmapClient(v.HOME, v.AT) in actions
    assert core.platnode.entries[v.HOME].at is None
    assert v.AT not in core.platnode.home_at
