# SPDX-License-Identifier: ISC
"""From verdicts to actions: each verdict of judge.py is carried out by one function. No I/O."""

from l3roamd_py.core import absence, addresses, judge, requests, rival, search, service
from l3roamd_py.core.client import NEVER, Absent, Client, Restored, Roaming, Served
from l3roamd_py.core.node import Node, describe
from runtime.log import WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SOON_S = 5.0
ROUNDS_MAX = 16  # of verdicts on one client for one event; what is left comes with the next Tick


def judge_touched(node: Node) -> None:
    """Do what follows for each client of which something has become known."""
    while node.touched:
        mac, _ = node.touched.popitem()
        client = node.clients.get(mac)
        for _round in range(ROUNDS_MAX):
            verdict = "wait" if client is None else judge.judge(client, node, node.options)
            if client is None or verdict == "wait":
                break
            ACTS[verdict](node, client)
            client = node.clients.get(mac)  # it may have been let go, or forgotten
        node.touched.pop(mac, None)  # by what was done for itself
        next_s = NEVER if client is None else judge.next_deadline_s(client)
        if client is None:
            node.timers.cancel((on_due, mac))
        # a timer that is set too early does no harm, if it is not soon
        elif next_s < client.due_s or (next_s > client.due_s and client.due_s < node.now_s + SOON_S):
            client.due_s = max(next_s, node.now_s + 0.001)
            node.timers.set((on_due, mac), client.due_s)


def on_due(node: Node, mac: bytes) -> None:
    """Time has passed for a client. If we had no processor meanwhile, its answers need their time all the same."""
    client = node.clients.get(mac)
    if client is None:
        return
    client.due_s = NEVER
    claim, state = client.search.claim, client.state
    if claim is not None and client.search.is_running and claim.next_s <= node.now_s:
        node.make_up(claim, node.options.claim_at_s)
    if isinstance(state, Restored) and node.now_s >= state.until_s + node.options.restored_again_s:
        state.until_s = max(state.until_s, node.now_s + node.options.restored_again_s)
    node.touch(mac)


def _let_in(node: Node, client: Client) -> None:
    """The PLAT sends what is the client's to us: let it in."""
    requests.accept(node, client)
    client.state = service.new_served(node)
    node.count("roams")
    addresses.open_gate(node, client)
    if client.search.is_contested:
        service.announce(node, client)  # our token was good: nobody else has had the client since


def _begin_anew(node: Node, client: Client) -> None:
    """The client cannot keep its connections: it gets new ones."""
    why = requests.end_roam(node, client)
    node.count("roams_failed")
    sentence = f"{describe(client.mac, client.ipv4)} begins anew through our own PLAT: {why}"
    node.log(WARNING, sentence)
    if isinstance(client.state, (Roaming, Absent)):
        client.state = service.new_served(node)
        node.ports.come_back(client.mac)
    addresses.start_afresh(node, client)
    if client.search.is_contested:
        search.verify(client)


def _end_lease(node: Node, client: Client) -> None:
    node.count("leases_over")
    addresses.drop_ipv4(node, client)
    if isinstance(client.state, Roaming):
        client.state = Served()


ACTS: "dict[str, Callable[[Node, Client], object]]" = {
    "adopt grant": addresses.adopt_grant,
    "announce": service.announce,
    "ask": absence.ask,
    "ask for rival": rival.ask_for_rival,
    "ask neighbours": search.ask_neighbours,
    "ask restored": absence.ask_restored,
    "begin anew": _begin_anew,
    "confirm restored": absence.confirm_restored,
    "claim again": search.claim,
    "claim contested": search.claim_contested,
    "claim by place": search.claim_by_place,
    "claim from neighbours": search.claim_from_neighbours,
    "give up restored": absence.give_up_restored,
    "dismiss claim": lambda node, client: rival.dismiss(node, client, "claims_contested"),
    "dismiss late claim": lambda node, client: rival.dismiss(node, client, "claims_late"),
    "disown": lambda node, client: service.forget(node, client, "claims_unproven"),
    "end search": search.end_search,
    "end lease": _end_lease,
    "extend lease": addresses.extend_lease,
    "serve again": absence.serve_again,
    "forget": service.forget,
    "forget absent": lambda node, client: service.forget(node, client, "absences"),
    "forget elsewhere": absence.forget_elsewhere,
    "forget unproven": lambda node, client: service.forget(node, client, "arrivals_unproven"),
    "forget with lease": lambda node, client: service.forget(node, client, "leases_over"),
    "give up search": search.give_up_search,
    "give up request": requests.give_up_request,
    "give up roam": requests.give_up_roam,
    "leave lease": requests.end_roam,
    "let go": rival.let_go,
    "check elsewhere": absence.check_elsewhere,
    "measure": service.measure,
    "mark absent": absence.mark_absent,
    "let in": _let_in,
    "postpone": absence.postpone,
    "prove": requests.prove,
    "refuse claim": rival.refuse_claim,
    "remind": search.remind,
    "renew": requests.renew,
    "note renewal": requests.accept,
    "resend claim": search.resend_claim,
    "send claim": search.send_claim,
    "send request": requests.send_request,
    "send roam": requests.send_roam,
    "serve alone": search.serve_alone,
    "take over": search.take_over,
    "use address": addresses.use_address,
    "wait for sign": absence.wait_for_sign,
    "let go silent": rival.let_go_silent,
}
