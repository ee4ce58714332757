# SPDX-License-Identifier: ISC
"""What follows from what is known of a client. Pure: it reads the client's record, and changes nothing.

The first row that holds is the verdict: the function of that name, which core.py calls and then asks again, until there
is none. A deadline is due when a Tick came after it, and not before: an answer that waits to be read must come first.
`-`: the state stays.

Two things are no evidence about one client, so they are not judged here. What prefixd says of PLATs is about all
clients of a PLAT, which move one after the other (plats.py). A TOKEN answers a TOKEN_REQUEST, and what it says of the
lease is true in each state; what follows is judged by the lease: a ROAM, or the next question (requests.py).

state           evidence                                             verdict                then
--------------  ---------------------------------------------------  ---------------------  ---------
any             a node of version 0 answered some seconds ago        remind                 -
Claiming        a node answered, with a lease                        take over              Roaming
Claiming        no route led to where the CLAIM should go            ask neighbours         -
Claiming        it was seen since the last copy of the CLAIM         resend claim           -
Claiming        babel knows somebody who has it, nobody answered     give up search         -
Claiming        a copy of the CLAIM is due                           send claim             -
Claiming        contested or not proven to be back, in early rounds  claim                  -
Claiming        it left, only passed, or nobody says it is back      forget unproven        forgotten
Claiming        nobody else had it since we let it go, roamed        serve alone            Roaming
Claiming        nobody had it, or who had it knows no lease          serve alone            Served
Roaming         a node answered, with another lease than it told of  take over              -
Roaming         the same, and its address is another client's        announce               -
Roaming         ROAM_ACK says OK                                     let in                 Served
Roaming         NOT_PROVEN, for the first time                       prove                  -
Roaming         STALE, mapped to us: a later token was ours          ask for home           Served
Roaming         STALE, or refused what we were told beforehand       claim by place         Claiming
Roaming         refused, not answered, or there is no PLAT to ask    begin anew             Served
Roaming         a copy of ROAM is due                                send roam              -
Roaming         a copy of the CLAIM is due                           send claim             -
Roaming         all copies of it have left, the client was heard     end search             -
Roaming         all copies of it have left, nor was it heard         give up search         -
Roaming         its lease is over, it has IPv6 addresses             end lease              Served
Roaming         its lease is over, nothing is left to ask it by      forget with lease      forgotten
Roaming         to be asked whether it is here                       ask                    -
Served          a node answered late, with a lease                   take over              Roaming
Served          a node answered late, without one                    announce               -
Served          our DHCP server granted it an address                adopt grant            -
Served          it uses an address, and its search is over           use address            -
Served          the same, nobody's, behind another client's MAC      use address            forgotten
Served          claimed by another node, too long ago                dismiss late claim     -
Served          claimed, and contested: what we know is out of date  dismiss claim          -
Served          claimed, a newcomer that cannot be asked             disown                 forgotten
Served          claimed, it left or cannot be asked                  let go                 Departed
Served          claimed, it has answered                             refuse claim           -
Served          the same, at a partner, and it is not at home here   refuse claim           Roaming
Served          claimed, a question to it is due                     ask for rival          -
Served          claimed, it has not answered in time                 let go silent          Departed
Served          the same, too many were believed                     let go silent          -
Served          contested, it was heard since the search ended       claim contested        -
Served          the search: babel knows nobody any more              announce               -
Served          the search: a copy of the CLAIM is due               send claim             -
Served          the search: not answered, the client was heard       end search             -
Served          the search: not answered, nor was it heard           give up search         -
Served, Absent  ROAM_ACK to a renewal says OK                        accept                 -
Served, Absent  NOT_PROVEN, for the first time                       prove                  -
Served, Absent  STALE, mapped to us: a later token was ours          ask for home           -
Served, Absent  STALE: another node has it                           end roam               -
Served, Absent  a renewal is refused                                 begin anew             Served
Served, Absent  a copy of ROAM is due                                send roam              -
Served, Absent  a renewal is not answered                            give up roam           -
Served, Absent  a copy of TOKEN_REQUEST is due                       send request           -
Served, Absent  TOKEN_REQUEST is not answered                        give up request        -
Served, Absent  its token or its mapping is to be renewed            renew                  -
Served          its lease is over, it was only heard, or answers     extend lease           -
Served          its lease is over, it was granted and is at home     ask for address        -
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
Absent          its node-client address is given up for long enough  rest                   -
Absent          it is time to see where babel leads                  check elsewhere        -
Restored        it has answered, and its ROAM was out                confirm restored       Roaming
Restored        it has answered                                      confirm restored       Served
Restored        it has not, and another node claims it               let go                 Departed
Restored        it has not                                           give up restored       Departed
Restored        it cannot be asked                                   give up restored       forgotten
Restored        a question is due                                    ask restored           -
"""

from l3roamd_py.core import absence, act, addresses, requests, service
from l3roamd_py.core import judge_parts as parts
from l3roamd_py.core import rival as rivals
from l3roamd_py.core import search as searches
from l3roamd_py.core.client import NEVER, Absent, Claiming, Client, Restored, Roaming, Served, can_ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from l3roamd_py.core.judge_parts import Clock, Verdict
    from l3roamd_py.core.options import Options


def judge(client: Client, clock: "Clock") -> "Verdict":
    """Return what is to be done for a client now, one of the verdicts of the module's table; None: nothing."""
    legacy = client.search.legacy
    if legacy is not None and (legacy.remind_s <= clock.due_s or legacy.asked_s < client.presence.seen_s):
        return searches.remind
    return JUDGES[type(client.state)](client, clock)


