# SPDX-License-Identifier: ISC
"""A socket for requests to the kernel over netlink: rtnetlink, netfilter, generic. Each is answered before the next.

An answer belongs to the request whose sequence number it has, and to no other. A request may end before its last
answer: an error, answers that the kernel had no room for, a caller that stops to listen to a dump. The rest of it may
lie in the socket then, or a dump may still run and keep others out (EBUSY). So the next request gets a new socket,
which costs some 20 microseconds.

The kernel works requests off within send(2), so what it has to say is there when send returns. Errors and
acknowledgements that nobody reads meanwhile fill the buffer, at 768 bytes each. So no more requests go out at once than
there is room to answer, and only the last of them asks for an acknowledgement.

Runs on CPython and on MicroPython, which knows socket addresses as bytes and has no `os.strerror`.
"""

import os
import select
import socket
import struct
from errno import EAGAIN, EINPROGRESS, ENOBUFS, ETIMEDOUT

from runtime import IS_MICRO
from runtime.netlink import (
    ACK,
    DUMP,
    HEADER_BYTES,
    LENGTH_HIGH_AT,
    LENGTH_LOW_AT,
    MESSAGE_DONE,
    MESSAGE_ERROR,
    MULTI,
    SUBSYSTEM_AT,
    error_of,
    flags_of,
    number,
    split,
    unpack_header,
)
from runtime.sockets import CLOEXEC, MSG_PEEK, peek

TYPE_CHECKING = False  # a constant that mypy takes to be true
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

AF_NETLINK = 16
ROUTE, NETFILTER, GENERIC = 0, 12, 16  # NETLINK_
SOL_NETLINK, ADD_MEMBERSHIP, NO_ENOBUFS, CAP_ACK, STRICT = 270, 1, 5, 10, 12
SO_SNDBUFFORCE = 31 if EINPROGRESS == 150 else 32  # the former on MIPS, which has its own numbers
SO_RCVBUFFORCE = 33

SEND_BYTES = 1 << 20
RECEIVE_BYTES = 4 << 20  # of answers that wait for us in the kernel
READ_BYTES = 8192 if IS_MICRO else 1 << 16  # the kernel makes a pack of a dump as large as this, up to 32 KiB
SHORT_BYTES = 1024
WAITING_MAX = 1 << 16  # more packs than fit into any buffer
CHUNK = 64  # requests at once: their errors fit into the smallest buffer that a kernel has by default
ANSWER_MS = 10_000  # no kernel takes so long


class NetlinkError(OSError):
    """The kernel's answer to a request: errno, and which request of those sent it is about (0 is the first)."""

    def __init__(self, number: int, index: int = 0):
        # "there is none" is a usual answer, and to make a text takes MicroPython long
        super().__init__(number, os.strerror(number) if hasattr(os, "strerror") else "")
        self.index = index


def open_socket(protocol: int, receive_bytes: int = RECEIVE_BYTES) -> socket.socket:
    """A netlink socket that never blocks, for requests or, with ADD_MEMBERSHIP, to be told. Raises OSError."""
    opened = socket.socket(AF_NETLINK, socket.SOCK_RAW | CLOEXEC, protocol)
    try:
        opened.bind(struct.pack("HHII", AF_NETLINK, 0, 0, 0) if IS_MICRO else (0, 0))
        opened.setblocking(False)
        _set(opened, socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_bytes)
    except OSError:
        opened.close()
        raise
    return opened


def _set(opened: socket.socket, level: int, option: int, value: int) -> None:
    """Set what is of use, and no matter where the kernel does not take it."""
    try:
        opened.setsockopt(level, option, value)
    except OSError:
        pass


def receive(opened: socket.socket, is_expected: bool = False, is_long: bool = False) -> "bytes | None":
    """What is there, None if there is nothing. Raises OSError ENOBUFS if the kernel had to drop something.

    is_expected: there is something, most probably. is_long: and it may be as long as a pack.
    """
    try:
        if not is_expected:
            peek(opened)
        if IS_MICRO and not is_long:
            # most of it is short, and room for all that it may be is dear
            found: bytes = opened.recv(SHORT_BYTES, MSG_PEEK)
            if len(found) < SHORT_BYTES:
                opened.recv(1)  # and the rest of the pack with it
                return found
        # not readinto: MicroPython's reads on until its buffer is full, and so cuts a pack in two
        return opened.recv(READ_BYTES)
    except OSError as error:
        if error.errno != EAGAIN:
            raise
        return None


class Skim:
    """Finds the messages in a pack that have one of some keys at an offset, without an object for each that has not.

    keys: None while all are wanted. What is no message of a subsystem of netfilter is always found.
    """

    def __init__(self, begin: int, size: int) -> None:
        """begin: of a key, from the message's header on."""
        self.keys: "Collection[bytes] | None" = None
        self._begin, self._end = begin, begin + size

    def find(self, received: bytes, at: int) -> int:
        """Return where in a pack the next one is, from an offset on; the pack's length if there is none."""
        keys, begin, end, size = self.keys, self._begin, self._end, len(received)
        while keys is not None and at + end <= size and received[at + SUBSYSTEM_AT]:
            if received[at + begin : at + end] in keys:
                break
            length = received[at + LENGTH_LOW_AT] | received[at + LENGTH_HIGH_AT] << 8
            if length < HEADER_BYTES:
                return size
            at += (length + 3) & ~3
        return at


