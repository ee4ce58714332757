# SPDX-License-Identifier: ISC
"""Packets for addresses that no way is known to: they wait in a queue of their own while the address is sought.

The rules that send them here are in nft/ruleset.py and xtables/gate.py. Here is what waits, by its destination.

Bounds: 32 packets an address, 512 in all, 6 s. Over the first the newest is dropped, over the second those for the
address that waits for longest.
"""

from l3roamd_py.netfilter.nfqueue import ACCEPT, DROP, READS_MAX, PacketQueue, QueuedPacket
from l3roamd_py.netfilter.waiting import WaitingRoom
from runtime.ordered import OldestFirst

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from l3roamd_py.netfilter.waiting import Waits
    from runtime.sources import Sources

    Asked = tuple[int, bytes, bytes, bytes]  # index of the device, MAC, source, destination

QUEUE_OFFSET = 3  # from the gate's number; those between are of xtables/errors and xtables/onward
MARK = 0x10000000  # the bit
QUEUED_PER_ADDRESS, QUEUED_MAX, KERNEL_MAX = 32, 512, 1024
QUEUED_S = 6.0  # above what a search takes
DESTINATIONS = {4: (16, 20), 6: (24, 40)}  # by version: where the address is


class WantedQueue:
    """new_mark: of what goes by the rules once more, None: it does not."""

    def __init__(self, queue: int, sources: "Sources", clock: "Callable[[], float]") -> None:
        self.number, self._sources, self._clock = queue, sources, clock
        self.room: "WaitingRoom[bytes]" = WaitingRoom(QUEUED_PER_ADDRESS, QUEUED_MAX, QUEUED_S)
        self.queue: PacketQueue | None = None
        self.new_mark: "Callable[[int], int] | None" = None
        self.count = {"wanted": 0, "wanted_dropped": 0}
        self._arrived: "OldestFirst[Asked, None]" = OldestFirst()
        self._askers: "dict[bytes, QueuedPacket]" = {}  # destination -> the newest that waits for it

    def listen(self) -> None:
        """Bind the queue. Raises OSError."""
        if self.queue is None:
            self.queue = PacketQueue(self.number, KERNEL_MAX)
            self._sources.add(self.queue)
            self._drain()

    def close(self) -> None:
        if self.queue is not None:
            self._sources.forget(self.queue)
            self.queue.close()
        self.queue = None
        self._askers.clear()

    @property
    def has_arrived(self) -> bool:
        return bool(self._arrived)

    def read(self) -> "list[Asked]":
        """Return who has packets for whom."""
        self._drain()
        arrived, self._arrived = list(self._arrived), OldestFirst()
        return arrived

    def _drain(self) -> None:
        if self.queue is None:
            return
        now_s = self._clock()
        dropped = self.room.pop_late(now_s)
        for packet in self.queue.read(READS_MAX):
            destination = destination_of(packet.copied)
            self._arrived[packet.device, packet.mac, packet.source, destination] = None
            self._askers[destination] = packet
            self.count["wanted"] += 1
            dropped += self.room.put(destination, (packet.number, packet.mark), now_s)
        self._judge(dropped, DROP)
        if len(self._askers) > len(self.room.waiting):
            self._askers = {each: self._askers[each] for each in self._askers if each in self.room.waiting}

    def _judge(self, packets: "list[Waits]", code: int) -> None:
        if self.queue is None or not packets:
            return None
        if code == ACCEPT and self.new_mark is not None:
            new_mark = self.new_mark
            return self.queue.repeat([(number, new_mark(mark)) for number, mark in packets])
        self.count["wanted_dropped"] += len(packets) if code == DROP else 0
        return self.queue.judge([number for number, _ in packets], code)

    def let_go(self, address: bytes) -> None:
        self._drain()
        self._askers.pop(address, None)
        self._judge(self.room.pop(address), ACCEPT)

    def refuse(self, address: bytes) -> bytes:
        """Drop what waits for an address; return the beginning of the newest packet, "" if there is none."""
        self._drain()
        packet = self._askers.pop(address, None)
        self._judge(self.room.pop(address), DROP)
        return b"" if packet is None else packet.copied

    def tell_again(self, source: bytes) -> None:
        """Something is known of who has an address: tell of what it has waiting."""
        for destination, packet in self._askers.items():
            if packet.source == source:
                self._arrived[packet.device, packet.mac, source, destination] = None


def destination_of(packet: bytes) -> bytes:
    begin, end = DESTINATIONS.get(packet[0] >> 4, (0, 0)) if packet else (0, 0)
    return packet[begin:end]
