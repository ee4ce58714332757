# SPDX-License-Identifier: ISC
"""The gate with real packets: what comes too early waits there in its order, or is dropped where nothing can queue."""

import pytest
from node_lab import NEEDS
from rules_lab import NEXT_NODE
from waiting import wait_until

from l3roamd_py.netfilter.gate import QUEUED_PER_CLIENT

pytestmark = NEEDS


@pytest.fixture(params=["nft", "xtables-legacy"])
def mesh(mesh_of, request):
    return mesh_of(request.param)


def test_the_gate_holds_in_order_and_drops_only_what_is_over_its_bound(mesh):
    client = mesh.start()
    client.attach("b")
    hand = mesh.hands["b"]
    client.do("send 60")

    def are_queued(number):
        hand.read_arrivals()
        return hand.counters()["queued"] >= number

    wait_until(lambda: are_queued(60), "60 packets at the gate")
    mesh.roam_to_b(client)
    hand.open_gate(*client.key)
    assert client.do("seen") == " ".join(str(number) for number in range(60))
    nothing_more = {"wanted": 0, "wanted_dropped": 0}  # for clients of other nodes
    assert hand.counters() == nothing_more | {"queued": 60, "released": 60, "dropped": 0, "waiting": 0}
    hand.close_gate(*client.key)
    assert hand.opened() == set()
    many = QUEUED_PER_CLIENT + 16
    client.do(f"send {many}")
    wait_until(lambda: are_queued(60 + many), "as many packets more")
    assert hand.counters() == nothing_more | {
        "queued": 60 + many,
        "released": 60,
        "dropped": 16,
        "waiting": QUEUED_PER_CLIENT,
    }
    hand.open_gate(*client.key)
    assert client.do("seen") == " ".join(str(number) for number in range(QUEUED_PER_CLIENT))
    assert hand.opened() == {client.key}
    client.do("send 100")
    assert client.do("seen") == " ".join(str(number) for number in range(100))
    assert hand.counters()["queued"] == 60 + many  # an open gate is no detour


def test_a_gate_that_has_nothing_to_tell_any_more_wakes_nobody(mesh):
    client = mesh.start()
    client.attach("b")
    hand = mesh.hands["b"]
    client.do("send 5")
    wait_until(hand.is_awake, "packets at the gate")
    mesh.roam_to_b(client)
    hand.open_gate(*client.key)  # before anybody asked who is there
    assert client.do("seen") == "0 1 2 3 4"
    assert hand.read_arrivals() == []
    assert not hand.is_awake()


def test_the_gate_lets_go_what_is_for_the_node_itself_and_refuses_who_is_refused(mesh):
    client = mesh.start()
    client.attach("b")
    assert "2 received" in client.machine.output(f"ping -c 2 -i 0.1 -W 2 {NEXT_NODE}")
    hand = mesh.hands["b"]
    hand.refuse(*client.key)
    client.do("send 5")
    assert "1 received" in client.machine.output(f"ping -c 1 -W 2 {NEXT_NODE}")
    assert hand.read_arrivals() == []
    assert hand.counters()["queued"] == 0
    # the gate is by MAC as well: another client may have the address
    stranger = (bytes(5) + b"\7", client.key[1])
    hand.open_gate(*stranger)
    assert stranger in hand.opened()
    hand.close_gate(*stranger)
    # who was refused may be let in later
    mesh.roam_to_b(client)
    hand.open_gate(*client.key)
    assert client.do("echo") is True


KERNEL_WITHOUT_QUEUES = """
from l3roamd_py.netfilter.nft import expressions, gate
gate.queue = gate.queue_of_xtables = lambda number: expressions._expression("none_of_this_name")
"""


def test_where_nothing_can_hold_packets_the_gate_drops(mesh_of):
    mesh = mesh_of("nft")
    mesh.node["b"].variables["HAND_BEFORE"] = KERNEL_WITHOUT_QUEUES
    client = mesh.start()
    hand = mesh.hands["b"]
    assert not hand.can_queue()
    client.attach("b")
    client.do("send 5")
    assert hand.read_arrivals() == []
    mesh.roam_to_b(client)
    hand.open_gate(*client.key)
    assert client.do("echo") is True
    assert client.do("seen") == ""
