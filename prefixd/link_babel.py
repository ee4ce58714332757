# SPDX-License-Identifier: ISC
"""The connection to babeld or BIRD: moves bytes, and comes back when they do."""

import socket

from prefixd import net
from runtime import sockets

RETRY_MOST_MS = 8000
ANSWER_MS = 10000  # what the daemon has to greet and to tell its table


class Babel:
    """Asks what the table wants to be asked, and feeds it."""

    def __init__(self, poller, clock, table, endpoint):
        self._poller = poller
        self._clock = clock
        self._table = table
        self._endpoint = endpoint
        self._sock = None
        self._next_ms = self._until_ms = 0
        self._pause_ms = net.RETRY_MS // 4
        self._said = None
        self.state = "not connected"

    def deadline_ms(self):
        if self._sock is None:
            return self._next_ms
        return self._until_ms if self._table.is_waiting else self._table.question_ms

    def tick(self, now_ms):
        if self._sock is not None:
            if self._table.is_waiting and now_ms >= self._until_ms:
                self._hang_up("it does not tell its routes", now_ms)
                return
            try:
                self._ask(now_ms)
            except OSError as error:
                self._hang_up(sockets.error_text(error), now_ms)
            return
        if now_ms < self._next_ms:
            return
        kind = self._endpoint[0]
        try:
            if kind == "inet6":
                self._sock = sockets.open_stream(
                    socket.AF_INET6, sockets.ip6_address(self._endpoint[1], self._endpoint[2])
                )
            else:
                self._sock = sockets.open_stream(socket.AF_UNIX, sockets.unix_address(self._endpoint[1]))
        except OSError as error:
            self._fail(sockets.error_text(error), now_ms)
            return
        self._until_ms = now_ms + ANSWER_MS
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
                self._ask(now_ms)
                if self._table.is_synced:
                    self._pause_ms = net.RETRY_MS // 4
                    self._say("reading %s's routes" % self._table.DAEMON, "connected")
        except OSError as error:
            self._hang_up(
                sockets.error_text(error) if sockets.error_number(error) else str(error.args[0]), now_ms
            )

    def _ask(self, now_ms):
        question = self._table.question(now_ms)
        if question is not None:
            self._until_ms = now_ms + ANSWER_MS
            sockets.send(self._sock, question)  # type: ignore[arg-type]

    def _hang_up(self, why, now_ms):
        self._poller.close(self._sock)
        self._sock = None
        self._table.disconnect(now_ms)
        self._fail(why, now_ms)

    def _fail(self, why, now_ms):
        self._say("no %s: %s" % (self._table.DAEMON, why), why)
        self._next_ms = now_ms + self._pause_ms
        self._pause_ms = min(2 * self._pause_ms, RETRY_MOST_MS)

    def _say(self, text, state):
        self.state = state
        if text != self._said:
            self._said = text
            (net.tell if state == "connected" else net.log)(text)
