# SPDX-License-Identifier: ISC
"""tell-hosts, the hook by which dnsmasq tells hosts that they can do without IPv4; in both shells."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "files/prefixd/lib/464xlat/tell-hosts"
ON = ("on", "64:ff9b::c000:aa", "64:ff9b::c000:ab")
A = "192.0.0.170 ipv4only.arpa\n192.0.0.171 ipv4only.arpa\n"
AAAA = "64:ff9b::c000:aa ipv4only.arpa\n64:ff9b::c000:ab ipv4only.arpa\n"


@pytest.fixture(params=[["sh"], ["busybox", "ash"]], ids=["sh", "ash"])
def tell(request, tmp_path):
    """A function that runs the script; return its status, what it says, and how often dnsmasq was told to read."""
    hups = []
    signal.signal(signal.SIGHUP, lambda *_: hups.append(1))
    (tmp_path / "pid").write_text(f"{os.getpid()}\n")

    def run(*words):
        hups.clear()
        environment = {
            **os.environ,
            "XLAT464_HOSTS": f"{tmp_path}/hosts",
            "XLAT464_DNSMASQ": f"{tmp_path}/pid {tmp_path}/none",
        }
        done = subprocess.run(
            [*request.param, str(SCRIPT), *words], env=environment, capture_output=True, text=True
        )
        return done.returncode, done.stderr, len(hups)

    run.folder = tmp_path / "hosts"
    yield run
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_what_has_changed_is_written_and_read_once(tell):
    assert tell("br-client", "1800", "off") == (0, "", 1)
    assert (tell.folder / "464xlat").read_text() == A
    assert not (tell.folder / ".464xlat-options").exists()
    assert tell("br-client", "1800", *ON) == (0, "", 1)
    assert (tell.folder / "464xlat").read_text() == A + AAAA
    assert (tell.folder / ".464xlat-options").read_text() == "tag:br-client,108,00:00:07:08\n"
    assert tell("br-client", "1800", *ON) == (0, "", 0)
    assert tell("br-client", "86400", *ON) == (0, "", 1)
    assert (tell.folder / ".464xlat-options").read_text() == "tag:br-client,108,00:01:51:80\n"
    assert tell("br-client", "86400", "off") == (0, "", 1)
    assert sorted(path.name for path in tell.folder.iterdir()) == [".464xlat-options", "464xlat"]


@pytest.mark.parametrize(
    "words",
    [
        *((wrong, *ON) for wrong in ("", "soon", "-5", "999999", "299", "86401", "0300", "1800;reboot")),
        ("1800", "maybe"),
    ],
)
def test_a_wrong_word_is_one_sentence_and_changes_nothing(tell, words):
    status, said, hups = tell("br-client", *words)
    assert (status, said.count("\n"), hups) == (2, 1, 0)
    assert not tell.folder.exists()


def test_what_was_told_is_taken_back_without_knowing_how_it_was_told(tell):
    assert tell("br-client", "300", *ON)[0] == 0
    assert tell("-", "0", "off") == (0, "", 1)
    assert (tell.folder / ".464xlat-options").read_text().strip() == ""


def test_procd_is_not_waited_for(tell, tmp_path, monkeypatch):
    """prefixd waits for the script, and ubus waits for 30 s unless it is told otherwise."""
    ubus = tmp_path / "ubus"
    ubus.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/said\n')
    ubus.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert tell("br-client", "300", *ON)[0] == 0
    assert (tmp_path / "said").read_text() == '-t 2 call service signal {"name":"dnsmasq","signal":1}\n'
