# SPDX-License-Identifier: ISC
"""A connection of each client to the internet's echo server, kept open while it walks: stalls are what its user feels.

Every PERIOD_S each client sends eight bytes and waits for none of them. The age of the oldest that has not come back
is the stall.
"""

import contextlib
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from sdk.lab.plan import ECHO
from sdk.lab.radio import in_namespace
from sdk.lab.services import ECHO_PORT

PERIOD_S = 0.1
UNANSWERED = 1200  # two minutes of questions; then no more are sent
RETRY_S = 1.0
MESSAGE = b"question"


class Flow:
    """One client's connection; make returns a TCP socket in its network. No thread of its own."""

    def __init__(self, make: Callable[[], socket.socket]):
        self.make = make
        self.socket: socket.socket | None = None
        self.is_open = False
        self.asked: deque[float] = deque()  # when what is unanswered was sent
        self.rest = 0  # bytes of an answer that came in part
        self.longest_s = 0.0
        self.breaks = 0
        self.next_s = 0.0

    def describe(self, now_s: float) -> dict:
        stall_s = now_s - self.asked[0] if self.asked else 0.0
        return {
            "stall_ms": round(stall_s * 1000),
            "longest_ms": round(max(self.longest_s, stall_s) * 1000),
            "breaks": self.breaks,
        }

    def close(self, now_s: float) -> None:
        if self.socket:
            self.socket.close()
        self.breaks += self.is_open
        if self.asked:
            self.longest_s = max(self.longest_s, now_s - self.asked[0])
        self.socket, self.is_open, self.rest, self.next_s = None, False, 0, now_s + RETRY_S
        self.asked.clear()

    def tick(self, now_s: float) -> bool:
        """Connect or ask, if it is time; return whether there is a new socket."""
        if now_s < self.next_s:
            return False
        try:
            if self.socket is None:
                self.socket, self.next_s = self.make(), now_s + RETRY_S
                self.socket.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    self.socket.connect((ECHO, ECHO_PORT))
                return True
            if self.is_open and len(self.asked) < UNANSWERED:
                self.next_s = now_s + PERIOD_S
                if self.socket.send(MESSAGE) == len(MESSAGE):
                    self.asked.append(now_s)
        except BlockingIOError:
            pass
        except OSError:
            self.close(now_s)
        return False

    def ready(self, now_s: float) -> None:
        """There is something to read, or the connection is made or refused."""
        assert self.socket
        try:
            if not self.is_open:
                if error := self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(error, "no connection")
                self.is_open, self.next_s = True, now_s
                return
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionResetError
        except BlockingIOError:
            return
        except OSError:
            self.close(now_s)
            return
        answers, self.rest = divmod(self.rest + len(data), len(MESSAGE))
        for _ in range(min(answers, len(self.asked))):
            self.longest_s = max(self.longest_s, now_s - self.asked.popleft())


class Flows:
    """The connections of all clients, in one thread."""

    def __init__(self, pids: dict[str, int]):
        """pids: each client's machine, by the number of its first process."""
        self.flows = {name: Flow(partial(in_namespace, pid, tcp)) for name, pid in pids.items()}
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            while not self.is_over.is_set():
                for flow in self.flows.values():
                    if flow.tick(time.monotonic()) and flow.socket:
                        selector.register(flow.socket, selectors.EVENT_WRITE, flow)
                for key, _ in selector.select(PERIOD_S / 4):
                    self.serve(selector, key)
        for flow in self.flows.values():
            if flow.socket:
                flow.socket.close()

    def serve(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        key.data.ready(time.monotonic())
        if key.data.socket is key.fileobj:
            selector.modify(key.fileobj, selectors.EVENT_READ, key.data)
        else:
            selector.unregister(key.fileobj)

    def describe(self, client: str) -> dict:
        return self.flows[client].describe(time.monotonic())

    def start(self) -> None:
        self.thread.start()

    def close(self) -> None:
        self.is_over.set()
        self.thread.join()


def tcp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
