# SPDX-License-Identifier: ISC
"""The lab's stand-in for OpenWrt's uci, for tests: how sh calls it on a folder, and what is in a file."""

import runpy
import sys
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).resolve().parents[1] / "sdk/openwrt/root/usr/sbin/uci"
STAND_IN: dict[str, Any] = runpy.run_path(str(PROGRAM))
Value = str | list[str]
Section = STAND_IN["Section"]  # kind, name, is_anonymous, options
parse = STAND_IN["parse"]


def shell(folder: Path) -> str:
    """Return a function of sh, `uci`, that reads and changes a folder in place of /etc/config."""
    return f'uci() {{ {sys.executable} -SE {PROGRAM} -c {folder} -t {folder}/.changes "$@"; }}\n'


def load(folder: Path, package: str) -> list:
    return parse((folder / package).read_text())
