# SPDX-License-Identifier: ISC
"""prefixd reads BIRD, as on a gateway, in the mesh of test_prefixd_mesh.py: its neighbours have babeld."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prefixd_mesh import PYTHONS, A, B, Mesh, config
from waiting import wait_until

BIRD = shutil.which("bird", path=os.environ["PATH"] + ":/usr/sbin")
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
    pytest.mark.skipif(BIRD is None, reason="no bird: apt install bird2"),
]
PAGE = (Path(__file__).resolve().parents[2] / "docs/package/464xlat-common.rst").read_text()
INTERFACES = """\
interface "plat1" { type wired; rxcost 96; hello interval 1 s; update interval 1 s; };
interface "plat2" { type wired; rxcost 256; hello interval 1 s; update interval 1 s; };
"""


def documented() -> str:
    """The lines of the page for BIRD, with the links of this mesh, and costs and intervals as the others' are."""
    (lines,) = re.findall(r"^  protocol kernel (?:.*\n)+?  \}\n(?=\n)", PAGE, re.M)
    typed, count = re.subn(r"^ *interface .*\n", INTERFACES, lines, flags=re.M)
    assert count == 1
    return "router id 192.0.2.1;\nprotocol device {}\n" + typed


def test_the_page_has_bird_announce_both_ranges():
    ranges = re.findall(r"(?:clat|plat)_range=(\S+)", PAGE)
    assert len(ranges) == 2
    assert all(f" {each}{{96,96}}" in documented() for each in ranges)


class BirdMesh(Mesh):
    """The same with a BIRD on the node."""

    def __init__(self, spaces, folder, python):
        self.BABEL = f"bird:{folder}/bird.ctl"
        super().__init__(spaces, folder, python)

    def start_babeld(self, name, links):
        if name == "node":
            self.start_bird()
        else:
            super().start_babeld(name, links)

    def start_bird(self):
        (self.folder / "bird.conf").write_text(documented())
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "bird.ctl").unlink()
        files = ["-c", "bird.conf", "-s", "bird.ctl", "-P", "bird.pid"]
        with (self.folder / "bird.log").open("ab") as log:
            words = [BIRD, "-f", *files]
            self.bird = self.spaces.start("node", words, cwd=self.folder, stdout=log, stderr=log)


@pytest.fixture
def mesh(spaces, tmp_path, python):
    found = BirdMesh(spaces, tmp_path, python)
    found.wait_ready()
    return found


def test_with_bird_the_nearer_plat_is_used_until_its_node_is_silent(mesh):
    status = mesh.prefixd.status()
    assert (status["babel_daemon"], status["babel"]) == ("BIRD", "connected")
    assert {plat["prefix"]: plat["metric"] for plat in status["plats"]} == {A + "/96": 96, B + "/96": 256}
    mesh.silence("plat1")
    wait_until(lambda: config(B) in mesh.translator.lines, "the change")
    mesh.spaces.run("plat1", "nft", "delete table inet off")
    mesh.prefixd.wait_chosen(A)


def test_with_bird_a_withdrawn_plat_is_left(mesh):
    mesh.spaces.run("plat1", "ip", "-6", "route", "del", A + "/96", "dev", "lo", "proto", "static")
    wait_until(lambda: config(B) in mesh.translator.lines, "the change")
    wait_until(lambda: [plat["prefix"] for plat in mesh.prefixd.status()["plats"]] == [B + "/96"], "its end")


def test_bird_may_restart_and_the_plat_stays(mesh):
    mesh.bird.kill()
    mesh.bird.wait()
    wait_until(lambda: mesh.prefixd.status()["babel_away"], "prefixd to see that")
    mesh.start_bird()
    wait_until(lambda: mesh.prefixd.status()["babel"] == "connected", "the connection")
    wait_until(lambda: not mesh.prefixd.status()["babel_away"], "all routes")
    assert mesh.prefixd.status()["chosen"] == A + "/96"
    assert mesh.translator.lines == []


def test_what_is_no_bird_is_said(spaces, tmp_path):
    mesh = BirdMesh(spaces, tmp_path, PYTHONS[0])
    mesh.bird.kill()
    mesh.bird.wait()
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / "bird.ctl").unlink()
    script = "import socket; s = socket.socket(socket.AF_UNIX); s.bind('bird.ctl'); s.listen()\n"
    script += "while True: s.accept()[0].sendall(b'220 mail.example.org\\n')"
    spaces.start("node", [sys.executable, "-c", script], cwd=tmp_path, stderr=subprocess.DEVNULL)
    wait_until(lambda: "it does not greet as one" in mesh.prefixd.log(), "the sentence")
