# SPDX-License-Identifier: ISC
"""The loop: wait for the nearest deadline or a socket, bring events to the choice, carry out its actions."""

import gc
import json
import os

from prefixd import net
from prefixd.babel import BabelTable
from prefixd.choice import DOUBT, DOWN, GOOD, HEALTH_NAMES, UNKNOWN, PlatChoice, describe_action
from prefixd.link_babel import Babel
from prefixd.link_control import Control
from prefixd.link_probes import Probes
from prefixd.link_roaming import Roaming
from prefixd.link_translator import Translator
from prefixd.probe import Prober
from runtime import IS_MICRO, loop
from runtime.server import SocketError
from xlat464.address import format_prefix6

START_MS = 5000  # what babeld has to tell its table before a node without PLATs says so to its clients
LOOK_MS = 1000  # how often what nobody announces is looked at
LATE_MS = 100
READS = 4  # of all sockets: the answers of all PLATs that are asked at a time
GARBAGE_BYTES = 24 * 1024  # MicroPython collects after so much, not only when its heap is full


class Daemon:
    """Everything that one prefixd consists of."""

    def __init__(self, options):
        self.clock = loop.Clock()
        self.poller = loop.Poller()
        now_ms = self.clock.now_ms()
        self.table = _table(options["babel"][0])(options["plat_range"], own=options["own_plat"])
        self.table.start(now_ms, START_MS)
        self.choice = PlatChoice(options["margin"], options["hold_s"] * 1000)
        self.prober = Prober(options["probe_ipv4"], os.urandom, options["probe_interval_ms"])
        self.prober.excused = self.table.stale
        self.table.find_spare = self.prober.find_spare
        self.babel = Babel(self.poller, self.clock, self.table, options["babel"])
        self.probes = Probes(self.poller, self.clock, self.prober, options["source"])
        self.translator = Translator(
            self.poller, self.clock, options["target"], options["clat"], options["hook"]
        )
        self.roaming = Roaming(options["l3roamd"], self._plats, self.translator)
        self.control = Control(self.poller, self.clock, options["socket"], self.describe, self.withdraw)
        self.hosts = None if options["pref64"] is None else _hosts(self.poller, self.clock, options)
        self._is_announced = options["announce"] == "on"
        links = (self.babel, self.probes, self.translator, self.roaming, self.control, self.hosts)
        self.links = [link for link in links if link is not None]
        self._look_ms = now_ms
        self._was_away = True

    def step(self):
        """Wait once and do what is due."""
        now_ms = self.clock.now_ms()
        nearest_ms = self._look_ms
        for part in self.links + [self.table, self.choice]:
            deadline_ms = part.deadline_ms()
            if deadline_ms is not None and deadline_ms < nearest_ms:
                nearest_ms = deadline_ms
        self.poller.wait(max(0, nearest_ms - now_ms))
        now_ms = self.clock.now_ms()
        if (
            now_ms - nearest_ms >= LATE_MS
        ):  # what came while we had no processor is read before silence counts
            for _ in range(READS):
                self.poller.wait(0)
        self._choose(now_ms)
        for link in self.links:
            link.tick(now_ms)

    def _choose(self, now_ms):
        """Bring the news to the choice and its decision to the links."""
        is_look = now_ms >= self._look_ms
        health = self.prober.pop_events(now_ms)
        # in the middle of babeld's table nothing is decided: the nearest PLAT may be in its last line
        is_told = self.table.is_synced or not self.table.is_greeted
        has_news = bool(health) or (is_told and self.table.has_events(now_ms))
        due_ms = self.choice.deadline_ms()
        if not (has_news or is_look or (due_ms is not None and now_ms >= due_ms)):
            return
        for action in self.choice.handle_all(self._collect(is_told, health, now_ms), now_ms):
            self._perform(action)
        self.prober.watch(self.choice.chosen, self.choice.metrics, now_ms)
        self._tell_hosts(now_ms)
        if is_look:
            self._look_ms = now_ms + LOOK_MS
            if IS_MICRO:
                gc.collect()  # little at a time: what is once touched stays resident

    def _tell_hosts(self, now_ms):
        """Tell hosts that there is an exit once one has answered, and that there is none when clients are told so."""
        choice = self.choice
        if self.hosts is None or not self._is_announced:
            return
        if choice.chosen is not None:
            if choice.health.get(choice.chosen, UNKNOWN) in (GOOD, DOUBT):
                self.hosts.tell(True, now_ms)
        elif choice.is_decided:
            self.hosts.tell(False, now_ms)

    def withdraw(self):
        """Have hosts forget the prefix, whatever comes; return whether there is nothing left to say."""
        self._is_announced = False
        return self.hosts is None or self.hosts.withdraw(self.clock.now_ms())

    def _collect(self, is_told, health, now_ms):
        """Yield the events for the choice, one by one: see BabelTable.pop_events."""
        if is_told:
            for event in self.table.pop_events(now_ms):
                yield event
            is_away = self.table.is_away(now_ms)
            if is_away != self._was_away:
                self._was_away = is_away
                yield "away", is_away
        for event in health:
            yield event

    def _perform(self, action):
        if action[0] == "use":
            self._say(net.tell, action)
            self.translator.use(action[1])
            self.roaming.use(action[1])
        elif action[0] == "stop":
            self._say(net.log, action)
            self.translator.stop()
            self.roaming.stop()
        else:
            self.roaming.lose(action[1])

    def _say(self, log, action):
        sentence = "%s: %s" % (describe_action(action), self.choice.why)
        log(sentence)
        net.show(sentence)

    def _plats(self):
        """Return the PLATs that can be used, nearest first, and those that are lost; None while nobody knows."""
        if not self.table.is_synced:
            return None
        metrics, health = self.choice.metrics, self.choice.health
        nearest = sorted(metrics, key=lambda prefix: metrics[prefix])
        lost = [prefix for prefix in nearest if health.get(prefix, UNKNOWN) == DOWN]
        return [prefix for prefix in nearest if health.get(prefix, UNKNOWN) != DOWN], self.choice.gone + lost

    def describe(self, is_whole=True):
        """Yield the status as one line of JSON, in pieces: with all PLATs, or with the chosen one alone."""
        choice = self.choice
        now_ms = self.clock.now_ms()
        since_ms = None if choice.since_ms is None else now_ms - choice.since_ms
        head = {
            "chosen": None if choice.chosen is None else format_prefix6(choice.chosen, 96),
            "why": choice.explain(),
            "since_ms": since_ms,
            "margin": choice.margin,
            "hold_ms": choice.hold_ms,
            "babel": self.babel.state,
            "babel_daemon": self.table.DAEMON,
            "babel_away": self.table.is_away(now_ms),
            "babel_counts": self.table.counts,
            "probes": self.probes.state,
            "probe_counts": self.prober.counts,
            "translator": self.translator.state,
            "roaming": self.roaming.state,
            "hosts": None if self.hosts is None else self.hosts.describe(),
            "candidates": len(choice.metrics),
        }
        yield json.dumps(head)[:-1] + ', "plats": ['
        separator = ""
        for prefix in list(choice.metrics) if is_whole else (choice.chosen,):
            if prefix in choice.metrics:  # it may have gone since the last piece
                yield separator + json.dumps(self._describe_plat(prefix))
                separator = ", "
        yield "]}\n"

    def _describe_plat(self, prefix):
        watched = self.prober.watched.get(prefix)
        plat = {
            "prefix": format_prefix6(prefix, 96),
            "metric": self.choice.metrics[prefix],
            "own": prefix in self.choice.own,
            "stale": prefix in self.table.stale,
            "chosen": prefix == self.choice.chosen,
            "state": HEALTH_NAMES[self.choice.health.get(prefix, UNKNOWN)],
            "reason": "",
            "management": None,
            "exit": None,
        }
        if watched is not None:
            plat["reason"] = watched.told[1]
            plat["management"] = _describe_lane(watched.lanes[0])
            if len(watched.lanes) > 1:
                plat["exit"] = _describe_lane(watched.lanes[1])
        return plat