def _judge_claiming(client: Client, clock: "Clock") -> "Verdict":
    options, search, claim = clock.options, client.search, client.search.claim
    assert claim is not None
    if client.contest is not None and parts.is_contesting(client.contest, clock):
        return None
    if search.answer is not None and search.answer.lease is not None:
        return searches.take_over
    if search.answered_by is not None or search.ended_s < NEVER:
        return _judge_alone(client, options)
    if search.is_unreached:
        return searches.ask_neighbours
    if client.presence.seen_s >= claim.last_s + options.claim_resend_s:
        return searches.resend_claim  # who refused it may have lost the client since
    is_alone = search.is_unrouted and clock.due_s >= claim.started_s + options.unrouted_give_up_s
    if search.legacy is not None and search.legacy.grace_s < NEVER:
        if search.legacy.grace_s <= clock.due_s:
            return _judge_alone(client, options) if search.is_unrouted else searches.give_up_search
    elif is_alone and claim.next_s <= clock.due_s:
        return _judge_alone(client, options)
    return parts.judge_copies(claim, options.claim_at_s, clock, searches.send_claim, searches.give_up_search)


def _judge_alone(client: Client, options: "Options") -> "Verdict":
    """Judge a client that nobody had, or of which nobody tells."""
    search, state = client.search, client.state
    assert isinstance(state, Claiming)
    is_unproven = state.former is not None and search.answered_by is None and not client.presence.is_proven
    # babel knows a node that has it, which stays silent: it may have been there again when that node looked
    is_passing = search.is_contested and _is_passing(client, options)
    is_open = search.is_contested and client.grant is None and (search.heard is None or is_passing)
    may_ask = search.answered_by is None and search.rounds < options.arrival_rounds
    if may_ask and not client.presence.is_leaving and (is_unproven or is_open):
        return searches.claim  # no other sign of an idle client may come
    if client.presence.is_leaving or is_unproven or (is_open and is_passing):
        return act.forget_unproven
    return searches.serve_alone


def _is_passing(client: Client, options: "Options") -> bool:
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


def _judge_roaming(client: Client, clock: "Clock") -> "Verdict":
    lease = client.lease
    assert lease is not None
    answer = client.search.answer
    if answer is not None and not (client.contest is not None and parts.is_contesting(client.contest, clock)):
        # what we were told beforehand is out of date
        return service.announce if answer.lease is None else searches.take_over
    roam = lease.roam
    if roam is None:
        return act.begin_anew
    if lease.roam_ack is not None:
        if_stale = act.begin_anew if client.search.is_after_stale else searches.claim_by_place
        is_prepared = client.search.is_running  # what we were told beforehand may be out of date
        return parts.judge_roam_ack(lease, lease.roam_ack, clock, act.let_in, if_stale, is_prepared)
    verdict: "Verdict" = None
    if roam.next_s <= clock.due_s:
        verdict = requests.send_roam if roam.sent < len(clock.options.roam_at_s) else act.begin_anew
    claim = client.search.claim
    if verdict is None and claim is not None and claim.next_s < NEVER:
        verdict = parts.judge_search(client, claim, clock)
    if verdict is None and lease.until_s <= clock.due_s:
        return parts.judge_end(client)
    return absence.ask if verdict is None and client.presence.check_s <= clock.due_s else verdict


def _judge_served(client: Client, clock: "Clock") -> "Verdict":
    search, lease = client.search, client.lease
    is_asking = client.contest is not None and parts.is_contesting(client.contest, clock)
    verdict = None if is_asking else _judge_addresses(client)
    if verdict is None:
        verdict = parts.judge_rival(client, clock)
    if verdict is None and search.claim is not None:
        verdict = parts.judge_search(client, search.claim, clock)
    if verdict is None and lease is not None:
        verdict = parts.judge_lease(lease, client, clock)
    return verdict or parts.judge_presence(client, clock)


def _judge_addresses(client: Client) -> "Verdict":
    """Judge what a client that we serve has got, or uses."""
    search = client.search
    if search.answer is not None:
        return service.announce if search.answer.lease is None else searches.take_over
    if client.grant is not None:
        return addresses.adopt_grant
    is_decided = client.lease is not None or not search.is_running
    return act.use_address if search.heard is not None and is_decided else None


def _judge_absent(client: Client, clock: "Clock") -> "Verdict":
    state, lease = client.state, client.lease
    assert isinstance(state, Absent)
    if state.is_back:
        return absence.serve_again
    is_asking = client.contest is not None and parts.is_contesting(client.contest, clock)
    if client.grant is not None and not is_asking:
        return addresses.adopt_grant
    verdict = parts.judge_rival(client, clock)
    if verdict is not None:
        return verdict
    if state.is_elsewhere:
        return absence.forget_elsewhere
    is_over = min(state.forget_s, NEVER if lease is None else lease.until_s) <= clock.due_s
    if is_over or (client.presence.is_leaving and not can_ask(client)):
        return service.forget
    if lease is not None and (verdict := parts.judge_lease(lease, client, clock)) is not None:
        return verdict
    if state.next_s > clock.due_s:
        return None
    is_to_return = not client.is_announced and state.until_s <= clock.due_s
    return absence.rest if is_to_return else absence.check_elsewhere


def _judge_restored(client: Client, clock: "Clock") -> "Verdict":
    state, rival = client.state, client.rival
    assert isinstance(state, Restored)
    if state.is_here:
        return absence.confirm_restored
    if state.next_s > clock.due_s:
        return None
    if state.until_s > clock.due_s:
        return absence.ask_restored
    is_claimed = rival is not None and rival.until_s >= clock.now_s
    return rivals.let_go if is_claimed else absence.give_up_restored


JUDGES: "dict[type, Callable[[Client, Clock], Verdict]]" = {
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
    if client.contest is not None:
        due_s = min(due_s, client.contest.next_s)
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
