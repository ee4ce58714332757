# SPDX-License-Identifier: ISC
"""The translator: siit's socket or the kernel module's file, and the hook behind it."""

import os
import socket

from prefixd import net
from runtime import sockets
from xlat464.address import format_prefix6

REPLY_MS = 3000  # what a translator has to answer


class Translator:
    """Points the CLAT device at a PLAT and runs the hook; repeats both until they have worked.

    The target is siit's Unix socket (a command a line, answered by lines and `ok` or `error: ...`) or the
    kernel module's control file (a command a write).
    """

    def __init__(self, poller, clock, target, device, hook):
        self._poller = poller
        self._clock = clock
        self._target = target
        self._device = device
        self._hook = hook
        self._sock = None
        self._reply = b""
        self._steps = []  # what is left to do: ("config", prefix), ("hook", word)
        self._next_ms = 0
        self._until_ms = None  # when a reply is overdue
        self._said = None
        self.state = "untouched"

    def use(self, prefix):
        """The clients' traffic goes to this PLAT: the translator first, then the way there."""
        self._begin([("config", prefix), ("hook", "use " + format_prefix6(prefix, 96))])

    def stop(self):
        """There is no PLAT: the clients' traffic is refused. The translator stays as it is."""
        self._begin([("hook", "stop")])

    def _begin(self, steps):
        self._close()
        self._steps = steps
        self._next_ms = 0
        self.state = "waiting"

    def deadline_ms(self):
        if not self._steps:
            return None
        return self._next_ms if self._sock is None else self._until_ms

    def tick(self, now_ms):
        while self._steps and self._sock is None and now_ms >= self._next_ms:
            kind, what = self._steps[0]
            if kind == "hook":
                self._run_hook(what, now_ms)
            else:
                self._configure(what, now_ms)
        if self._sock is not None and now_ms >= self._until_ms:
            self._fail("no answer", now_ms)

    def _run_hook(self, word, now_ms):
        if self._hook is not None:
            status = os.system(self._hook + " " + word)
            if status != 0:
                self._fail("`%s %s` failed" % (self._hook, word), now_ms)
                return
        self._done()

    def _configure(self, prefix, now_ms):
        remote = format_prefix6(prefix, 96)
        line = "config %s remote.v4 0.0.0.0/0 remote.v6 %s remote.style RFC6052\n" % (self._device, remote)
        try:
            if sockets.is_socket(self._target):
                self._sock = sockets.open_stream(socket.AF_UNIX, sockets.unix_address(self._target))
                self._poller.add(self._sock, self._ready)
                self._reply = b""
                self._until_ms = now_ms + REPLY_MS
                if sockets.send(self._sock, line.encode()) != len(line):
                    raise OSError(sockets.EAGAIN)
            else:
                # the kernel module takes one command a write, so nothing may buffer or split it
                with open(self._target, "wb", 0) as control:
                    control.write(line.encode())
                self._done()
        except OSError as error:
            self._fail(sockets.error_text(error), now_ms)

    def _ready(self):
        now_ms = self._clock.now_ms()
        try:
            data = sockets.receive(self._sock)  # type: ignore[arg-type]
        except OSError as error:
            self._fail(sockets.error_text(error), now_ms)
            return
        if data is None:
            return
        self._reply = (self._reply + data)[-2048:]
        for line in self._reply.split(b"\n")[:-1]:
            if line == b"ok":
                self._close()
                self._done()
                self.tick(now_ms)  # the hook, without waiting for the loop to come round
                return
            if line[:6] == b"error:":
                self._fail("".join([chr(c) if 32 <= c < 127 else "?" for c in line[6:200]]).strip(), now_ms)
                return
        if not data:
            self._fail("it closed the connection without an answer", now_ms)

    def _done(self):
        self._steps.pop(0)
        if not self._steps:
            self.state = "set"
            self._said = None

    def _fail(self, why, now_ms):
        self._close()
        self._next_ms = now_ms + net.RETRY_MS
        self.state = "failing: " + why
        if why != self._said:
            self._said = why
            net.log("%s: %s; tried again every second" % (self._target, why))

    def _close(self):
        if self._sock is not None:
            self._poller.close(self._sock)
            self._sock = None
