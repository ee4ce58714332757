# SPDX-License-Identifier: ISC
"""The roaming core: events in, actions out, in their order. No I/O, no clock of its own.

    Core(options).handle(event, now_s) -> actions     now_s: seconds of CLOCK_BOOTTIME
                 .next_deadline_s                     when to come back with a Tick, all else being read
                 .snapshot(now_s), .restore(...)      for a restart, see snapshot.py
                 .status(now_s), .counters            for people

Nothing that a peer sends raises: what cannot be read, is not expected or comes too fast is dropped and counted.
The modules, each built on those before: tlv, token, wire, timers, options, ports, clients (the tables), serving,
departure (role A), leasing and claiming, elsewhere, presence, roaming, admitting, arrival (role B), home (role D),
platnode (role C), admission, snapshot.
"""

from collections.abc import Callable, Iterable
from typing import Any

from l3roamd_py.core import (
    admitting,
    arrival,
    away,
    belief,
    claiming,
    departure,
    elsewhere,
    home,
    leasing,
    plats,
    presence,
    roaming,
    serving,
    snapshot,
    wire,
)
from l3roamd_py.core.actions import Action, SolicitClient
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
    PlaceLooked,
    PlatChosen,
    PlatLooked,
    PlatLost,
    PlatsTold,
    PlatsUnrouted,
    Tick,
)
from l3roamd_py.core.mapping import Mapping
from l3roamd_py.core.node import Node
from l3roamd_py.core.options import Options
from l3roamd_py.core.platnode import Platnode
from l3roamd_py.core.serving import add_address, remove_address

IPV4_MAPPED = departure.IPV4_MAPPED
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
        if self.platnode is not None:
            self.platnode.expire()
        return node.take_actions()

    def _on_tick(self, _: Tick) -> None:
        """Do what is due: with a Tick alone, for an answer that waits to be read must come before its deadline."""
        node = self.node
        for _round in range(ROUNDS_MAX):  # what is due may set what is due already
            due = node.timers.take_due(node.now_s)
            for kind, mac in due:
                TIMERS[kind](node, mac)
            if not due:
                break

    @property
    def next_deadline_s(self) -> float | None:
        """When there is something to do without an event; None: never."""
        due = [self.node.timers.next_s]
        if self.platnode is not None:
            due.append(self.platnode.timers.next_s)
        return min((at_s for at_s in due if at_s is not None), default=None)

    @property
    def changes(self) -> int:
        """Grows whenever the snapshot would be another one than before."""
        return self.node.changes

    def snapshot(self, now_s: float) -> dict[str, Any]:
        return snapshot.take_snapshot(self.node, self.platnode, now_s)

    def restore(
        self,
        saved: dict[str, Any] | None,
        now_s: float,
        opened: Iterable[tuple[bytes, bytes]] = (),
        mappings: Iterable[Mapping] = (),
        plats: Iterable[tuple[bytes, bytes]] = (),
    ) -> list[Action]:
        """Go on after a restart, once and before anything else; see snapshot.restore."""
        self.node.now_s = now_s
        snapshot.restore(self.node, self.platnode, saved or {}, set(opened), list(mappings))
        snapshot.leave_plats(self.node, plats)
        return self.node.take_actions()

    def status(self, now_s: float) -> dict[str, Any]:
        """Return what people want to know, ready for JSON."""
        return snapshot.describe_node(self.node, self.platnode, now_s)

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

    def _on_address(self, event: AddressSeen) -> None:
        """C's scripts name a client's IPv4 address in IPv6 form."""
        node = self.node
        if event.address[:12] == IPV4_MAPPED:
            arrival.see(node, event.mac, event.address[12:])
        elif node.is_client_ipv6(event.address):
            known = node.clients.get(event.mac)
            if not event.is_sign and known is not None and event.address in known.addresses:
                return
            client = arrival.see(node, event.mac, is_proof=event.is_sign)
            if client is not None:
                add_address(node, client, event.address)
                presence.seek_proof(node, client)
            elif node.options.clat is not None:
                admitting.ask_stranger(node, SolicitClient(event.mac, event.address))

    def _on_address_gone(self, event: AddressGone) -> None:
        client = self.node.clients.get(event.mac)
        if client is not None:
            remove_address(self.node, client, event.address)


EVENTS: dict[type[Event], Callable[[Core, Any], object]] = {
    ClientSeen: lambda core, e: arrival.see(core.node, e.mac, e.ipv4, e.is_proof),
    ClientGone: lambda core, e: presence.on_gone(core.node, e.mac),
    ArpAnswered: lambda core, e: arrival.on_answer(core.node, e.mac, e.ipv4),
    AddressSeen: Core._on_address,
    AddressGone: Core._on_address_gone,
    LeaseGranted: lambda core, e: home.grant(core.node, e.mac, e.ipv4, e.lease_s, e.is_seen, e.is_renewed),
    LeaseEnded: lambda core, e: home.end_grant(core.node, e.mac, e.ipv4),
    Datagram: Core._on_datagram,
    ClaimUnreachable: lambda core, e: arrival.on_unreachable(core.node, e.mac, e.is_retracted),
    FoundElsewhere: lambda core, e: elsewhere.on_found_elsewhere(core.node, e.mac),
    PlaceLooked: lambda core, e: home.on_place_looked(core.node, e.mac, e.place, e.is_live),
    NodeAppeared: lambda core, e: elsewhere.on_node_appeared(core.node),
    PlatChosen: lambda core, e: home.choose_plat(core.node, e.prefix),
    PlatLost: lambda core, e: plats.lose_plat(core.node, e.prefix),
    PlatsTold: lambda core, e: plats.take_plats(core.node, e.usable, e.lost),
    PlatsUnrouted: lambda core, e: plats.on_unrouted(core.node, e.prefixes),
    PlatLooked: lambda core, e: plats.on_looked(core.node, e.prefix, e.has_route),
    Tick: Core._on_tick,
}
MESSAGES: dict[type[wire.Body], Callable[[Core, wire.Header, Any, Datagram], None]] = {
    wire.Seek: lambda core, header, body, _: core.node.count("seeks"),
    wire.Claim: lambda core, *rest: departure.on_claim(core.node, *rest),
    wire.Info: lambda core, header, body, _: arrival.on_info(core.node, header, body),
    wire.Ack: lambda core, header, body, _: departure.on_ack(core.node, header, body),
    wire.Roam: Core._on_roam,
    wire.RoamAck: lambda core, header, body, _: roaming.on_roam_ack(core.node, header, body),
    wire.TokenRequest: Core._on_token_request,
    wire.TokenGrant: lambda core, header, body, _: home.on_token(core.node, header, body),
}
TIMERS: dict[str, Callable[[Node, bytes], None]] = {
    "claim": arrival.on_claim_timer,
    "remind": arrival.on_remind_timer,
    "grace": arrival.on_grace_timer,
    "roam": roaming.on_roam_timer,
    "again": roaming.on_again_timer,
    "token": leasing.on_token_timer,
    "probe": departure.on_probe_timer,
    "info": departure.on_info_timer,
    "linger": departure.on_linger_timer,
    "departed": departure.end_departed,
    "idle": presence.on_idle_timer,
    "lease": presence.on_lease_timer,
    "plat": plats.on_plat_timer,
    "measure": serving.on_measure_timer,
    "else": claiming.on_else_timer,
    "away": away.on_away_timer,
    "belief": belief.on_belief_timer,
    "elsewhere": elsewhere.on_elsewhere_timer,
    "sweep": elsewhere.on_sweep_timer,
}
