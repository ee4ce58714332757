# SPDX-License-Identifier: ISC
"""What we ask of a PLAT for a client's lease: ROAM, that it is here now; TOKEN_REQUEST, for its word. No I/O."""

from l3roamd_py.core import wire
from l3roamd_py.core.actions import CheckPlace, CheckPlat
from l3roamd_py.core.client import AT_ONCE, NEVER, NOWHERE, Client, Exchange, Lease, Served
from l3roamd_py.core.node import Node, node_of
from l3roamd_py.core.token import Token
from runtime.ordered import oldest
from xlat464.address import format_ipv6

PROOFS_MAX = 256  # PLATs; the oldest goes, and asks again


def request_token(node: Node, lease: Lease, delay_s: float = 0.0) -> None:
    if lease.plat == NOWHERE or not node.is_home(lease):
        return
    nonce, starts_s = node.make_nonce(), node.now_s + delay_s
    request = wire.TokenRequest(wire.Lease(lease.home, lease.plat, node.seconds_left(lease)))
    lease.request = Exchange(nonce, node.encode(request, nonce), node_of(lease.plat), starts_s)
    lease.request.next_s, lease.renew_s = starts_s if delay_s else AT_ONCE, NEVER


def send_request(node: Node, client: Client) -> None:
    if client.lease is not None and client.lease.request is not None:
        offsets_s = node.options.token_at_s
        node.send_copy(client.lease.request, offsets_s, 2 * offsets_s[-1])


def give_up_request(node: Node, client: Client) -> None:
    if client.lease is not None:
        client.lease.request = None
        _renew_later(node, client.lease, "tokens_unanswered")


def give_up_roam(node: Node, client: Client) -> None:
    """A renewal was not answered."""
    if client.lease is not None:
        client.lease.roam = None
        _renew_later(node, client.lease, "roams_unanswered")


def _renew_later(node: Node, lease: Lease, counter: str) -> None:
    node.count(counter)
    node.do(CheckPlat(lease.plat))
    lease.renew_s = node.now_s + node.options.token_again_s


def on_token(node: Node, grant: wire.TokenGrant) -> None:
    """The PLAT vouches for one of our homes."""
    client = node.client_at(grant.lease.home)
    lease = None if client is None else client.lease
    if client is None or lease is None or lease.request is None or lease.request.nonce != grant.nonce:
        return node.count("tokens_unexpected")
    has_roamed = grant.at == lease.home and node.is_of_client(grant.lease.home)
    if (lease.home != grant.lease.home and not has_roamed) or lease.plat != grant.lease.plat:
        return node.count("tokens_unexpected")
    lease.request = None
    node.touch(client.mac)
    if grant.reason != wire.OK:
        node.count("tokens_refused")
        lease.renew_s = node.now_s + node.options.token_again_s
        return None
    if has_roamed:  # it roamed to us, and we have forgotten; its connections live where it is mapped
        lease.home = grant.lease.home
        node.count("homes_remembered")
    is_mapped = grant.at not in (None, lease.home)
    is_its_own = has_roamed or lease.is_returned or (grant.at is not None and node_of(grant.at) == lease.left)
    if grant.at is not None and is_mapped and not is_its_own:
        # somebody had this address before, and roamed with it: without a token ours cannot take the mapping along
        return node.do(CheckPlace(client.mac, grant.at))
    _note_token(node, client, lease, grant.lease.token)
    renew_in_time(node, lease, grant.lease.lease_s)
    return _bring_home(node, client, lease, has_roamed) if is_mapped and lease.roam is None else None


def _bring_home(node: Node, client: Client, lease: Lease, has_roamed: bool) -> None:
    """A home is mapped to another node, though its client is here: a ROAM to itself brings it home."""
    if client.search.is_contested:  # whether it is here at all is known in a moment
        lease.renew_s = node.now_s + node.options.idle_probe_s
        return None
    if not has_roamed:
        node.count("homes_reclaimed")
    return start_roam(node, client)


def _note_token(node: Node, client: Client, lease: Lease, token: Token) -> None:
    lease.token = token
    node.changes += 1
    state = client.state
    if (
        node.told_partners and isinstance(state, Served) and state.measures
    ):  # they hear of it with the next question
        state.measures, state.measure_s = min(state.measures, node.options.measures - 1), node.now_s


def renew_in_time(node: Node, lease: Lease, lease_s: int) -> None:
    """The PLAT may keep a mapping or a token for less than the DHCP lease."""
    if lease_s + 1 < lease.until_s - node.now_s:
        lease.renew_s = node.now_s + max(1.0, lease_s / 2)


def renew(node: Node, client: Client) -> None:
    lease = client.lease
    assert lease is not None
    lease.renew_s = NEVER
    node.use_plat(lease)
    if node.is_home(lease):
        request_token(node, lease)
    elif lease.roam is None:
        start_roam(node, client)


