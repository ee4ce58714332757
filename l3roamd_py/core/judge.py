# SPDX-License-Identifier: ISC
"""What follows from what is known of a client. Pure: it reads the client's record, and changes nothing.

The first row that holds is the verdict; act.py carries it out and asks again, until the verdict is to wait. A deadline
is due when a Tick came after it, and not before: an answer that waits to be read must come first. `-`: the state stays.

state           evidence                                             verdict                then
--------------  ---------------------------------------------------  ---------------------  ---------
any             a node of version 0 answered some seconds ago        remind                 -
Claiming        a node answered, with a lease                        take over              Roaming
Claiming        no route led to where the CLAIM should go            ask neighbours         -
Claiming        it was seen since the last copy of the CLAIM         resend claim           -
Claiming        babel knows somebody who has it, nobody answered     give up search         -
Claiming        a copy of the CLAIM is due                           send claim             -
Claiming        contested or not proven to be back, in early rounds  claim again            -
Claiming        it left, is not proven to be back, or only passed    forget unproven        forgotten
Claiming        nobody else had it since we let it go, roamed        serve alone            Roaming
Claiming        nobody had it, or who had it knows no lease          serve alone            Served
Roaming         ROAM_ACK says OK                                     let in                 Served
Roaming         NOT_PROVEN, for the first time                       prove                  -
Roaming         STALE, for the first time                            claim by place         Claiming
Roaming         refused, not answered, or there is no PLAT to ask    begin anew             Served
Roaming         a copy of ROAM is due                                send roam              -
Roaming         a copy of the CLAIM to all is due                    send claim             -
Roaming         all copies of it have left                           end search             -
Roaming         its lease is over, it has IPv6 addresses             end lease              Served
Roaming         its lease is over, nothing is left to ask it by      forget with lease      forgotten
Roaming         to be asked whether it is here                       ask                    -
Served          a node answered late, with a lease                   take over              Roaming
Served          a node answered late, without one                    announce               -
Served          our DHCP server granted it an address                adopt grant            -
Served          it uses an address, and its search is over           use address            -
Served          claimed by another node, too long ago                dismiss late claim     -
Served          claimed, and contested: what we know is out of date  dismiss claim          -
Served          claimed, a newcomer that cannot be asked             disown                 forgotten
Served          claimed, it left or cannot be asked                  let go                 Departed
Served          claimed, it has answered                             refuse claim           -
Served          claimed, a question to it is due                     ask for rival          -
Served          claimed, it has not answered in time                 let go silent          Departed
Served          the same, too many were believed                     let go silent          -
Served          contested, it was heard since the search ended       claim contested        -
Served          the search: babel knows nobody any more              announce               -
Served          the search: a copy of the CLAIM is due               send claim             -
Served          the search: not answered, the client was heard       end search             -
Served          the search: not answered, nor was it heard           give up search         -
Served, Absent  ROAM_ACK to a renewal says OK                        note renewal           -
Served, Absent  NOT_PROVEN, for the first time                       prove                  -
Served, Absent  STALE: another node has it                           leave lease            -
Served, Absent  a renewal is refused                                 begin anew             Served
Served, Absent  a copy of ROAM is due                                send roam              -
Served, Absent  a renewal is not answered                            give up roam           -
Served, Absent  a copy of TOKEN_REQUEST is due                       send request           -
Served, Absent  TOKEN_REQUEST is not answered                        give up request        -
Served, Absent  its token or its mapping is to be renewed            renew                  -
Served          its lease is over, it was only heard                 extend lease           -
Served          its lease is over, it has IPv6 addresses             end lease              -
Served          its lease is over, nothing is left to ask it by      forget with lease      forgotten
Served          it left, and cannot be asked                         forget                 forgotten
Served          a newcomer that has proven to be here                announce               -
Served          it has answered since a node came back               claim from neighbours  -
Served          a newcomer that can be asked, for the first time     ask                    -
Served          to be asked, contested, but by no address            wait for sign          -
Served          the same, some minutes ago                           forget                 forgotten
Served          to be asked, but by no address                       postpone               -
Served          to be asked whether it is here                       ask                    -
Served          asked in vain, a newcomer that has sent              postpone               -
Served          asked in vain, a newcomer or contested               forget absent          forgotten
Served          asked in vain                                        mark absent            Absent
Served          to be asked, to learn what its answers take          measure                -
Absent          a sign of it came                                    serve again            Served
Absent          our DHCP server granted it an address                adopt grant            -
Absent          claimed by another node, too long ago                dismiss late claim     -
Absent          claimed by another node                              let go                 Departed
Absent          babel leads to another node, for long enough         forget elsewhere       forgotten
Absent          its lease is over, or it has none for some minutes   forget                 forgotten
Absent          its node-client address is given up for long enough  announce               -
Absent          it is time to see where babel leads                  check elsewhere        -
Restored        it has answered, and its ROAM was out                confirm restored       Roaming
Restored        it has answered                                      confirm restored       Served
Restored        it has not, and another node claims it               let go                 Departed
Restored        it has not                                           give up restored       Departed
Restored        it cannot be asked                                   give up restored       forgotten
Restored        a question is due                                    ask restored           -
"""

