# SPDX-License-Identifier: ISC
"""Which port of the bridge each client is at, and how many a port may have. No I/O.

A sender at a port can make up as many MACs as it likes. But behind the port may be a switch or an access point with a
few hundred clients. So a port has room for so many, and for fewer that are new and have not proven to be here. Of those
the oldest gives way to one that has; if there is none, the client that has been away for longest.
"""

from l3roamd_py.core.rate import Rate
from runtime.ordered import GoneKeys, OldestFirst, oldest

PORTS_MAX = 256  # of which it is known when they were last spoken of
TOLD_S = 300.0  # the least between two sentences about a port


class Ports:
    """max_clients, max_newcomers: of one port. asks_per_s: questions to those for whom there is no room."""

    def __init__(self, max_clients: int, max_newcomers: int, asks_per_s: float) -> None:
        self.max_clients, self.max_newcomers = max_clients, max_newcomers
        self._asks = Rate(asks_per_s, asks_per_s, PORTS_MAX)
        self._told = Rate(1 / TOLD_S, 1, PORTS_MAX)
        self._port_of: dict[bytes, str] = {}
        self._gone = GoneKeys(self._port_of)
        self._clients: dict[str, int] = {}  # how many
        self._newcomers: dict[str, OldestFirst[bytes, None]] = {}  # the oldest first
        self._absent: dict[str, OldestFirst[bytes, None]] = {}  # the longest away first

    def has_room(self, port: str, is_proven: bool) -> bool:
        is_full = self._clients.get(port, 0) >= self.max_clients
        return not is_full and (is_proven or len(self._newcomers.get(port, ())) < self.max_newcomers)

    def least(self, port: str) -> bytes | None:
        """Return the client of a port that gives way, if one does."""
        for macs in (self._newcomers.get(port), self._absent.get(port)):
            if macs:
                return oldest(macs)
        return None

    def add(self, mac: bytes, port: str) -> None:
        """A client has come to this port, where it has not proven to be yet; one that was at another one may have."""
        before = self._port_of.get(mac)
        if before == port or (before is not None and not port):
            return
        is_proven = before is not None and mac not in self._newcomers.get(before, ())
        self.remove(mac)
        self._port_of[mac] = port
        self._clients[port] = self._clients.get(port, 0) + 1
        if not is_proven:
            self._newcomers.setdefault(port, OldestFirst())[mac] = None

    def note_proof(self, mac: bytes) -> None:
        """It has proven to be here."""
        _discard(self._newcomers, self._port_of.get(mac, ""), mac)

    def leave(self, mac: bytes) -> None:
        """It is not here at the moment."""
        if mac in self._port_of:
            self._absent.setdefault(self._port_of[mac], OldestFirst())[mac] = None

    def come_back(self, mac: bytes) -> None:
        _discard(self._absent, self._port_of.get(mac, ""), mac)

    def remove(self, mac: bytes) -> None:
        self.note_proof(mac)
        self.come_back(mac)
        port = self._port_of.pop(mac, None)
        if port is not None:
            self._gone.note()
            self._clients[port] -= 1
            if not self._clients[port]:
                del self._clients[port]

    def may_ask(self, port: str, now_s: float) -> bool:
        """Count a question to somebody for whom there is no room, and return whether it may be asked."""
        return self._asks.is_within(port.encode(), now_s)

    def may_tell(self, port: str, now_s: float) -> bool:
        """Return whether it is time to say that there is no room."""
        return self._told.is_within(port.encode(), now_s)


def _discard(table: dict[str, OldestFirst[bytes, None]], port: str, mac: bytes) -> None:
    macs = table.get(port)
    if macs is not None:
        macs.pop(mac, None)
        if not macs:
            del table[port]
