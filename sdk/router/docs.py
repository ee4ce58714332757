# SPDX-License-Identifier: ISC
"""The commands of a documentation page, as they are executed: what people copy is what is tested.

A comment of reStructuredText in front of a literal block says who types it, as

    .. typed on: clatnode platnode
"""

import re
from pathlib import Path

from sdk.lab.machine import REPOSITORY

PAGE = REPOSITORY / "docs/package/464xlat-common.rst"
MARK = re.compile(r"\.\. typed (?P<when>on|to remove on): (?P<who>.+)")


class DocsError(Exception):
    """A page has no commands where it ought to: one sentence."""


def blocks(text: str) -> list[tuple[str, frozenset[str], list[str]]]:
    """Return the marked literal blocks of a page: "on" or "to remove on", who types it, and the lines."""
    found = []
    lines = iter(text.splitlines())
    for line in lines:
        mark = MARK.fullmatch(line)
        if not mark:
            continue
        for before in lines:
            if before.rstrip().endswith("::"):
                break
        block: list[str] = []
        for typed in lines:
            if typed.strip():
                block.append(typed.removeprefix("  "))
            elif block:
                break
        found.append((mark["when"], frozenset(mark["who"].split()), block))
    return found


def entries(block: list[str]) -> list[str]:
    """Return what is typed at a time: a loop of several lines is one."""
    found: list[str] = []
    is_open = False
    for line in block:
        found[-1:] = [f"{found[-1]}\n{line}"] if is_open else [*found[-1:], line]
        is_open = (is_open or line.endswith("do")) and line != "done"
    return found


def commands(role: str, when: str = "on", page: Path = PAGE) -> list[str]:
    """Return what is typed on a node of a role, in the page's order. Raises DocsError if that is nothing."""
    found = [
        entry
        for at, who, block in blocks(page.read_text())
        if at == when and role in who
        for entry in entries(block)
    ]
    if not found:
        raise DocsError(f"{page.name} has no commands after `.. typed {when}: {role}`")
    return found


def for_manager(line: str, manager: str) -> str:
    """Return a command for opkg as another package manager has it."""
    if manager != "apk":
        return line
    for theirs, ours in (
        ("opkg update", "apk update"),
        ("opkg install", "apk add --allow-untrusted"),
        ("opkg --autoremove remove", "apk del"),
    ):
        line = line.replace(theirs, ours)
    return line


def is_install(line: str) -> bool:
    """Whether a command is for the package manager."""
    return bool(re.match(r"(opkg|apk) ", line))
