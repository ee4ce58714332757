# SPDX-License-Identifier: ISC
"""What make compiles, and when again; and that no test runs on what was compiled of other sources."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import pathlib, sys\npathlib.Path('siit/_siit.so').touch()\nopen('compiled', 'a').write('x')\n"
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make: apt-get install make")


@pytest.fixture
def checkout(tmp_path):
    """A folder with this Makefile, sources that are an hour old, and a compiler that counts."""
    for name in ("siit/src/a.c", "siit/bpf/b.h", "requirements.txt", "sdk/setup.sh", "siit/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "siit/_build.py").write_text(BUILD.replace("_siit.so", "_siit.cpython.so"))
    (tmp_path / "build").mkdir()
    for path in tmp_path.rglob("*.*"):
        os.utime(path, (time.time() - 3600,) * 2)
    shutil.copy(ROOT / "Makefile", tmp_path)
    return tmp_path


def compiles(folder):
    """Run make; return how often it has compiled so far."""
    words = ["make", "-C", folder, f"PYTHON={sys.executable}", "build/siit.stamp"]
    subprocess.run(words, check=True, capture_output=True)
    return len((folder / "compiled").read_text())


@pytest.mark.parametrize("source", ["siit/src/a.c", "siit/bpf/b.h", "siit/bpf/new.c", "siit/_build.py"])
def test_what_changes_is_compiled_again_and_once(checkout, source):
    assert (compiles(checkout), compiles(checkout)) == (1, 1)
    # before it was compiled, but after make, or who copied the files, had looked at it
    (checkout / source).touch()
    os.utime(checkout / source, (time.time() - 1800,) * 2)
    assert (compiles(checkout), compiles(checkout)) == (2, 2)


def test_what_is_not_there_is_compiled(checkout):
    compiles(checkout)
    (checkout / "siit/_siit.cpython.so").unlink()
    assert (compiles(checkout), compiles(checkout)) == (2, 2)


def test_no_test_runs_on_what_is_older_than_its_sources(checkout):
    for name in ("tests/conftest.py", "tests/micropython.py", "nat46/libc.py", "nat46/_build.py"):
        (checkout / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    (checkout / "tests/test_it.py").write_text("def test_it():\n    pass\n")
    compiles(checkout)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", checkout / "tests/test_it.py"]
    for is_changed, status in ((False, 0), (True, 4)):
        if is_changed:
            (checkout / "siit/src/a.c").touch()
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{checkout}/tests"}
        done = subprocess.run(words, env=environment, capture_output=True, text=True)
        assert done.returncode == status, done.stdout + done.stderr
    assert "make build/siit.stamp" in done.stderr
