# SPDX-License-Identifier: ISC
"""The roaming core: events in, actions out, in their order. No I/O, no clock of its own.

    Core(options).handle(event, now_s) -> actions     now_s: seconds of CLOCK_BOOTTIME
                 .next_deadline_s                     when to come back with a Tick, all else being read
                 .snapshot(now_s), .restore(...)      for a restart, see snapshot.py
                 .status(now_s), .counters            for people

Nothing that a peer sends raises: what cannot be read, is not expected or comes too fast is dropped and counted.
An event is noted as evidence in the record of its client (signs, search, info, rival, requests, grants). Then judge.py
returns a function, which is called here. This repeats until there is nothing to do but to wait.
"""

from l3roamd_py.core import (
    absence,
    addresses,
    departed,
    events,
    grants,
    info,
    ipv6,
    judge,
    pairs,
    partners,
    plats,
    relay,
    requests,
    rival,
    search,
    seeks,
    signs,
    snapshot,
    status,
    wire,
)
from l3roamd_py.core.actions import Action
from l3roamd_py.core.admission import Admission
from l3roamd_py.core.client import NEVER, Restored
from l3roamd_py.core.mapping import Mapping
from l3roamd_py.core.node import Node
from l3roamd_py.core.options import Options
from l3roamd_py.core.platnode import Platnode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

DUE_MAX = 32  # timers of one Tick: what arrives meanwhile has its turn before the rest
VERDICTS_MAX = 16  # on one client for one event; what is left comes with the next Tick
SOON_S = 5.0


class Core:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.node = Node(options)
        self.counters = self.node.counters
        self.platnode = None if options.plat is None else Platnode(self.node, options.plat)
        self.admission = Admission(options)

    def handle(self, event: events.Event, now_s: float) -> list[Action]:
        """Take one event, and return what is to be done, in its order."""
        node = self.node
        node.now_s = max(node.now_s, now_s)
        EVENTS[type(event)](self, event)
        judge_touched(node)
        if self.platnode is not None:
            self.platnode.expire()
        return node.pop_actions()

    def _on_tick(self, _: events.Tick) -> None:
        """Do what is due: with a Tick alone, for an answer that waits to be read must come before its deadline."""
        node = self.node
        node.due_s = node.now_s
        for _turn in range(DUE_MAX):
            due = node.timers.pop_due(node.now_s, 1)  # one by one: each may cancel what is due as well
            if not due:
                break
            what, mac = due[0]
            what(node, mac)
            judge_touched(node)

    @property
    def next_deadline_s(self) -> float | None:
        """When there is something to do without an event; None: never."""
        next_s = self.node.timers.next_s
        other_s = None if self.platnode is None else self.platnode.timers.next_s
        return next_s if other_s is None or (next_s is not None and next_s < other_s) else other_s

    @property
    def changes(self) -> int:
        """Grows whenever the snapshot would be another one than before."""
        return self.node.changes

    def snapshot(self, now_s: float, collect: "Callable[[Iterable[Any]], Any]" = list) -> "dict[str, Any]":
        return snapshot.make_snapshot(self.node, self.platnode, now_s, collect)

    def restore(
        self,
        saved: "dict[str, Any] | None",
        now_s: float,
        opened: "Iterable[tuple[bytes, bytes]]" = (),
        mappings: "Iterable[Mapping]" = (),
        plats: "Iterable[tuple[bytes, bytes]]" = (),
    ) -> list[Action]:
        """Go on after a restart, once and before anything else; see snapshot.restore."""
        self.node.now_s = now_s
        snapshot.restore(self.node, self.platnode, saved or {}, set(opened), list(mappings))
        judge_touched(self.node)
        snapshot.adopt_plats(self.node, plats)
        return self.node.pop_actions()

    def status(self, now_s: float, collect: "Callable[[Iterable[Any]], Any]" = list) -> "dict[str, Any]":
        """Return what people want to know, ready for JSON."""
        return status.describe_node(self.node, self.platnode, now_s, collect)

    def _on_datagram(self, event: events.Datagram) -> None:
        node = self.node
        is_in_time = self.admission.sources.is_within(event.source, node.now_s)
        try:
            header, body = wire.decode(event.payload)
        except wire.UnknownTypeError:
            return node.count("datagrams_unknown" if is_in_time else "datagrams_too_fast")
        except wire.DecodeError:
            return node.count("datagrams_undecodable" if is_in_time else "datagrams_too_fast")
        if not is_in_time and not self.admission.is_wanted(node, self.platnode, event.source, body):
            return node.count("datagrams_too_fast")
        return MESSAGES[type(body)](self, header, body, event)

    def _on_roam(self, header: wire.Header, roam: wire.Roam, _: events.Datagram) -> None:
        if self.platnode is None:
            return self.node.count("roams_not_a_platnode")
        return self.platnode.on_roam(header, roam)

    def _on_expect(self, header: wire.Header, expect: wire.Expect, _: events.Datagram) -> None:
        if self.platnode is not None:
            self.platnode.on_expect(expect, header.nonce)

    def _on_token_request(self, header: wire.Header, request: wire.TokenRequest, _: events.Datagram) -> None:
        if self.platnode is None:
            return self.node.count("token_requests_not_a_platnode")
        return self.platnode.on_token_request(header, request)

    def _on_token(self, _: wire.Header, grant: wire.TokenGrant, __: events.Datagram) -> None:
        """A PLAT vouches for our prefix, for the home of a client that is away, or of one that is here."""
        if plats.accept_proof(self.node, grant):
            return None
        if grant.nonce in self.node.away_questions:
            return grants.on_token(self.node, grant)
        return requests.on_token(self.node, grant)


