# SPDX-License-Identifier: ISC
"""The roaming core under any input: it never raises, loops or grows, nor opens a gate unasked."""

import json
from collections import Counter

import l3roamd_vectors as vectors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from l3roamd_mesh import CLAT_RANGE, CLIENT_IPV6, CLIENTS, PLAT_RANGE

from l3roamd_py.core import actions as do
from l3roamd_py.core import events, judge, wire
from l3roamd_py.core.core import Core
from l3roamd_py.core.mapping import Mapping
from l3roamd_py.core.options import Options
from l3roamd_py.core.platnode import Platnode
from l3roamd_py.core.token import Token

BOUND = 6
MACS = st.sampled_from(
    [vectors.CLIENT, bytes(6), b"\xff" * 6, *(bytes((2, 0, 0, 0, 1, i)) for i in range(9))]
)
IPV4S = st.sampled_from(
    [vectors.IPV4, bytes(4), b"\xff" * 4, bytes((192, 0, 0, 1)), *(bytes((10, 0, 0, i)) for i in range(9))]
)
PREFIXES = st.sampled_from(
    [vectors.D + bytes(4), vectors.B + bytes(4), vectors.PLAT, CLAT_RANGE, PLAT_RANGE, bytes(16)]
)
HOMES = st.builds(lambda prefix, ipv4: prefix[:12] + ipv4, PREFIXES, IPV4S)
ADDRESSES = st.one_of(
    HOMES,
    st.sampled_from(
        [vectors.NODE_A, vectors.NODE_B, vectors.NODE_C, vectors.NODE_D, vectors.LEGACY, vectors.MAPPED]
    ),
    st.builds(lambda last: CLIENT_IPV6[:15] + bytes((last,)), st.integers(0, 40)),
    st.binary(min_size=16, max_size=16),
)
NONCES = st.one_of(st.sampled_from([0, 0x01010101]), st.integers(0, 0xFFFFFFFF))
SECONDS = st.one_of(st.sampled_from([0, 1, 600, 86400, 0xFFFFFFFF]), st.integers(0, 0xFFFFFFFF))
TOKENS = st.one_of(
    st.sampled_from([vectors.TOKEN, vectors.FRESH]),
    st.builds(
        Token,
        st.one_of(st.just((1 << 64) - 1), st.integers(0, (1 << 64) - 1)),
        SECONDS,
        st.binary(min_size=16, max_size=16),
    ),
)
MAYBE_TOKENS = st.one_of(st.none(), TOKENS)
LEASES = st.builds(wire.Lease, HOMES, st.one_of(PREFIXES, ADDRESSES), SECONDS, TOKENS)
REASONS = st.integers(0, 255)
NODES = st.sampled_from([vectors.D, vectors.B])
ROAMS = st.builds(  # for the right platnode, of one client: whether they are good is for their tokens to say
    lambda home, at, ipv4, lease_s, token, proof: wire.Roam(
        wire.Lease(home + ipv4, vectors.PLAT, lease_s, token), at + ipv4, proof
    ),
    NODES, NODES, IPV4S, SECONDS, TOKENS, MAYBE_TOKENS,
)  # fmt: skip
BODIES = st.one_of(
    st.builds(wire.Seek, ADDRESSES),
    st.builds(wire.Claim, MACS),
    st.builds(
        wire.Info,
        MACS,
        st.lists(ADDRESSES, max_size=15).map(tuple),
        ADDRESSES,
        st.integers(0, 0xFFFF),
        st.one_of(st.none(), LEASES),
        st.one_of(st.none(), NONCES),
    ),
    st.builds(wire.Ack, MACS),
    st.builds(wire.Roam, LEASES, HOMES, MAYBE_TOKENS),
    ROAMS,
    st.builds(wire.RoamAck, LEASES, HOMES, NONCES, REASONS, st.one_of(st.none(), HOMES)),
    st.builds(wire.TokenRequest, LEASES),
    st.builds(wire.TokenGrant, LEASES, NONCES, REASONS, st.one_of(st.none(), HOMES)),
)
HEADERS = st.builds(wire.Header, ADDRESSES, NONCES, st.integers(0, 255), st.booleans())


