# SPDX-License-Identifier: ISC
"""JSON of values that have large tables in them. No I/O."""

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def encode(value: "Any") -> str:
    """Return JSON. Rows of a table (what is iterated over) become text one by one: as values they take more room."""
    if isinstance(value, dict):
        return "{" + ", ".join([json.dumps(key) + ": " + encode(value[key]) for key in value]) + "}"
    # MicroPython takes a bool to be no int
    if value is None or isinstance(value, (str, int, bool, float)):
        return json.dumps(value)
    return "[" + ", ".join([json.dumps(row) for row in value]) + "]"
