# SPDX-License-Identifier: ISC
"""Who works on an end: over which SSH connection, and whether what was done waits to be confirmed."""

import pytest

from reach import status
from reach.session import ssh_connection

SSH = "2001:db8::1 40000 2001:db8::7 22"


@pytest.fixture
def proc(tmp_path):
    """A function that lays a process below a /proc of our own."""

    def lay(pid, parent, environment, name="sh"):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0\n")
        if environment is not None:
            (folder / "environ").write_bytes("\0".join(environment).encode() + b"\0")
        return tmp_path

    return lay


def test_what_sudo_takes_away_its_parents_still_have(proc):
    proc(1, 0, [])
    proc(5, 1, [f"SSH_CONNECTION={SSH}", "HOME=/home/me"], "bash (me) 1")
    proc(6, 5, None)  # not ours to read
    where = proc(7, 6, ["SUDO_COMMAND=reach up", "NO_SSH_CONNECTION=1"])
    assert ssh_connection(where, 7) == SSH


def test_at_the_console_there_is_none(proc):
    proc(1, 0, [])
    where = proc(5, 1, ["HOME=/home/me"])
    assert ssh_connection(where, 5) == ""
    assert ssh_connection(where, 99) == "", "it has ended meanwhile"


@pytest.mark.parametrize(
    ("left_s", "line"),
    [
        (None, "server: up"),
        (42, "server: up, taken back in 42 s unless you say: reach confirm server"),
        (0, "server: up, taken back in 0 s unless you say: reach confirm server"),
    ],
)
def test_status_says_that_an_up_waits_to_be_confirmed(left_s, line):
    found = {
        "end": "server",
        "is_up": True,
        "unconfirmed_s": left_s,
        "links": [],
        "firewall": [],
        "is_seen": True,
    }
    assert status.text(found) == line
