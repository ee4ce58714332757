# SPDX-License-Identifier: ISC
"""Carrying out actions: each to the part of the system that it is for.

What fails is one sentence in the log and the others go on; a MapClient that fails says so to who asked. Mappings are
collected until the round ends, because a hundred at once cost the kernel little more than one.
"""

import os

from l3roamd_py import leases
from l3roamd_py.core import actions
from l3roamd_py.core.actions import MapClient, UnmapClient
from l3roamd_py.core.events import ClaimUnreachable, FoundElsewhere, PlaceChecked, PlatChecked, RouteChecked
from l3roamd_py.core.mapping import Mapping
from l3roamd_py.kernel.netlink import KernelError
from l3roamd_py.kernel.unreachable import Unreachable
from l3roamd_py.netfilter.rules import RulesError
from l3roamd_py.pairs import Pairs
from runtime.log import DEBUG, Log
from runtime.sockets import error_text
from xlat464.address import format_mac

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from l3roamd_py.core.actions import Action
    from l3roamd_py.core.events import Event
    from l3roamd_py.kernel.arp import Arp
    from l3roamd_py.kernel.ndp import Ndp
    from l3roamd_py.kernel.network import Network
    from l3roamd_py.kernel.translator import Translator
    from l3roamd_py.kernel.udp import Udp
    from l3roamd_py.netfilter.rules import ClatRules, PlatRules

MAPS_MAX = 256  # of one transaction


