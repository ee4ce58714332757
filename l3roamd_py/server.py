# SPDX-License-Identifier: ISC
"""The control socket itself: peers that may be slow, silent, too many or full of garbage, and an answer each.

Nothing here waits. A peer has DEADLINE_S to say its line and to read its answer; one more than PEERS_MAX sends away
the one that has been there for longest. What a peer still says after its answer is read and thrown away, DRAIN_BYTES
of it at most: to close on it would be a reset, and whoever sends a line without end would not hear what is wrong.
"""

import contextlib
import fcntl
import os
import selectors
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from l3roamd_py.control import LINE_BYTES, Command, CommandError, first_line, line_bytes, parse

PEERS_MAX = 32
DEADLINE_S = 5.0
UNREAD_BYTES = 4 << 20  # of answers in all; beyond, who has been there for longest does without
ACCEPTS_MAX = 64  # in one round
DRAIN_BYTES = 1 << 20  # that a peer may say besides its line
DRAIN_ROUND_BYTES = 1 << 16


class SocketError(Exception):
    """We cannot listen; one sentence says why and what would be right."""


class Lock:
    """Held beside a path as long as a daemon uses it; a dead daemon holds none."""

    def __init__(self, path: Path) -> None:
        self._path = Path(f"{path}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._path, "a")
        except OSError as error:
            raise SocketError(f"{path.parent} cannot hold our socket: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise SocketError(
                f"another l3roamd_py uses {path}, expected none: end it, or choose another --socket"
            ) from None

    def release(self) -> None:
        self._file.close()

    def remove(self) -> None:
        """Leave no file behind; only for whoever ends it all, as a daemon may wait for the lock's file."""
        self._path.unlink(missing_ok=True)
        self._file.close()


def listen(path: Path) -> socket.socket:
    """Listen at a path, in place of what a daemon that was killed has left. Raises SocketError."""
    try:
        if path.is_symlink() or (path.exists() and not stat.S_ISSOCK(path.stat().st_mode)):
            raise SocketError(f"{path} is there and no socket, expected a path that is free")
        _need_silence(path)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        before = os.umask(0o177)  # root's alone
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(PEERS_MAX)
        return listener
    except OSError as error:
        raise SocketError(f"cannot listen at {path}: {error.strerror or error}") from None


def _need_silence(path: Path) -> None:
    """Raise SocketError if somebody answers there: the C l3roamd, which holds no lock."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as trial:
        try:
            trial.connect(str(path))
        except BlockingIOError:
            pass  # its queue is full: it lives
        except OSError:
            return
    raise SocketError(f"another daemon answers at {path}, expected none: end it, or choose another --socket")


class Peer:
    """One connection: what it has said, and what it has not read yet."""

    def __init__(self, connection: socket.socket, until_s: float) -> None:
        self.connection = connection
        self.until_s = until_s
        self.said = b""
        self.unread = memoryview(b"")
        self.has_answer = False
        self.has_more = False  # to say: its line was cut off
        self.left = DRAIN_BYTES


class Server:
    """The listening socket and its peers, in the selector of the one loop."""

    def __init__(
        self, path: Path, selector: selectors.BaseSelector, answer: Callable[[Command], str]
    ) -> None:
        self._path = path
        self._selector = selector
        self._answer = answer
        self._peers: dict[int, Peer] = {}  # by descriptor, who came first is first
        self._listener = listen(path)
        self.counters = {"socket_refused": 0, "socket_late": 0, "socket_crowded": 0}
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    @property
    def next_deadline_s(self) -> float | None:
        first = next(iter(self._peers.values()), None)
        return None if first is None else first.until_s

    def close(self) -> None:
        for peer in list(self._peers.values()):
            self._drop(peer)
        self._selector.unregister(self._listener)
        self._listener.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def tick(self, now_s: float) -> None:
        """Send away who had time enough."""
        for peer in list(self._peers.values()):
            if peer.until_s > now_s:
                break  # all others came later
            self.counters["socket_late"] += 1
            self._drop(peer)

    def _accept(self, _events: int, now_s: float) -> None:
        for _ in range(ACCEPTS_MAX):
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # no more, or no descriptor left: then others end first
            connection.setblocking(False)
            if len(self._peers) >= PEERS_MAX:
                self._drop_first()
            peer = Peer(connection, now_s + DEADLINE_S)
            self._peers[connection.fileno()] = peer
            serve = self._server_of(peer)
            self._selector.register(connection, selectors.EVENT_READ, serve)
            serve(selectors.EVENT_READ, now_s)  # at once, so that commands are carried out as they came

    def _server_of(self, peer: Peer) -> Callable[[int, float], None]:
        def serve(events: int, _now_s: float) -> None:
            if self._peers.get(peer.connection.fileno()) is not peer:
                return  # dropped in this same round
            if events & selectors.EVENT_READ and not peer.has_answer:
                self._receive(peer)
            if peer.unread:
                self._send(peer)
            elif peer.has_answer:
                self._drain(peer)

        return serve

    def _receive(self, peer: Peer) -> None:
        try:
            data = peer.connection.recv(LINE_BYTES + 2)
        except BlockingIOError:
            return
        except OSError:
            self._drop(peer)
            return
        peer.said += data
        try:
            line = first_line(peer.said, not data)
            if line is None:
                if not data:
                    self._drop(peer)
                return
            answer = self._answer(parse(line))
        except CommandError as error:
            self.counters["socket_refused"] += 1
            answer = f"error: {error}\n"
            peer.has_more = len(peer.said) > line_bytes(peer.said)
        peer.has_answer, peer.said = True, b""
        peer.unread = memoryview(answer.encode("ascii", "backslashreplace"))

    def _send(self, peer: Peer) -> None:
        try:
            while peer.unread:
                peer.unread = peer.unread[peer.connection.send(peer.unread, socket.MSG_NOSIGNAL) :]
            self._selector.modify(peer.connection, selectors.EVENT_READ, self._server_of(peer))
            peer.connection.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            self._selector.modify(peer.connection, selectors.EVENT_WRITE, self._server_of(peer))
            while sum(len(each.unread) for each in self._peers.values()) > UNREAD_BYTES:
                self._drop_first()
            return
        except OSError:
            self._drop(peer)
            return
        self._drain(peer)

    def _drain(self, peer: Peer) -> None:
        """Throw away what a peer says after its answer; end when it has no more, or said too much."""
        try:
            data = peer.connection.recv(DRAIN_ROUND_BYTES)
        except BlockingIOError:
            if not peer.has_more:
                self._drop(peer)
            return
        except OSError:
            data = b""
        peer.left -= len(data)
        if not data or peer.left <= 0:
            self._drop(peer)

    def _drop_first(self) -> None:
        self.counters["socket_crowded"] += 1
        self._drop(next(iter(self._peers.values())))

    def _drop(self, peer: Peer) -> None:
        if self._peers.pop(peer.connection.fileno(), None) is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(peer.connection)
            peer.connection.close()
