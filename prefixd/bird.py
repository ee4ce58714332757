# SPDX-License-Identifier: ISC
"""Read BIRD's control socket: which PLATs have a route of its babel, and at which metric. No I/O, no clock.

BIRD 2 and 3 greet with `0001 BIRD 2.0.12 ready.` and answer a command with lines that begin with a code of four digits
and `-`, or with a blank if the code is the last one's, and end with a code and a blank:

    1007-Table master6:
     fddd:1337:1338:1:2:1::/96 unicast [mesh 11:57:19.971] * (130/200) [a4:33:60:a2:78:b2:44:56]
     <TAB>via fe80::e88e:edff:fe21:c70e on a
    0000

(preference/metric) and the id of the router are what only babel's routes have. What is retracted is `unreachable`, and
what is not in use has no star. BIRD tells no news, so it is asked every second, or seldomer where the answer takes its
time. What is missing in an answer has lost its route. This node's own PLAT is none of babel's routes: --own-plat says
it.
"""

from prefixd.routes import INFINITY, LINE_BYTES, RouteTable
from xlat464.address import contains, format_prefix6, parse_decimal, parse_prefix6

ASK_MS = 1000
SELDOMER = 4  # pauses are so many times as long as an answer takes
GREETING = b"0001 BIRD "
NOTHING = b"8001"  # no network found
ONE = 1  # the id of each route: BIRD tells the one in use


def parse_route(line, network, length):
    """Parse a line (bytes) that begins a route: (prefix, metric, router), or None for one that is no PLAT's.

    Raises ValueError for what BIRD would not write.
    """
    words = str(line, "utf-8").split()
    if len(words) < 6 or words[-3] != "*" or words[1] != "unicast":
        return None
    prefix, bits = parse_prefix6(words[0])
    if bits != 96 or not contains(network, length, prefix):
        return None
    metric = parse_decimal(words[-2][1:-1].partition("/")[2], INFINITY)
    router = words[-1][1:-1]
    if metric is None or words[-2][0] + words[-2][-1] + words[-1][0] + words[-1][-1] != "()[]":
        raise ValueError("no metric or no router")
    return prefix, metric, router


class BirdTable(RouteTable):
    """What BIRD answers."""

    DAEMON = "BIRD"

    def __init__(self, network, length=48, grace_ms=30000, own=None):
        RouteTable.__init__(self, network, length, grace_ms, own)
        text = format_prefix6(network, length)
        self._question = (
            b"show route table all primary where source = RTS_BABEL && net ~ [%s{96,96}]\n" % text.encode()
        )
        self._asked_ms = 0
        self._told = {}  # prefixes, as keys, in the answer so far

    def question(self, now_ms):
        """Return what to ask, if it is time."""
        if self.is_waiting or now_ms < self.question_ms:
            return None
        self.is_waiting = True
        self._asked_ms = now_ms
        self._told = {}
        return self._question

    def _parse_line(self, data, start, end, now_ms):
        self.counts["lines"] += 1
        line = data[start:end]
        if end - start > LINE_BYTES:
            self.counts["overlong"] += 1
        elif not self.is_greeted:
            if line[: len(GREETING)] != GREETING:
                self.error = "no BIRD: it does not greet as one"
                return
            self.is_greeted = True
            self.is_waiting = False
            self.question_ms = now_ms
        elif line[:1] == b" ":
            self._parse_answer(line[1:], now_ms)
        elif line[4:5] == b"-":
            self._parse_answer(line[5:], now_ms)
        elif line[4:5] == b" " and self.is_waiting:
            self._end(line[:4], now_ms)
        else:
            self.counts["malformed"] += 1

    def _parse_answer(self, line, now_ms):
        if line[:1] in b"\t " or line[:6] == b"Table ":
            return
        try:
            found = parse_route(line, self.network, self.length)
        except ValueError:  # UnicodeError is one
            self.counts["malformed"] += 1
            return
        if found is not None and found[1] != INFINITY and found[0] not in self._told:
            prefix, metric, router = found
            self._note_route(("route", ONE, prefix, metric, router), now_ms)
            if prefix in self.metrics:
                self._told[prefix] = True

    def _end(self, code, now_ms):
        """The answer is whole, or there is none."""
        if code[:1] == b"9":
            self.error = "BIRD refuses the question: %s" % str(code, "utf-8")
            return
        self.is_waiting = False
        self.question_ms = now_ms + max(ASK_MS, SELDOMER * (now_ms - self._asked_ms))
        if code[:1] == b"8" and code != NOTHING:  # it was interrupted, by a new configuration for one
            return
        for prefix in list(self.metrics):
            if prefix not in self._told:
                self._note_route(("route", ONE, prefix, INFINITY, ""), now_ms)
        self._told = {}
        self._note_sync(now_ms)
