# SPDX-License-Identifier: ISC
"""What asks a program to end is heard, whoever started it and wherever it is."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOSES = """
    import os, signal
    from sdk.interrupt import run_program
    from sdk.lab.side_by_side import side_by_side

    class Last:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)

    def main():
        Last()  # Python has nobody to raise it to, prints it, and goes on
        print("it goes on", flush=True)
        side_by_side(str, [1])
        print("to its end", flush=True)
        return 0

    raise SystemExit(run_program("it", main))
"""
WAITS = """
    import time
    from sdk.interrupt import run_program

    def main():
        print("begun", flush=True)
        while True:
            time.sleep(0.05)

    raise SystemExit(run_program("it", main))
"""


def start(text, **options):
    words = [sys.executable, "-c", textwrap.dedent(text)]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, **options)


def test_an_interrupt_that_python_loses_is_raised_at_the_next_step():
    program = start(LOSES)
    said, errors = program.communicate(timeout=60)
    assert (program.returncode, said) == (130, "it goes on\n")
    assert "KeyboardInterrupt" in errors, "it was not lost"
    assert errors.endswith("it: interrupted\n")


def ignored():
    """As a shell does for what a script starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def deferred():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])


@pytest.mark.parametrize("started", [None, ignored, deferred])
def test_an_interrupt_is_heard_whoever_started_the_program(started):
    program = start(WAITS, preexec_fn=started)
    try:
        assert program.stdout.readline() == "begun\n"
        program.send_signal(signal.SIGINT)
        said, errors = program.communicate(timeout=60)
    finally:
        program.kill()
    assert (program.returncode, said, errors) == (130, "", "it: interrupted\n")
