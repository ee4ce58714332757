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
    "words", [("", "off"), ("soon", "off"), ("-5", "off"), ("1800", "maybe"), ("999999", "off")]
)
def test_a_wrong_word_is_one_sentence_and_changes_nothing(tell, words):
    status, said, hups = tell("br-client", *words)
    assert (status, said.count("\n"), hups) == (2, 1, 0)
    assert not tell.folder.exists()
