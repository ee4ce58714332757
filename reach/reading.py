# SPDX-License-Identifier: ISC
"""Take values out of TOML tables, and say of every wrong one where it stands and what would be right.

A Table hands out each key once, checked and converted. A mistake becomes a Finding and the value None, so that one
run finds all mistakes; whoever reads looks at the findings before it uses the values. What nobody asked for is an
unknown key, and that is a mistake too.
"""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
)
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Ports = tuple[int, int]  # first and last, both included

MISSING = object()
SHOWN_CHARACTERS = 60  # of a wrong value


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about one key; an error keeps `up` from starting, a warning does not."""

    key: str
    sentence: str
    is_error: bool = True

    def __str__(self) -> str:
        return plain(f"{'error' if self.is_error else 'warning'}: {self.key}: {self.sentence}")


def plain(text: str) -> str:
    """The text on one line, whatever somebody has written into the file."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def warning(key: str, sentence: str) -> Finding:
    return Finding(key, sentence, is_error=False)


def guess(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about a wrong word: what it might have been, or what there is."""
    known = list(known)
    near = difflib.get_close_matches(word, known, 1)
    if near:
        return f'did you mean "{near[0]}"?'
    return f"there is {', '.join(known)}" if known else "there is none"


@dataclass
class Table:
    """A TOML table at a place in the file (`path`), with the findings that all tables share."""

    path: str
    values: dict[str, Any]
    findings: list[Finding]
    asked: list[str] = field(default_factory=list)

    def key(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def wrong(self, name: str, sentence: str) -> None:
        self.findings.append(Finding(self.key(name), sentence))

    def get(self, name: str, convert: Callable[[Any], Any], default: Any = MISSING, example: str = "") -> Any:
        """The key's value by `convert`, which raises ValueError with what was expected; else the default."""
        self.asked.append(name)
        if name not in self.values:
            if default is MISSING:
                self.wrong(name, f"is missing; for example {name} = {example}")
                return None
            return default
        try:
            return convert(self.values[name])
        except ValueError as error:
            self.wrong(name, f"{show(self.values[name])}: {error}")
            return None if default is MISSING else default

    def tables(self, name: str) -> dict[str, "Table"]:
        """The named tables below a key: [home.attic] is tables("home")["attic"]."""
        self.asked.append(name)
        found = self.values.get(name, {})
        if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
            self.wrong(name, f"each {name} is a table with a name: [{name}.NAME]")
            return {}
        return {each: Table(self.key(f"{name}.{each}"), found[each], self.findings) for each in found}

    def table(self, name: str) -> "Table | None":
        self.asked.append(name)
        found = self.values.get(name)
        if isinstance(found, dict):
            return Table(self.key(name), found, self.findings)
        self.wrong(name, f"is missing, or is no table; it begins with the line [{name}]")
        return None

    def list(self, name: str) -> "list[Table]":
        self.asked.append(name)
        found = self.values.get(name, [])
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            self.wrong(name, f"each one begins with the line [[{name}]]")
            return []
        return [Table(f"{name}[{i}]", each, self.findings) for i, each in enumerate(found, 1)]

    def finish(self) -> None:
        """Complain about every key that nobody asked for."""
        for name in self.values:
            if name not in self.asked:
                self.wrong(name, f"no such key here; {guess(name, self.asked)}")


def show(value: Any) -> str:
    """A value as it stands in the file, near enough to find it."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    if len(text) > SHOWN_CHARACTERS:
        text = f"{text[:SHOWN_CHARACTERS]}…"
    return f'"{text}"' if isinstance(value, str) else text
