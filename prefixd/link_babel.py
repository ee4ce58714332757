# SPDX-License-Identifier: ISC
"""The connection to babeld: moves bytes, and comes back when babeld does."""

import socket

from prefixd import net
from runtime import sockets

RETRY_MOST_MS = 8000
GREETING_MS = 10000  # what babeld has to greet and to tell its table


class Babel:
    """The connection to babeld's local interface: feeds the table, comes back when babeld does."""

    def __init__(self, poller, clock, table, endpoint):
        self._poller = poller
        self._clock = clock
        self._table = table
        self._endpoint = endpoint
        self._sock = None
        self._has_asked = False
        self._next_ms = self._until_ms = 0
        self._pause_ms = net.RETRY_MS // 4
        self._said = None
        self.state = "not connected"

    def deadline_ms(self):
        if self._sock is None:
            return self._next_ms
        return None if self._table.is_synced else self._until_ms

    def tick(self, now_ms):
        if self._sock is not None:
            if not self._table.is_synced and now_ms >= self._until_ms:
                self._hang_up("it does not tell its routes", now_ms)
            return
        if now_ms < self._next_ms:
            return
        kind = self._endpoint[0]
        try:
            if kind == "unix":
                self._sock = sockets.open_stream(socket.AF_UNIX, sockets.unix_address(self._endpoint[1]))
            else:
                self._sock = sockets.open_stream(
                    socket.AF_INET6, sockets.ip6_address(self._endpoint[1], self._endpoint[2])
                )
        except OSError as error:
            self._fail(sockets.error_text(error), now_ms)
            return
        self._has_asked = False
        self._until_ms = now_ms + GREETING_MS
        self._table.connect()
        self._poller.add(self._sock, self._ready)

    def _ready(self):
        now_ms = self._clock.now_ms()
        try:
            for _ in range(64):  # then the others have their turn
                data = sockets.receive(self._sock)  # type: ignore[arg-type]
                if data is None:
                    return
                if not data:
                    raise OSError("it closed the connection")
                self._table.feed(data, now_ms)
                if self._table.error is not None:
                    raise OSError(self._table.error)
                if self._table.is_greeted and not self._has_asked:
                    self._has_asked = True
                    sockets.send(self._sock, b"monitor\n")  # type: ignore[arg-type]
                if self._table.is_synced:
                    self._pause_ms = net.RETRY_MS // 4
                    self._say("reading babeld's routes", "connected")
        except OSError as error:
            self._hang_up(
                sockets.error_text(error) if sockets.error_number(error) else str(error.args[0]), now_ms
            )

    def _hang_up(self, why, now_ms):
        self._poller.close(self._sock)
        self._sock = None
        self._table.disconnect(now_ms)
        self._fail(why, now_ms)

    def _fail(self, why, now_ms):
        self._say("no babeld: " + why, why)
        self._next_ms = now_ms + self._pause_ms
        self._pause_ms = min(2 * self._pause_ms, RETRY_MOST_MS)

    def _say(self, text, state):
        self.state = state
        if text != self._said:
            self._said = text
            (net.tell if state == "connected" else net.log)(text)
