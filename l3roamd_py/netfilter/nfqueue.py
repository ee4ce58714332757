# SPDX-License-Identifier: ISC
"""NFQUEUE: packets that the kernel holds until we say what becomes of them (linux/netfilter/nfnetlink_queue.h).

Only the beginning of a packet is copied to us, enough for its source; the rest waits in the kernel. While nobody
listens to a queue, rules with `bypass` let packets through; packets that wait when we die are lost.
"""

import errno
import struct

from l3roamd_py.netfilter.nfnetlink import FAMILY_BYTES, SUBSYSTEM_QUEUE, NetfilterSocket, message
from runtime import IS_MICRO
from runtime.netlink import ACK, MESSAGE_ERROR, attribute, attributes, error_of, split, u32
from runtime.netlink_socket import NO_ENOBUFS, SOL_NETLINK, NetlinkError
from runtime.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

PACKET, VERDICT, CONFIG = 0, 1, 2
BIND = 1
COPY_PACKET = 2
WHOLE_GSO = 4  # a packet that the device will cut up stays one
COPIED_BYTES = 64
READS_MAX = 128 if IS_MICRO else 512  # in one round: who floods a queue must not keep all others waiting
SOURCES = {4: (12, 16), 6: (8, 24)}  # by version: where the source address is
DROP, ACCEPT, REPEAT = 0, 1, 4  # REPEAT: by the same rules once more
POSTROUTING = 4  # hook of a packet

PACKET_HEADER, PACKET_HEADER_BYTES = "!IHB", 7
COMMAND, PARAMETERS, VERDICT_HEADER = "!BBH", "!IB", "!II"


@record("number mac source copied mark hook device")
class QueuedPacket:
    """A packet in the kernel's queue; mac is empty if the device has none, source if nothing was copied.

    copied: its beginning, as much as the queue's listener asked for. hook: where it waits. device: index of the one
    that it came in by, 0 if the kernel does not say.
    """

    number: int
    mac: bytes
    source: bytes
    copied: bytes = b""
    mark: int = 0
    hook: int = 0
    device: int = 0


def bind_queue(
    queue: int, packets_max: int, copied_bytes: int = COPIED_BYTES, is_segmented: bool = False
) -> list[bytes]:
    """What makes a socket the listener of a queue, for up to packets_max packets without a verdict."""
    whole = 0 if is_segmented else WHOLE_GSO
    return [
        _config(queue, attribute(1, struct.pack(COMMAND, BIND, 0, 0))),
        _config(queue, attribute(2, struct.pack(PARAMETERS, copied_bytes, COPY_PACKET))),
        _config(queue, u32(3, packets_max)),
        _config(queue, u32(4, whole) + u32(5, WHOLE_GSO)),
    ]


def _config(queue: int, body: bytes) -> bytes:
    return message(SUBSYSTEM_QUEUE, CONFIG, ACK, body, resource=queue)


def verdict(
    queue: int, packet: int, code: int, mark: int | None = None, changed: bytes | None = None
) -> bytes:
    """What becomes of a packet; mark: the one that it has from then on; changed: what it is from then on."""
    body = attribute(2, struct.pack(VERDICT_HEADER, code, packet)) + (b"" if mark is None else u32(3, mark))
    body += b"" if changed is None else attribute(10, changed)
    return message(SUBSYSTEM_QUEUE, VERDICT, 0, body, resource=queue)


def queued_packet(body: bytes) -> QueuedPacket | None:
    """The packet that a message (its attributes) tells of; None if it is none. Not copied, it has no source."""
    parts = attributes(body)
    if len(parts.get(1, b"")) < PACKET_HEADER_BYTES:
        return None
    number, _, hook = struct.unpack_from(PACKET_HEADER, parts[1])
    hardware = parts.get(9, b"")
    mac = hardware[4:10] if hardware[:2] == b"\0\6" else b""
    copied = parts.get(10, b"")
    begin, end = SOURCES.get(copied[0] >> 4, (0, 0)) if copied else (0, 0)
    mark, device = [int.from_bytes(parts.get(kind, b""), "big") for kind in (3, 5)]
    source = copied[begin:end] if len(copied) >= end else b""
    return QueuedPacket(number, mac, source, copied, mark, hook, device)


class PacketQueue:
    """The listener of one queue. is_segmented: packets come as a device sends them, complete with checksums.

    Raises OSError from everything.

    Its socket gets packets from the moment on in which it is bound, between the answers to what is asked then.
    """

    def __init__(
        self, queue: int, packets_max: int, copied_bytes: int = COPIED_BYTES, is_segmented: bool = False
    ):
        self.queue = queue
        self.netfilter = NetfilterSocket()
        self.early: list[bytes] = []  # what came before everything was asked
        try:
            # what does not fit the buffer is counted by the queue; it is no reason to fail
            self.netfilter.socket.setsockopt(SOL_NETLINK, NO_ENOBUFS, 1)
            self._bind(bind_queue(queue, packets_max, copied_bytes, is_segmented))
        except OSError:
            self.netfilter.close()
            raise

    def _bind(self, requests: "Sequence[bytes]") -> None:
        self.netfilter.send(requests)
        answered = 0
        while answered < len(requests):
            if (received := self.netfilter.receive()) is None:
                raise NetlinkError(errno.ETIMEDOUT)
            self.early.append(received)
            for kind, _, _, begin, end in split(received):
                if kind == MESSAGE_ERROR:
                    answered += 1
                    if code := error_of(received, begin, end):
                        raise NetlinkError(code)

    def fileno(self) -> int:
        return self.netfilter.fileno()

    def close(self) -> None:
        self.netfilter.close()

    def read(self, at_most: int) -> "Iterator[QueuedPacket]":
        """Yield what arrived. at_most: messages, so that a flood cannot keep us here."""
        for _ in range(at_most):
            received = self.early.pop(0) if self.early else self.netfilter.receive()
            if received is None:
                return
            for kind, _, _, begin, end in split(received):
                if kind == SUBSYSTEM_QUEUE << 8 | PACKET:
                    packet = queued_packet(received[begin + FAMILY_BYTES : end])
                    if packet is None:
                        continue
                    if packet.source:
                        yield packet
                    else:  # from before the kernel knew what to copy: no one's, and it takes a place in the queue
                        self.judge([packet.number], DROP)

    def judge(self, packets: "Iterable[int]", code: int) -> None:
        """Accept or drop packets, in this order."""
        if messages := [verdict(self.queue, number, code) for number in packets]:
            self.netfilter.send(messages)

    def repeat(self, packets: "Iterable[tuple[int, int]]") -> None:
        """Have packets (number and new mark) come by the rules of their hook once more, in this order."""
        if messages := [verdict(self.queue, number, REPEAT, mark) for number, mark in packets]:
            self.netfilter.send(messages)

    def replace(self, packet: int, changed: bytes) -> None:
        """Have another packet in the place of one come by the rules of its hook once more."""
        self.netfilter.send([verdict(self.queue, packet, REPEAT, changed=changed)])
