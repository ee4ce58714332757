# SPDX-License-Identifier: ISC
"""Traffic of a client that roams. Run there as `python3 -m sdk.traffic VERB …`; it ends with its standard input.

download  one HTTP download as fast as possible, too large to end
echo      TCP connections to an echo service, a small message at a time as in ssh, and a stream of UDP to the same

Prints "ready" once it is under way and one JSON object at its end. Times are seconds of the monotonic clock, which is
the same in every namespace of a machine. Nothing here knows of the lab.
"""

import argparse
import hashlib
import json
import selectors
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sdk.timeouts import TIMEOUT_SCALE

CONNECT_S = 10.0 * TIMEOUT_SCALE
CHUNK = 1 << 18
STAMP = struct.Struct("!Qd")  # number, time sent
MESSAGE_BYTES = 48  # of TCP, about a key press in ssh


@dataclass
class Stall:
    """The longest time without a byte on something that ought to move."""

    last_s: float = 0.0
    longest_s: float = 0.0
    at_s: float = 0.0  # when the longest began

    def progressed(self, now_s: float) -> None:
        if self.last_s and now_s - self.last_s > self.longest_s:
            self.longest_s, self.at_s = now_s - self.last_s, self.last_s
        self.last_s = now_s


def ready() -> None:
    print("ready", flush=True)


