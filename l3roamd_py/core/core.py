# SPDX-License-Identifier: ISC
"""The roaming core: events in, actions out, in their order. No I/O, no clock of its own.

    Core(options).handle(event, now_s) -> actions     now_s: seconds of CLOCK_BOOTTIME
                 .next_deadline_s                     when to come back with a Tick, all else being read
                 .snapshot(now_s), .restore(...)      for a restart, see snapshot.py
                 .status(now_s), .counters            for people

Nothing that a peer sends raises: what cannot be read, is not expected or comes too fast is dropped and counted.
An event is noted in the record of the client that it is about (signs, search, info, rival, requests, grants: evidence);
judge.py says what follows, act.py does it, until there is nothing to do but to wait.
"""

from l3roamd_py.core import (
    absence,
    act,
    addresses,
    departed,
    grants,
    info,
    plats,
    requests,
    rival,
    search,
    signs,
    snapshot,
    status,
    wire,
)
from l3roamd_py.core.actions import Action
from l3roamd_py.core.admission import Admission
from l3roamd_py.core.events import (
    AddressGone,
    AddressSeen,
    ArpAnswered,
    ClaimUnreachable,
    ClientGone,
    ClientSeen,
    Datagram,
    Event,
    FoundElsewhere,
    LeaseEnded,
    LeaseGranted,
    NodeAppeared,
    PlaceChecked,
    PlatChecked,
    PlatChosen,
    PlatLost,
    PlatsTold,
    PlatsUnrouted,
    Tick,
)
from l3roamd_py.core.mapping import Mapping
from l3roamd_py.core.node import Node
from l3roamd_py.core.options import Options
from l3roamd_py.core.platnode import Platnode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

ROUNDS_MAX = 8  # of timers that set one another; what is left is done at the next Tick


class Core:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.node = Node(options)
        self.counters = self.node.counters
        self.platnode = None if options.plat is None else Platnode(self.node, options.plat)
        self.admission = Admission(options)

    def handle(self, event: Event, now_s: float) -> list[Action]:
        """Take one event, and return what is to be done, in its order."""
        node = self.node
        node.now_s = max(node.now_s, now_s)
        EVENTS[type(event)](self, event)
        act.judge_touched(node)
        if self.platnode is not None:
            self.platnode.expire()
        return node.take_actions()

    def _on_tick(self, _: Tick) -> None:
        """Do what is due: with a Tick alone, for an answer that waits to be read must come before its deadline."""
        node = self.node
        node.due_s = node.now_s
        for _round in range(ROUNDS_MAX):  # what is due may set what is due already
            due = node.timers.take_due(node.now_s)
            for what, mac in due:
                what(node, mac)
                act.judge_touched(node)
            if not due:
                break

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

    def snapshot(self, now_s: float) -> "dict[str, Any]":
        return snapshot.take_snapshot(self.node, self.platnode, now_s)

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
        act.judge_touched(self.node)
        snapshot.leave_plats(self.node, plats)
        return self.node.take_actions()

    def status(self, now_s: float) -> "dict[str, Any]":
        """Return what people want to know, ready for JSON."""
        return status.describe_node(self.node, self.platnode, now_s)

    def _on_datagram(self, event: Datagram) -> None:
        node = self.node
        is_in_time = self.admission.is_in_time(event.source, node.now_s)
        try:
            header, body = wire.decode(event.payload)
        except wire.UnknownTypeError:
            return node.count("datagrams_unknown" if is_in_time else "datagrams_too_fast")
        except wire.DecodeError:
            return node.count("datagrams_undecodable" if is_in_time else "datagrams_too_fast")
        if not is_in_time and not self.admission.is_wanted(node, self.platnode, event.source, body):
            return node.count("datagrams_too_fast")
        return MESSAGES[type(body)](self, header, body, event)

    def _on_roam(self, header: wire.Header, roam: wire.Roam, _: Datagram) -> None:
        if self.platnode is None:
            return self.node.count("roams_not_a_platnode")
        return self.platnode.on_roam(header, roam)

    def _on_token_request(self, header: wire.Header, request: wire.TokenRequest, _: Datagram) -> None:
        if self.platnode is None:
            return self.node.count("token_requests_not_a_platnode")
        return self.platnode.on_token_request(header, request)

    def _on_token(self, _: wire.Header, grant: wire.TokenGrant, __: Datagram) -> None:
        """A PLAT vouches for our prefix, for the home of a client that is away, or of one that is here."""
        if plats.accept_proof(self.node, grant):
            return None
        if grant.nonce in self.node.away_questions:
            return grants.on_token(self.node, grant)
        return requests.on_token(self.node, grant)


EVENTS: "dict[type[Event], Callable[[Core, Any], object]]" = {
    ClientSeen: lambda core, e: signs.see(core.node, e.mac, e.ipv4, e.is_proof),
    ClientGone: lambda core, e: signs.on_gone(core.node, e.mac),
    ArpAnswered: lambda core, e: signs.on_answer(core.node, e.mac, e.ipv4),
    AddressSeen: lambda core, e: signs.on_address(core.node, e.mac, e.address, e.is_sign),
    AddressGone: lambda core, e: signs.on_address_gone(core.node, e.mac, e.address),
    LeaseGranted: lambda core, e: signs.on_grant(
        core.node, e.mac, e.ipv4, e.lease_s, e.is_seen, e.is_renewed
    ),
    LeaseEnded: lambda core, e: grants.end_grant(core.node, e.mac, e.ipv4),
    Datagram: Core._on_datagram,
    ClaimUnreachable: lambda core, e: search.on_unreachable(core.node, e.mac, e.is_retracted),
    FoundElsewhere: lambda core, e: absence.on_found_elsewhere(core.node, e.mac),
    PlaceChecked: lambda core, e: addresses.on_place_checked(core.node, e.mac, e.place, e.is_live),
    NodeAppeared: lambda core, e: absence.on_node_appeared(core.node),
    PlatChosen: lambda core, e: plats.choose_plat(core.node, e.prefix),
    PlatLost: lambda core, e: plats.lose_plat(core.node, e.prefix),
    PlatsTold: lambda core, e: plats.compare_plats(core.node, e.usable, e.lost),
    PlatsUnrouted: lambda core, e: plats.on_unrouted(core.node, e.prefixes),
    PlatChecked: lambda core, e: plats.on_plat_checked(core.node, e.prefix, e.has_route),
    Tick: Core._on_tick,
}
MESSAGES: "dict[type[wire.Body], Callable[[Core, wire.Header, Any, Datagram], None]]" = {
    wire.Seek: lambda core, header, body, _: core.node.count("seeks"),
    wire.Claim: lambda core, *rest: rival.on_claim(core.node, *rest),
    wire.Info: lambda core, header, body, _: info.on_info(core.node, header, body),
    wire.Ack: lambda core, header, body, _: departed.on_ack(core.node, header, body),
    wire.Roam: Core._on_roam,
    wire.RoamAck: lambda core, header, body, _: requests.on_roam_ack(core.node, body),
    wire.TokenRequest: Core._on_token_request,
    wire.TokenGrant: Core._on_token,
}
