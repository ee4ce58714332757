# SPDX-License-Identifier: ISC
"""Netfilter's netlink: messages and attributes as bytes, a socket to send them, and transactions.

What this is for: one roam must cost one system call, not a process. Only framing lives here; what the subsystems
say is in nftables, nfqueue, ipset and conntrack.

Every message is `nlmsghdr` (length u32, type u16, flags u16, sequence u32, port u32; the machine's byte order)
followed by `nfgenmsg` (family u8, version u8, resource u16, the last big-endian). An attribute is length u16 and type
u16 (the machine's order) and a value (mostly big-endian), padded to four bytes.

The kernel works a request off within send(2): what it has to say is in the socket when send returns.
"""

import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from l3roamd_py.netfilter.rules import RulesError
from runtime.netlink import ERROR, HEADER, MESSAGE_DONE, MESSAGE_ERROR, MULTI, REQUEST, number, split

NETLINK_NETFILTER = 12
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_NO_ENOBUFS = 270, 10, 5
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33

SUBSYSTEM_CONNTRACK, SUBSYSTEM_QUEUE, SUBSYSTEM_IPSET, SUBSYSTEM_NFTABLES = 1, 3, 6, 10
BATCH_BEGIN, BATCH_END = 0x10, 0x11
FAMILY_HEADER = struct.Struct("!BBH")

RECEIVE_BYTES = 1 << 18
ANSWER_S = 10  # no kernel takes so long


class NetlinkError(OSError):
    """The kernel's answer to a message: errno, and which message of those sent it is about (0 is the first)."""

    def __init__(self, number: int, index: int = 0):
        super().__init__(number, os.strerror(number))
        self.index = index


class TransactionError(NetlinkError):
    """Nothing of a transaction was done; errors has the errno of each message that failed, by its index."""

    def __init__(self, errors: Mapping[int, int]):
        first = min(errors)
        super().__init__(errors[first], first)
        self.errors = dict(errors)


def message(
    subsystem: int, kind: int, flags: int, body: bytes, family: int = socket.AF_UNSPEC, resource: int = 0
) -> bytes:
    """A whole message; its sequence number is 0 until number() gives it one."""
    length = HEADER.size + FAMILY_HEADER.size + len(body)
    head = HEADER.pack(length, subsystem << 8 | kind, flags | REQUEST, 0, 0)
    return head + FAMILY_HEADER.pack(family, 0, resource) + body


def transaction(subsystem: int, messages: Sequence[bytes], check_only: bool = False) -> bytes:
    """What makes the kernel do all of the messages or none. check_only: it looks at all, and takes them back."""
    begin = message(0, BATCH_BEGIN, 0, b"", resource=subsystem)
    end = message(0, BATCH_END, 0, b"", resource=subsystem)
    return number([begin, *messages] + ([] if check_only else [end]))


class NetfilterSocket:
    """A netlink socket to netfilter, of the network namespace that it was made in."""

    def __init__(self, nonblocking: bool = False):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.socket.bind((0, 0))
        self.socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self.socket.setblocking(not nonblocking)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", ANSWER_S, 0))
        self.send_bytes = 0
        self.make_room(1 << 20)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()

    def make_room(self, size_bytes: int) -> None:
        if size_bytes > self.send_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, size_bytes)
            self.send_bytes = size_bytes

    def send(self, data: bytes) -> None:
        self.make_room(2 * len(data))
        self.socket.send(data)

    def receive(self) -> bytes | None:
        """What is there, None if there is nothing. Raises OSError ENOBUFS if the kernel had to drop answers."""
        try:
            return self.socket.recv(RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def commit(self, subsystem: int, messages: Sequence[bytes], check_only: bool = False) -> None:
        """Do all of the messages or none. Raises TransactionError, with indices into messages."""
        if not messages:
            return
        self.send(transaction(subsystem, messages, check_only))
        if errors := self.errors():
            raise TransactionError({max(sequence - 1, 0): code for sequence, code in errors.items()})

    def ask(self, *messages: bytes) -> None:
        """Do messages one after the other, each for itself. Raises NetlinkError for the first that failed."""
        self.send(number(messages))
        if errors := self.errors():
            first = min(errors)
            raise NetlinkError(errors[first], first)

    def errors(self) -> dict[int, int]:
        """The errno of each message that failed, by its sequence number."""
        errors: dict[int, int] = {}
        while (received := self.receive()) is not None:
            for kind, _, sequence, rest in split(received):
                if kind == MESSAGE_ERROR and (code := -ERROR.unpack_from(rest)[0]):
                    errors.setdefault(sequence, code)
        return errors

    def dump(self, request: bytes, among: Collection[bytes] = ()) -> Iterator[bytes]:
        """Yield the attributes of each message that answers a request. Raises NetlinkError.

        With among, packs of messages in which none of these bytes occur are skipped, unseen and fast.

        The kernel may say that the table changed meanwhile (EINTR semantics): a caller that must not miss anything
        is the only one who changes it.
        """
        self.send(number([request]))
        while True:
            received = self.socket.recv(RECEIVE_BYTES)
            if among and is_multi(received) and not any(each in received for each in among):
                continue
            for kind, flags, _, rest in split(received):
                if kind == MESSAGE_DONE:
                    return
                if kind == MESSAGE_ERROR:
                    if code := -ERROR.unpack_from(rest)[0]:
                        raise NetlinkError(code)
                    return
                yield rest[FAMILY_HEADER.size :]
                if not flags & MULTI:
                    return


def is_multi(received: bytes) -> bool:
    """Whether a pack is part of a longer answer, and not its end."""
    kind, flags = HEADER.unpack_from(received)[1:3]
    return bool(flags & MULTI) and kind not in (MESSAGE_DONE, MESSAGE_ERROR)


def is_missing(error: OSError) -> bool:
    return error.errno == errno.ENOENT


@contextmanager
def refusal(what: str) -> Iterator[None]:
    """Say what could not be done, as a RulesError, when the kernel refuses."""
    try:
        yield
    except OSError as error:
        raise RulesError(f"{what}: {error.strerror or error}") from error


@contextmanager
def suppress_missing() -> Iterator[None]:
    """What is not there any more need not be removed."""
    try:
        yield
    except OSError as error:
        if not is_missing(error):
            raise
