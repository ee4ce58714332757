# SPDX-License-Identifier: ISC
"""Cases of the roaming core for both Pythons: a client comes, roams, comes home, and its node starts again.

The simulated mesh of l3roamd_mesh.py, which tries much more, needs CPython.
"""

import json

import l3roamd_vectors as vectors

from l3roamd_py.core import actions as do
from l3roamd_py.core import events, wire
from l3roamd_py.core.core import Core
from l3roamd_py.core.options import Options
from xlat464.address import parse_ipv6
from xlat464.node import management_address

CLAT_RANGE, PLAT_RANGE = parse_ipv6("fddd:1337:1337::"), parse_ipv6("fddd:1338:1338::")
CLIENTS, CLIENT_IPV6 = parse_ipv6("fdff:0:0:1::"), parse_ipv6("fd11::")
MAC, IPV4 = vectors.CLIENT, vectors.IPV4
STEP_S = 0.002


def note(names, name, is_in):
    if is_in:
        names.add(name)
    else:
        names.discard(name)


class Mesh:
    """D and B are clatnodes, C is a platnode. A datagram takes a step; babel knows at once who serves the client."""

    def __init__(self):
        self.now_s, self.count, self.later = 1000.0, 0, []
        self.cores = {
            "d": self.make(clat=vectors.D + bytes(4)),
            "b": self.make(clat=vectors.B + bytes(4)),
            "c": self.make(plat=vectors.PLAT),
        }
        self.at = ""  # the node where the client is
        self.opened, self.announced, self.mapped, self.done = set(), set(), {}, []
        for name in "db":
            self.handle(name, events.PlatChosen(vectors.PLAT))

    def random(self, size):
        self.count += 1
        return self.count.to_bytes(size, "big")

    def make(self, clat=None, plat=None):
        prefixes = ((CLIENT_IPV6, 64),)
        return Core(
            Options(
                CLAT_RANGE, PLAT_RANGE, CLIENTS, clat=clat, plat=plat, prefixes=prefixes, random=self.random
            )
        )

    def handle(self, name, event):
        self.perform(name, self.cores[name].handle(event, self.now_s))

    def perform(self, name, actions):
        for action in actions:
            self.done.append((name, type(action).__name__))
            if isinstance(action, (do.OpenGate, do.CloseGate)):
                note(self.opened, name, isinstance(action, do.OpenGate))
            elif isinstance(action, (do.AddNodeClient, do.RemoveNodeClient)):
                note(self.announced, name, isinstance(action, do.AddNodeClient))
            elif isinstance(action, do.MapClient):
                self.mapped[action.home] = action.at
                self.send(name, action.done)
            elif isinstance(action, do.UnmapClient):
                self.mapped.pop(action.home, None)
                self.send(name, action.done)
            elif isinstance(action, do.Send):
                self.send(name, action)
            elif isinstance(action, do.SendClaim):
                self.claim(name, action)
            elif isinstance(action, do.ProbeClient) and self.at == name:
                self.later.append((name, events.ArpAnswered(MAC, IPV4)))

    def claim(self, name, action):
        others = [other for other in "db" if other != name and other in self.announced]
        if not others:
            self.later.append((name, events.ClaimUnreachable(MAC)))
        for other in others:
            self.later.append((other, events.Datagram(b"", action.destination, action.payload)))

    def send(self, name, action):
        for other in "dbc":
            if action is not None and action.destination == self.cores[other].options.address:
                datagram = events.Datagram(action.source, action.destination, action.payload)
                self.later.append((other, datagram))

    def run(self, steps):
        for _ in range(steps):
            self.now_s += STEP_S
            due, self.later = self.later, []
            for name, event in due:
                self.handle(name, event)
            for name in "dbc":
                next_s = self.cores[name].next_deadline_s
                if next_s is not None and next_s <= self.now_s:
                    self.handle(name, events.Tick())

    def walk(self, name):
        self.at = name
        self.handle(name, events.ClientSeen(MAC))
        self.handle(name, events.ClientSeen(MAC, IPV4))