from l3roamd_py.core import wire
from l3roamd_py.core.client import (
    NEVER,
    Absent,
    Claiming,
    Client,
    Exchange,
    Lease,
    Restored,
    Roaming,
    Served,
    can_ask,
    has_roam_out,
    is_newcomer,
)
from l3roamd_py.core.options import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Clock(Protocol):
        now_s: float  # of the event that is handled
        due_s: float  # of the last Tick: deadlines before it are due


def judge(client: Client, clock: "Clock", options: Options) -> str:
    """Return what is to be done for a client now, one of the verdicts of the module's table."""
    legacy = client.search.legacy
    if legacy is not None and legacy.remind_s <= clock.due_s:
        return "remind"
    return JUDGES[type(client.state)](client, clock, options)


def _judge_claiming(client: Client, clock: "Clock", options: Options) -> str:
    search, claim = client.search, client.search.claim
    assert claim is not None
    if search.answer is not None and search.answer.lease is not None:
        return "take over"
    if search.answered_by is not None or search.ended_s < NEVER:
        return _judge_alone(client, options)
    if search.is_unreached:
        return "ask neighbours"
    if client.presence.seen_s >= claim.last_s + options.claim_resend_s:
        return "resend claim"  # who refused it may have lost the client since
    is_alone = search.is_unrouted and clock.due_s >= claim.started_s + options.unrouted_give_up_s
    if search.legacy is not None and search.legacy.grace_s < NEVER:
        if search.legacy.grace_s <= clock.due_s:
            return _judge_alone(client, options) if search.is_unrouted else "give up search"
    elif is_alone and claim.next_s <= clock.due_s:
        return _judge_alone(client, options)
    return _judge_copies(claim, options.claim_at_s, clock, "send claim", "give up search")


def _judge_copies(
    exchange: Exchange, offsets_s: tuple[float, ...], clock: "Clock", send: str, give_up: str
) -> str:
    """Judge a message that is repeated until its answer comes."""
    if exchange.next_s > clock.due_s:
        return "wait"
    return send if exchange.sent < len(offsets_s) else give_up


def _judge_alone(client: Client, options: Options) -> str:
    """Judge a client that nobody had, or of which nobody tells."""
    search, state = client.search, client.state
    assert isinstance(state, Claiming)
    is_unproven = state.former is not None and not client.presence.is_proven
    # babel knows a node that has it, which stays silent: it may have been there again when that node looked
    is_passing = search.is_contested and _is_passing(client, options)
    is_in_doubt = search.is_contested and client.grant is None and (search.heard is None or is_passing)
    may_ask = search.answered_by is None and search.rounds < options.arrival_rounds
    if may_ask and not client.presence.is_leaving and (is_unproven or is_in_doubt):
        return "claim again"  # no other sign of an idle client may come
    if client.presence.is_leaving or is_unproven or (is_in_doubt and is_passing):
        return "forget unproven"
    return "serve alone"


def _is_passing(client: Client, options: Options) -> bool:
    """Return whether a client was heard when it came, and never since: it may be back where its CLAIM was refused.

    Let in, it would begin anew when it comes again, before that node has let it go.
    """
    search, claim = client.search, client.search.claim
    if claim is None or search.heard is None:
        return False
    if not claim.started_s + options.claim_give_up_s <= search.ended_s < NEVER:
        return False
    moment_s = options.claim_at_s[-1] if search.rounds == 1 else 0.0
    return client.presence.seen_s < claim.started_s + moment_s


