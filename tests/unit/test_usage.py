# SPDX-License-Identifier: ISC
"""Every command says of a wrong command line one sentence, with exit code 2, and where there is more."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


COMMANDS = ["siit", "nat46", "l3roamd_py", "reach", "sdk.lab", "xlat464"]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        *((module, words) for module in COMMANDS for words in ("", "--frob\nnicate")),
        ("sdk.demo", "--frob\nnicate"),
    ],
)
def test_a_wrong_command_line_or_none_is_one_sentence(module, words):
    command = [sys.executable, "-m", module, *([words] if words else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.endswith("--help tells more)")
