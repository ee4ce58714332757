# SPDX-License-Identifier: ISC
"""What the roaming daemon, when it is there, is told about PLATs."""

import socket

from prefixd import net
from runtime import sockets
from xlat464.address import format_prefix6

PLATS_TOLD = 256  # of each kind, to the roaming daemon: of others it looks for a route


class Roaming:
    """Tells the roaming daemon, when it is there, about PLATs: a line a connection, as l3roamd reads it.

    What it is told is how things are, not what happened: whoever missed a line knows all after the next. It is told
    anew when a PLAT was lost, and when either daemon is another one than before. Of the chosen PLAT it is told when the
    translator has it: what comes back for a client has the source that one of them names, and the other has to know it.
    """

    def __init__(self, path, plats, translator):
        """plats: function that returns the prefixes that can be used, nearest first, and those that cannot although
        there is a route; None while babeld has not said. translator: its link."""
        self._path = path
        self._plats = plats
        self._translator = translator
        self._left = None  # the PLAT that was chosen before this one, and lost
        self._chosen = None
        self._told = None  # (birth of the socket, prefix) of the last set_platprefix
        self._knows = None  # birth of the socket of who knows all
        self._next_ms = 0
        self.state = "none" if path is None else "not there"

    def use(self, prefix):
        self._chosen = prefix
        self._next_ms = 0

    def stop(self):
        self._chosen = None

    def lose(self, prefix):
        self._knows = None
        if self._told is not None and self._told[1] == prefix:
            self._told, self._left = None, prefix
        self._next_ms = 0

    def deadline_ms(self):
        return None if self._path is None or self._translator.state == "waiting" else self._next_ms

    def tick(self, now_ms):
        """Look for the socket every second, and say what it has not been told."""
        if self._path is None or now_ms < self._next_ms or self._translator.state == "waiting":
            return
        self._next_ms = now_ms + net.RETRY_MS
        birth = sockets.birth_of(self._path)
        if birth is None:
            self._told, self._knows, self.state = None, None, "not there"
            return
        if self.state == "not there":
            self.state = "there"
        is_set = self._chosen is not None and self._translator.state == "set"
        is_new = is_set and self._told != (birth, self._chosen)
        if not is_new and self._knows == birth:
            return
        plats = self._plats()
        if is_new:
            line = "set_platprefix " + format_prefix6(self._chosen, 96)
            if plats is not None and self._left in plats[1]:  # or its clients would be kept for a moment
                line += " " + format_prefix6(self._left, 96)
            if not self._send(line + "\n"):
                return
            self._told, self._left = (birth, self._chosen), None
        if self._knows != birth and plats is not None and self._send(plats_line(plats[0], plats[1])):
            self._knows = birth

    def _send(self, line):
        """Send one line; return whether that was possible."""
        line = line.encode()
        sock = None
        try:
            sock = sockets.open_stream(socket.AF_UNIX, sockets.unix_address(self._path))
            is_sent = sockets.send(sock, line) == len(line)
            self.state = "told" if is_sent else "full"
        except OSError as error:
            is_sent = False
            self.state = sockets.error_text(error)
        if sock is not None:
            sock.close()
        return is_sent


def plats_line(usable, lost):
    """Return the line that tells of all PLATs: `plats P/96 ... lost P/96 ... end`. Without its end it means nothing."""
    words = ["plats"] + [format_prefix6(prefix, 96) for prefix in usable[:PLATS_TOLD]]
    words += ["lost"] + [format_prefix6(prefix, 96) for prefix in lost[:PLATS_TOLD]]
    return " ".join(words) + " end\n"
