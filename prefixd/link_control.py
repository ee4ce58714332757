# SPDX-License-Identifier: ISC
"""The control socket, where people ask for the status."""

import os
import socket

from prefixd import net


class Control:
    """The control socket: answers `status` and `chosen` in JSON, a piece at a time, for 500 PLATs in a small memory."""

    CLIENTS = 8
    IDLE_MS = 10000

    def __init__(self, poller, clock, path, status):
        """status: function that returns an iterator over pieces of text, about all PLATs or the chosen one."""
        self._poller = poller
        self._clock = clock
        self._path = path
        self._status = status
        self._clients = {}  # file descriptor -> [sock, input, pieces, output, until_ms]
        self._listener = None

    def open(self):
        """Listen. Raises OSError, and ValueError when another prefixd is already here."""
        address = net.unix_address(self._path)
        if net.birth_of(self._path) is not None:
            if not net.is_socket(self._path):
                raise ValueError("%s exists and is no socket" % self._path)
            try:
                net.open_stream(socket.AF_UNIX, address).close()
                is_alive = True
            except OSError as error:
                is_alive = net.error_number(error) == net.EAGAIN  # somebody listens, and is busy
            if is_alive:
                raise ValueError("another prefixd runs on %s, expected one for each socket" % self._path)
            os.unlink(self._path)  # left behind by one that was killed
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(address)
        self._listener.listen(16)
        self._poller.add(self._listener, self._accept)

    def close(self):
        """Take the socket away."""
        if self._listener is not None:
            self._poller.close(self._listener)
            os.unlink(self._path)

    def deadline_ms(self):
        return min([client[4] for client in self._clients.values()]) if self._clients else None

    def tick(self, now_ms):
        for number in [n for n in self._clients if now_ms >= self._clients[n][4]]:
            self._drop(number)

    def _accept(self):
        try:
            sock, _ = self._listener.accept()  # type: ignore[union-attr]
        except OSError:
            return
        if len(self._clients) >= self.CLIENTS:
            sock.close()
            return
        sock.setblocking(False)
        number = sock.fileno()
        self._clients[number] = [sock, b"", None, b"", self._clock.now_ms() + self.IDLE_MS]
        self._poller.add(sock, lambda: self._serve(number))

    def _serve(self, number):
        client = self._clients.get(number)
        if client is None:
            return
        try:
            if client[2] is None:
                data = net.receive(client[0], 256)
                if data is None:
                    return
                client[1] += data
                if b"\n" not in client[1] and data and len(client[1]) < 256:
                    return
                client[2] = self._answer(client[1].split(b"\n")[0].strip())
                self._poller.change(client[0], net.POLLOUT)
            client[4] = self._clock.now_ms() + self.IDLE_MS
            for _ in range(64):
                if not client[3]:
                    client[3] = next(client[2]).encode()
                sent = net.send(client[0], client[3])
                client[3] = client[3][sent:]
                if not sent:
                    return
        except (OSError, StopIteration):  # gone, or told all
            self._drop(number)

    def _answer(self, command):
        if command in (b"status", b"chosen"):
            return self._status(command == b"status")
        return iter(("error: no such command, expected status or chosen\n",))

    def _drop(self, number):
        self._poller.close(self._clients.pop(number)[0])
