# SPDX-License-Identifier: ISC
"""The root of another Debian: what is copied into it, and that what runs in it ends with whoever started it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import wait_until

from sdk.debian import apt, root

REPOSITORY = Path(__file__).resolve().parents[2]
STARTS = """
import subprocess, sys
from sdk.debian.root import alone
subprocess.run(alone(["sh", "-c", "mount -t tmpfs %s /mnt && sleep 1000 & echo; wait"]))
"""


def test_the_copy_has_what_git_knows_and_keeps_what_was_made_there(tmp_path):
    target = tmp_path / "src"
    root.copy_files(target)
    names = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    there = [name for name in names.splitlines() if (REPOSITORY / name).exists()]
    assert all((target / name).exists() for name in there)
    assert os.access(target / "bin/lab", os.X_OK)
    assert not (target / "build").exists()
    made = [target / ".venv/bin/python", target / "build/siit.stamp", target / "siit/_siit.cpython-313.so"]
    gone = [target / "siit/once.py", target / "once/there.py", target / "once.txt"]
    for path in made + gone:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (target / "Makefile").write_text("")
    root.copy_files(target)
    assert all(path.exists() for path in made)
    assert not any(path.exists() for path in gone)
    assert not (target / "once").exists()
    assert (target / "Makefile").read_bytes() == (REPOSITORY / "Makefile").read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces")
def test_what_runs_there_ends_with_a_killed_starter_and_leaves_no_mount():
    name = f"debian-{os.getpid()}"
    starter = subprocess.Popen([sys.executable, "-c", STARTS % name], cwd=REPOSITORY, stdout=subprocess.PIPE)
    starter.stdout.readline()
    wait_until(lambda: running(name), "mount")
    assert name not in Path("/proc/self/mounts").read_text()
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    wait_until(lambda: not running(name), "end of its processes")


def running(name):
    """The processes that see the mount of this name."""
    found = []
    for each in Path("/proc").glob("[0-9]*/mounts"):
        try:
            if name in each.read_text():
                found.append(each.parent.name)
        except OSError:
            continue
    return found


TWO = """Types: deb
URIs: http://s.example
Suites: old-security

Types: deb
URIs: http://m.example http://n.example
Suites: old old-updates
Signed-By: /key.gpg
"""
LINES = """# deb http://no.example old main
deb http://no.example older main
deb [arch=amd64] http://l.example/debian old main contrib
"""


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.sources", TWO, ("http://m.example", "/key.gpg")),
        ("a.list", LINES, ("http://l.example/debian", "")),
    ],
)
def test_the_mirror_is_this_machines(tmp_path, monkeypatch, name, text, found):
    (tmp_path / name).write_text(text)
    monkeypatch.setattr(apt, "SOURCES", tmp_path)
    monkeypatch.setattr(apt, "RELEASE", tmp_path / "os-release")
    (tmp_path / "os-release").write_text("ID=debian\nVERSION_CODENAME=old\n")
    assert apt.mirror() == found
    (tmp_path / "os-release").write_text("ID=debian\nVERSION_CODENAME=new\n")
    with pytest.raises(apt.AptError, match="cannot tell which mirror"):
        apt.mirror()