def download(url: str) -> dict:
    """Fetch until standard input ends; return bytes, SHA-256, the longest stall and what ended it before, if so."""
    parts, stall, digest, size, error = urlsplit(url), Stall(), hashlib.sha256(), 0, None
    host = parts.hostname or ""
    with socket.create_connection((host, parts.port or 80), CONNECT_S) as s:
        s.sendall(f"GET {parts.path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            if not (block := s.recv(CHUNK)):
                raise OSError("the server closed before it answered")
            head += block
        body = head.partition(b"\r\n\r\n")[2]
        waiting = selectors.DefaultSelector()
        waiting.register(s, selectors.EVENT_READ)
        waiting.register(sys.stdin, selectors.EVENT_READ)
        stall.progressed(time.monotonic())
        ready()
        while True:
            digest.update(body)
            size += len(body)
            found = {key.fileobj for key, _ in waiting.select()}
            if sys.stdin in found:
                break
            try:
                body = s.recv(CHUNK)
            except OSError as reason:
                error = str(reason)
                break
            stall.progressed(time.monotonic())
            if not body:
                error = "the server closed"
                break
    if not error:
        stall.progressed(time.monotonic())  # one that has not ended counts too
    return {
        "bytes": size,
        "sha256": digest.hexdigest(),
        "stall_s": stall.longest_s,
        "stall_at_s": stall.at_s,
        "error": error,
    }


@dataclass
class Connection:
    """A TCP connection that says something, waits for the echo, waits a little, and says something again."""

    socket: socket.socket
    number: int = 0
    expected: bytes = b""
    due_s: float = 0.0
    stall: Stall = field(default_factory=Stall)
    error: str | None = None
    error_at_s: float | None = None

    def send(self, now_s: float) -> None:
        self.number += 1
        self.expected = STAMP.pack(self.number, now_s).ljust(MESSAGE_BYTES, b".")
        self.stall.last_s = now_s
        self.attempt(lambda: self.socket.sendall(self.expected))

    def receive(self, now_s: float, pause_s: float) -> None:
        got = self.attempt(lambda: self.socket.recv(MESSAGE_BYTES))
        if got is None:
            return
        if not got or not self.expected.startswith(got):
            self.fail("the echo is not what was said" if got else "closed by the other end")
            return
        self.expected = self.expected[len(got) :]
        if not self.expected:
            self.stall.progressed(now_s)
            self.due_s = now_s + pause_s

    def attempt(self, act):
        try:
            return act()
        except OSError as reason:
            self.fail(str(reason))
            return None

    def fail(self, reason: str) -> None:
        self.error, self.error_at_s = reason, time.monotonic()


@dataclass
class DatagramStream:
    """A stream of numbered datagrams: when each was sent, and when its echo came."""

    socket: socket.socket
    sent_s: list[float] = field(default_factory=list)
    echoed_s: dict[int, float] = field(default_factory=dict)
    unsent: int = 0

    def send(self, now_s: float) -> None:
        try:
            self.socket.send(STAMP.pack(len(self.sent_s), now_s))
            self.sent_s.append(now_s)
        except OSError:
            self.unsent += 1  # refused by our own kernel: it never was on the way

    def receive(self, now_s: float) -> None:
        try:
            number, _ = STAMP.unpack(self.socket.recv(STAMP.size))
        except (OSError, struct.error):
            return  # an ICMP error; its datagram counts as lost
        self.echoed_s.setdefault(number, now_s)


def echo(host: str, port: int, connections: int, pause_ms: float, datagram_ms: float) -> dict:
    """Keep connections and a UDP stream going until standard input ends; return what became of them."""
    open_ = [Connection(socket.create_connection((host, port), CONNECT_S)) for _ in range(connections)]
    family = open_[0].socket.family if open_ else socket.getaddrinfo(host, port)[0][0]
    datagrams = DatagramStream(socket.socket(family, socket.SOCK_DGRAM))
    datagrams.socket.connect((host, port))
    waiting = selectors.DefaultSelector()
    waiting.register(sys.stdin, selectors.EVENT_READ)
    waiting.register(datagrams.socket, selectors.EVENT_READ, datagrams)
    begun_s = next_s = time.monotonic()
    for i, each in enumerate(open_):
        each.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        each.socket.setblocking(False)
        waiting.register(each.socket, selectors.EVENT_READ, each)
        each.due_s = begun_s + pause_ms / 1000 * i / connections
    ready()
    while True:
        now_s = time.monotonic()
        if now_s >= next_s:
            datagrams.send(now_s)
            next_s = max(next_s + datagram_ms / 1000, now_s)
        idle = [each for each in open_ if not each.expected and not each.error]
        for each in idle:
            if now_s >= each.due_s:
                each.send(now_s)
        deadline_s = min([next_s, *(each.due_s for each in idle if not each.expected)])
        for key, _ in waiting.select(max(0.0, deadline_s - time.monotonic())):
            if key.fileobj is sys.stdin:
                return report(open_, datagrams)
            if key.data is datagrams:
                datagrams.receive(time.monotonic())
            elif not key.data.error:
                key.data.receive(time.monotonic(), pause_ms / 1000)
            else:
                waiting.unregister(key.fileobj)


def report(open_: list[Connection], datagrams: DatagramStream) -> dict:
    now_s = time.monotonic()
    for each in open_:
        if each.expected and not each.error:
            each.stall.progressed(now_s)
    return {
        "connections": [
            {
                "messages": each.number,
                "stall_s": each.stall.longest_s,
                "stall_at_s": each.stall.at_s,
                "error": each.error,
                "error_at_s": each.error_at_s,
            }
            for each in open_
        ],
        "datagrams": [[sent_s, datagrams.echoed_s.get(i)] for i, sent_s in enumerate(datagrams.sent_s)],
        "unsent": datagrams.unsent,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="sdk.traffic", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("download", help="one HTTP download until standard input ends")
    verb.add_argument("url")
    verb = verbs.add_parser("echo", help="TCP connections and a UDP stream to an echo service")
    verb.add_argument("host")
    verb.add_argument("port", type=int)
    verb.add_argument("--connections", type=int, default=1)
    verb.add_argument("--pause-ms", type=float, default=50, help="between an echo and the next message")
    verb.add_argument("--datagram-ms", type=float, default=4, help="between two datagrams")
    return act(parser, {"download": download, "echo": echo})


def act(parser: argparse.ArgumentParser, acts: dict[str, Any]) -> int:
    """Carry out the verb of this command line; print what came of it, or why nothing did."""
    arguments = vars(parser.parse_args())
    try:
        result = acts[arguments.pop("verb")](**arguments)
    except OSError as error:
        print(json.dumps({"error": str(error)}))
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
