# SPDX-License-Identifier: ISC
"""Which babeld is said to withdraw wrong routes."""

import subprocess
from pathlib import Path

import pytest

from sdk.debian import babeld

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "files/464xlat"
OLDER = ["1.9.0", "1.9.2", "1.10", "1.11", "1.12", "1.12.1"]  # the wrong entry of the list
NEWER = ["1.13", "1.13.1", "1.13.1-ubus-mod", "1.14"]  # the first entry of the list
RIGHT = [
    "1.8.5",
    "1.12.2",
    "1.12.2-ubus-mod",
    "1.13.1+retract",
    "1.13.1+retract-ubus-mod",
    "1.14.1",
    "1.15",
    "2.0",
]


def status(path, run):
    """What `464xlat status` says below its table, and its exit status, where no role is up."""
    environment = {
        "PATH": f"{path}:{ROOT / '.venv/bin'}:/usr/bin:/bin:/usr/sbin:/sbin",
        "XLAT464_RUN": str(run),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [FILES / "usr/sbin/464xlat", "status"], env=environment, capture_output=True, text=True
    )
    assert done.stderr == ""
    return done.stdout.splitlines()[3:], done.returncode


def fake(folder, script):
    program = folder / "babeld"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize("version", OLDER + NEWER + RIGHT)
def test_status_tells_of_the_versions_that_have_the_fault(tmp_path, version):
    said, exit_status = status(fake(tmp_path, f"echo babeld-{version} >&2"), tmp_path / "run")
    why = "withdraws wrong routes, if it is not patched: what left is missed late (docs/babeld.md)"
    sentence = f"babeld: {version} {why}"
    assert (said, exit_status) == ([] if version in RIGHT else [sentence], 0)


@pytest.mark.parametrize(
    "script", ["exit 1", "echo unknown >&2", "echo babeld-unknown >&2; exit 0", "exit 127"]
)
def test_status_says_nothing_of_what_it_cannot_know(tmp_path, script):
    assert status(fake(tmp_path, script), tmp_path / "run") == ([], 0)


def test_the_patched_one_is_told_from_the_one_that_is_shipped(tmp_path):
    if not babeld.PROGRAM.exists():
        pytest.skip("no mended babeld: make babeld")
    assert status(babeld.PROGRAM.parent, tmp_path) == ([], 0)
    said, _ = status(babeld.SHIPPED.parent, tmp_path)
    assert said
    assert said[0].startswith("babeld: 1.13.1 withdraws wrong routes")


def test_the_documentation_names_them():
    page = (ROOT / "docs/babeld.md").read_text()
    assert "1.9.0 to 1.12.1" in page
    assert "1.13 to 1.14" in page
    assert babeld.PATCHES.name in page
