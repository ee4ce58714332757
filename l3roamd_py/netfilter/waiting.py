# SPDX-License-Identifier: ISC
"""Packets that wait in NFQUEUE, by whom they are of or for: their bounds. No I/O."""

from runtime.ordered import OldestFirst, oldest
from runtime.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import Generic, TypeVar

    K = TypeVar("K", bound=Hashable)
    Waits = tuple[int, int]  # a packet's number and mark
else:
    K, Generic = None, {None: object}  # the base class is an ordinary one where nobody checks types


@record("since_s packets")
class Waiting:
    since_s: float
    packets: "list[Waits]"


class WaitingRoom(Generic[K]):
    """Which packets wait for whom: the bounds, and no I/O. What is to be dropped is returned.

    a_client: packets of one, most: of all, queued_s: how long one may wait.
    """

    def __init__(self, a_client: int, most: int, queued_s: float) -> None:
        self._a_client, self._most, self._queued_s = a_client, most, queued_s
        self.waiting: "OldestFirst[K, Waiting]" = OldestFirst()
        self.queued = 0

    def put(self, client: K, packet: "Waits", now_s: float) -> "list[Waits]":
        entry = self.waiting.get(client)
        if entry is None:
            entry = self.waiting[client] = Waiting(now_s, [])
        if len(entry.packets) >= self._a_client:
            return [packet]
        entry.packets.append(packet)
        self.queued += 1
        if self.queued <= self._most:
            return []
        return self.pop(oldest(self.waiting))

    def pop(self, client: K) -> "list[Waits]":
        """All that waits for a client, in its order; it waits no longer."""
        entry = self.waiting.pop(client, None)
        packets = entry.packets if entry else []
        self.queued -= len(packets)
        return packets

    def pop_late(self, now_s: float) -> "list[Waits]":
        late = []
        while self.waiting:
            client = oldest(self.waiting)
            if now_s - self.waiting[client].since_s < self._queued_s:
                break
            late += self.pop(client)
        return late
