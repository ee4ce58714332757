# SPDX-License-Identifier: ISC
"""The one loop: wait for the nearest deadline or a descriptor, bring events to the core, carry out its actions.

What a daemon makes outlives it. Addresses, neighbours, routes and rules stay in the kernel when it ends, however it
ends. So clients notice nothing of an upgrade. The next daemon takes them over. `flush` in cleanup.py removes all.
"""

from time import time as since_1970_s

from l3roamd_py import cleanup, leases, state
from l3roamd_py.core.core import Core
from l3roamd_py.core.events import LeaseGranted, Tick
from l3roamd_py.core.timers import Silence
from l3roamd_py.inputs import InputError, Inputs
from l3roamd_py.kernel.netlink import KernelError
from l3roamd_py.kernel.translator import Translator
from l3roamd_py.netfilter import choice
from l3roamd_py.netfilter.rules import RulesError
from l3roamd_py.pairs import remove_left, start_script
from l3roamd_py.performer import Performer
from l3roamd_py.settings import Settings
from l3roamd_py.state import StateError, StateWriter
from runtime import files
from runtime.lock import Lock
from runtime.log import DEBUG, INFO, Log
from runtime.loop import BootClock, Poller
from runtime.server import Server, SocketError
from runtime.sockets import ENOENT, error_number, error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from l3roamd_py.core.actions import Action
    from l3roamd_py.core.events import Event
    from l3roamd_py.netfilter.rules import ClatRules, PlatRules
    from runtime.server import Language

    Answers = Callable[["Daemon"], Language]  # what a daemon answers at its control socket

LONGEST_WAIT_S = 60.0
EVENTS_MAX = 4096  # that one event may bring about, one after the other
PEER_S = 5.0  # what a peer at the control socket has


class DaemonError(Exception):
    """The daemon cannot start; one sentence says why and what would be right."""


