# SPDX-License-Identifier: ISC
"""The pages in a real Chromium (`make test-browser`): lab watch by the mouse, on a lab and on a mesh of its size, and
names that would be markup."""

import math
import os
import random
import subprocess
import threading
import time
from pathlib import Path

import pytest

from sdk.browser import Browser, find
from sdk.lab.lab import Lab
from sdk.lab.machine import LabError
from sdk.lab.site import EXAMPLE
from sdk.lab.topology_reader import load_topology, topology_file
from sdk.watch.mesh import WatchedMesh
from sdk.watch.pictures import place
from sdk.watch.run import serve

ROOT = Path(__file__).resolve().parents[2]
NODES, CLIENTS = 60, 200
FRAMES_A_SECOND = 30
HOSTILE = '</td><img src=x onerror="window.hit=1"><script>window.hit=1</script>\'&'
COUNT_FRAMES = """new Promise(done => {
	let frames = 0, longest = 0, last = performance.now();
	const end = last + 4000;
	requestAnimationFrame(function each(now) {
		frames++; longest = Math.max(longest, now - last); last = now;
		now < end ? requestAnimationFrame(each) : done([frames / 4, longest]);
	});
})"""
pytestmark = [
    pytest.mark.skipif(find() is None, reason="no Chromium: apt-get install chromium"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a lab's machines are root's"),
]


@pytest.fixture
def browser():
    with Browser() as found:
        yield found
        assert [error for error in found.errors if "409 (Conflict)" not in error] == []  # a refusal is one


def show(mesh, browser):
    server, watch = serve(mesh)
    watch.start()
    browser.open(server.address)
    browser.wait("picture !== null")
    return server, watch


class Crowd:
    """A mesh as a picture alone: at each one some clients have walked, and one stalls."""

    def __init__(self, nodes, clients, name="{}{}".format):
        self.random = random.Random(1)
        self.names = [name("n", i) for i in range(nodes)]
        self.clients = [name("c", i) for i in range(clients)]
        self.at = {client: self.random.choice(self.names) for client in self.clients}
        self.done = []

    def picture(self):
        for client in self.random.sample(self.clients, len(self.clients) // 10):
            self.at[client] = self.random.choice(self.names)
        stalled = self.random.choice(self.clients)
        return {
            "name": "crowd",
            "nodes": [
                {
                    "name": name,
                    "role": "plat" if i % 10 == 0 else "clat",
                    "alive": i != 7,
                    "missing": [],
                    "exit": self.names[i // 20 * 20],
                    "why": f"the nearest of {self.names[0]}",
                }
                for i, name in enumerate(self.names)
            ],
            "links": [
                {"name": f"{a}-{b}", "a": a, "b": b, "cut": False, "costs": [96, 128]}
                for i, a in enumerate(self.names)
                for b in {self.names[i - 1], self.names[i // 2]} - {a}
            ],
            "clients": [
                {
                    "name": name,
                    "node": self.at[name],
                    "home": self.names[0],
                    "served": True,
                    "address": "10.46.0.1",
                    "stall_ms": 900 if name == stalled else 0,
                    "longest_ms": 900,
                    "breaks": 0,
                }
                for name in self.clients
            ],
        }

    def act(self, *words):
        raise LabError(f"refused: {words}")


def test_a_large_mesh_is_drawn_in_time(browser):
    server, watch = show(Crowd(NODES, CLIENTS), browser)
    time.sleep(1)
    rate, longest_ms = browser.ask(COUNT_FRAMES)
    (ROOT / "build/watch-crowd.png").write_bytes(browser.picture())
    watch.end()
    server.shutdown()
    print(f"{rate:.0f} frames a second, longest {longest_ms:.0f} ms")
    assert rate >= FRAMES_A_SECOND


def test_names_are_no_markup_and_a_refusal_is_shown(browser):
    server, watch = show(Crowd(4, 9, name=f"{{}}{{}}{HOSTILE}".format), browser)
    browser.wait("picture.said.length > 3")
    for kind in ("node", "client", "link"):
        browser.ask(f"(chosen = {{ kind: '{kind}', name: picture.{kind}s[1].name }}, showChosen())")
        assert HOSTILE in browser.ask("document.getElementById('chosen').textContent")
    browser.ask("document.querySelector('#chosen button').click()")
    browser.wait("document.getElementById('refusal').textContent.startsWith('refused: ')")
    assert browser.ask("[window.hit, document.querySelectorAll('img, script').length]") == [None, 2]
    watch.end()
    browser.wait("document.getElementById('refusal').textContent === 'the lab is down'")
    server.shutdown()


def test_a_status_page_with_a_hostile_name_loads_and_runs_nothing(browser, tmp_path):
    (tmp_path / "uname").write_text(f"#!/bin/sh\ncat <<'END'\n{HOSTILE}\nEND\n")
    (tmp_path / "uname").chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "XLAT464_RUN": str(tmp_path)}
    words = ["sh", ROOT / "files/464xlat/usr/sbin/464xlat", "status", "--html"]
    page = tmp_path / "page.html"
    page.write_bytes(subprocess.run(words, env=environ, capture_output=True, check=True).stdout)
    browser.open(page.as_uri())
    browser.wait("document.querySelectorAll('pre').length > 0")
    assert browser.ask("document.querySelector('h1').textContent") == HOSTILE
    assert browser.ask("[window.hit, document.querySelectorAll('img, script, link').length]") == [None, 0]
    assert browser.ask("performance.getEntriesByType('resource').length") == 0


def test_a_person_walks_a_client_and_breaks_the_mesh_with_the_mouse(browser):
    files = str(topology_file("diamond")), str(EXAMPLE)
    lab = Lab(load_topology("diamond"), name=f"browser-{os.getpid()}", files=files)
    with lab:
        lab.wait_ready()
        mesh = WatchedMesh(lab.name)
        server, watch = show(mesh, browser)
        try:
            walk_and_break(lab, browser)
        finally:
            watch.end()
            server.shutdown()
            mesh.close()
    assert threading.active_count() < 10


def walk_and_break(lab, browser):
    phone = "picture.clients.find(each => each.name === 'phone')"
    north = "picture.nodes.find(each => each.name === 'north')"
    link = "picture.links.find(each => each.name === 'a-b')"
    browser.wait(f"{phone}.served && {phone}.stall_ms < 100 && {link}.costs[0] === 96", 60)
    browser.wait(
        "picture.nodes.every(each => each.role !== 'clat' || each.why.startsWith('lowest metric'))", 60
    )

    browser.drag(place(browser, "client", "phone"), place(browser, "node", "b"))
    browser.wait(f"{phone}.node === 'b' && {phone}.served && {phone}.stall_ms < 100")
    assert lab.node_of("phone") == "b"
    assert browser.ask(f"{phone}.breaks") == 0
    assert "phone walks from a to b" in browser.ask("document.getElementById('said').textContent")
    browser.drag(place(browser, "client", "phone"), place(browser, "node", "north"))
    browser.wait("document.getElementById('refusal').textContent.includes('it takes no clients')")

    (ax, ay), (bx, by) = (place(browser, "node", name) for name in "ab")
    browser.click(ax + (bx - ax) / 2, ay + (by - ay) / 2)
    press(browser, "Cut")
    browser.wait(f"{link}.cut")
    assert lab.wiring.is_cut(lab.cable("a-b"))
    press(browser, "Mend")
    browser.wait(f"!{link}.cut")
    assert not lab.wiring.is_cut(lab.cable("a-b"))

    browser.click(*place(browser, "node", "north"))
    press(browser, "Power off")
    browser.wait(f"!{north}.alive && picture.nodes.find(each => each.name === 'b').exit === 'south'", 60)
    browser.wait(f"{phone}.breaks === 1 && {phone}.stall_ms < 100", 60)
    press(browser, "Power on")
    browser.wait(f"{north}.alive && {north}.missing.length === 0", 60)
    costs = "picture.links.find(each => each.name === 'middle-north').costs"
    browser.wait(f"{costs}.every(cost => cost !== null && cost < 65535)", 60)
    assert browser.ask("document.getElementById('refusal').textContent") == ""


def press(browser, label):
    browser.wait(f"document.querySelector('#chosen button').textContent === '{label}'")
    x, y = browser.ask(
        "(({x, y, width, height}) => [x + width / 2, y + height / 2])"
        "(document.querySelector('#chosen button').getBoundingClientRect())"
    )
    assert not math.isnan(x)
    browser.click(x, y)