class Performer:
    """clat, plat: the rules of the roles that this node has. source: our own address. nodes: the other clatnodes'."""

    def __init__(
        self,
        kernel: "Network",
        udp: "Udp",
        arp: "Arp",
        ndp: "Ndp",
        clat: "ClatRules | None",
        plat: "PlatRules | None",
        source: bytes,
        forget_port: "Callable[[bytes], int]",
        clock: "Callable[[], float]",
        log: Log,
        translator: "Translator",
        nodes: "Callable[[], list[bytes]]" = list,
    ) -> None:
        self._kernel, self._udp, self._arp = kernel, udp, arp
        self._clat, self._plat = clat, plat
        self._source, self._forget_port, self._clock, self._nodes = source, forget_port, clock, nodes
        self._log, self._unreachable = log, Unreachable(clock)
        pairs = Pairs(kernel, translator, lambda event: self.events.append(event), self._fail)
        self._maps: "list[MapClient | UnmapClient]" = []
        self.events: "list[Event]" = []  # what came of it, for the core
        self.failures = 0
        self._doers: "dict[type, Callable[[Any], None]]" = {
            actions.Send: self._send,
            actions.SendToNodes: self._send_to_nodes,
            actions.SendClaim: self._claim,
            actions.CheckElsewhere: self._check_elsewhere,
            actions.CheckPlace: self._check_place,
            actions.AddNodeClient: lambda a: kernel.add_address(a.address),
            actions.RemoveNodeClient: lambda a: kernel.remove_address(a.address),
            actions.AddNeighbour: lambda a: kernel.pin(a.mac, a.ipv4),
            actions.RemoveNeighbour: lambda a: kernel.unpin(a.mac, a.ipv4),
            actions.Unlearn: self._unlearn,
            actions.AddRoute: lambda a: kernel.add_route(a.mac, a.address),
            actions.RemoveRoute: self._remove_route,
            actions.PinRoute: lambda a: kernel.pin_route(a.mac, a.address, True),
            actions.UnpinRoute: lambda a: kernel.pin_route(a.mac, a.address, False),
            actions.SendOn: self._send_on,
            actions.StopSendingOn: lambda a: self._as_clat.onward.stop_sending_on(a.address),
            actions.AddCareOf: lambda a: self._as_clat.onward.add_care_of(a.pairs, a.for_s),
            actions.ProbeClient: lambda a: arp.probe(a.mac, a.ipv4, clock()),
            actions.SeekAddress: lambda a: kernel.seek(a.address),
            actions.SolicitClient: lambda a: ndp.solicit(a.mac, a.address, clock()),
            actions.OpenGate: lambda a: self._at_gate("open_gate", a),
            actions.CloseGate: lambda a: self._at_gate("close_gate", a),
            actions.RefuseAtGate: lambda a: self._at_gate("refuse", a),
            actions.UsePlat: lambda a: self._as_clat.use_plat(a.client, a.plat, a.lease_s),
            actions.UsePlats: lambda a: self._as_clat.use_plats(a.clients, a.plat),
            actions.LeavePlat: lambda a: self._as_clat.leave_plat(a.client, a.plat),
            actions.SetCurrentPlat: lambda a: self._as_clat.set_current_plat(a.plat),
            actions.DropPlat: lambda a: self._as_clat.drop_plat(a.plat),
            actions.CheckRoute: self._check_route,
            actions.CheckPlat: self._check_plat,
            actions.MapClient: self._map,
            actions.UnmapClient: self._map,
            actions.ReleaseLease: self._release,
            actions.RenewLease: self._renew,
            actions.AddPair: pairs.add,
            actions.RestorePair: pairs.restore,
            actions.RemovePair: pairs.remove,
            actions.PassWanted: lambda a: self._as_clat.pass_wanted(a.address, a.is_lasting),
            actions.QueueWanted: lambda a: self._as_clat.queue_wanted(a.address),
            actions.RefuseWanted: lambda a: self._unreachable.tell(self._as_clat.refuse_wanted(a.address)),
            actions.AnswerArp: lambda a: arp.answer(a.mac, a.ipv4, a.address),
            actions.Log: lambda a: log.say(a.level, a.sentence),
        }

    def _at_gate(self, name: str, action: "actions.ForAddress") -> None:
        """Which a node that serves IPv6 alone does not have."""
        if self._clat is not None:
            getattr(self._clat, name)(action.mac, action.address)

    @property
    def _as_clat(self) -> "ClatRules":
        if self._clat is None:
            raise RulesError("this node is no clatnode, so it has no rules for clients")
        return self._clat

    def perform(self, action: "Action") -> None:
        try:
            self._doers[type(action)](action)
        except (RulesError, KernelError) as error:
            self._fail(str(error))
        except OSError as error:
            self._fail(f"{type(action).__name__}: {error_text(error)}")

    def _fail(self, sentence: str) -> None:
        self.failures += 1
        self._log.warning(sentence)

    def _send(self, action: actions.Send) -> None:
        if self._clat is not None:
            try:
                self._clat.hand_on()
            except RulesError as error:
                self._fail(str(error))
        self._udp.send(action.destination, action.payload, action.source)

    def _claim(self, action: actions.SendClaim) -> None:
        if self._kernel.ways.leads_elsewhere(action.destination):
            self._udp.send(action.destination, action.payload, self._source)
        else:
            is_retracted = self._kernel.ways.is_retracted(action.destination)
            knows = "forgot" if is_retracted else "does not know"
            if self._log.level <= DEBUG:
                self._log.debug(f"babel {knows} who has {format_mac(action.mac)}")
            self.events.append(ClaimUnreachable(action.mac, is_retracted))

    def _send_to_nodes(self, action: actions.SendToNodes) -> None:
        for address in self._nodes():
            self._udp.send(address, action.payload, action.source)

    def _check_elsewhere(self, action: actions.CheckElsewhere) -> None:
        if self._kernel.ways.leads_elsewhere(action.address):
            self.events.append(FoundElsewhere(action.mac))

    def _check_place(self, action: actions.CheckPlace) -> None:
        is_live = self._kernel.ways.leads_to_node(action.place)
        self.events.append(PlaceChecked(action.mac, action.place, is_live))

    def _check_route(self, action: actions.CheckRoute) -> None:
        self.events.append(RouteChecked(action.address, self._kernel.ways.has_route(action.address)))

    def _check_plat(self, action: actions.CheckPlat) -> None:
        self.events.append(PlatChecked(action.plat, self._kernel.ways.leads_to_node(action.plat)))

    def _remove_route(self, action: actions.RemoveRoute) -> None:
        self._kernel.remove_route(action.mac, action.address)
        if self._clat is not None:
            self._clat.onward.drop_care_of(action.address)

    def _send_on(self, action: actions.SendOn) -> None:
        for address, _ in action.pairs:
            self._kernel.demote_route(address, int(action.for_s))
        try:
            self._as_clat.onward.send_on(action.pairs, action.for_s)
        except RulesError:
            for address, _ in action.pairs:  # it would lead nowhere
                self._kernel.drop_route(address, self._kernel.table)
            raise

    def _unlearn(self, action: actions.Unlearn) -> None:
        port = self._forget_port(action.mac)
        if port:
            self._kernel.bridge_entries.forget(action.mac, port)

    def _release(self, action: actions.ReleaseLease) -> None:
        server, transaction = self._arp.own_ipv4(), int.from_bytes(os.urandom(4), "big")
        packet = leases.encode_release(server, action.mac, action.ipv4, transaction)
        leases.tell(self._kernel.client_device, server, packet)

    def _renew(self, action: actions.RenewLease) -> None:
        packet = leases.encode_renewal(action.mac, action.ipv4, int.from_bytes(os.urandom(4), "big"))
        leases.tell(self._kernel.client_device, self._arp.own_ipv4(), packet)

    # What a round's end does at once for all

    def _map(self, action: "MapClient | UnmapClient") -> None:
        self._maps.append(action)
        if len(self._maps) >= MAPS_MAX:
            self._carry_out_maps()

    def flush(self) -> None:
        """Carry out the mappings that were collected, and answer who asked for them; end what the gate has begun."""
        if self._maps:
            self._carry_out_maps()
        if self._clat is not None:
            try:
                self._clat.go_on()
            except RulesError as error:
                self._fail(str(error))

    def _carry_out_maps(self) -> None:
        maps, self._maps = self._maps, []
        results: list[RulesError | None] = [RulesError("this node is no platnode")] * len(maps)
        if self._plat is not None:
            try:
                results = self._plat.map_clients([mapping_of(each) for each in maps])
            except RulesError as error:
                results = [error] * len(maps)
        for each, result in zip(maps, results):
            if result is not None:
                self._fail(str(result))
            answer = each.failed() if result is not None and isinstance(each, MapClient) else each.done
            if answer is not None:
                self._udp.send(answer.destination, answer.payload, answer.source)


def mapping_of(action: "MapClient | UnmapClient") -> Mapping:
    if isinstance(action, UnmapClient):
        return Mapping(action.home, action.home, action.was, 0, 0)
    return Mapping(action.home, action.at, action.was, action.lease_s, action.serial)
