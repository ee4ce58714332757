# SPDX-License-Identifier: ISC
"""prefixd's connections to the rest of the node, one class each. They move bytes and choose no PLAT.

Each has `tick(now_ms)`, to be called often, and `deadline_ms()`, when to call it at the latest, or None.
None of them ever blocks, apart from the hook, and none lets an OSError out: what is not there is tried
again.
"""

import os
import socket

from prefixd import net
from xlat464.address import format_prefix6

RETRY_MS = 1000
RETRY_MOST_MS = 8000
GREETING_MS = 10000  # what babeld has to greet and to tell its table
REPLY_MS = 3000  # what a translator has to answer
PLATS_TOLD = 256  # of each kind, to the roaming daemon: of others it looks for a route


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
        self._pause_ms = RETRY_MS // 4
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
                self._sock = net.open_stream(socket.AF_UNIX, net.unix_address(self._endpoint[1]))
            else:
                self._sock = net.open_stream(
                    socket.AF_INET6, net.ip6_address(self._endpoint[1], self._endpoint[2])
                )
        except OSError as error:
            self._fail(net.error_text(error), now_ms)
            return
        self._has_asked = False
        self._until_ms = now_ms + GREETING_MS
        self._table.connect()
        self._poller.add(self._sock, self._ready)

    def _ready(self):
        now_ms = self._clock.now_ms()
        try:
            for _ in range(64):  # then the others have their turn
                data = net.receive(self._sock)
                if data is None:
                    return
                if not data:
                    raise OSError("it closed the connection")
                self._table.feed(data, now_ms)
                if self._table.error is not None:
                    raise OSError(self._table.error)
                if self._table.is_greeted and not self._has_asked:
                    self._has_asked = True
                    net.send(self._sock, b"monitor\n")
                if self._table.is_synced:
                    self._pause_ms = RETRY_MS // 4
                    self._say("reading babeld's routes", "connected")
        except OSError as error:
            self._hang_up(net.error_text(error) if net.error_number(error) else str(error.args[0]), now_ms)

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
                self._say("cannot probe: " + net.error_text(error))
                self._next_ms = now_ms + RETRY_MS
                return
            self._poller.add(self._sock, self._ready)
        for sequence, destination, packet in self._prober.take_due(now_ms):
            self._send(sequence, destination, packet, now_ms)

    def _send(self, sequence, destination, packet, now_ms):
        if self._sock is None:  # lost with an earlier one
            self._prober.cancel(sequence)
            return
        try:
            self._sock.sendto(packet, net.ip6_address(destination))
            self._say("open")
        except OSError as error:
            number = net.error_number(error)
            if number in net.UNREACHABLE_ERRORS:
                self._prober.refuse(sequence, net.error_text(error), now_ms)
                return
            self._prober.cancel(sequence)
            if number != net.EAGAIN:
                self._say("cannot probe: " + net.error_text(error))
                self._poller.close(self._sock)
                self._sock = None
                self._next_ms = now_ms + RETRY_MS

    def _ready(self):
        now_ms = self._clock.now_ms()
        for _ in range(32):
            try:
                packet, address = self._sock.recvfrom(256)  # type: ignore[union-attr]
                source = net.source_of(address)
            except OSError:  # nothing left, or an error that a probe left behind: what counts comes as ICMPv6
                return
            self._prober.take_packet(source, packet, now_ms)

    def _say(self, text):
        self.state = text
        if text != self._said:
            if text != "open" or self._said is not None:
                net.tell("probing") if text == "open" else net.log(text)
            self._said = text


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
        self._begin([("config", prefix), ("hook", "use")])

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
            if net.is_socket(self._target):
                self._sock = net.open_stream(socket.AF_UNIX, net.unix_address(self._target))
                self._poller.add(self._sock, self._ready)
                self._reply = b""
                self._until_ms = now_ms + REPLY_MS
                if net.send(self._sock, line.encode()) != len(line):
                    raise OSError(net.EAGAIN)
            else:
                # the kernel module takes one command a write, so nothing may buffer or split it
                with open(self._target, "wb", 0) as control:
                    control.write(line.encode())
                self._done()
        except OSError as error:
            self._fail(net.error_text(error), now_ms)

    def _ready(self):
        now_ms = self._clock.now_ms()
        try:
            data = net.receive(self._sock)
        except OSError as error:
            self._fail(net.error_text(error), now_ms)
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
        self._next_ms = now_ms + RETRY_MS
        self.state = "failing: " + why
        if why != self._said:
            self._said = why
            net.log("%s: %s; tried again every second" % (self._target, why))

    def _close(self):
        if self._sock is not None:
            self._poller.close(self._sock)
            self._sock = None


class Roaming:
    """Tells the roaming daemon, when it is there, about PLATs: a line a connection, as l3roamd reads it.

    What it is told is how things are, not what happened: whoever missed a line knows all after the next. It is told
    anew when a PLAT was lost, and when either daemon is another one than before.
    """

    def __init__(self, path, plats):
        """plats: function that returns the prefixes that can be used, nearest first, and those that cannot although
        there is a route; None while babeld has not said."""
        self._path = path
        self._plats = plats
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
            self._told = None
        self._next_ms = 0

    def deadline_ms(self):
        return None if self._path is None else self._next_ms

    def tick(self, now_ms):
        """Look for the socket every second, and say what it has not been told."""
        if self._path is None or now_ms < self._next_ms:
            return
        self._next_ms = now_ms + RETRY_MS
        birth = net.birth_of(self._path)
        if birth is None:
            self._told, self._knows, self.state = None, None, "not there"
            return
        if self._chosen is not None and self._told != (birth, self._chosen):
            if not self._send("set_platprefix %s\n" % format_prefix6(self._chosen, 96)):
                return
            self._told = (birth, self._chosen)
        if self._knows != birth:
            plats = self._plats()
            if plats is not None and self._send(plats_line(plats[0], plats[1])):
                self._knows = birth

    def _send(self, line):
        """Send one line; return whether that was possible."""
        line = line.encode()
        sock = None
        try:
            sock = net.open_stream(socket.AF_UNIX, net.unix_address(self._path))
            is_sent = net.send(sock, line) == len(line)
            self.state = "told" if is_sent else "full"
        except OSError as error:
            is_sent = False
            self.state = net.error_text(error)
        if sock is not None:
            sock.close()
        return is_sent


def plats_line(usable, lost):
    """Return the line that tells of all PLATs: `plats P/96 ... lost P/96 ... end`. Without its end it means nothing."""
    words = ["plats"] + [format_prefix6(prefix, 96) for prefix in usable[:PLATS_TOLD]]
    words += ["lost"] + [format_prefix6(prefix, 96) for prefix in lost[:PLATS_TOLD]]
    return " ".join(words) + " end\n"


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
