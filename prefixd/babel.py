# SPDX-License-Identifier: ISC
"""Read babeld's local interface: which PLATs have a route, and at which metric. No I/O, no clock.

babeld (1.12.1, local.c) greets with `BABEL 1.0`, some facts and `ok`; asked to `monitor`, it tells its whole
table, says `ok`, and from then on each change:

    add route 564830143590 prefix fddd:1337:1337:1:2:3::/96 from ::/0 installed yes id 02:00:... metric 96 ...
    change route ...
    flush route ...
    add xroute P-::/0 prefix P from ::/0 metric 0

One prefix has a route per neighbour, of which at most one is installed; only that one counts here. A
retracted route stays installed for a while, at metric 65535. An xroute inside the PLAT range is a PLAT of
this very node. babeld hands over from one neighbour to another in two or three lines (`installed no`, then
`installed yes`). What becomes of the routes is in routes.py.
"""

from prefixd.routes import INFINITY, LINE_BYTES, RouteTable
from xlat464.address import contains, parse_decimal, parse_prefix6

_VERBS = (b"add ", b"chan", b"flus")


def find_words(network):
    """Return bytes that every line about a prefix in this /48 (16 bytes) holds: a cheap test before parsing.

    The text of an address shows its groups as they are up to the first zero, where it may be shortened.
    """
    words = b" prefix "
    for i in range(0, 6, 2):
        group = network[i] << 8 | network[i + 1]
        if not group:
            break
        words += b"%x:" % group
    return words


def parse_route(line, network, length):
    """Parse one `route` or `xroute` line (bytes), once find_words(network) is known to be in it.

    Returns (noun, id, prefix, metric, router): noun "route" or "xroute"; id an integer (0 for an xroute); prefix
    16 bytes; metric INFINITY when the route is not installed, retracted or flushed; router the id of who announces
    it, as text ("" for an xroute). Returns None for a line about something else: another prefix length, outside the
    range, or for some sources only. Raises ValueError for everything that babeld would not write.
    """
    words = str(line, "utf-8").split()
    if len(words) < 3 or len(words) % 2 == 0 or words[0] not in ("add", "change", "flush"):
        raise ValueError("not a monitor line")
    verb, noun = words[0], words[1]
    if noun not in ("route", "xroute"):
        raise ValueError("neither route nor xroute")
    fields = _pair(words[3:])
    try:
        prefix, bits = parse_prefix6(fields["prefix"])
        source = fields["from"]
        metric = parse_decimal(fields["metric"], INFINITY)
        installed, router = (fields["installed"], fields["id"]) if noun == "route" else ("yes", "")
    except KeyError:
        raise ValueError("a field is missing")  # noqa: B904  MicroPython has no "from"
    if metric is None or installed not in ("yes", "no"):
        raise ValueError("no metric or no installed")
    route_id = _parse_id(words[2]) if noun == "route" else 0
    if bits != 96 or source != "::/0" or not contains(network, length, prefix):
        return None
    if installed == "no" or verb == "flush":
        metric = INFINITY
    return noun, route_id, prefix, metric, router


def _pair(words):
    fields = {}
    for i in range(0, len(words), 2):
        if words[i] in fields:
            raise ValueError("a field twice")
        fields[words[i]] = words[i + 1]
    return fields


def _parse_id(text):
    if not 1 <= len(text) <= 16:
        raise ValueError("no route id")
    for c in text:
        if c not in "0123456789abcdef":
            raise ValueError("no route id")
    return int(text, 16)


class BabelTable(RouteTable):
    """What babeld tells."""

    def __init__(self, network, length=48, grace_ms=30000, own=None):
        RouteTable.__init__(self, network, length, grace_ms, own)
        self.words = find_words(network)
        self._has_banner = self._has_asked = False

    def connect(self):
        RouteTable.connect(self)
        self._has_banner = self._has_asked = False

    def question(self, _now_ms):
        """Return what to ask: all news, once it has greeted."""
        if not self.is_greeted or self._has_asked:
            return None
        self._has_asked = True
        return b"monitor\n"

    def _parse_line(self, data, start, end, now_ms):
        """Take data[start:end]. Most lines are about other prefixes: those are not even copied."""
        self.counts["lines"] += 1
        if end - start > LINE_BYTES:
            self.counts["overlong"] += 1
        elif not self.is_greeted:
            self._parse_reply(data[start:end], now_ms)
        elif data.find(self.words, start, end) >= 0:
            try:
                found = parse_route(data[start:end], self.network, self.length)
            except ValueError:  # UnicodeError is one
                self.counts["malformed"] += 1
                return
            if found is not None:
                self._note_route(found, now_ms)
        elif data[start : start + 4] not in _VERBS:
            self._parse_reply(data[start:end], now_ms)

    def _parse_reply(self, line, now_ms):
        """Take a line that is no news: the greeting, or the answer to `monitor`."""
        if not self.is_greeted:
            if line[:8] == b"BABEL 1.":
                self._has_banner = True
            elif line == b"ok" and self._has_banner:
                self.is_greeted = True
            elif not self._has_banner:
                self.error = "no babeld: its first line is not BABEL 1.0"
        elif line == b"ok":
            self.is_waiting = False
            self._note_sync(now_ms)
        elif not self.is_synced and (line == b"bad" or line == b"no" or line[:3] == b"no "):
            self.error = "babeld refuses the command monitor"
        else:
            self.counts["malformed"] += 1
