# SPDX-License-Identifier: ISC
"""The raw ICMPv6 socket under the Prober."""

import socket

from prefixd import net
from runtime import sockets


class Probes:
    """The raw ICMPv6 socket under the Prober."""

    def __init__(self, poller, clock, prober, source):
        self._poller = poller
        self._clock = clock
        self._prober = prober
        self._source = source
        self._sock: socket.socket | None = None
        self._next_ms = 0
        self._said = None
        self.state = "not open"

    def deadline_ms(self):
        return self._next_ms if self._sock is None else self._prober.deadline_ms()

    def tick(self, now_ms):
        if self._sock is None:
            if now_ms < self._next_ms:
                return
            try:
                self._sock = net.open_probe_socket(self._source)
            except OSError as error:
                self._say("cannot probe: " + sockets.error_text(error))
                self._next_ms = now_ms + net.RETRY_MS
                return
            self._poller.add(self._sock, self._ready)
        for sequence, destination, packet in self._prober.pop_due(now_ms):
            self._send(sequence, destination, packet, now_ms)

    def _send(self, sequence, destination, packet, now_ms):
        if self._sock is None:  # lost with an earlier one
            self._prober.cancel(sequence)
            return
        try:
            self._sock.sendto(packet, sockets.ip6_address(destination))
            self._say("open")
        except OSError as error:
            number = sockets.error_number(error)
            if number in sockets.UNREACHABLE_ERRORS:
                self._prober.refuse(sequence, sockets.error_text(error), now_ms)
                return
            self._prober.cancel(sequence)
            if number != sockets.EAGAIN:
                self._say("cannot probe: " + sockets.error_text(error))
                self._poller.close(self._sock)
                self._sock = None
                self._next_ms = now_ms + net.RETRY_MS

    def _ready(self):
        now_ms = self._clock.now_ms()
        for _ in range(32):
            try:
                packet, address = self._sock.recvfrom(256)  # type: ignore[union-attr]
                source = sockets.source_of(address)
            except OSError:  # nothing left, or an error that a probe left behind: what counts comes as ICMPv6
                return
            self._prober.handle_packet(source, packet, now_ms)

    def _say(self, text):
        self.state = text
        if text != self._said:
            if text != "open" or self._said is not None:
                net.tell("probing") if text == "open" else net.log(text)
            self._said = text
