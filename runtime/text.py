# SPDX-License-Identifier: ISC
"""Tables and durations, as people read them. No I/O."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def table(rows: "Iterable[Sequence[str]]") -> list[str]:
    """Return lines of cells, each column as wide as its widest."""
    rows = list(rows)
    widths = [max([len(row[i]) for row in rows]) for i in range(len(rows[0]))] if rows else []
    return [
        "  ".join([cell + " " * (width - len(cell)) for cell, width in zip(row, widths)]).rstrip()
        for row in rows
    ]


def duration(seconds: float) -> str:
    """Return how long something takes, in the largest unit that says it well."""
    whole = max(0, int(seconds))
    if whole < 120:
        return "%d s" % whole
    return "%d min" % (whole // 60) if whole < 7200 else "%d h" % (whole // 3600)
