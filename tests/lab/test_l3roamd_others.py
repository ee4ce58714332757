# SPDX-License-Identifier: ISC
"""What others do to a client that roams, or to one that is slow: its connections live on, over real rules."""

import os
import signal
import time

import pytest
from meshes import mesh_text
from talk import STALL_S, Talk, diagnosis
from waiting import wait_until

from l3roamd_py.core import wire
from sdk.lab import WEB
from xlat464.address import format_ipv6
from xlat464.node import management_address, node_client_address

MESH = (
    mesh_text(
        "a=clat b=clat c=plat",
        "a-b b-c a-c",
        "tablet=a guest=a phone=a",
        roaming="true",
    )
    + "link = { delay_ms = 8 }\n"
)
CLAIMS_SENT = 150
CLAIMS = """
import socket, sys, time
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
    s.bind((sys.argv[1], 0))
    for line in sys.stdin:
        s.sendto(bytes.fromhex(line), (sys.argv[2], 5523))
        time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def mesh(lab_of):
    return lab_of(MESH)


@pytest.fixture
def lab(mesh):
    """The mesh with its daemons, and the phone at home and served there; the others are used up by one test each."""
    if not mesh.running.daemons()["a"].get("l3roamd"):
        mesh.programs.start_l3roamd(mesh.node("a"))
    if mesh.node_of("phone") != "a":
        mesh.roam("phone", "a")
    wait_until(lambda: served(mesh, "a") and mesh.is_answered("phone"), what="the phone being served at a")
    return mesh


def served(lab, node, client="phone"):
    found = lab.serving(client) if lab.node_of(client) == node else None
    return found if found and found["ipv4"] == lab.lease(client) else None


def has_address(lab, node):
    prefix = lab.site.node_client_prefix6.network_address.packed
    address = format_ipv6(node_client_address(prefix, lab.client("phone").mac))
    return address in lab.exec(node, ["ip", "-6", "addr", "show", "dev", "lo"]).stdout


def walk(lab, node):
    lab.roam("phone", node, hard=True)
    wait_until(lambda: served(lab, node), what=f"the phone being served at {node}")


def give_back(lab, client):
    """A client needs its lease no more, and its node knows."""
    for pid in lab.running.daemons()[client]["udhcpc"]:
        os.kill(pid, signal.SIGUSR2)
    wait_until(lambda: not lab.lease(client), what="the lease given back")
    lab.running.stop(client, "udhcpc")
    wait_until(lambda: (lab.serving(client) or {}).get("ipv4") is None, what="its node hearing of that")


def use_by_hand(lab, client, address):
    """A client sets an address by hand, and says so with packets."""
    route = lab.exec("phone", ["ip", "route", "show", "default"]).stdout.split()
    gateway = route[route.index("via") + 1]
    lab.script(client, ["ip addr flush dev eth0", f"ip addr add {address}/16 dev eth0"])
    lab.script(client, [f"ip route replace default via {gateway} dev eth0"])
    for _ in range(3):
        lab.exec(client, ["ping", "-c", "1", "-W", "1", WEB], check=False)


def test_an_address_set_by_hand_at_its_home_ends_nothing_of_a_client_that_roams(lab):
    with Talk(lab, "phone") as talk:
        walk(lab, "b")
        talk.echo()
        (before,) = lab.roaming_status("c")["roams"]
        give_back(lab, "tablet")
        use_by_hand(lab, "tablet", lab.lease("phone"))
        wait_until(lambda: lab.roaming_status("a")["counters"].get("homes_away"), what="a hearing of it")
        for _ in range(10):
            assert talk.echo() < STALL_S
            time.sleep(0.1)
        (after,) = lab.roaming_status("c")["roams"]
        assert (after["home"], after["at"]) == (before["home"], before["at"])
        walk(lab, "a")
        talk.echo()


def test_an_address_set_by_hand_gives_way_to_the_client_that_comes_with_its_lease(lab):
    give_back(lab, "guest")
    lab.roam("guest", "b", hard=True)
    with Talk(lab, "phone") as talk:
        talk.echo()
        use_by_hand(lab, "guest", lab.lease("phone"))
        wait_until(lambda: served(lab, "b", "guest"), what="the guest being served with that address")
        lab.roam("phone", "b", hard=True)
        talk.echo()
        lab.exec("guest", ["ping", "-c", "1", "-W", "1", WEB], check=False)
        for _ in range(5):
            assert talk.echo() < STALL_S
        assert served(lab, "b")
        assert lab.roaming_status("b")["counters"]["squatters"] == 1


def test_forged_claims_do_not_take_an_active_client_whose_answer_takes_long(lab):
    """16 ms and more. This machine may stop for longer than a waits for it: then a must see its error at once."""
    own = lab.plan.clat_prefix(lab.node("b"))
    target = format_ipv6(management_address(lab.plan.clat_prefix(lab.node("a"))))
    time.sleep(4.0)  # a learns what an answer of the phone takes
    before = lab.roaming_status("a")["counters"]
    lines = []
    for number in range(CLAIMS_SENT):
        sender = own[:10] + bytes((number, 7)) + own[12:]
        claim = wire.Claim(lab.client("phone").mac)
        lines.append(wire.encode(wire.Header(management_address(sender), number, 8), claim).hex() + "\n")
    with Talk(lab, "phone") as talk:
        talk.echo()
        forger = format_ipv6(management_address(own))
        lab.exec("b", ["python", "-c", CLAIMS, forger, target], stdin="".join(lines))
        talk.echo()
    counters = lab.roaming_status("a")["counters"]
    refused, departed, regretted = (
        counters.get(name, 0) - before.get(name, 0)
        for name in ("claims_refused", "departures", "departures_regretted")
    )
    assert refused > 0, diagnosis(lab)
    assert regretted == departed <= CLAIMS_SENT / 50, diagnosis(lab)


@pytest.mark.parametrize("pause_s", [0.4, 3.0])
def test_a_client_that_walked_while_its_daemon_was_dead_is_served_by_one_node(lab, pause_s):
    """Otherwise each walk between the two would end all that it has open."""
    lab.running.stop("a", "l3roamd", signal.SIGKILL)
    lab.roam("phone", "b", hard=True)
    wait_until(lambda: served(lab, "b") and lab.is_answered("phone"), what="the phone at b")
    wait_until(lambda: has_address(lab, "b"), what="b having no doubt any more")
    with Talk(lab, "phone") as talk:
        talk.echo()
        lab.programs.start_l3roamd(lab.node("a"))
        time.sleep(pause_s)
        for node in ("a", "b", "a", "b", "a"):
            lab.roam("phone", node, hard=True)
            talk.echo()
            wait_until(lambda node=node: served(lab, node), what=f"the phone being served at {node}")
