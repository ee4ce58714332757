# SPDX-License-Identifier: ISC
"""What guards main runs everything, and leaves out only what cannot be had: Debian's sources, a kernel."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CI = Path(__file__).resolve().parents[2] / ".ci/run"


@pytest.mark.parametrize(
    ("fails", "can_fetch", "made", "status"),
    [
        ("nothing", True, "lint babeld oldest-micropython test vm test-vm", 0),
        ("babeld", True, "lint babeld", 1),
        ("babeld", False, "lint babeld oldest-micropython test vm test-vm", 0),
        ("oldest-micropython", True, "lint babeld oldest-micropython", 1),
        ("oldest-micropython", False, "lint babeld oldest-micropython test vm test-vm", 0),
        ("test", True, "lint babeld oldest-micropython test", 1),
        ("test-vm", False, "lint babeld oldest-micropython test vm test-vm", 1),
        ("vm", True, "lint babeld oldest-micropython test vm", 1),
        ("vm", False, "lint babeld oldest-micropython test vm", 0),
    ],
)
def test_ci_leaves_out_only_what_cannot_be_had(tmp_path, fails, can_fetch, made, status):
    programs = {
        "make": f'echo "$1" >>"{tmp_path}/made"; [ "$1" != {fails} ]',
        "apt-get": f"exit {int(not can_fetch)}",
        "python": "exit 0",
    }
    for folder in ("bin", ".ci", ".venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    for name, script in programs.items():
        program = tmp_path / (".venv/bin" if name == "python" else "bin") / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    copy = Path(shutil.copy(CI, tmp_path / ".ci/run"))
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    done = subprocess.run([copy], env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert (tmp_path / "made").read_text().split() == made.split()
    assert bool(done.returncode) == bool(status)
    assert ("ci: make test-vm is skipped" in done.stdout) == (fails == "vm" and not can_fetch)
    assert ("on the oldest MicroPython" in done.stdout) == (fails == "oldest-micropython" and not can_fetch)
    assert ("the babeld of Debian" in done.stdout) == (fails == "babeld" and not can_fetch)
