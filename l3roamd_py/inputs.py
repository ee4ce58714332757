# SPDX-License-Identifier: ISC
"""What tells the daemon something: its sockets, which are others when devices come and go, and how they are read."""

from l3roamd_py.core.events import ClientSeen, Wanted
from l3roamd_py.core.wire import PORT
from l3roamd_py.kernel.arp import Arp
from l3roamd_py.kernel.finder import Finder
from l3roamd_py.kernel.listener import READS_MAX
from l3roamd_py.kernel.ndp import Ndp, hear_groups
from l3roamd_py.kernel.netlink import KernelError
from l3roamd_py.kernel.network import Network
from l3roamd_py.kernel.node_routes import NodeRoutes
from l3roamd_py.kernel.stations import Stations
from l3roamd_py.kernel.udp import PortInUse, Udp
from l3roamd_py.netfilter.rules import RulesError
from runtime import IS_MICRO
from runtime.garbage import Garbage
from runtime.sockets import error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from l3roamd_py.core.events import Event
    from l3roamd_py.kernel.listing import Listing
    from l3roamd_py.netfilter.rules import ClatRules
    from l3roamd_py.settings import Settings
    from runtime.log import Log
    from runtime.loop import Poller

# events of the kernel's in one round: who makes clients up must not keep all others waiting
ROUND_MAX = 16 if IS_MICRO else 64
ANSWERING = "udp 0", "udp 1", "arp", "ndp"  # parts
# with less between them events of the kernel's are many, and are read together; else one at a time: that there is no
# other is an error of the socket's, which takes MicroPython as long as an event. Before what is due all are read
BURST_S = 0.01
UNHANDLED_MAX = 1024  # that wait; what comes then waits in the kernel, or is lost and looked for


class InputError(Exception):
    """A socket that we need cannot be had; one sentence."""


