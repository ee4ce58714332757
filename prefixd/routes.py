# SPDX-License-Identifier: ISC
"""Which PLATs have a route, and at which metric, whichever babel tells it. No I/O, no clock.

A PLAT must not be left for the gap between two lines, so a loss counts only when it has lasted LINGER_MS.

The table has a bound. Where it is full, one that does not answer gives way, or one that is farther than anybody needs.
By then it is known who answers, so no number of false ones keeps a true one out.

An exit has one PLAT, two while it changes its prefix. Of what one router announces beyond PER_ROUTER nothing is taken,
only counted: hundreds of false ones must not stand before the true ones.

When the routing daemon goes away its table is kept, marked stale, and what the next one has not repeated by the
deadline is dropped.
"""

INFINITY = 0xFFFF  # metric of a retracted route, RFC 8966 section 4.6.9
LINE_BYTES = 512  # of a line: babeld formats each into a buffer of this size, and BIRD's are shorter
LINGER_MS = 100
PER_ROUTER = 4  # PLATs of one router
PLATS = 2048  # what the table holds at most: the rest is counted, so that no mesh can eat a router's memory


class RouteTable:
    """What one routing daemon after another has said, as far as it is about PLATs.

    Who reads one is a subclass. It has `_parse_line(data, start, end, now_ms)`, says _note_sync when a whole table is
    told, and question(now_ms) returns what is to be asked now, or None; is_waiting is whether an answer is still due.

    metrics  prefix (16 bytes) -> metric of the installed route
    own      prefix -> metric of what this node announces: its own PLATs
    stale    prefixes, as keys, that only an earlier daemon has told
    find_spare  function of a new route's metric and of metrics: a prefix that may give way to it, or None
    counts   lines, malformed, overlong, full, crowded (too many of one router): for the status
    """

    DAEMON = "babeld"  # its name, for the log

    def __init__(self, network, length=48, grace_ms=30000, own=None):
        self.network = network
        self.length = length
        self.grace_ms = grace_ms
        self.metrics = {}
        self.own = {}
        self.find_spare = None
        self.counts = {"lines": 0, "malformed": 0, "overlong": 0, "full": 0, "crowded": 0}
        self.error = None  # why this daemon is of no use, one sentence
        self.is_greeted = self.is_synced = self.is_waiting = False
        self.question_ms = None  # when there is something to ask
        self._ids = {}  # prefix -> id of the installed route
        self._routers = {}  # id -> [how many prefixes, id]
        self._origins = {}  # prefix -> its router's entry in _routers
        self._lingering = {}  # prefix -> ms since when its route is lost
        self.stale = {}  # prefixes, as keys, that the present daemon has not confirmed
        self._stale_until_ms = None
        self._changed = {}  # prefixes that pop_events has to tell
        self._partial = b""
        self._is_skipping = False
        self._fixed = own  # this node's PLAT as configured, which no absence of the daemon takes away
        if own is not None:
            self.own[own] = 0
            self._changed[own] = True

    def is_away(self, now_ms):
        """Return whether what the daemon says is not the whole truth: it is away, or new and still learning."""
        return self._stale_until_ms is not None and now_ms < self._stale_until_ms

    def start(self, now_ms, wait_ms):
        """Nothing is known yet: take the daemon for away until it has told its table, or for wait_ms."""
        self._stale_until_ms = now_ms + wait_ms

    def connect(self):
        """A new connection: a greeting comes next."""
        self.is_greeted = self.is_synced = False
        self.is_waiting = True
        self.question_ms = None
        self.error = None
        self._partial = b""
        self._is_skipping = False

    def disconnect(self, now_ms):
        """The daemon is gone: keep its routes, but not for ever."""
        had_synced = self.is_synced
        self.connect()
        for table in (self.metrics, self.own):
            for prefix in table:
                if prefix != self._fixed:
                    self.stale[prefix] = True
        if had_synced:
            self._stale_until_ms = now_ms + self.grace_ms

    def feed(self, data, now_ms):
        """Take what came over the connection, cut anywhere."""
        start = 0
        while True:
            end = data.find(b"\n", start)
            if end < 0:
                break
            if self._is_skipping:
                self._is_skipping = False
            elif self._partial:
                line = self._partial + data[start:end]
                self._partial = b""
                self._parse_line(line, 0, len(line), now_ms)
            else:
                self._parse_line(data, start, end, now_ms)
            start = end + 1
        if not self._is_skipping and start < len(data):
            self._partial += data[start:]
            if len(self._partial) > LINE_BYTES:
                self._partial = b""
                self._is_skipping = True
                self.counts["lines"] += 1
                self.counts["overlong"] += 1

    def _parse_line(self, data, start, end, now_ms):
        """Take data[start:end], a line."""
        raise NotImplementedError

    def _note_sync(self, now_ms):
        """The whole table is told."""
        self.is_synced = True
        if not self.stale:
            self._stale_until_ms = None
        elif self._stale_until_ms is None:
            self._stale_until_ms = now_ms + self.grace_ms

    def _note_route(self, found, now_ms):
        noun, route_id, prefix, metric, router = found
        table = self.own if noun == "xroute" else self.metrics
        is_current = noun == "xroute" or self._ids.get(prefix) == route_id
        if metric == INFINITY:
            # another neighbour's route to this prefix, which is not in use, says nothing
            if prefix in table and is_current and prefix not in self.stale:
                if noun == "xroute":
                    del self.own[prefix]
                    self._changed[prefix] = True
                elif prefix not in self._lingering:
                    self._lingering[prefix] = now_ms
            return
        if prefix not in table and len(table) >= PLATS and not (noun == "route" and self._make_room(metric)):
            self.counts["full"] += 1
            return
        if noun == "route":
            if not self._note_origin(prefix, router):
                self.counts["crowded"] += 1
                return
            self._ids[prefix] = route_id
            self._lingering.pop(prefix, None)
        self.stale.pop(prefix, None)
        if self.is_synced and not self.stale:
            self._stale_until_ms = None
        if table.get(prefix) != metric:
            table[prefix] = metric
            self._changed[prefix] = True

    def _make_room(self, metric):
        """Let a prefix give way to a new one; return whether there is such a one."""
        spare = self.find_spare(metric, self.metrics) if self.find_spare is not None else None
        if spare is None:
            return False
        self._lingering.pop(spare, None)
        self._forget(spare)
        return True

    def _note_origin(self, prefix, router):
        """Note who announces a prefix; return whether that is not too many of theirs. One that is there stays."""
        entry = self._routers.get(router)
        if entry is not None and entry is self._origins.get(prefix):
            return True
        if entry is None:
            entry = self._routers[router] = [0, router]
        elif entry[0] >= PER_ROUTER and prefix not in self.metrics:
            return False
        self._drop_origin(prefix)
        self._origins[prefix] = entry
        entry[0] += 1
        return True

    def _drop_origin(self, prefix):
        entry = self._origins.pop(prefix, None)
        if entry is not None:
            entry[0] -= 1
            if not entry[0]:
                del self._routers[entry[1]]

    def has_events(self, now_ms):
        """Return whether pop_events would yield any."""
        deadline_ms = self.deadline_ms()
        return bool(self._changed) or (deadline_ms is not None and now_ms >= deadline_ms)

    def deadline_ms(self):
        """Return when pop_events has something to tell even if the daemon is silent, or None."""
        deadlines = [since_ms + LINGER_MS for since_ms in self._lingering.values()]
        if self._stale_until_ms is not None:
            deadlines.append(self._stale_until_ms)
        return min(deadlines) if deadlines else None

    def pop_events(self, now_ms):
        """Yield what changed since the last call: ("metric", prefix, metric) and ("own", prefix, yes).

        One at a time: with hundreds of PLATs a list of them all would be half of MicroPython's memory.
        """
        for prefix in [p for p in self._lingering if self._lingering[p] + LINGER_MS <= now_ms]:
            del self._lingering[prefix]
            self._forget(prefix)
        if self._stale_until_ms is not None and now_ms >= self._stale_until_ms:
            self._stale_until_ms = None
            for prefix in list(self.stale):
                # without any daemon the other nodes' PLATs are out of reach, and this node's own is not
                if self.is_synced or prefix not in self.own:
                    self._forget(prefix)
        changed = self._changed
        self._changed = {}
        for prefix in changed:
            yield "own", prefix, prefix in self.own
            yield "metric", prefix, self.metrics.get(prefix, INFINITY)

    def _forget(self, prefix):
        self.stale.pop(prefix, None)
        self._ids.pop(prefix, None)
        self._drop_origin(prefix)
        self.metrics.pop(prefix, None)
        self.own.pop(prefix, None)
        self._changed[prefix] = True
