# SPDX-License-Identifier: ISC
"""The control socket, where people ask for the status."""

from runtime.server import Refused, Server


class Control:
    """The control socket: answers `status` and `chosen` in JSON, a piece at a time, for 500 PLATs in a small memory.

    `withdraw` is answered with `told`, or with `wait`: then it is to be said again.
    """

    ANSWER_MS = 10000

    def __init__(self, poller, clock, path, status, withdraw):
        """status: function that returns an iterator over pieces of text, about all PLATs or the chosen one."""
        self._withdraw = withdraw
        self._poller = poller
        self._clock = clock
        self._path = path
        self._status = status
        self._server = None

    def open(self):
        """Listen. Raises SocketError."""
        self._server = Server(self._path, self._poller, self._clock.now_ms, self.ANSWER_MS, self)

    def close(self):
        """Take the socket away."""
        if self._server is not None:
            self._server.close()

    def deadline_ms(self):
        return None if self._server is None else self._server.next_deadline

    def tick(self, now_ms):
        if self._server is not None:
            self._server.tick(now_ms)

    def line_bytes(self, _data):
        return 256

    def answer(self, line):
        command = line.strip()
        if command == b"withdraw":
            return iter(("told\n" if self._withdraw() else "wait\n",))
        if command not in (b"status", b"chosen"):
            raise Refused("no such command, expected status or chosen")
        return self._status(command == b"status")