class Inputs:
    """handle: brings events to the core. Raises InputError, KernelError.

    gate: the rules at which packets of clients wait. node_routes, gate: None on a node without clients.
    """

    def __init__(
        self,
        settings: "Settings",
        poller: "Poller",
        log: "Log",
        clock: "Callable[[], float]",
        handle: "Callable[[Iterable[Event]], None]",
    ) -> None:
        self._poller, self._log, self._clock, self._handle = poller, log, clock, handle
        self._watched: "dict[str, Any]" = {}  # part -> its socket in the poller
        self.is_calm = False  # in this round the kernel alone told something, and of no device
        self._answering: "list[int]" = []  # descriptors of those where answers to our questions come
        self.mesh_devices, self.garbage = list(settings.mesh_devices), Garbage()
        options = settings.options
        self._has_clients, self._without = options.has_clients, settings.without
        self._has_clat = options.clat is not None
        try:
            self.udp = Udp(options.address)
        except PortInUse:
            sentence = f"UDP port {PORT} cannot be ours (address in use): end the other roaming daemon"
            raise InputError(sentence) from None
        except OSError as error:
            raise InputError(f"UDP port {PORT} cannot be ours: {error_text(error)}") from None
        self.kernel = Network(settings.client_device, options.node_client_prefix, settings.table)
        self._pending: "list[Listing]" = []
        self.finder = Finder(self.kernel, options.max_ports, self._pending)
        self.stations = Stations(self.finder, self._pending)
        self.arp = Arp(settings.client_device, self.finder)
        self.ndp = Ndp(settings.client_device, self.finder, "ndp" not in settings.without)
        self.node_routes: "NodeRoutes | None" = None
        if options.clat is not None:
            ranges = (options.clat_range, options.clat, options.plat_range)
            ways = self.kernel.ways
            self.node_routes = NodeRoutes(*ranges, ways.prefixes, ways.leads_to_node, self._pending)
        self.gate: "ClatRules | None" = None
        self._unhandled: "list[Event]" = []  # of the finder, and of listings
        self._polled_s = 0.0  # the last time
        self._packs = READS_MAX  # that the finder reads

    def start(self) -> None:
        """Listen, after what is there already has been taken over."""
        self._watch_udp()
        self._watch("finder", self.finder.socket(), self._read_finder)
        if self.node_routes is not None:
            self.node_routes.listing.all(self._clock())
            self._watch("node_routes", self.node_routes.socket(), self._read_node_routes)
        if self.gate is not None:
            self.gate.attend(self._poller, self._read_gate)

    def nodes(self) -> list[bytes]:
        """Where the other clatnodes hear us."""
        return [] if self.node_routes is None else self.node_routes.nodes()

    def reaches_all(self) -> bool:
        """Return whether `nodes` tells of all of them."""
        return self.node_routes is None or self.node_routes.are_all_asked()

    def told_of(self, found: "list[Event]") -> "list[Event]":
        """Return what is told of what the finder found."""
        return [] if "netlink" in self._without else found

    def is_seen(self, mac: bytes) -> bool:
        """Return whether frames of this MAC come to our bridge, or it is a station of ours."""
        return self.stations.is_here(mac) or self.finder.has_seen(mac)

    def read_arrived(self) -> None:
        """Take what no socket tells of. It may bring a deadline nearer, so it comes before read."""
        if self.gate is not None and self.gate.has_arrived:
            self._read_gate()

    def read(self, wait_s: float) -> "tuple[float, bool]":
        """Wait for at most so long, and take what was said. Return when the wait ended, and whether answers came."""
        if self._pending:
            wait_s = min(wait_s, min([each.next_s for each in self._pending]) - self._clock())
        wait_ms = 0 if self._unhandled else int(max(0.0, wait_s) * 1000 + 0.999)
        ready = self.garbage.ready(self._poller, wait_ms)
        polled_s, is_answered = self._clock(), False
        self.is_calm = False
        if ready:
            # the finder first: who says something by ARP is at a port that it knows
            first = self.finder.socket().fileno()
            if first in ready:
                is_alone = len(ready) == 1
                is_single = is_alone and BURST_S < polled_s - self._polled_s < wait_s
                self._packs = 1 if is_single else READS_MAX
                self._poller.call(first)
                self.is_calm = is_alone and not self.finder.changed
            for descriptor in ready:
                is_answered = is_answered or descriptor in self._answering
                if descriptor != first:
                    self._poller.call(descriptor)
        self._polled_s = polled_s
        return polled_s, is_answered

    def handle_some(self) -> None:
        """Bring what the kernel told to the core, so much of it that others have their turn."""
        batch = self._unhandled
        if batch:
            self._unhandled = batch[ROUND_MAX:] if len(batch) > ROUND_MAX else []
            self._handle(batch[:ROUND_MAX] if self._unhandled else batch)
        if self._pending and not self._unhandled:
            self._list_on()

    def _list_on(self) -> None:
        """Go on with what is listed anew."""
        now_s = self._clock()
        for listing in list(self._pending):
            if listing.next_s <= now_s:
                events = listing.go_on(now_s)
                self._unhandled += self.told_of(events) if listing is self.finder.listing else events
                if listing.failure:
                    self._log.warning(listing.failure)
                    listing.failure = ""

    def follow_changes(self) -> None:
        """Take other devices and sockets over, if there are."""
        if self.finder.changed:
            self.follow()
        if self.udp.is_changed:
            self._watch_udp()

    def follow(self) -> None:
        """Devices have come or gone: take over what there is now."""
        self.finder.changed = False
        self.udp.follow({name: self.finder.links.index_of(name) for name in self.mesh_devices})
        if not self._has_clients:
            return
        client = self.kernel.client_device, self.finder.client_index
        is_other = self._follow_device("arp", self.arp, *client)
        self._follow_device("ndp", self.ndp, *client)
        self._follow_network()
        hear_groups(self.kernel.client_device)  # also if the bridge alone is another one
        if is_other and self.finder.client_index:
            for error in self.kernel.renew():
                self._log.warning(str(error))
        if "nl80211" not in self._without and self.stations.open():
            self._watch("stations", self.stations.socket(), lambda: self._handle(self.stations.read()))

    def _follow_network(self) -> None:
        """Hold what clients send to others of their IPv4 network, where there is a CLAT to reach them by."""
        if self.gate is not None and self._has_clat:
            try:
                own = self.finder.own_addresses()[1]
                if any(own):
                    self.gate.set_network(own, self.finder.network_bits)
            except (KernelError, RulesError) as error:
                self._log.warning(str(error))

    def close(self) -> None:
        for part in (self.udp, self.finder, self.stations, self.arp, self.ndp, self.kernel):
            part.close()
        if self.node_routes is not None:
            self.node_routes.close()

    def _watch(self, name: str, sock: "Any", read: "Callable[[], object]") -> None:
        """Wait for a part's socket, which may be another one than before, or none."""
        self._unwatch(name)
        if sock is not None:
            self._poller.add(sock, read)
            self._watched[name] = sock
        self._note_answering()

    def _note_answering(self) -> None:
        found = [self._watched.get(each) for each in ANSWERING]
        self._answering = [each.fileno() for each in found if each is not None]

    def _unwatch(self, name: str) -> None:
        """Forget a part's socket: before it is closed."""
        sock = self._watched.pop(name, None)
        if sock is not None:
            self._poller.forget(sock)

    def _watch_udp(self) -> None:
        self.udp.is_changed = False
        for place, sock in enumerate(self.udp.sockets()):
            self._watch(f"udp {place}", sock, self._reader_of(sock))

    def _reader_of(self, sock: "Any") -> "Callable[[], object]":
        return lambda: self._handle(self.udp.read(sock))

    def _read_finder(self) -> None:
        try:
            if len(self._unhandled) < UNHANDLED_MAX:
                found = self.finder.read(self._packs)
                if "netlink" not in self._without:
                    self._unhandled += found
        except KernelError as error:
            self._log.warning(str(error))

    def _read_node_routes(self) -> None:
        if self.node_routes is not None:
            self._handle(self.node_routes.read(self._clock()))

    def _follow_device(self, name: str, part: "Arp | Ndp", device: str, index: int) -> bool:
        self._unwatch(name)
        is_other = part.follow(device, index)
        self._watch(name, part.socket(), lambda: self._read_device(name, part))
        return is_other

    def _read_device(self, name: str, part: "Arp | Ndp") -> None:
        watched = part.socket()
        self._handle(part.read(self._clock()))
        if part.socket() is not watched:
            self._watched.pop(name, None)
            self._note_answering()

    def _read_gate(self) -> None:
        assert self.gate is not None
        try:
            arrivals, wanted = self.gate.read_arrivals(), self.gate.read_wanted()
        except RulesError as error:
            self._log.warning(str(error))
            return
        self._handle(
            ClientSeen(each.mac, each.address) for each in arrivals if self.finder.is_client(each.mac)
        )
        client_index = self.finder.client_index
        self._handle(
            Wanted(mac if index == client_index else b"", source, destination)
            for index, mac, source, destination in wanted
        )