@st.composite
def payloads(draw):
    """A message of any values, sometimes with bytes changed, cut or put in."""
    payload = bytearray(wire.encode(draw(HEADERS), draw(BODIES)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2, 5]))):
        at = draw(st.integers(0, len(payload)))
        payload[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(payload)


EVENTS = st.one_of(
    st.builds(events.Datagram, ADDRESSES, ADDRESSES, st.one_of(payloads(), st.binary(max_size=400))),
    st.builds(events.ClientSeen, MACS, st.one_of(st.none(), IPV4S)),
    st.builds(events.ClientGone, MACS),
    st.builds(events.ArpAnswered, MACS, IPV4S),
    st.builds(events.AddressSeen, MACS, ADDRESSES, st.booleans()),
    st.builds(events.AddressGone, MACS, ADDRESSES),
    st.builds(events.LeaseGranted, MACS, IPV4S, st.integers(-5, 100_000), st.booleans(), st.booleans()),
    st.builds(events.LeaseEnded, MACS, IPV4S),
    st.builds(events.ClaimUnreachable, MACS),
    st.builds(events.FoundElsewhere, MACS),
    st.just(events.NodeAppeared()),
    st.builds(events.PlatChosen, PREFIXES.filter(lambda prefix: prefix[:6] == PLAT_RANGE[:6])),
    st.builds(events.PlatLost, PREFIXES),
    st.builds(events.PlatsTold, st.frozensets(PREFIXES), st.frozensets(PREFIXES)),
    st.builds(events.PlatsUnrouted, st.frozensets(PREFIXES)),
    st.builds(events.PlatChecked, PREFIXES, st.booleans()),
    st.builds(events.PlaceChecked, MACS, HOMES, st.booleans()),
    st.just(events.Tick()),
)
SCRIPTS = st.lists(st.tuples(EVENTS, st.sampled_from([0.0, 0.001, 0.02, 0.3, 1.0, 5.0, 400.0])), max_size=60)
ROLES = st.sampled_from(
    [(vectors.B + bytes(4), None), (None, vectors.PLAT), (vectors.B + bytes(4), vectors.PLAT)]
)


def make_core(clat: bytes | None, plat: bytes | None, is_roam_auth_required: bool = True) -> Core:
    return Core(
        Options(
            CLAT_RANGE,
            PLAT_RANGE,
            CLIENTS,
            clat=clat,
            plat=plat,
            prefixes=((CLIENT_IPV6, 64),),
            # few nonces, so that some answers are right; the secret is that of the vectors
            random=lambda size: bytes(range(32)) if size == 32 else b"\1" * size,
            is_roam_auth_required=is_roam_auth_required,
            max_clients=BOUND,
            max_claims=BOUND,
            max_departed=BOUND,
            max_granted=BOUND,
            max_roams=BOUND,
            max_roams_of_node=BOUND - 1,
            max_senders=BOUND,
            max_lease_s=1000,
        )
    )


def check_bounds(core: Core) -> None:
    node = core.node
    for grown in (
        node.clients,
        node.departed,
        node.granted,
        node.away,
        node.away_questions,
        node.unrouted_plats,
        node.claiming,
        core.admission.sources,
    ):
        assert len(grown) <= BOUND
    assert len(node.timers) <= 12 * BOUND
    assert len(node.timers._heap) <= 24 * BOUND + node.timers.SLACK
    assert len(node.counters) < 100
    owners = {address: client.mac for client in node.clients.values() for address in client.addresses}
    owners |= {client.ipv4: client.mac for client in node.clients.values() if client.ipv4}
    assert node.owner_of == owners
    assert all(len(client.addresses) <= node.options.max_addresses for client in node.clients.values())
    assert not any(judge.judge(client, node) for client in node.clients.values())
    if core.platnode is not None:
        assert len(core.platnode.home_at) <= len(core.platnode.entries) <= BOUND
        check_places(core.platnode)


def check_places(platnode: Platnode) -> None:
    """What is counted beside the entries is what the entries say."""
    mapped = {home: entry.at for home, entry in platnode.entries.items() if entry.at is not None}
    assert platnode.places == Counter(at[:12] for at in mapped.values())
    groups = platnode.groups._groups
    assert sorted(home for group in groups.values() for home in group.mapped) == sorted(mapped)
    assert sorted(home for group in groups.values() for home in group.spent) == sorted(
        platnode.entries.keys() - mapped.keys()
    )


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(ROLES, SCRIPTS, st.booleans())
def test_nothing_that_happens_breaks_the_core(roles, script, is_roam_auth_required):
    core, now_s = make_core(*roles, is_roam_auth_required), 1000.0
    opened: set[tuple[bytes, bytes]] = set()
    mapped: dict[bytes, Mapping] = {}
    for event, pause_s in script:
        actions = core.handle(event, now_s)
        for action in actions:
            if isinstance(action, do.OpenGate):
                opened.add((action.mac, action.address))
            elif isinstance(action, do.CloseGate):
                opened.discard((action.mac, action.address))
            elif isinstance(action, do.MapClient):
                mapped[action.home] = Mapping(action.home, action.at, None, action.lease_s, action.serial)
        assert len(actions) <= 400
        served = {
            (core.node.mac_of(client.mac), address)
            for client in core.node.clients.values()
            for address in (client.ipv4, *client.addresses)
        }
        assert opened <= served, "the gate is open for clients of ours only"
        check_bounds(core)
        now_s += pause_s
    run_deadlines(core, now_s)
    saved = json.loads(json.dumps(core.snapshot(now_s)))
    json.dumps(core.status(now_s))
    again = make_core(*roles, is_roam_auth_required)
    again.restore(saved, now_s, opened, list(mapped.values())[-BOUND:])
    check_bounds(again)
    for event, pause_s in script:
        again.handle(event, now_s)
        now_s += pause_s
    check_bounds(again)


def run_deadlines(core: Core, now_s: float) -> None:
    """Follow the core's own deadlines for a while: they move on, and not too fast."""
    until_s = now_s + 30
    for _ in range(3000):
        due_s = core.next_deadline_s
        if due_s is None or due_s > until_s:
            return
        now_s = max(now_s, due_s)
        core.handle(events.Tick(), now_s)
        assert core.next_deadline_s is None or core.next_deadline_s > now_s
    raise AssertionError("the core does not come to rest")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(payloads(), st.binary(max_size=400)), max_size=40))
