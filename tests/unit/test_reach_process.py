# SPDX-License-Identifier: ISC
"""Programs that stay: when one has started, and when it has not; one that dies comes again until it is ended."""

import os
import shutil
import signal
import subprocess

import pytest

from reach import process, supervisor

RELAY = '#!/bin/sh\necho "reach-relay: ready" >&2\nexec sleep 1000\n'


def program(folder, name, text):
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return [str(path), f"{name}.conf"]


def left(folder):
    """What still runs with the folder in its command line."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(folder) in line]


def test_a_program_that_says_what_is_wrong_and_takes_its_time_to_end_has_not_started(tmp_path):
    sentence = "reach-relay: tcp port 80 at 203.0.113.7 cannot be had: Address already in use"
    words = program(tmp_path, "reach-relay", f'#!/bin/sh\necho "{sentence}" >&2\nsleep 0.3\nexit 1\n')
    with pytest.raises(process.ProcessError, match="Address already in use"):
        process.start(tmp_path, "relay", words)
    assert process.running(tmp_path, "relay") is None
    assert not left(tmp_path)


def test_a_program_that_never_says_when_it_is_ready_may_say_why_it_is_not(tmp_path):
    words = program(tmp_path, "dnsmasq", "#!/bin/sh\necho port 53: in use >&2\nexit 2\n")
    with pytest.raises(process.ProcessError, match=r"^port 53: in use$"):
        process.start(tmp_path, "dnsmasq", words)
    assert not left(tmp_path)


def test_a_program_that_is_killed_comes_again_and_one_that_is_ended_does_not(tmp_path):
    process.start(tmp_path, "relay", program(tmp_path, "reach-relay", RELAY))
    first = process.running(tmp_path, "relay")
    os.kill(first, signal.SIGKILL)
    assert process.wait(lambda: process.running(tmp_path, "relay") not in (None, first))
    assert "reach: relay ended with 137, and begins again" in process.said(tmp_path, "relay")
    process.end(tmp_path, "relay")
    assert not left(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"reach-relay", "relay.log", "supervisor.sh"}


def test_a_program_whose_supervisor_was_killed_is_ended_all_the_same(tmp_path):
    process.start(tmp_path, "relay", program(tmp_path, "reach-relay", RELAY))
    os.kill(process.alive(tmp_path / "relay.supervisor"), signal.SIGKILL)
    assert process.running(tmp_path, "relay")
    process.end(tmp_path, "relay")
    assert not left(tmp_path)


def test_one_that_the_version_before_started_is_ended_though_its_program_is_away_just_now(tmp_path):
    process.start(tmp_path, "relay", program(tmp_path, "reach-relay", RELAY))
    (tmp_path / "relay.supervisor").rename(tmp_path / "relay.keeper")  # as it was called
    (tmp_path / "relay.pid").unlink()
    process.end(tmp_path, "relay")
    assert not left(tmp_path)
    assert not (tmp_path / "relay.keeper").exists()


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck")
def test_the_supervisor_is_clean_sh(tmp_path):
    script = tmp_path / "supervisor.sh"
    script.write_text(supervisor.SCRIPT)
    done = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
