# SPDX-License-Identifier: ISC
"""What is judged alike in several states: another's claim, our question, the lease, whether a client is here. Pure."""

from l3roamd_py.core import absence, act, addresses, requests, service, wire
from l3roamd_py.core import rival as rivals
from l3roamd_py.core import search as searches
from l3roamd_py.core.client import (
    NEVER,
    Absent,
    Client,
    Contest,
    Exchange,
    Lease,
    Served,
    can_ask,
    has_roam_out,
    is_newcomer,
)
from l3roamd_py.core.node import own_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from l3roamd_py.core.node import Node
    from l3roamd_py.core.options import Options

    Act = Callable[[Node, Client], object]
    Verdict = Act | None  # None: to wait

    class Clock(Protocol):
        """What of a node is read here."""

        options: Options
        now_s: float  # of the event that is handled
        due_s: float  # of the last Tick: deadlines before it are due


def is_contesting(contest: Contest, clock: "Clock") -> bool:
    """Return whether somebody is being asked for an address that a client is to have."""
    return clock.due_s < contest.next_s < NEVER


def judge_rival(client: Client, clock: "Clock") -> "Verdict":
    """Judge another node's claim; while a ROAM of ours is out nobody knows what we would have to tell."""
    rival = client.rival
    if rival is None or (has_roam_out(client) and not rival.questions):
        return None
    if not rival.questions and rival.until_s < clock.now_s:
        return rivals.dismiss_late_claim
    if client.search.is_contested:
        return rivals.dismiss_claim  # the node that has it is asked as well
    if is_newcomer(client) and not can_ask(client):
        return rivals.disown  # we have nothing to tell, and vouch for nobody
    if isinstance(client.state, Absent) or client.presence.is_leaving or not can_ask(client):
        return rivals.let_go
    if rival.is_refuted:
        return rivals.refuse_claim
    if rival.questions and rival.next_s > clock.due_s:
        return None
    return rivals.ask_for_rival if rival.questions < clock.options.probes else rivals.let_go_silent


def judge_search(client: Client, claim: Exchange, clock: "Clock") -> "Verdict":
    """Judge our question who has a client that we serve."""
    search, seen_s, options = client.search, client.presence.seen_s, clock.options
    if search.is_contested and seen_s > search.ended_s and not search.is_running:
        return searches.claim_contested  # the other node will let it go if we ask once more
    if claim.next_s == NEVER:
        return None
    if search.is_unreached and search.is_running:
        return service.announce
    is_answer = search.is_to_all or seen_s >= claim.last_s
    give_up = searches.end_search if is_answer else searches.give_up_search
    offsets_s = options.claim_all_at_s if search.is_to_all else options.claim_at_s
    return judge_copies(claim, offsets_s, clock, searches.send_claim, give_up)


def judge_lease(lease: Lease, client: Client, clock: "Clock") -> "Verdict":
    verdict, roam, request, options = None, lease.roam, lease.request, clock.options
    if lease.roam_ack is not None:
        return judge_roam_ack(lease, lease.roam_ack, clock, requests.accept, requests.end_roam)
    if roam is not None:
        verdict = judge_copies(roam, options.roam_at_s, clock, requests.send_roam, requests.give_up_roam)
    if verdict is None and request is not None:
        send, give_up = requests.send_request, requests.give_up_request
        verdict = judge_copies(request, options.token_at_s, clock, send, give_up)
    if verdict is None and lease.renew_s <= clock.due_s:
        return requests.renew
    if verdict is not None or lease.until_s > clock.due_s:
        return verdict
    return _judge_end_of_grant(client, lease, clock) if lease.is_granted else addresses.extend_lease


def _judge_end_of_grant(client: Client, lease: Lease, clock: "Clock") -> "Verdict":
    """Judge a client whose lease is over, as far as we know: another node's DHCP server may have given it more time."""
    contest = client.contest
    if lease.home != own_address(clock.options.clat, lease.ipv4):
        return judge_end(client)  # its token is over, too
    if contest is None or contest.ipv4 != lease.ipv4 or contest.since_s < lease.until_s:
        return addresses.ask_for_address
    if client.presence.answered_s > contest.since_s:
        return addresses.extend_lease
    if is_contesting(contest, clock):
        return None
    is_asked = contest.questions == len(clock.options.contest_at_s) - 1
    return judge_end(client) if is_asked else addresses.ask_for_address


def judge_roam_ack(
    lease: Lease, ack: wire.RoamAck, clock: "Clock", if_ok: "Act", if_stale: "Act", is_old: bool = False
) -> "Verdict":
    """is_old: a refusal says no more than that the token is."""
    reason, place = ack.reason, ack.place
    if reason == wire.STALE and place is not None and place == own_address(clock.options.clat, lease.ipv4):
        return act.ask_for_home
    if reason == wire.NOT_PROVEN and not lease.has_proof:
        return requests.prove
    if reason == wire.OK:
        return if_ok
    return if_stale if reason == wire.STALE or is_old else act.begin_anew


def judge_end(client: Client) -> "Verdict":
    """Judge a client whose lease is over."""
    return act.end_lease if client.addresses else act.forget_with_lease


def judge_copies(
    exchange: Exchange, offsets_s: tuple[float, ...], clock: "Clock", send: "Act", give_up: "Act"
) -> "Verdict":
    """Judge a message that is repeated until its answer comes."""
    if exchange.next_s > clock.due_s:
        return None
    return send if exchange.sent < len(offsets_s) else give_up


def judge_presence(client: Client, clock: "Clock") -> "Verdict":
    """Judge whether a client is still here."""
    presence, is_new = client.presence, not client.is_announced and is_newcomer(client)
    if presence.is_leaving and not can_ask(client):
        return service.forget
    if is_new and presence.is_proven:
        return service.announce
    if presence.swept_s <= presence.answered_s and not client.search.is_running and not has_roam_out(client):
        return searches.claim_from_neighbours
    if is_new and can_ask(client) and not presence.unanswered:
        return absence.ask
    if presence.check_s <= clock.due_s:
        return _judge_silence(client, clock)
    is_to_measure = isinstance(client.state, Served) and client.state.measure_s <= clock.due_s
    return service.measure if is_to_measure else None


def _judge_silence(client: Client, clock: "Clock") -> "Verdict":
    presence, is_contested = client.presence, client.search.is_contested
    if not can_ask(client):
        if not is_contested:
            return absence.postpone  # the kernel will say when it leaves
        return service.forget if presence.unanswered else absence.wait_for_sign
    if presence.unanswered < clock.options.idle_probes:
        return absence.ask
    is_new = is_newcomer(client)
    if is_new and presence.first_asked_s < presence.seen_s > clock.due_s - clock.options.idle_s:
        return absence.postpone
    return absence.forget_absent if is_new or is_contested else absence.mark_absent
