# SPDX-License-Identifier: ISC
"""Homes by the clatnode that they are of, so that what one node has too much of can be found at once. No I/O."""

from runtime.ordered import OldestFirst, oldest

NODE_BYTES = 12  # of a home, `CLATD::IPV4`: the /96 of its node


class Group:
    """A node's homes, in each the oldest first; mapped: a mapping is in the kernel, spent: only a serial is kept."""

    __slots__ = ("mapped", "spent")

    def __init__(self) -> None:
        self.spent: OldestFirst[bytes, None] = OldestFirst()
        self.mapped: OldestFirst[bytes, None] = OldestFirst()

    def __len__(self) -> int:
        return len(self.spent) + len(self.mapped)


class Groups:
    """All homes, each once. Every call takes the same time, whatever the number of homes and nodes."""

    def __init__(self) -> None:
        self._groups: dict[bytes, Group] = {}
        self._by_size: dict[int, dict[bytes, None]] = {}  # nodes with so many homes
        self._largest = 0

    def put(self, home: bytes, is_mapped: bool) -> None:
        """Note a home as its node's newest."""
        node = home[:NODE_BYTES]
        group = self._groups.get(node)
        if group is None:
            group = self._groups[node] = Group()
        before = len(group)
        group.mapped.pop(home, None)
        group.spent.pop(home, None)
        (group.mapped if is_mapped else group.spent)[home] = None
        if len(group) != before:
            self._move(node, before, before + 1)

    def remove(self, home: bytes) -> None:
        """Forget a home, if it is there."""
        node = home[:NODE_BYTES]
        group = self._groups.get(node)
        if group is None or (home not in group.mapped and home not in group.spent):
            return
        group.mapped.pop(home, None)
        group.spent.pop(home, None)
        self._move(node, len(group) + 1, len(group))
        if not group:
            del self._groups[node]

    def count(self, home: bytes) -> int:
        """Return how many homes the node of this one has."""
        group = self._groups.get(home[:NODE_BYTES])
        return 0 if group is None else len(group)

    def oldest_beside(self, home: bytes) -> bytes:
        """Return the home of the same node that can be spared most; KeyError: it has none."""
        group = self._groups[home[:NODE_BYTES]]
        return oldest(group.spent or group.mapped)

    def oldest_of_largest(self) -> bytes:
        """Return the home that can be spared most of the node that has the most; KeyError: there is none."""
        return self.oldest_beside(next(iter(self._by_size[self._largest])))

    def _move(self, node: bytes, before: int, after: int) -> None:
        """Sizes change by one, so the largest is never far."""
        if before:
            del self._by_size[before][node]
            if not self._by_size[before]:
                del self._by_size[before]
        if after:
            self._by_size.setdefault(after, {})[node] = None
        if after > self._largest or self._largest not in self._by_size:
            self._largest = after