class NetlinkSocket:
    """Requests of one kind, of the network namespace that it was made in.

    skipped_bytes: of each answer, for what every message of the kind begins with. is_strict: a dump gives only what its
    request describes, where the kernel can. Raises OSError from everything.
    """

    def __init__(self, protocol: int, skipped_bytes: int = 0, is_strict: bool = False):
        self._protocol, self._skipped_bytes, self._is_strict = protocol, skipped_bytes, is_strict
        self._sequence = 0
        self._is_waiting = False  # for answers to the last request
        self._open()

    def _open(self) -> None:
        self.socket = open_socket(self._protocol)
        self._send_bytes = 0
        self._make_room(SEND_BYTES)
        _set(self.socket, SOL_NETLINK, CAP_ACK, 1)
        if self._is_strict:
            _set(self.socket, SOL_NETLINK, STRICT, 1)
        self._is_waiting = False

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()

    def _make_room(self, size_bytes: int) -> None:
        if size_bytes > self._send_bytes:
            _set(self.socket, socket.SOL_SOCKET, SO_SNDBUFFORCE, size_bytes)
            self._send_bytes = size_bytes

    # Sending, receiving

    def send(self, requests: "Sequence[bytes]", has_ack: bool = False) -> int:
        """Send requests at once; return the sequence number of the first, the others have those that follow.

        has_ack: the last one is acknowledged.
        """
        if self._is_waiting:
            self.socket.close()
            self._open()
        first = self._sequence + 1 & 0xFFFFFFFF
        self._sequence = self._sequence + len(requests) & 0xFFFFFFFF
        data = number(requests, first, has_ack)
        self._make_room(2 * len(data))
        self.socket.send(data)
        return first

    def receive(self) -> "bytes | None":
        """What is there, None if there is nothing. Raises OSError ENOBUFS if the kernel had to drop answers."""
        return receive(self.socket)

    def _wait(self, is_long: bool = False) -> bytes:
        received = receive(self.socket, True, is_long)
        if received is None:
            poll = select.poll()
            poll.register(self.socket, select.POLLIN)
            poll.poll(ANSWER_MS)
            received = receive(self.socket)
        if received is None:
            raise NetlinkError(ETIMEDOUT)
        return received

    # Asking

    def ask(self, *requests: bytes) -> None:
        """Do requests one after the other, each for itself. Raises NetlinkError for the first that failed."""
        failed = self.failures(requests)
        if failed:
            first = min(failed)
            raise NetlinkError(failed[first], first)

    def failures(self, requests: "Sequence[bytes]") -> "dict[int, int]":
        """Do requests one after the other, each for itself; return the errno of each that failed, by its place."""
        failed: dict[int, int] = {}
        for start in range(0, len(requests), CHUNK):
            some = requests if len(requests) <= CHUNK else requests[start : start + CHUNK]
            first, is_over = self.send(some, has_ack=True), False
            self._is_waiting = True
            while not is_over:
                received = self._wait()
                for kind, _, sequence, begin, end in split(received):
                    place = sequence - first & 0xFFFFFFFF
                    if kind == MESSAGE_ERROR and place < len(some):
                        code = error_of(received, begin, end)
                        if code:
                            failed.setdefault(start + place, code)
                        is_over = is_over or place == len(some) - 1
            self._is_waiting = False
        return failed

    def dump(self, request: bytes) -> "Iterator[bytes]":
        """Yield the body of each message that answers a request. Raises NetlinkError, also in the middle.

        A dump need not be a picture of one moment: a caller that must not miss anything is the only one who changes
        the table, or is told of every change. Nothing else may be asked of this socket until the dump is over.
        """
        for received, begin, end in self.answers(request):
            yield received[begin:end]

    def answers(self, request: bytes, only: "Skim | None" = None) -> "Iterator[tuple[bytes, int, int]]":
        """The same without copies: what was received, and where in it a body is. only: those that it finds."""
        is_single = not flags_of(request) & (DUMP | ACK)
        sequence = self.send([request])
        self._is_waiting = True
        received = b""
        while True:
            received = self._wait(len(received) >= SHORT_BYTES)
            at = 0 if only is None else only.find(received, 0)
            while at + HEADER_BYTES <= len(received):
                length, kind, flags, answered, _ = unpack_header(received, at)
                begin, end = at + HEADER_BYTES, at + length
                if length < HEADER_BYTES or end > len(received):
                    break
                at = (end + 3) & ~3
                if answered != sequence:
                    continue
                if kind <= MESSAGE_DONE and kind >= MESSAGE_ERROR:
                    self._is_waiting = False
                    code = error_of(received, begin, end)
                    if code:
                        raise NetlinkError(code)
                    return
                if is_single and not flags & MULTI:
                    self._is_waiting = False
                yield received, begin + self._skipped_bytes, end
                if only is not None:
                    at = only.find(received, at)
                if sequence != self._sequence:
                    raise RuntimeError("asked in the middle of a dump, over the same socket")
                if not self._is_waiting:
                    return


def drain(opened: socket.socket, packs: int, is_expected: bool = False) -> "Iterator[bytes | None]":
    """Yield what a socket that is told of things got, at most so many packs; None where the kernel dropped some.

    After it dropped something the kernel keeps silent until all that waits is read. That is older than what was
    dropped: whoever got a None asks for everything anew when nothing waits any more. is_expected: there is something.
    """
    while packs:
        packs -= 1
        try:
            received = receive(opened, is_expected)
            if received is None:
                return
            is_expected = False
        except OSError as error:
            if error.errno != ENOBUFS:
                raise
            received = None
        yield received
