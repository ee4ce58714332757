# SPDX-License-Identifier: ISC
"""What runs on both Pythons, on both: the cases of `runtime` and of the roaming daemon; and what CPython alone sees."""

import contextlib
import os
import subprocess

import pytest
from micropython import REPOSITORY
from roaming_cases import CASES

from runtime.log import Log
from runtime.record import record


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES])
def test_case(case):
    case()


def test_all_cases_hold_on_micropython(micropython):
    done = micropython.run("-X", "heapsize=16m", "tests/unit/roaming_cases.py", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [f"ok {name}" for name, _ in CASES]


def test_what_is_made_after_a_collection_lies_behind_all_holes(micropython):
    """To look for room in them each time takes more than all the rest."""
    code = (
        "import gc; from runtime.garbage import Garbage\n"
        "gc.collect(); kept = [b''] * 8000\n"
        "for number in range(8000): kept[number] = bytes(40)\n"
        "for number in range(0, 8000, 2): kept[number] = b''\n"
        "Garbage(); made = [id((number,)) for number in range(100)]\n"
        "print(min(made) > max([id(each) for each in kept]))\n"
    )
    done = micropython.run("-X", "heapsize=6m", "-c", code)
    assert done.stdout == "True\n", done.stderr


def test_the_fields_of_a_record_are_those_that_it_annotates():
    with pytest.raises(TypeError, match=r"Wrong has other fields than \['mac'\]"):

        @record("mac")
        class Wrong:
            mac: bytes
            ipv4: bytes


def test_an_object_of_a_record_has_no_other_names():
    @record("mac")
    class Seen:
        mac: bytes

    with pytest.raises(AttributeError):
        Seen(b"").ipv4 = b""


def test_a_log_outlives_who_reads_it(monkeypatch):
    full = open("/dev/full", "w")  # noqa: SIM115  to close it fails, too
    monkeypatch.setattr("sys.stderr", full)
    Log("program").warning("nobody hears this")
    Log("program").bug("nor this", ValueError("wrong"))
    with contextlib.suppress(OSError):
        full.close()


def test_a_bug_is_told_on_micropython_also_when_nobody_reads(micropython):
    """It would have ended the daemon that it is survived by."""
    code = "from runtime.log import Log; Log('program').bug('nobody hears this', ValueError('wrong')); print('on')"
    command = ["sh", "-c", 'exec "$0" -c "$1" 2>/dev/full', micropython.program, code]
    environment = {**os.environ, "MICROPYPATH": f"{REPOSITORY}:.frozen"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.stdout == "on\n"