def _judge_roaming(client: Client, clock: "Clock", options: Options) -> str:
    lease = client.lease
    assert lease is not None
    roam = lease.roam
    if roam is None:
        return "begin anew"
    if lease.roam_ack is not None:
        if_stale = "begin anew" if client.search.is_after_stale else "claim by place"
        return _judge_roam_ack(lease, lease.roam_ack.reason, "let in", if_stale)
    verdict = "wait"
    if roam.next_s <= clock.due_s:
        verdict = "send roam" if roam.sent < len(options.roam_at_s) else "begin anew"
    if verdict == "wait" and client.search.is_to_all and client.search.claim is not None:
        verdict = _judge_search(client, client.search.claim, clock, options)
    if verdict == "wait" and lease.until_s <= clock.due_s:
        return "end lease" if client.addresses else "forget with lease"
    return "ask" if verdict == "wait" and client.presence.check_s <= clock.due_s else verdict


def _judge_roam_ack(lease: Lease, reason: int, if_ok: str, if_stale: str) -> str:
    if reason == wire.NOT_PROVEN and not lease.has_proof:
        return "prove"
    return {wire.OK: if_ok, wire.STALE: if_stale}.get(reason, "begin anew")


def _judge_served(client: Client, clock: "Clock", options: Options) -> str:
    search, lease = client.search, client.lease
    if search.answer is not None:
        return "announce" if search.answer.lease is None else "take over"
    if client.grant is not None:
        return "adopt grant"
    if search.heard is not None and (lease is not None or not search.is_running):
        return "use address"
    verdict = "wait" if client.rival is None else _judge_rival(client, clock, options)
    if verdict == "wait" and search.claim is not None:
        verdict = _judge_search(client, search.claim, clock, options)
    if verdict == "wait" and lease is not None:
        verdict = _judge_lease(lease, client, clock, options)
    return _judge_presence(client, clock, options) if verdict == "wait" else verdict


def _judge_rival(client: Client, clock: "Clock", options: Options) -> str:
    """Judge another node's claim; while a ROAM of ours is out nobody knows what we would have to tell."""
    rival = client.rival
    if rival is None or (has_roam_out(client) and not rival.questions):
        return "wait"
    if not rival.questions and rival.until_s < clock.now_s:
        return "dismiss late claim"
    if client.search.is_contested:
        return "dismiss claim"  # the node that has it is asked as well
    if is_newcomer(client) and not can_ask(client):
        return "disown"  # we have nothing to tell, and vouch for nobody
    if isinstance(client.state, Absent) or client.presence.is_leaving or not can_ask(client):
        return "let go"
    if rival.is_refuted:
        return "refuse claim"
    if rival.questions and rival.next_s > clock.due_s:
        return "wait"
    return "ask for rival" if rival.questions < len(options.probe_at_s) else "let go silent"


def _judge_search(client: Client, claim: Exchange, clock: "Clock", options: Options) -> str:
    """Judge our question who has a client that we serve."""
    search, seen_s = client.search, client.presence.seen_s
    if search.is_contested and seen_s > search.ended_s and not search.is_running:
        return "claim contested"  # the other node will let it go if we ask once more
    if claim.next_s == NEVER:
        return "wait"
    if search.is_unreached and search.is_running:
        return "announce"
    give_up = "end search" if search.is_to_all or seen_s >= claim.last_s else "give up search"
    offsets_s = options.claim_all_at_s if search.is_to_all else options.claim_at_s
    return _judge_copies(claim, offsets_s, clock, "send claim", give_up)


def _judge_lease(lease: Lease, client: Client, clock: "Clock", options: Options) -> str:
    verdict, roam, request = "wait", lease.roam, lease.request
    if lease.roam_ack is not None:
        return _judge_roam_ack(lease, lease.roam_ack.reason, "note renewal", "leave lease")
    if roam is not None:
        verdict = _judge_copies(roam, options.roam_at_s, clock, "send roam", "give up roam")
    if verdict == "wait" and request is not None:
        verdict = _judge_copies(request, options.token_at_s, clock, "send request", "give up request")
    if verdict == "wait" and lease.renew_s <= clock.due_s:
        return "renew"
    if verdict != "wait" or lease.until_s > clock.due_s:
        return verdict
    if not lease.is_granted:
        return "extend lease"
    return "end lease" if client.addresses else "forget with lease"