class Daemon:
    """Everything that one l3roamd_py consists of. SocketError, InputError, RulesError, KernelError: cannot start."""

    def __init__(self, settings: Settings, answers: "Answers") -> None:
        self.settings = settings
        self.log = Log("l3roamd_py", DEBUG if settings.is_verbose else INFO)
        self.poller = Poller()
        self.now_s = BootClock().now_s
        self.is_stopping = False
        self.inputs = inputs = Inputs(settings, self.poller, self.log, self.now_s, self.handle)
        self.core = self._make_core()
        self.clat, self.plat = make_rules(settings)
        if settings.options.has_clients and self.clat is None:
            self.log.warning("there is no gate: IPv6 addresses of clients that say nothing are not learnt")
        inputs.gate = self.clat
        parts = (inputs.kernel, inputs.udp, inputs.arp, inputs.ndp, self.clat, self.plat)
        own = settings.options.address
        self.translator = Translator(settings.clat_device, settings.translator, start_script, self.now_s)
        others = (inputs.finder.forget_port, self.now_s, self.log, self.translator, inputs.nodes)
        self.performer = Performer(*parts, own, *others)
        self.server = Server(settings.socket, self.poller, self.now_s, PEER_S, answers(self))
        self.state_writer = StateWriter(settings.state, self._describe_state, state.read_boot_id())
        self.bugs = 0
        self.others_changes = 0  # to our rules
        self.silence = Silence()
        self.has_acted = True  # since the end of the last round that did all that there is to do
        self._nearest_s = 0.0  # when something is due

    # Starting

    def _make_core(self) -> Core:
        core = Core(self.settings.options)
        core.node.port_of = self.inputs.finder.port_of
        core.node.reaches_all = self.inputs.reaches_all
        self.inputs.ndp.attend(core.node)
        self.inputs.arp.attend(core.node)
        return core

    def start(self) -> None:
        """Take over what there is, then look who is here."""
        refusals, mappings = cleanup.remove_other_kind(self.clat, self.plat)
        for rules in (self.clat, self.plat):
            if rules is not None:
                rules.set_up()
        if self.plat is not None:
            refusals += cleanup.map_all(self.plat, mappings)
        for refusal in refusals:
            self.log.warning(str(refusal))
        # before clients are asked, for that needs the devices
        found = self.inputs.told_of(self.inputs.finder.dump(self.now_s()))
        self.inputs.follow()
        self._restore()
        for error in cleanup.remove_others(self.inputs.kernel, self.core.node):
            self.log.warning(str(error))
        if self.clat is not None:
            for sentence in remove_left(self.inputs.kernel, self.translator):
                self.log.warning(sentence)
            self.clat.onward.drop_other_care_of(self.core.node.owner_of)
        # what the bridge remembers of a client that was restored does not say that it is here
        self.handle(event for event in found if getattr(event, "mac", b"") not in self.core.node.clients)
        self._read_leases()
        self.follow_prefixes()
        self.inputs.start()
        self.translator.sources.attend(self.poller, self.translator.go_on)

    def follow_prefixes(self) -> None:
        """Hold packets of clients' prefixes, and those for clients that are nowhere."""
        if self.clat is not None:
            prefixes = tuple(self.core.node.prefixes)
            if prefixes != self.clat.prefixes:
                self.clat.set_prefixes(prefixes)
            for error in self.inputs.kernel.other_routes.follow_prefixes(
                prefixes if self.clat.seeks_ipv6 else ()
            ):
                self.log.warning(str(error))

    def _restore(self) -> None:
        """Go on with what the kernel holds and the state file says; a state file that lies is none."""
        opened = set() if self.clat is None else self.clat.opened()
        mappings = [] if self.plat is None else list(self.plat.mappings())
        plats = []
        if self.clat is not None:
            plats = list(self.clat.plat_of.items()) + list(self.clat.own_plat_of.items())
        found: dict = {}
        try:
            found = state.load(self.settings.state, state.read_boot_id()) or {}
            actions = self.core.restore(found.get("core", {}), self.now_s(), opened, mappings, plats)
        except (StateError, ValueError, KeyError, TypeError, MemoryError) as error:
            found.clear()
            sentence = f"{self.settings.state} is damaged ({error!r}): starting without"
            self.log.warning(str(error) if isinstance(error, StateError) else sentence)
            self.core = self._make_core()
            actions = self.core.restore({}, self.now_s(), opened, mappings, plats)
        self.handle(self.carry_out(actions))
        self.performer.flush()

    def _read_leases(self) -> None:
        """What dnsmasq leased while nobody was there to hear of it."""
        path = self.settings.lease_file
        if path is None or self.clat is None:
            return
        try:
            text = ascii_of(files.read(path, leases.FILE_BYTES))
        except OSError as error:
            if error_number(error) != ENOENT:
                self.log.warning(f"the leases are not known: {path}: {error_text(error)}")
            return
        for lease in leases.parse_file(text, since_1970_s()):
            self.hear_lease("old", lease.mac, lease.ipv4, lease.lease_s)

    def hear_lease(self, action: str, mac: bytes, ipv4: bytes, lease_s: int) -> None:
        """A lease of our DHCP server, newly given (add) or found (old)."""
        # dnsmasq says `old` of renewals, and of every lease when it starts; and its client may be behind a repeater,
        # which sends in its name
        is_seen = self.inputs.is_seen(mac)
        self.handle([LeaseGranted(mac, ipv4, lease_s, is_seen, action == "old")])

    # The loop

    def run(self) -> None:
        """Serve until a signal says otherwise."""
        while not self.is_stopping:
            try:
                self.step()
            except MemoryError as error:  # MicroPython's heap is no larger than it was at the start
                self.bugs += 1
                self.log.bug("there is no memory", error)

    def stop(self) -> None:
        self.is_stopping = True

    def step(self) -> None:
        """Wait once and do what is due."""
        self.inputs.read_arrived()
        polled_s, is_answered = self.inputs.read(self._wait_s())
        deadline_s = self.core.next_deadline_s if is_answered else None
        if self.silence.is_unsure(deadline_s, polled_s, is_answered):
            self.performer.flush()
        else:
            self._go_on(polled_s)

    def _go_on(self, polled_s: float) -> None:
        """Do what there is to do besides answering."""
        self.translator.go_on()
        if self.performer.events:  # what it has answered
            self.handle(self.carry_out(()))
        self.inputs.handle_some()
        # most that the kernel tells of neighbours brings about nothing
        is_idle = self.inputs.is_calm and not self.has_acted and polled_s < self._nearest_s
        if is_idle and self.core.changes == self.state_writer.seen:
            return
        self.has_acted = False
        now = self.now_s()
        deadline_s = self.core.next_deadline_s
        # what came due since the poll waits for the next one: its answer may have come as well
        if deadline_s is not None and deadline_s <= polled_s:
            self.handle([Tick()])
        self.performer.flush()
        self.inputs.follow_changes()
        self.server.tick(now)
        self._check_rules(now)
        self._write_state(now)

    def _wait_s(self) -> float:
        """How long nothing is due."""
        now = self.now_s()
        nearest_s = now + LONGEST_WAIT_S
        for each_s in (
            self.core.next_deadline_s,
            self.server.next_deadline,
            self.state_writer.next_deadline_s,
            None if self.clat is None else self.clat.checks.next_s,
            None if self.plat is None else self.plat.checks.next_s,
            self.translator.next_deadline_s,
        ):
            if each_s is not None and each_s < nearest_s:
                nearest_s = each_s
        self._nearest_s = nearest_s
        return nearest_s - now

    def _check_rules(self, now: float) -> None:
        """Rules that somebody flushed come back, and mappings with them."""
        try:
            if self.clat is not None:
                self.clat.tick(now)
                if self.clat.notices:
                    notices, self.clat.notices = self.clat.notices, []
                    self.others_changes += len(notices)
                    for notice in notices:
                        self.log.warning(notice)
            if self.plat is not None and self.plat.tick(now):
                self.log.warning("somebody removed the rules of who has roamed: they are made again")
                assert self.core.platnode is not None
                for error in cleanup.map_all(self.plat, self.core.platnode.mappings()):
                    self.log.warning(str(error))
        except RulesError as error:
            self.log.warning(str(error))

    def _write_state(self, now: float) -> None:
        self.state_writer.note(self.core.changes, now)
        try:
            self.state_writer.tick(now)
        except StateError as error:
            self.log.warning(str(error))

    def handle(self, events: "Iterable[Event]") -> None:
        """Bring events to the core, and what comes of its actions too."""
        waiting = list(events)
        bound, at = len(waiting) + EVENTS_MAX, 0
        while at < len(waiting) and at < bound:
            event = waiting[at]
            at += 1
            try:
                actions = self.core.handle(event, self.now_s())
            except Exception as error:  # a bug of ours must not take the other clients' roams along
                self.bugs += 1
                self.log.bug(f"the core failed at {type(event).__name__}", error)
                continue
            if actions:
                waiting += self.carry_out(actions)

    def carry_out(self, actions: "Iterable[Action]") -> "list[Event]":
        """Perform actions; return the events that came of it."""
        self.has_acted = True
        for action in actions:
            self.performer.perform(action)
        events = self.performer.events
        if events:
            self.performer.events = []
        return events

    # Telling

    def describe(self) -> "dict[str, Any]":
        """What people want to know, ready for rows.encode."""
        status = self.core.status(self.now_s(), iter)
        counters = status["counters"]
        parts = [self.inputs.udp.counters, self.server.counters, self.inputs.garbage.counters]
        if self.clat is not None:
            parts.append({f"gate_{name}": value for name, value in self.clat.counters().items()})
        parts.append(
            {"kernel_overruns": self.inputs.finder.listing.overruns, "failures": self.performer.failures}
        )
        parts.append({"bugs": self.bugs, "rules_changed_by_others": self.others_changes})
        for part in parts:
            counters.update(part)
        status.setdefault("roams", [])
        status["mesh"] = list(self.inputs.mesh_devices)
        rules = self.clat or self.plat
        status["rules"] = None if rules is None else type(rules).__name__
        hosts = None if self.clat is None else self.clat.hosts()
        owners = {self.core.node.owner_of.get(address) for address in hosts or ()}
        status["translating"] = None if hosts is None else len(owners - {None})
        status["rules_behind"] = [] if self.clat is None else self.clat.behind
        return status

    # Ending

    def _describe_state(self) -> dict:
        return {"core": self.core.snapshot(self.now_s(), iter)}

    def close(self) -> None:
        """End, and leave the kernel as it is for the next daemon."""
        try:
            self.state_writer.write()
        except StateError:
            pass
        self.server.close()
        self.inputs.close()
        for rules in (self.clat, self.plat):
            close = getattr(rules, "close", None)
            if close is not None:
                close()


