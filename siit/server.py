# SPDX-License-Identifier: ISC
"""The control socket: who is connected, what they sent and what they have not read yet. Lines in, replies out.

What a line means is control.py's business, what it does the translators'. The loop also waits for whatever else wakes
the daemon: signals, and what the kernel says of links and their qdiscs.
"""

import contextlib
import selectors
import socket

from nat46.language import ControlError
from siit import control
from siit.device import DeviceError
from siit.translators import Translators

CLIENTS = 64  # connections at a time; one more closes the one that has been quiet for longest
UNREAD_BYTES = 256 * 1024  # replies that a client has not read; beyond, its further commands wait
REWRITE_S = 5  # until the next try to write a state file that could not be written
RTMGRP_LINK, RTMGRP_TC = 1, 8


class Client:
    """One connection: what it has sent and not yet ended, what it has not yet read."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.reader = control.LineReader()
        self.lines: list[str | ControlError] = []
        self.unread = b""
        self.has_ended = False  # sends no more

    def receive(self) -> None:
        try:
            data = self.connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data, self.unread = b"", b""
        if data:
            self.lines += self.reader.feed(data)
        else:
            self.has_ended = True
            self.lines += self.reader.end()

    def send(self) -> None:
        try:
            while self.unread:
                self.unread = self.unread[self.connection.send(self.unread) :]
        except BlockingIOError:
            pass
        except OSError:
            self.unread, self.lines, self.has_ended = b"", [], True

    @property
    def is_done(self) -> bool:
        return self.has_ended and not self.lines and not self.unread


class Server:
    """One loop over the listening socket, its clients, and what the kernel says of links and their qdiscs."""

    def __init__(self, listener: socket.socket, translators: Translators, wake: socket.socket) -> None:
        self._translators = translators
        self._clients: dict[int, Client] = {}  # by descriptor, the longest quiet first
        self._selector = selectors.DefaultSelector()
        self._is_stopping = False
        self._links = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self._links.bind((0, RTMGRP_LINK | RTMGRP_TC))
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._selector.register(wake, selectors.EVENT_READ, self._drain)
        self._selector.register(self._links, selectors.EVENT_READ, self._drain)

    def stop(self, *_signal) -> None:
        self._is_stopping = True

    def run(self) -> None:
        """Serve until stop is called, which a signal handler may do."""
        while not self._is_stopping:
            ready = self._selector.select(REWRITE_S if self._translators.unwritten else None)
            if self._translators.unwritten:
                self._translators.write()
            for key, events in ready:
                if isinstance(key.data, Client):
                    self._serve(key.data, events)
                else:
                    key.data(key.fileobj)

    def close(self) -> None:
        for client in list(self._clients.values()):
            self._drop(client)
        self._selector.close()
        self._links.close()

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        if len(self._clients) >= CLIENTS:
            self._drop(next(iter(self._clients.values())))
        client = Client(connection)
        self._clients[connection.fileno()] = client
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _drain(self, source: socket.socket) -> None:
        """Signals and link messages only say that there is something to look at."""
        with contextlib.suppress(OSError):
            while source.recv(65536):
                pass
        self._translators.follow()

    def _serve(self, client: Client, events: int) -> None:
        if client.connection.fileno() not in self._clients:
            return  # dropped by an accept in this same round
        if events & selectors.EVENT_READ:
            client.receive()
        if events & selectors.EVENT_WRITE:
            client.send()
        while client.lines and len(client.unread) < UNREAD_BYTES:
            client.unread += reply(self._translators, client.lines.pop(0))
        client.send()
        if client.is_done:
            self._drop(client)
            return
        self._clients[client.connection.fileno()] = self._clients.pop(client.connection.fileno())
        # who does not read replies is not listened to
        wanted = selectors.EVENT_WRITE if client.unread or client.has_ended else selectors.EVENT_READ
        self._selector.modify(client.connection, wanted, client)

    def _drop(self, client: Client) -> None:
        del self._clients[client.connection.fileno()]
        self._selector.unregister(client.connection)
        client.connection.close()


def reply(translators: Translators, line: str | ControlError) -> bytes:
    """The reply to one line, whatever it is."""
    try:
        if isinstance(line, ControlError):
            raise line
        lines = [*translators.answer(line), "ok"]
    except (ControlError, DeviceError) as error:
        lines = [f"error: {error}"]
    return "".join(each + "\n" for each in lines).encode("ascii", "backslashreplace")