def _judge_presence(client: Client, clock: "Clock", options: Options) -> str:
    """Judge whether a client is still here."""
    presence, is_new = client.presence, not client.is_announced and is_newcomer(client)
    if presence.is_leaving and not can_ask(client):
        return "forget"
    if is_new and presence.is_proven:
        return "announce"
    if presence.swept_s <= presence.answered_s and not client.search.is_running and not has_roam_out(client):
        return "claim from neighbours"
    if is_new and can_ask(client) and not presence.unanswered:
        return "ask"
    if presence.check_s <= clock.due_s:
        return _judge_silence(client, clock, options)
    is_to_measure = isinstance(client.state, Served) and client.state.measure_s <= clock.due_s
    return "measure" if is_to_measure else "wait"


def _judge_silence(client: Client, clock: "Clock", options: Options) -> str:
    presence, is_contested = client.presence, client.search.is_contested
    if not can_ask(client):
        if not is_contested:
            return "postpone"  # the kernel will say when it leaves
        return "forget" if presence.unanswered else "wait for sign"
    if presence.unanswered < options.idle_probes:
        return "ask"
    is_new = is_newcomer(client)
    if is_new and presence.first_asked_s < presence.seen_s > clock.due_s - options.idle_s:
        return "postpone"
    return "forget absent" if is_new or is_contested else "mark absent"


def _judge_absent(client: Client, clock: "Clock", options: Options) -> str:
    state, lease = client.state, client.lease
    assert isinstance(state, Absent)
    if state.is_back:
        return "serve again"
    if client.grant is not None:
        return "adopt grant"
    verdict = "wait" if client.rival is None else _judge_rival(client, clock, options)
    if verdict != "wait":
        return verdict
    if state.is_elsewhere:
        return "forget elsewhere"
    is_over = min(state.forget_s, NEVER if lease is None else lease.until_s) <= clock.due_s
    if is_over or (client.presence.is_leaving and not can_ask(client)):
        return "forget"
    if lease is not None and (verdict := _judge_lease(lease, client, clock, options)) != "wait":
        return verdict
    if state.next_s > clock.due_s:
        return "wait"
    return "announce" if not client.is_announced and state.until_s <= clock.due_s else "check elsewhere"


def _judge_restored(client: Client, clock: "Clock", _: Options) -> str:
    state, rival = client.state, client.rival
    assert isinstance(state, Restored)
    if state.is_here:
        return "confirm restored"
    if state.next_s > clock.due_s:
        return "wait"
    if state.until_s > clock.due_s:
        return "ask restored"
    return "let go" if rival is not None and rival.until_s >= clock.now_s else "give up restored"


JUDGES = {
    Claiming: _judge_claiming,
    Roaming: _judge_roaming,
    Served: _judge_served,
    Absent: _judge_absent,
    Restored: _judge_restored,
}


def next_deadline_s(client: Client) -> float:
    """Return when the verdict may be another one although nothing happens."""
    search, lease, state = client.search, client.lease, client.state
    if isinstance(state, Restored):
        return state.next_s
    due_s = client.presence.check_s
    if search.claim is not None and search.claim.next_s < due_s:
        due_s = search.claim.next_s
    if search.legacy is not None:
        due_s = min(due_s, search.legacy.grace_s, search.legacy.remind_s)
    if client.rival is not None and client.rival.next_s < due_s:
        due_s = client.rival.next_s
    if isinstance(state, Served):
        due_s = min(due_s, state.measure_s)
    elif isinstance(state, Absent):
        due_s = min(due_s, state.next_s, state.forget_s)
    if lease is None:
        return due_s
    if lease.request is not None and lease.request.next_s < due_s:
        due_s = lease.request.next_s
    if lease.roam is not None and lease.roam.next_s < due_s:
        due_s = lease.roam.next_s
    return min(due_s, lease.until_s, lease.renew_s)
