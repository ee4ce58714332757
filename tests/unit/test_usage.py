# SPDX-License-Identifier: ISC
"""Exit codes: 2 and one sentence for a wrong command line, and no traceback when nobody reads to the end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


COMMANDS = ["siit", "nat46", "l3roamd_py", "reach", "sdk.lab", "xlat464"]
ENDS = """\
import os, subprocess, sys
reading, writing = os.pipe()
os.close(reading)
sys.exit(subprocess.run(sys.argv[1:], stdout=writing, restore_signals=False).returncode)
"""


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


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("frobnicate", "'frobnicate' is no command"),
        ("clat frobnicate", "'frobnicate' is no action of clat"),
        ("clat-route frobnicate", "'frobnicate' is no action"),
        ("status all", "'all' behind status"),
        ("babel-config --frobnicate 1", "'--frobnicate' is no option"),
        ("babel-config --clat-range", "--clat-range needs a value"),
        ("babel-config --plat-range fddd::/48", "--clat-range is missing"),
        ("babel-config --clat-range fddd::/47 --plat-range fddd::/48", "is a /47"),
        ("plat down --frobnicate", "'--frobnicate' is no option"),
    ],
)
def test_so_does_the_shells(words, sentence):
    command = ["sh", ROOT / "files/464xlat/usr/sbin/464xlat", *words.split()]
    environment = {**os.environ, "XLAT464": f"{sys.executable} -m xlat464"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert sentence in line


@pytest.mark.parametrize(
    "words",
    [
        *(f"{module} --help" for module in [*COMMANDS, "prefixd"]),
        *(f"{module} --version" for module in [*COMMANDS, "prefixd"]),
        "sdk.lab list",
        "reach example",
        "xlat464 embed 64:ff9b::/96 192.0.2.1",
    ],
)
def test_who_reads_no_more_gets_no_traceback(words):
    """As `| head` does it, and as a daemon's children have it: SIGPIPE is ignored, and each write fails."""
    command = [sys.executable, "-c", ENDS, sys.executable, "-m", *words.split()]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")