def served():
    mesh = Mesh()
    mesh.walk("d")
    mesh.run(50)
    mesh.handle("d", events.LeaseGranted(MAC, IPV4, 3600))
    mesh.run(50)
    assert (mesh.opened, mesh.announced) == ({"d"}, {"d"})
    return mesh


def case_core_lets_a_new_client_in():
    client = served().cores["d"].node.clients[MAC]
    assert client.state.name == "served" and client.lease.token.serial
    assert client.lease.home == vectors.D + IPV4


def case_core_takes_connections_along_and_home_again():
    mesh = served()
    mesh.walk("b")
    mesh.run(50)
    assert (mesh.opened, mesh.announced) == ({"b"}, {"d", "b"}), "old routes end at D for a while"
    assert mesh.mapped == {vectors.D + IPV4: vectors.B + IPV4}
    mesh.run(3000)
    assert mesh.announced == {"b"}
    mesh.walk("d")
    mesh.run(50)
    assert (mesh.opened, mesh.mapped) == ({"d"}, {})


def case_core_has_nothing_to_do_for_an_event_that_tells_nothing_new():
    """But the client is asked later whether it is here."""
    mesh = served()
    node = mesh.cores["d"].node
    mesh.handle("d", events.AddressSeen(MAC, vectors.V6))
    presence, before_s = node.clients[MAC].presence, node.clients[MAC].presence.check_s
    for is_sign in (True, False):
        mesh.now_s += 1
        mesh.done.clear()
        mesh.handle("d", events.AddressSeen(MAC, vectors.V6, is_sign))
        assert mesh.done == [] and presence.seen_s == mesh.now_s - (not is_sign)
    assert presence.check_s == before_s + 1
    presence.is_routed = False  # then it does tell something
    mesh.handle("d", events.AddressSeen(MAC, vectors.V6))
    assert ("d", "AddRoute") in mesh.done


def case_core_prepares_before_it_asks_and_does_later_what_can_wait():
    mesh = served()
    mesh.handle("d", events.AddressSeen(MAC, vectors.V6))
    mesh.done.clear()
    mesh.walk("b")
    mesh.run(50)
    kinds = [kind for name, kind in mesh.done if name == "b" and kind not in ("SendClaim", "CheckPlat")]
    assert kinds[:7] == ["Send", "Send", "AddNeighbour", "UsePlat", "Send", "Send", "AddNodeClient"], kinds
    assert kinds[7] == "AddRoute" and "OpenGate" in kinds[8:], kinds


def case_core_refuses_the_claim_of_a_client_that_answers():
    mesh = served()
    payload = wire.encode(wire.Header(vectors.NODE_B, 7, 8), wire.Claim(MAC))
    for _ in range(3):
        mesh.handle("d", events.Datagram(vectors.NODE_B, management_address(vectors.D + bytes(4)), payload))
        mesh.run(100)
    assert mesh.cores["d"].counters["claims_refused"] == 3
    assert (mesh.opened, mesh.announced) == ({"d"}, {"d"})


def case_core_goes_on_after_a_restart():
    mesh = served()
    mesh.walk("b")
    mesh.run(50)
    saved = json.loads(json.dumps(mesh.cores["b"].snapshot(mesh.now_s)))
    mesh.now_s += STEP_S  # MicroPython 1.23 reads back what is a bit later than what it wrote
    again = mesh.cores["b"] = mesh.make(clat=vectors.B + bytes(4))
    mesh.perform("b", again.restore(saved, mesh.now_s, {(MAC, IPV4)}))
    assert again.status(mesh.now_s)["clients"][0]["state"] == "served"
    mesh.run(600)
    assert mesh.opened == {"b"} and again.node.clients[MAC].lease.home == vectors.D + IPV4
    assert mesh.mapped == {vectors.D + IPV4: vectors.B + IPV4}


def case_core_forgets_who_does_not_answer_any_more():
    mesh = served()
    mesh.at = ""
    mesh.handle("d", events.ClientGone(MAC))
    mesh.run(2000)
    assert mesh.cores["d"].node.clients[MAC].state.name == "absent"
    for _ in range(8):
        mesh.now_s += 600
        mesh.run(10)
    assert not mesh.cores["d"].node.clients and not mesh.opened and not mesh.announced
