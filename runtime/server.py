# SPDX-License-Identifier: ISC
"""A control socket: peers that may be slow, silent, too many or full of garbage, and an answer each.

A connection carries one line and gets one answer. In a session it carries lines, and each gets its answer before the
next is carried out. Nothing here waits. A peer has a while to say its line and to read its answer. One more than there
is room for sends away the one that has been silent for longest. What a peer still says after its last answer is read
and thrown away, DRAIN_BYTES of it at most: to close on it would be a reset, and whoever sends a line without end would
not hear what is wrong.
"""

import os
import socket

from runtime import IS_MICRO
from runtime.loop import POLLIN, POLLOUT
from runtime.sockets import (
    CLOEXEC,
    EAGAIN,
    birth_of,
    error_number,
    error_text,
    is_socket,
    open_stream,
    receive,
    send,
    unix_address,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Protocol

    from runtime.loop import Poller

    class Language(Protocol):
        """What is spoken over the socket: where a line ends, how long it may be, and what to answer."""

        def line_bytes(self, data: bytes) -> int: ...
        def answer(self, line: bytes) -> Iterable[str]: ...


PEERS_MAX = 32
BACKLOG = (
    4096  # connections that wait to be accepted: one that may not wait fails at once where there is no room
)
ROOM_BYTES = 4 << 20  # for answers that nobody reads; beyond, who has been there for longest does without
ACCEPTS_MAX = 64  # in one round
DRAIN_BYTES = 1 << 20  # that a peer may say besides its line
READ_BYTES = 4096
PATH_BYTES = 107  # what a Unix socket's address has room for


class SocketError(Exception):
    """We cannot listen; one sentence says why and what would be right."""


class Refused(Exception):
    """A line is not answered; one sentence says what would be."""


def listen(path: str) -> socket.socket:
    """Listen at a path, in place of what a daemon that was killed has left. Raises SocketError."""
    try:
        if not IS_MICRO:
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        _need_silence(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | CLOEXEC)
        listener.setblocking(False)
        before = 0 if IS_MICRO else os.umask(0o177)  # root's alone; MicroPython is started so
        try:
            listener.bind(unix_address(path))
        finally:
            if not IS_MICRO:
                os.umask(before)
        listener.listen(BACKLOG)
        return listener
    except OSError as error:
        raise SocketError(f"cannot listen at {path}: {error_text(error)}") from None


def _need_silence(path: str) -> None:
    """Remove a dead daemon's socket. Raises SocketError if there is something else, or somebody answers."""
    is_link = False if IS_MICRO else os.path.islink(path)
    if not is_link and birth_of(path) is None:
        return
    if is_link or not is_socket(path):
        raise SocketError(f"{path} is there and no socket, expected a path that is free")
    try:
        open_stream(socket.AF_UNIX, unix_address(path)).close()
    except OSError as error:
        if error.args[0] != 11:  # EAGAIN: its queue is full, so it lives
            os.unlink(path)
            return
    raise SocketError(f"another daemon answers at {path}, expected none: end it, or choose another --socket")


class Peer:
    """One connection: what it has said, and what it has not read yet."""

    __slots__ = (
        "connection", "has_answer", "has_ended", "has_more", "is_over", "left", "pieces", "said", "unread", "until"
    )  # fmt: skip

    def __init__(self, connection: socket.socket, until: float) -> None:
        self.connection, self.until = connection, until
        self.said = b""
        self.unread: bytes | memoryview = b""
        self.pieces: "Iterator[str]" = iter(())  # of its answer, which follow
        self.has_answer = False
        self.has_ended = False  # and says no more
        self.is_over = False  # after this answer
        self.has_more = False  # to say: its line was cut off
        self.left = DRAIN_BYTES


class Server:
    """The listening socket and its peers, in the poller of the one loop.

    clock: returns the time; deadline: what of it a peer has for a line, in the same unit. An answer may come in pieces,
    so that a long one never is in memory as a whole.
    """

    def __init__(
        self,
        path: str,
        poller: "Poller",
        clock: "Callable[[], float]",
        deadline: float,
        language: "Language",
        has_sessions: bool = False,
    ) -> None:
        self._path, self._poller, self._clock, self._deadline = path, poller, clock, deadline
        self._language, self._has_sessions = language, has_sessions
        self._peers: dict[int, Peer] = {}  # by descriptor
        self._order: list[int] = []  # of descriptors, who came first is first
        self._listener = listen(path)
        self._resume: float | None = None  # when to accept again, if nobody can be accepted now
        self.counters = {"socket_refused": 0, "socket_late": 0, "socket_crowded": 0}
        poller.add(self._listener, self._accept)

    @property
    def next_deadline(self) -> float | None:
        return self._peers[self._order[0]].until if self._order else self._resume

    def close(self) -> None:
        while self._order:
            self._drop(self._order[0])
        self._poller.close(self._listener)
        try:
            os.unlink(self._path)
        except OSError:
            pass

    def tick(self, now: float) -> None:
        """Send away who had time enough."""
        while self._order and self._peers[self._order[0]].until <= now:
            self.counters["socket_late"] += 1
            self._drop(self._order[0])
        if self._resume is not None and self._resume <= now:
            self._resume = None
            self._poller.add(self._listener, self._accept)

    def _accept(self) -> None:
        for accepted in range(ACCEPTS_MAX):
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                # the kernel asks for a descriptor before it looks whether anybody waits: after the first who came
                # the lack of one says nothing
                if not accepted and error_number(error) != EAGAIN:
                    self._make_room()
                return
            connection.setblocking(False)
            if len(self._order) >= PEERS_MAX:
                self._drop_first()
            number = connection.fileno()
            self._peers[number] = Peer(connection, self._clock() + self._deadline)
            self._order.append(number)
            self._poller.add(connection, lambda number=number: self._serve(number))  # type: ignore[misc]
            self._serve(number)  # at once, so that commands are carried out as they came

    def _make_room(self) -> None:
        """There is no descriptor left: the eldest gives way. If nobody does, come again later, not at once."""
        if self._order:
            self._drop_first()
        else:
            self._poller.forget(self._listener)
            self._resume = self._clock() + self._deadline

    def _serve(self, number: int) -> None:
        peer = self._peers.get(number)
        if peer is None:
            return
        try:
            if not peer.has_answer:
                self._receive(number, peer)
            while peer.has_answer and number in self._peers and self._has_sent(peer):
                if peer.is_over:
                    self._drain(number, peer)
                    return
                peer.has_answer, peer.until = False, self._clock() + self._deadline
                self._order.remove(number)
                self._order.append(number)
                self._answer(number, peer)
        except OSError:
            self._drop(number)

    def _receive(self, number: int, peer: Peer) -> None:
        data = receive(peer.connection, READ_BYTES)
        if data is None:
            return
        peer.said += data
        peer.has_ended = not data
        self._answer(number, peer)

    def _answer(self, number: int, peer: Peer) -> None:
        """Answer the next line of what a peer has said, if it is whole."""
        most = self._language.line_bytes(peer.said)
        is_over = True
        try:
            line, rest = first_line(peer.said, peer.has_ended, most, self._has_sessions)
            if line is None:
                if peer.has_ended:
                    self._drop(number)
                return
            is_over = not self._has_sessions
            peer.pieces = iter(self._language.answer(line))
        except (Refused, OSError) as error:
            self.counters["socket_refused"] += 1
            why = error_text(error) if isinstance(error, OSError) else error
            peer.pieces = iter((f"error: {why}\n",))
            peer.has_more = is_over and len(peer.said) > most
        peer.has_answer, peer.is_over, peer.said = True, is_over, b"" if is_over else rest

    def _has_sent(self, peer: Peer) -> bool:
        """Send what there is room for; return whether that is all. Raises OSError."""
        unread = memoryview(peer.unread)
        while True:
            if not len(unread):
                try:
                    unread = memoryview(ascii_of(next(peer.pieces)))
                    continue
                except StopIteration:
                    break
            sent = send(peer.connection, unread)
            unread = unread[sent:]
            if not sent:
                peer.unread = unread
                self._poller.change(peer.connection, POLLOUT)
                while sum([len(each.unread) for each in self._peers.values()]) > ROOM_BYTES:
                    self._drop_first()
                return False
        peer.unread = b""
        self._poller.change(peer.connection, POLLIN)
        if peer.is_over and hasattr(peer.connection, "shutdown"):
            peer.connection.shutdown(socket.SHUT_WR)
        return True

    def _drain(self, number: int, peer: Peer) -> None:
        """Throw away what a peer says after its answer; end when it has no more, or said too much."""
        data = receive(peer.connection, READ_BYTES)
        while data:
            peer.left -= len(data)
            if peer.left <= 0:
                break
            data = receive(peer.connection, READ_BYTES)
        # who was cut off is waited for, where we can say that we have no more to say
        if data is None and peer.has_more and hasattr(peer.connection, "shutdown"):
            return
        self._drop(number)

    def _drop_first(self) -> None:
        self.counters["socket_crowded"] += 1
        self._drop(self._order[0])

    def _drop(self, number: int) -> None:
        peer = self._peers.pop(number, None)
        if peer is not None:
            self._order.remove(number)
            self._poller.close(peer.connection)


def ascii_of(text: str) -> bytes:
    """Return a text as ASCII, with ? in the place of any other character."""
    try:
        return text.encode("ascii") if not IS_MICRO else text.encode()
    except UnicodeError:
        return "".join([c if c < "\x7f" else "?" for c in text]).encode()


def first_line(
    data: bytes, has_ended: bool, most: int, is_session: bool = False
) -> tuple[bytes | None, bytes]:
    """Return the line in what a peer sent so far, None if more must come, and what is behind it.

    Raises Refused: it has more than `most`, or, in a session, no end, so that it may be half a command.
    """
    ends = [at for at in (data.find(b"\n"), -1 if is_session else data.find(b"\r")) if at >= 0]
    if not ends and len(data) <= most:
        if is_session and has_ended and data:
            raise Refused("the last line has no line feed behind it, so it was not carried out")
        return (data if has_ended and data else None), b""
    if not ends or min(ends) > most:
        raise Refused(f"the line has more than {most} bytes, expected one command")
    return data[: min(ends)], data[min(ends) + 1 :]
