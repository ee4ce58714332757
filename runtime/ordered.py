# SPDX-License-Identifier: ISC
"""What keeps an order on either Python: MicroPython's own dictionaries have none.

OldestFirst is a dictionary that tells its oldest key, in the same time whatever is in it. CPython's OrderedDict is one.
MicroPython's searches from its start for every key, so there a dictionary of links of a chain does it.
"""

from runtime import IS_MICRO

TYPE_CHECKING = False
if TYPE_CHECKING or not IS_MICRO:
    from collections import OrderedDict

    OldestFirst = OrderedDict

    def oldest(table: "OldestFirst[K, V]") -> "K":
        """Return the key that was put in first; KeyError: there is none."""
        for key in table:
            return key
        raise KeyError("empty")

else:
    PREVIOUS, NEXT, KEY, VALUE = range(4)
    PART_KEYS = 16

    class OldestFirst:
        """What of a dictionary is used; a key that is there keeps its place when it gets another value.

        A dictionary of MicroPython looks through all of it for a key that is not there, once as many keys have come and
        gone as it has room for. So there are many small ones.
        """

        def __init__(self):
            self._parts, self._count = [{}], 0
            self._end = end = [None, None, None, None]
            end[PREVIOUS] = end[NEXT] = end

        def __len__(self):
            return self._count

        def __contains__(self, key):
            return key in self._parts[hash(key) % len(self._parts)]

        def __iter__(self):
            link = self._end[NEXT]
            while link is not self._end:
                following = link[NEXT]
                yield link[KEY]
                link = following

        def __getitem__(self, key):
            return self._parts[hash(key) % len(self._parts)][key][VALUE]

        def get(self, key, default=None):
            link = self._parts[hash(key) % len(self._parts)].get(key)
            return default if link is None else link[VALUE]

        def __setitem__(self, key, value):
            part = self._parts[hash(key) % len(self._parts)]
            link = part.get(key)
            if link is not None:
                link[VALUE] = value
                return
            last = self._end[PREVIOUS]
            link = part[key] = [last, self._end, key, value]
            last[NEXT] = self._end[PREVIOUS] = link
            self._count += 1
            if self._count > PART_KEYS * len(self._parts):
                self._spread()

        def __delitem__(self, key):
            self.pop(key)

        def pop(self, key, *default):
            link = self._parts[hash(key) % len(self._parts)].pop(key, None)
            if link is None:
                if default:
                    return default[0]
                raise KeyError(key)
            link[PREVIOUS][NEXT], link[NEXT][PREVIOUS] = link[NEXT], link[PREVIOUS]
            self._count -= 1
            return link[VALUE]

        def _spread(self):
            """Have more parts, each with fewer keys."""
            count = 4 * len(self._parts)
            parts = [{} for _ in range(count)]
            link = self._end[NEXT]
            while link is not self._end:
                parts[hash(link[KEY]) % count][link[KEY]] = link
                link = link[NEXT]
            self._parts = parts

    def oldest(table):
        if not table:
            raise KeyError("empty")
        return table._end[NEXT][KEY]


class GoneKeys:
    """Counts keys that go from dictionaries, and has these forget them before there are too many.

    A dictionary of MicroPython looks for a key that is not there up to a place that no key ever had, and a place whose
    key is gone is none.
    """

    MOST = 64  # and a quarter of what is in the first of them

    def __init__(self, *tables: "dict[Any, Any]") -> None:
        self._tables, self._count = tables, 0

    def note(self) -> None:
        self._count += 1
        if self._count > self.MOST + len(self._tables[0]) // 4:
            self._count = 0
            for table in self._tables if IS_MICRO else ():
                kept = table.copy()
                table.clear()
                table.update(kept)


if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypeVar

    K = TypeVar("K")
    V = TypeVar("V")


def each_once(values: "Iterable[K]", without: "Iterable[K]" = ()) -> "list[K]":
    """Return the values in their order, each at its first place alone, and none of those that are left out."""
    done, found = set(without), []
    for each in values:
        if each not in done:
            done.add(each)
            found.append(each)
    return found