def judge_touched(node: Node) -> None:
    """Do what follows for each client of which something has become known."""
    while node.touched:
        mac, _ = node.touched.popitem()
        client = node.clients.get(mac)
        for _round in range(VERDICTS_MAX):
            verdict = None if client is None else judge.judge(client, node)
            if client is None or verdict is None:
                break
            verdict(node, client)
            client = node.clients.get(mac)  # it may have been let go, or forgotten
        node.touched.pop(mac, None)  # by what was done for itself
        timer, next_s = (on_due, mac), NEVER if client is None else judge.next_deadline_s(client)
        set_s = node.timers.due_s(timer, NEVER)
        if client is None:
            node.timers.cancel(timer)
        # a timer that is set too early does no harm, if it is not soon
        elif next_s < set_s or (next_s > set_s and set_s < node.now_s + SOON_S):
            node.timers.set(timer, max(next_s, node.now_s + 0.001))


def on_due(node: Node, mac: bytes) -> None:
    """Time has passed for a client. If we had no processor meanwhile, its answers need their time all the same."""
    client = node.clients.get(mac)
    if client is None:
        return
    if client.contest is not None and client.contest.next_s <= node.now_s:
        client.contest.next_s = NEVER
    claim, state = client.search.claim, client.state
    if claim is not None and client.search.is_running and claim.next_s <= node.now_s:
        node.make_up(claim, node.options.claim_at_s)
    if isinstance(state, Restored) and node.now_s >= state.until_s + node.options.restored_again_s:
        state.until_s = max(state.until_s, node.now_s + node.options.restored_again_s)
    node.touch(mac)


def on_node_appeared(node: Node) -> None:
    absence.on_node_appeared(node)
    partners.on_node_appeared(node)
    seeks.on_node_appeared(node)


EVENTS: "dict[type[events.Event], Callable[[Core, Any], object]]" = {
    events.ClientSeen: lambda core, e: signs.see(core.node, e.mac, e.address, e.is_proof),
    events.ClientGone: lambda core, e: signs.on_gone(core.node, e.mac),
    events.ArpAnswered: lambda core, e: signs.on_answer(core.node, e.mac, e.address),
    events.AddressSeen: lambda core, e: signs.on_address(core.node, e.mac, e.address, e.is_sign),
    events.NeighbourTaken: lambda core, e: ipv6.keep_neighbour(core.node, e.address),
    events.AddressGone: lambda core, e: signs.on_address_gone(core.node, e.mac, e.address, e.is_silent),
    events.LeaseGranted: lambda core, e: signs.on_grant(
        core.node, e.mac, e.ipv4, e.lease_s, e.is_seen, e.is_renewed
    ),
    events.LeaseEnded: lambda core, e: grants.end_grant(core.node, e.mac, e.ipv4),
    events.Datagram: Core._on_datagram,
    events.ClaimUnreachable: lambda core, e: search.on_unreachable(core.node, e.mac, e.is_retracted),
    events.FoundElsewhere: lambda core, e: absence.on_found_elsewhere(core.node, e.mac),
    events.PlaceChecked: lambda core, e: addresses.on_place_checked(core.node, e.mac, e.place, e.is_live),
    events.NodeAppeared: lambda core, e: on_node_appeared(core.node),
    events.PlatChosen: lambda core, e: plats.choose_plat(core.node, e.prefix, e.lost),
    events.PlatLost: lambda core, e: plats.lose_plat(core.node, e.prefix),
    events.PlatsTold: lambda core, e: plats.compare_plats(core.node, e.usable, e.lost),
    events.PlatsUnrouted: lambda core, e: plats.on_unrouted(core.node, e.prefixes),
    events.PlatChecked: lambda core, e: plats.on_plat_checked(core.node, e.prefix, e.has_route),
    events.PairMade: lambda core, e: pairs.on_pair_made(core.node, e.ipv4, e.at, e.is_made),
    events.RouteChecked: lambda core, e: seeks.on_route_checked(core.node, e.address, e.has_route),
    events.Wanted: lambda core, e: seeks.on_wanted(core.node, e.mac, e.source, e.destination, e.is_arp),
    events.Tick: Core._on_tick,
}
MESSAGES: "dict[type[wire.Body], Callable[[Core, wire.Header, Any, events.Datagram], None]]" = {
    wire.Seek: lambda core, header, body, _: relay.on_seek(core.node, header, body),
    wire.Claim: lambda core, *rest: rival.on_claim(core.node, *rest),
    wire.Info: lambda core, header, body, event: info.on_info(core.node, header, body, event.payload),
    wire.Ack: lambda core, header, body, _: departed.on_ack(core.node, header, body),
    wire.Roam: Core._on_roam,
    wire.RoamAck: lambda core, header, body, _: requests.on_roam_ack(core.node, body),
    wire.TokenRequest: Core._on_token_request,
    wire.TokenGrant: Core._on_token,
    wire.Expect: Core._on_expect,
    wire.Prepare: lambda core, header, *_: partners.on_prepare(core.node, header),
    wire.Found: lambda core, header, body, _: seeks.on_found(core.node, header, body),
    wire.Pair: lambda core, header, body, _: pairs.on_pair(core.node, header, body),
    wire.Paired: lambda core, header, body, _: pairs.on_paired(core.node, header, body),
}
