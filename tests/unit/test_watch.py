# SPDX-License-Identifier: ISC
"""`lab watch` without a lab: what is told of changes, who may ask the server, and what babel says of costs."""

import http.client
import json
import socket
import threading
import time
from types import SimpleNamespace

import pytest

from sdk.lab.machine import LabError
from sdk.watch.costs import NodeCosts
from sdk.watch.flows import MESSAGE, PERIOD_S, RETRY_S, Flow
from sdk.watch.mesh import WatchedMesh
from sdk.watch.picture import changes
from sdk.watch.server import Server, Watch

NODE = {
    "name": "a",
    "role": "clat",
    "alive": True,
    "missing": [],
    "exit": "north",
    "why": "metric 96, the only one",
}
LINK = {"name": "a-b", "a": "a", "b": "b", "cut": False, "costs": [96, None]}
CLIENT = {"name": "phone", "node": "a", "home": "a", "served": True, "address": "10.46.0.1"}
CLIENT |= {"stall_ms": 0, "longest_ms": 0, "breaks": 0}
PICTURE = {"name": "x", "nodes": [NODE], "links": [LINK], "clients": [CLIENT]}


@pytest.mark.parametrize(
    ("kind", "before", "after", "said"),
    [
        ("nodes", {}, {"alive": False, "exit": None}, ["a is off"]),
        ("nodes", {"alive": False}, {}, ["a is on again"]),
        ("nodes", {}, {"exit": "south", "why": "lost"}, ["a uses south: lost"]),
        ("nodes", {}, {"exit": None, "why": None}, ["a uses no exit: prefixd does not answer"]),
        ("links", {}, {"cut": True}, ["link a-b is cut"]),
        ("links", {"cut": True}, {}, ["link a-b is mended"]),
        ("links", {}, {"costs": [128, 96]}, []),
        ("clients", {}, {"node": "b"}, ["phone walks from a to b"]),
        ("clients", {"node": None}, {}, ["phone walks from nowhere to a"]),
        ("clients", {"stall_ms": 299}, {}, []),
        ("clients", {"stall_ms": 300}, {}, ["phone: its connection goes on, after 0.3 s"]),
        ("clients", {"stall_ms": 300}, {"stall_ms": 600}, []),
        ("clients", {"stall_ms": 2000}, {"breaks": 1}, ["phone: its connection broke"]),
    ],
)
def test_a_change_is_told_in_a_sentence(kind, before, after, said):
    one, other = ({**PICTURE, kind: [PICTURE[kind][0] | change]} for change in (before, after))
    assert list(changes(one, other)) == said
    assert list(changes({}, other)) == []  # the first picture is no news


class Mesh:
    """A lab that takes note of what is done."""

    def __init__(self):
        self.done = []
        self.is_up = True

    def picture(self):
        if not self.is_up:
            raise LabError("no lab is up")
        return PICTURE

    def act(self, verb, *words):
        if verb != "cut":
            raise LabError(f"there is no {verb}")
        self.done.append((verb, *words))


@pytest.fixture
def served():
    mesh = Mesh()
    watch = Watch(mesh)
    server = Server(watch)
    threads = [threading.Thread(target=each) for each in (server.serve_forever, watch.run)]
    for thread in threads:
        thread.start()
    yield mesh, watch, server
    watch.end()
    server.shutdown()
    server.server_close()
    for thread in threads:
        thread.join()


def ask(server, method, path, body=None, **headers):
    """Return status and content; the headers Host and Origin are the page's own where none are given."""
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    said = {"Host": f"127.0.0.1:{port}", "Origin": f"http://127.0.0.1:{port}", **headers}
    connection.request(method, path, body, {key: value for key, value in said.items() if value})
    answer = connection.getresponse()
    content = b"" if answer.getheader("Content-Type") == "text/event-stream" else answer.read()
    connection.close()
    return answer, content


CUT = json.dumps({"do": "cut", "what": ["a-b"]})


def test_the_page_and_its_parts_come_from_here_alone(served):
    _, _, server = served
    for name in ("", "page.js", "page.css"):
        answer, content = ask(server, "GET", f"/{server.token}/{name}")
        assert answer.status == 200
        assert content
        assert "default-src 'none'" in answer.getheader("Content-Security-Policy")
        assert answer.getheader("Referrer-Policy") == "no-referrer"  # the address has the secret
        assert b"http:" not in content
        assert b"//" not in content.replace(b"// ", b"")


@pytest.mark.parametrize("path", ["/", "/x/", "/x/events", "/{0}", "/{0}x/", "/{0}/../{0}/x", "/{0}/x"])
def test_who_does_not_know_the_address_sees_nothing(served, path):
    _, _, server = served
    assert ask(server, "GET", path.format(server.token))[0].status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://example.net"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Host": "example.net"},  # a name that leads to 127.0.0.1
        {"Host": "localhost"},
    ],
)
def test_no_other_page_can_drive_the_lab(served, headers):
    mesh, _, server = served
    assert ask(server, "POST", f"/{server.token}/act", CUT, **headers)[0].status == 403
    assert ask(server, "POST", "/wrong/act", CUT)[0].status == 403
    assert mesh.done == []


