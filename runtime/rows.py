# SPDX-License-Identifier: ISC
"""JSON of values that have large tables in them, in pieces. No I/O.

MicroPython looks for each text that is made among all that it knows, which takes longer than to make it. So here it
makes bytes.
"""

import io
import json

from runtime import IS_MICRO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PIECE_CHARS = 2048
Stream = io.BytesIO if IS_MICRO else io.StringIO

if not TYPE_CHECKING and IS_MICRO:
    from binascii import hexlify as hexadecimal

else:

    def hexadecimal(value: bytes) -> str:
        """Return what JSON has of bytes."""
        return value.hex()


def encode(value: "Any") -> str:
    """Return JSON. Rows of a table (what is iterated over) become text one by one: as values they take more room."""
    return "".join([piece.decode() for piece in pieces(value)])


def pieces(value: "Any") -> "Iterator[bytes]":
    """Yield the same in pieces of some KiB, for who needs no room for the whole."""
    to: "list[Any]" = [Stream()]
    for _ in _write(value, to):
        if to[0].tell() >= PIECE_CHARS:
            yield _bytes_of(to[0])
            to[0] = Stream()
    yield _bytes_of(to[0])


def _bytes_of(stream: "Any") -> bytes:
    found: bytes = stream.getvalue() if IS_MICRO else stream.getvalue().encode()
    return found


def _write(value: "Any", to: "list[Any]") -> "Iterator[None]":
    """Write JSON to the one stream in a list; come back after each row, for there may be another one then."""
    # MicroPython takes a bool to be no int
    if value is None or isinstance(value, (str, int, bool, float, bytes)):
        json.dump(value, to[0])
        return
    before, is_dict = "", isinstance(value, dict)
    to[0].write("{" if is_dict else "[")
    for each in value:
        to[0].write(before)
        json.dump(each, to[0])
        if is_dict:
            to[0].write(": ")
            yield from _write(value[each], to)
        before = ", "
        yield
    to[0].write("}" if is_dict else "]")