def _table(kind):
    """Return the class of who is read; ImportError where a router's package leaves it out."""
    if kind != "bird":
        return BabelTable
    from prefixd.bird import BirdTable

    return BirdTable


def _hosts(poller, clock, options):
    """Return what tells hosts with a CLAT of their own, which a node that tells none does not load."""
    from prefixd.advert import Advertiser
    from prefixd.link_advert import Advert

    advertiser = Advertiser(options["pref64"], options["dns6"], options["link_mtu"])
    link = Advert(poller, clock, options["client_device"], advertiser, options["hosts_hook"])
    if options["announce"] == "off":
        link.tell(False, clock.now_ms())
    return link


def _describe_lane(lane):
    return {"up": lane.is_up, "rtt_ms": lane.rtt_ms, "losses": lane.losses}


def run(options):
    """Run for ever; return the exit status when that cannot even begin, or when somebody ends it."""
    if IS_MICRO:
        gc.collect()
        gc.threshold(GARBAGE_BYTES)  # type: ignore[attr-defined]
    try:
        daemon = Daemon(options)
    except ImportError:
        net.log(
            "no prefixd/bird.py, which reads BIRD's routes: expected the package prefixd-bird to be installed"
        )
        return 1
    try:
        daemon.control.open()
    except SocketError as error:
        net.log(str(error))
        return 1
    _end_on_sigterm()
    net.show(daemon.choice.why)
    try:
        while True:
            daemon.step()
    except KeyboardInterrupt:
        chosen = daemon.choice.chosen
        left = "with no PLAT" if chosen is None else "at " + format_prefix6(chosen, 96)
        net.tell("ending; the translator stays as it is, " + left)
    finally:
        daemon.control.close()
    return 0


def _end_on_sigterm():
    """Make SIGTERM an orderly end. MicroPython has no signals: its socket stays, the next one takes it."""
    try:
        import signal
    except ImportError:
        return

    def end(_number, _frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
