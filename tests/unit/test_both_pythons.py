# SPDX-License-Identifier: ISC
"""What runs on both Pythons, on both: the cases of `runtime` and of the roaming daemon; and what CPython alone sees."""

import contextlib

import pytest
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
    with contextlib.suppress(OSError):
        full.close()