def test_what_the_page_asks_is_done_or_refused_in_a_sentence(served):
    mesh, _, server = served
    assert ask(server, "POST", f"/{server.token}/act", CUT)[0].status == 200
    assert mesh.done == [("cut", "a-b")]
    answer, content = ask(server, "POST", f"/{server.token}/act", CUT.replace("cut", "burn"))
    assert (answer.status, content) == (409, b"there is no burn")
    for wrong in (
        "",
        "[]",
        "{",
        '{"do": 1, "what": []}',
        '{"do": "cut", "what": 3}',
        '{"do":"cut","what":[[]]}',
        "[" * 900,
    ):
        answer, content = ask(server, "POST", f"/{server.token}/act", wrong)
        assert (answer.status, content[:14]) == (409, b"not understood"), wrong
    assert ask(server, "POST", f"/{server.token}/act", "x" * 1001)[0].status == 413
    assert mesh.done == [("cut", "a-b")]


def test_a_page_is_told_of_each_picture_and_of_the_end(served):
    mesh, watch, server = served
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
    connection.request("GET", f"/{server.token}/events")
    events = connection.getresponse()
    assert json.loads(events.readline().removeprefix(b"data: ")) == {**PICTURE, "said": []}
    watch.tell({**PICTURE, "links": [LINK | {"cut": True}]})
    mesh.is_up = False
    rest = events.read().decode()
    assert '"link a-b is cut"' in rest
    assert rest.endswith("event: over\ndata: the lab is down\n\n")
    connection.close()


def test_costs_are_what_babeld_said_last(tmp_path):
    costs = NodeCosts()
    neighbour = "neighbour 55d0 address fe80::1 if mesh0 reach ffff ureach 0000 rxcost 96 txcost 96 "
    costs.hear(
        f"BABEL 1.0\nhost a\nok\nadd {neighbour}rtt 2.1 rttcost 0 cost 96\nadd route x if mesh0".encode()
    )
    assert costs.by_device == {"mesh0": 96}
    costs.hear(f"\nchange {neighbour}cost 65535\n".encode())
    assert costs.by_device == {"mesh0": 65535}
    costs.hear(f"flush {neighbour}cost 65535\nflush {neighbour.replace('mesh0', 'mesh7')}cost 9\n".encode())
    assert costs.by_device == {}
    costs.hear(b"x" * 100_000)
    assert len(costs.rest) <= 4096


def flow_and_server(monkeypatch):
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20)
    monkeypatch.setattr("sdk.watch.flows.ECHO", "127.0.0.1")
    monkeypatch.setattr("sdk.watch.flows.ECHO_PORT", listener.getsockname()[1])
    flow = Flow(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    now_s = time.monotonic()
    assert flow.tick(now_s)
    peer, _ = listener.accept()
    listener.close()
    flow.ready(now_s)
    return flow, peer, now_s


def hear(flow, now_s):
    """Until there is an answer, or the end."""
    before = len(flow.asked)
    while flow.socket and len(flow.asked) == before:
        flow.ready(now_s)


def test_the_oldest_question_without_an_answer_is_the_stall(monkeypatch):
    flow, peer, now_s = flow_and_server(monkeypatch)
    flow.tick(now_s)
    flow.tick(now_s + PERIOD_S)
    assert flow.describe(now_s + 0.5) == {"stall_ms": 500, "longest_ms": 500, "breaks": 0}
    peer.sendall(MESSAGE[:-1])
    for part in (b"", MESSAGE[-1:]):  # an answer counts when it is whole
        assert len(flow.asked) == 2
        peer.sendall(part)
    hear(flow, now_s + 0.6)
    assert flow.describe(now_s + 0.6) == {"stall_ms": 500, "longest_ms": 600, "breaks": 0}
    peer.sendall(MESSAGE)
    hear(flow, now_s + 0.6)
    assert flow.describe(now_s + 9) == {"stall_ms": 0, "longest_ms": 600, "breaks": 0}
    peer.close()
    flow.close(now_s)


def test_a_connection_that_ends_is_counted_once_and_made_anew(monkeypatch):
    flow, peer, now_s = flow_and_server(monkeypatch)
    flow.tick(now_s)
    peer.close()
    hear(flow, now_s + 3)
    assert flow.describe(now_s + 3) == {"stall_ms": 0, "longest_ms": 3000, "breaks": 1}
    assert not flow.tick(now_s + 3 + RETRY_S / 2)
    assert flow.tick(now_s + 3 + RETRY_S)
    flow.close(now_s + 9)
    assert flow.breaks == 1  # nobody listens there now: that is no connection that broke


@pytest.mark.parametrize("error", [FileNotFoundError("gone"), ConnectionResetError("gone"), KeyError("a")])
def test_a_lab_that_ends_under_the_watch_ends_it_with_a_sentence(monkeypatch, error):
    def fail(*_):
        raise error

    mesh = object.__new__(WatchedMesh)
    mesh.lab = SimpleNamespace(name="x", running=SimpleNamespace(pids={}))
    monkeypatch.setattr("sdk.watch.mesh.Machines.find", fail)
    monkeypatch.setattr("sdk.watch.mesh.Lab.find", fail)
    watch = Watch(mesh)
    assert watch.run().startswith("lab x ended")
    assert watch.is_over
    assert watch.act(b'{"do": "cut", "what": ["a-b"]}').startswith("lab x ended")
