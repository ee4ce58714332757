# SPDX-License-Identifier: ISC
"""From verdicts to actions: each verdict of judge.py is carried out by one function. No I/O."""

import logging
from collections.abc import Callable

from l3roamd_py.core import absence, addresses, judge, requests, rival, search, service
from l3roamd_py.core.client import NEVER, Absent, Client, Restored, Roaming, Served
from l3roamd_py.core.node import Node, describe

ROUNDS_MAX = 16  # of verdicts on one client for one event; what is left comes with the next Tick


def judge_touched(node: Node) -> None:
    """Do what follows for each client of which something has become known."""
    while node.touched:
        mac = next(iter(node.touched))
        del node.touched[mac]
        client = node.clients.get(mac)
        if client is None:
            node.timers.cancel((on_due, mac))
        else:
            _judge_client(node, client)


def _judge_client(node: Node, client: Client) -> None:
    for _round in range(ROUNDS_MAX):
        verdict = judge.judge(client, node.clock, node.options)
        if verdict == judge.WAIT:
            break
        ACTS[verdict](node, client)
        if node.clients.get(client.mac) is not client:
            return  # it was let go, or forgotten
    node.touched.pop(client.mac, None)  # by what was done for itself
    next_s = judge.next_deadline_s(client)
    if next_s < client.due_s:  # a timer that is set too early does no harm
        client.due_s = max(next_s, node.now_s + 0.001)
        node.timers.set((on_due, client.mac), client.due_s)


def on_due(node: Node, mac: bytes) -> None:
    """Time has passed for a client. If we had no processor meanwhile, its answers need their time all the same."""
    client = node.clients.get(mac)
    if client is None:
        return
    client.due_s = NEVER
    claim, state = client.search.claim, client.state
    if claim is not None and client.search.is_running and claim.next_s <= node.now_s:
        node.make_up(claim, node.options.claim_at_s)
    if isinstance(state, Restored) and node.now_s >= state.until_s + node.options.belief_again_s:
        state.until_s = max(state.until_s, node.now_s + node.options.belief_again_s)
    node.touch(mac)


def _open(node: Node, client: Client) -> None:
    """The PLAT sends what is the client's to us: let it in."""
    requests.accept(node, client)
    client.state = service.new_served(node)
    node.count("roams")
    addresses.open_gate(node, client)
    if client.search.is_contested:
        service.announce(node, client)  # our token was good: nobody else has had the client since


def _begin_anew(node: Node, client: Client) -> None:
    """The client cannot keep its connections: it gets new ones."""
    why = requests.refuse_roam(node, client)
    node.count("roams_failed")
    sentence = f"{describe(client.mac, client.ipv4)} begins anew through our own PLAT: {why}"
    node.log(logging.WARNING, sentence)
    if isinstance(client.state, Roaming | Absent):
        client.state = service.new_served(node)
        node.ports.come_back(client.mac)
    addresses.start_afresh(node, client)
    if client.search.is_contested:
        search.verify(client)


def _forget_unproven(node: Node, client: Client) -> None:
    node.count("arrivals_unproven")
    service.forget(node, client)


def _disown(node: Node, client: Client) -> None:
    node.count("claims_unproven")
    service.forget(node, client)


def _forget_absent(node: Node, client: Client) -> None:
    node.count("absences")
    service.forget(node, client)


def _end_lease(node: Node, client: Client) -> None:
    node.count("leases_over")
    addresses.drop_ipv4(node, client)
    if isinstance(client.state, Roaming):
        client.state = Served()


def _forget_with_lease(node: Node, client: Client) -> None:
    """Nothing is left to ask it by; its next sign, if it is here, is an arrival."""
    node.count("leases_over")
    service.forget(node, client)


ACTS: dict[judge.Verdict, Callable[[Node, Client], None]] = {
    judge.ADOPT_GRANT: addresses.adopt_grant,
    judge.ANNOUNCE: service.announce,
    judge.ASK: absence.ask,
    judge.ASK_FOR_RIVAL: rival.ask_for_rival,
    judge.ASK_NEIGHBOURS: search.ask_neighbours,
    judge.ASK_RESTORED: absence.ask_restored,
    judge.BEGIN_ANEW: _begin_anew,
    judge.BELIEVE: absence.believe,
    judge.CLAIM_AGAIN: search.claim,
    judge.CLAIM_BEHIND: search.look_behind,
    judge.CLAIM_BY_PLACE: search.claim_by_place,
    judge.CLAIM_FROM_NEIGHBOURS: search.claim_from_neighbours,
    judge.DISBELIEVE: absence.disbelieve,
    judge.DISMISS_CLAIM: lambda node, client: rival.dismiss(node, client, "claims_in_doubt"),
    judge.DISMISS_LATE_CLAIM: lambda node, client: rival.dismiss(node, client, "claims_late"),
    judge.DISOWN: _disown,
    judge.END_CLAIM: search.end_claim,
    judge.END_LEASE: _end_lease,
    judge.EXTEND_LEASE: addresses.extend_lease,
    judge.FIND: absence.find,
    judge.FORGET: service.forget,
    judge.FORGET_ABSENT: _forget_absent,
    judge.FORGET_ELSEWHERE: absence.forget_elsewhere,
    judge.FORGET_UNPROVEN: _forget_unproven,
    judge.FORGET_WITH_LEASE: _forget_with_lease,
    judge.GIVE_UP_CLAIM: search.give_up_claim,
    judge.GIVE_UP_REQUEST: requests.give_up_request,
    judge.GIVE_UP_ROAM: requests.give_up_roam,
    judge.LEAVE_LEASE: requests.leave_lease,
    judge.LET_GO: rival.let_go,
    judge.LOOK_ELSEWHERE: absence.look_elsewhere,
    judge.MEASURE: service.measure,
    judge.MISS: absence.miss,
    judge.OPEN: _open,
    judge.POSTPONE: absence.postpone,
    judge.PROVE: requests.prove,
    judge.REFUSE_CLAIM: rival.refuse_claim,
    judge.REMIND: search.remind,
    judge.RENEW: requests.renew,
    judge.RENEWED: requests.accept,
    judge.RESEND_CLAIM: search.resend_claim,
    judge.SEND_CLAIM: search.send_claim,
    judge.SEND_REQUEST: requests.send_request,
    judge.SEND_ROAM: requests.send_roam,
    judge.SETTLE: search.settle,
    judge.TAKE_OVER: search.take_over,
    judge.USE_ADDRESS: addresses.use_address,
    judge.WAIT_FOR_SIGN: absence.wait_for_sign,
    judge.YIELD: rival.yield_client,
}
