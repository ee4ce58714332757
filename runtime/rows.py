# SPDX-License-Identifier: ISC
"""JSON of values that have large tables in them. No I/O."""

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PIECE_CHARS = 2048


def encode(value: "Any") -> str:
    """Return JSON. Rows of a table (what is iterated over) become text one by one: as values they take more room."""
    return "".join(list(_parts(value)))


def pieces(value: "Any") -> "Iterator[bytes]":
    """Yield the same in pieces of some KiB, for who needs no room for the whole."""
    waiting, size = [], 0
    for part in _parts(value):
        waiting.append(part)
        size += len(part)
        if size >= PIECE_CHARS:
            yield "".join(waiting).encode()
            waiting, size = [], 0
    yield "".join(waiting).encode()


def _parts(value: "Any") -> "Iterator[str]":
    # MicroPython takes a bool to be no int
    if value is None or isinstance(value, (str, int, bool, float)):
        yield json.dumps(value)
        return
    before, is_dict = "", isinstance(value, dict)
    yield "{" if is_dict else "["
    for each in value:
        yield before + json.dumps(each)
        if is_dict:
            yield ": "
            yield from _parts(value[each])
        before = ", "
    yield "}" if is_dict else "]"
