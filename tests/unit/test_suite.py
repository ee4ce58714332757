# SPDX-License-Identifier: ISC
"""`make test` without ARGS: parts at a time, of which each counts, is shown, and ends cleanly with Ctrl-C."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from waiting import wait_until

from sdk import suite

ROOT = Path(__file__).resolve().parents[2]
START = """
    import os, sys
    from pathlib import Path
    from sdk import suite
    suite.BUILD, suite.IN_A_LAB = Path(sys.argv[1]), "test_labs"
    folders = [os.path.relpath(suite.BUILD / name) for name in ("labs", "beside")]
    files = {"labs": folders[:1], "beside": folders[1:]}
    if (suite.BUILD / "is-shared").exists():
        files = {"labs": folders, "beside": folders[::-1]}
    suite.plan = lambda: [suite.Part(name, tuple(each)) for name, each in files.items()]
    sys.exit(suite.main(sys.argv[2:]))
"""
PASSES = "def test_it(): assert True\n"
FAILS = "def test_it(): assert 'white' == 'black'\n"
FAILS_ONCE = """
import pathlib
def test_it():
    before = pathlib.Path(__file__).with_name("before")
    is_first = not before.exists()
    before.touch()
    assert not is_first
"""
HEARS = "import signal\ndef test_it(): assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN\n"
WAITS = """
import pathlib, time, pytest
HERE = pathlib.Path(__file__).parent
@pytest.fixture
def something():
    yield
    time.sleep(0.3)
    (HERE / "cleaned").touch()
def test_it(something):
    (HERE / "begun").touch()
    time.sleep(60)
"""


@pytest.fixture
def start(tmp_path):
    """A function that starts the suite with a test in each part; it returns the process."""

    def started(labs, beside, *words):
        for name, text in (("labs", labs), ("beside", beside)):
            (tmp_path / name).mkdir()
            (tmp_path / name / f"test_{name}.py").write_text(text)
        command = [sys.executable, "-c", textwrap.dedent(START), str(tmp_path), *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # they take longer than the tests
        return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)

    return started


@pytest.mark.parametrize(
    ("labs", "beside", "status"),
    [(PASSES, PASSES, 0), (FAILS, PASSES, 1), (PASSES, FAILS, 1)],
    ids=["none fails", "one among the labs, twice", "one beside them"],
)
def test_both_parts_count_and_are_shown(start, labs, beside, status):
    process = start(labs, beside)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == status, said
    assert said.count("1 failed") == status + (labs == FAILS)
    assert said.count("1 passed") == 2 - status
    assert said.index("test: here") < said.index("test_labs.py") < said.index("test_beside.py")


def test_a_lab_that_failed_is_tried_again_alone(start):
    process = start(FAILS_ONCE, PASSES)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0, said
    assert said.count("1 failed") == 1
    assert said.index("test: once more, alone: ") < said.index(
        "test: passed alone, failed beside others, look at "
    )


@pytest.mark.parametrize(("labs", "beside"), [(PASSES, FAILS_ONCE), (FAILS_ONCE, FAILS_ONCE)])
def test_what_is_no_lab_has_one_try(start, labs, beside):
    process = start(labs, beside)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1, said
    assert "once more" not in said


def test_many_that_fail_are_no_accident():
    names = [f"{suite.IN_A_LAB}test_{number}" for number in range(suite.AGAIN_MOST + 1)]
    assert suite.may_try_again(names[1:])
    assert not suite.may_try_again(names)


def test_words_are_pytests_and_nothing_runs_beside(start, tmp_path):
    process = start(PASSES, FAILS, "-q", str(tmp_path / "labs"))
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert "1 passed" in said
    assert "test: " not in said


def test_tests_can_be_interrupted_where_a_script_started_the_suite(start, tmp_path):
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = start(HEARS, FAILS, "-q", str(tmp_path / "labs"))
    finally:
        signal.signal(signal.SIGINT, handler)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0, said


SHARED = """
import pathlib, time, pytest
HERE = pathlib.Path(__file__).parent
@pytest.fixture(scope="module")
def mesh():
    (HERE / "log").open("a").write("up ")
    yield
    (HERE / "log").open("a").write("down ")
@pytest.mark.parametrize("number", range(3))
def test_it(mesh, number):
    (HERE / "log").open("a").write(f"{number} ")
    deadline_s = time.monotonic() + 60
    while not (HERE.parent / OTHER / "log").exists():  # the other part takes that
        assert time.monotonic() < deadline_s
"""


def test_parts_share_files_and_a_module_is_run_by_one_of_them(start, tmp_path):
    (tmp_path / "is-shared").touch()
    process = start(SHARED.replace("OTHER", "'beside'"), SHARED.replace("OTHER", "'labs'"))
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0, said
    assert said.count("3 passed") == 2
    for folder in ("labs", "beside"):
        assert (tmp_path / folder / "log").read_text() == "up 0 1 2 down "


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_both_parts_clean_up_when_they_are_to_end(start, tmp_path, number):
    process = start(WAITS, WAITS)
    wait_until(lambda: all((tmp_path / part / "begun").exists() for part in ("labs", "beside")), "both parts")
    process.send_signal(number)
    said = process.communicate(timeout=60)[0]  # when the last process that could say something is gone
    wait_until(
        lambda: all((tmp_path / part / "cleaned").exists() for part in ("labs", "beside")), "their ends"
    )
    if number != signal.SIGKILL:
        assert process.returncode == 130, said
        assert said.count("no tests ran") == 2


def test_every_test_is_in_a_part_and_no_hurried_lab_in_the_one_that_has_a_low_priority():
    labs, *more, beside = suite.plan()
    files = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("tests/*/test_*.py"))]
    assert sorted({*labs.files, *beside.files}) == [
        file for file in files if not file.startswith(("tests/vm/", "tests/browser/"))
    ]
    assert sorted(labs.files) == [file for file in files if file.startswith("tests/lab/")]
    assert {part.files for part in more} == {labs.files}
    assert len({*beside.files}) == len(beside.files)
    assert {part.before for part in (labs, *more)} == {()}
    assert beside.before == suite.NICE
    assert "tests/lab/test_l3roamd_daemon.py" not in beside.files
    assert labs.files[: len(suite.LONGEST)] == tuple(sorted(suite.LONGEST))
    for glob in suite.UNHURRIED:
        assert list(ROOT.glob(glob)), f"there is no {glob}"
