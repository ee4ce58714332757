# SPDX-License-Identifier: ISC
"""`python -m sdk.micropython_lint`: say what is wrong in the rooms that run on MicroPython; exit 1 if anything is."""

import sys
from pathlib import Path

from sdk.micropython_lint.check import MICROPYTHON_SAFE, NOT_SAFE, check

ROOT = Path(__file__).resolve().parents[2]


def read() -> dict[str, str]:
    """Return the rooms' files: path from the repository's root -> text."""
    found: set[Path] = set()
    for room in MICROPYTHON_SAFE:
        found |= set((ROOT / room).rglob("*.py"))
    return {
        str(file.relative_to(ROOT)): file.read_text()
        for file in sorted(found - {ROOT / each for each in NOT_SAFE})
    }


def read_beside() -> dict[str, str]:
    """Return what else is in the rooms: path from the repository's root -> text."""
    rooms = MICROPYTHON_SAFE
    found = {str(file.relative_to(ROOT)): file for room in rooms for file in (ROOT / room).rglob("*.py")}
    return {name: found[name].read_text() for name in sorted(found.keys() - read().keys())}


if __name__ == "__main__":
    findings = check(read(), read_beside())
    for finding in findings:
        print(finding)
    sys.exit(bool(findings))