def run(settings: Settings, answers: "Answers") -> None:
    """Serve in the foreground until SIGTERM or SIGINT. Raises DaemonError when it cannot start."""
    try:
        lock = Lock(settings.socket, "l3roamd_py")
        daemon = Daemon(settings, answers)
        daemon.poller.stop_on_signals(daemon.stop)
        daemon.start()
    except (SocketError, InputError, RulesError, KernelError) as error:
        raise DaemonError(str(error)) from None
    daemon.log.info(f"ready at {settings.socket}")
    roles = (("clients", daemon.clat), ("an exit", daemon.plat))
    daemon.log.tell_manager("serving " + (" and ".join(name for name, rules in roles if rules) or "nobody"))
    try:
        daemon.run()
    finally:
        daemon.close()
        lock.release()
    daemon.log.info("ended; addresses, routes and rules stay for the next one")


def ascii_of(data: bytes) -> str:
    """Return a text in which what is not ASCII is a question mark."""
    if any(octet > 0x7E for octet in data):
        data = bytes([octet if octet < 0x7F else 0x3F for octet in data])
    return data.decode()


def make_rules(settings: Settings) -> "tuple[ClatRules | None, PlatRules | None]":
    """The rules of the roles that this node has. RulesError: the kernel takes none of them."""
    options = settings.options
    clat = plat = None
    try:
        clat_rules, plat_rules = choice.choose_rules(settings.rules)
    except RulesError:
        if options.own is None:
            raise
        return None, None  # who serves IPv6 alone can do without
    if options.has_clients:
        clat = clat_rules(settings.client_device, settings.clat_device)
        clat.set_prefixes(options.prefixes)
        clat.clat_range = options.clat_range
        if options.pref64 is not None:
            clat.set_hosts(options.pref64, options.plat_range, options.plat)
    if options.plat is not None:
        plat = plat_rules(settings.plat_device, options.plat)
    return clat, plat