def start_roam(node: Node, client: Client, has_proof: bool = False) -> None:
    """Send ROAM for the lease that the client has; it is ready to receive by now."""
    lease = client.lease
    assert lease is not None
    lease.roam, lease.roam_ack, lease.renew_s, lease.has_proof = None, None, NEVER, has_proof
    if lease.plat == NOWHERE:
        return
    nonce = node.make_nonce()
    shown = wire.Lease(lease.home, lease.plat, node.seconds_left(lease), lease.token)
    body = wire.Roam(shown, node.at(lease.ipv4), node.proofs.get(lease.plat))
    lease.roam = Exchange(nonce, node.encode(body, nonce), node_of(lease.plat), node.now_s)
    node.send_copy(lease.roam, node.options.roam_at_s, node.options.roam_give_up_s)


def pass_roam_on(node: Node, lease: Lease, place: bytes, nonce: int) -> None:
    """Send ROAM in the place of the node that claimed the client: if its PLAT expects that, it is there sooner."""
    if lease.plat != NOWHERE and lease.token.serial:
        shown = wire.Lease(lease.home, lease.plat, node.seconds_left(lease), lease.token)
        body = wire.Roam(shown, place[:12] + lease.ipv4)
        node.send(node_of(lease.plat), node.encode(body, nonce))


def expect(node: Node, client: Client, ipv4: bytes) -> None:
    """A packet of a client waits: its PLAT, most likely ours, may believe the node that has it before we ask."""
    search, plat = client.search, node.current
    proof, claim = node.proofs.get(plat or NOWHERE), search.claim
    if (
        plat is None
        or proof is None
        or claim is None
        or search.expected == claim.nonce
        or not search.is_running
    ):
        return
    if node.owner_of.get(ipv4, client.mac) == client.mac:
        search.expected = claim.nonce
        node.send(node_of(plat), node.encode(wire.Expect(node.at(ipv4), proof), claim.nonce))


def send_roam(node: Node, client: Client) -> None:
    if client.lease is not None and client.lease.roam is not None:
        node.send_copy(client.lease.roam, node.options.roam_at_s, node.options.roam_give_up_s)


def on_roam_ack(node: Node, ack: wire.RoamAck) -> None:
    """Our ROAM's answer: only its owner knows the nonce, others are dropped."""
    client = node.client_at(ack.at)
    lease = None if client is None else client.lease
    if client is None or lease is None:
        return node.count("roam_acks_unexpected")
    claim = client.search.claim
    is_passed_on = claim is not None and claim.nonce == ack.nonce and ack.reason == wire.OK
    if is_passed_on and node.is_home(lease) and ack.lease.plat == lease.plat:
        lease.renew_s = AT_ONCE  # it began anew here, yet a home of before is mapped: TOKEN says which
        return node.touch(client.mac)
    if lease.roam is None:
        return node.count("roam_acks_unexpected")
    if lease.roam.nonce != ack.nonce and not is_passed_on:
        return node.count("roam_acks_unexpected")
    if (ack.lease.home, ack.lease.plat, ack.at) != (lease.home, lease.plat, node.at(lease.ipv4)):
        return node.count("roam_acks_unexpected")
    lease.roam_ack, lease.roam.next_s = ack, NEVER
    return node.touch(client.mac)


def accept(node: Node, client: Client) -> None:
    """The PLAT has taken our ROAM."""
    lease = client.lease
    assert lease is not None
    assert lease.roam_ack is not None
    granted = lease.roam_ack.lease
    lease.roam, lease.roam_ack = None, None
    _note_token(node, client, lease, granted.token)
    client.search.is_after_stale = False
    renew_in_time(node, lease, granted.lease_s)


def prove(node: Node, client: Client) -> None:
    """The PLAT wants to know that we are at our own CLAT prefix: only there its proof is heard."""
    assert client.lease is not None
    assert client.lease.roam_ack is not None
    store_proof(node, client.lease.roam_ack.lease)
    node.count("roams_proven")
    start_roam(node, client, has_proof=True)


def store_proof(node: Node, shown: wire.Lease) -> None:
    if len(node.proofs) >= PROOFS_MAX:
        del node.proofs[oldest(node.proofs)]
    node.proofs[shown.plat] = shown.token


def end_roam(node: Node, client: Client) -> str:
    """Our ROAM has come to nothing: count it, and return why, for people."""
    lease = client.lease
    if lease is None or lease.roam is None:
        return "it has no PLAT"
    roam, ack = lease.roam, lease.roam_ack
    lease.roam = lease.roam_ack = None
    if ack is None:
        node.count("roams_unanswered")
        return f"{format_ipv6(roam.destination)} does not answer"
    node.count("roams_refused")
    if ack.reason == wire.STALE:
        client.search.spent = lease.plat, lease.token.serial
    elif ack.reason == wire.BAD_TOKEN:
        client.search.spent = NOWHERE, 0  # of before the PLAT started again, whose serials begin anew
    why = wire.REASONS[ack.reason] if ack.reason < len(wire.REASONS) else f"reason {ack.reason}"
    return f"{format_ipv6(roam.destination)} refuses: {why}"