def test_whatever_a_peer_sends_moves_no_client_that_answers(datagrams):
    """A served client that answers ARP: no message of a stranger takes its gate, its PLAT or its address."""
    core = make_core(vectors.B + bytes(4), vectors.PLAT)
    core.node.options.random(4)
    now_s = 1000.0
    core.handle(events.PlatChosen(vectors.PLAT), now_s)
    core.handle(events.ClientSeen(vectors.CLIENT), now_s)
    core.handle(events.ClaimUnreachable(vectors.CLIENT), now_s)
    for _ in range(3):
        core.handle(events.Tick(), now_s := now_s + 0.03)
        core.handle(events.ClaimUnreachable(vectors.CLIENT), now_s)
    core.handle(events.LeaseGranted(vectors.CLIENT, vectors.IPV4, 600), now_s)
    client = core.node.clients[vectors.CLIENT]
    client.lease.request = client.search.claim = None  # what it asked is answered
    for payload in datagrams:
        now_s += 0.05
        actions = core.handle(events.Datagram(vectors.NODE_A, vectors.NODE_B, payload), now_s)
        if any(isinstance(action, do.ProbeClient) for action in actions):
            actions += core.handle(events.ArpAnswered(vectors.CLIENT, vectors.IPV4), now_s + 0.002)
        actions += core.handle(events.Tick(), now_s + 0.02)
        taken = (do.CloseGate, do.LeavePlat, do.RemoveNodeClient, do.RemoveNeighbour, do.RefuseAtGate)
        assert not any(isinstance(action, taken) for action in actions)
    assert core.node.clients[vectors.CLIENT].lease.home == vectors.B + vectors.IPV4
