# SPDX-License-Identifier: ISC
"""Clients walk from node to node: what their nodes notice, and what the clients keep."""

import itertools
import json
import subprocess
import time

import pytest
from meshes import mesh_text
from waiting import wait_until

from sdk.lab import LabError
from sdk.lab.status import describe
from xlat464.address import format_mac

# two clatnodes beside each other; nothing of the mesh matters here, and no daemon tidies up
PAIR = mesh_text(
    "a=clat b=both plain=plain", "a-b b-plain", "tablet=a phone=a", links='"LINKS"', roaming="false"
)
PAIR += "link = { IMPAIRMENTS }\n"
CABLES = {"veth": ("auto", ""), "wire": ("wire", "delay_ms = 2, loss_percent = 0.01")}
GAP_MS = 20.0  # between leaving a node and being associated with the next


@pytest.fixture(scope="module", params=CABLES)
def pair(lab_of, request):
    links, impairments = CABLES[request.param]
    lab = lab_of(PAIR.replace("LINKS", links).replace("IMPAIRMENTS", impairments))
    lab.cable_kind = request.param
    return lab


@pytest.fixture
def phone(pair):
    """The phone at node a, which has seen it there."""
    if pair.node_of("phone") != "a":
        pair.roam("phone", "a")
    wait_until(lambda: answers(pair), what="an answer of node a")
    return pair.client("phone")


def answers(lab, client="phone"):
    """Whether the client's node, whichever it is, answers."""
    gateway = str(lab.site.next_node_ip4)
    return lab.exec(client, ["ping", "-c", "1", "-W", "1", gateway], check=False).returncode == 0


def entry(lab, node, client="phone"):
    """Return the port at which a node's bridge knows a client, or None."""
    mac = format_mac(lab.client(client).mac)
    shown = json.loads(lab.exec(node, ["bridge", "-j", "fdb", "show", "br", "br-client"]).stdout)
    return next((item["ifname"] for item in shown if item["mac"] == mac), None)


def port(lab, node, client="phone"):
    return lab.associations.cable(client, node).b.device


def carrier(lab, node, device):
    return lab.exec(node, ["cat", f"/sys/class/net/{device}/carrier"]).stdout.strip() == "1"


def eth0(lab, client="phone"):
    (device,) = json.loads(lab.exec(client, ["ip", "-j", "addr", "show", "dev", "eth0"]).stdout)
    return device["ifindex"], device["address"], device["addr_info"][0]["local"]


def test_a_roam_with_a_goodbye_is_heard_at_both_ends(pair, phone):
    before = eth0(pair)
    assert entry(pair, "a") == port(pair, "a")
    pair.roam("phone", "b")
    assert pair.node_of("phone") == "b"
    wait_until(lambda: entry(pair, "b") == port(pair, "b"), "node b's bridge learning of it")
    wait_until(lambda: entry(pair, "a") is None, "node a's bridge forgetting it")
    assert eth0(pair) == before
    wait_until(lambda: answers(pair), "an answer of node b")


def test_a_hard_roam_leaves_the_old_node_believing(pair, phone):
    pair.roam("phone", "b", hard=True)
    wait_until(lambda: entry(pair, "b") == port(pair, "b"), "node b's bridge learning of it")
    assert entry(pair, "a") == port(pair, "a")
    assert carrier(pair, "a", port(pair, "a"))
    wait_until(lambda: answers(pair), "an answer of node b")


def test_nobody_answers_at_the_old_node_for_a_client_that_left_it(pair, phone):
    address = eth0(pair)[2]
    wait_until(lambda: arping(pair, "a", address), "an answer at a")
    pair.roam("phone", "b", hard=True)
    wait_until(lambda: arping(pair, "b", address), "an answer at b")
    assert not arping(pair, "a", address)


def arping(lab, node, address):
    options = ["-c", "1", "-w", "1", "-I", lab.gateway_device, "-s", str(lab.site.next_node_ip4)]
    return lab.exec(node, ["busybox", "arping", *options, address], check=False).returncode == 0


def test_the_new_node_learns_of_a_client_that_says_nothing(pair, phone):
    node_b = pair.associations.kernel("b")
    if port(pair, "b") in node_b.devices():
        node_b.forget(node_b.device(port(pair, "b")), phone.mac)  # where a hard roam left it
    pair.script("phone", ["ip addr flush dev eth0"])  # it has nothing to say
    try:
        pair.roam("phone", "b")
        wait_until(lambda: entry(pair, "b") == port(pair, "b"), "node b's bridge learning of it")
    finally:
        pair.roam("phone", "a", renew=True)
        pair.running.stop("phone", "udhcpc")
        pair.programs.start_client(phone)
        wait_until(lambda: pair.lease("phone"), what="a lease")


def test_an_open_connection_to_the_next_node_outlives_the_walk(pair, phone):
    """Sockets stay: a datagram socket of before the walk talks to the same address at the next node."""
    for node in ("a", "b"):
        code = (
            "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 4000))\n"
            "print('ready', flush=True)\n"
            "while True: data, peer = s.recvfrom(99); s.sendto(data, peer)"
        )
        server = pair.popen(node, ["python", "-c", code], stdout=subprocess.PIPE)
        assert server.stdout.readline()
    code = (
        "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(30)\n"
        f"s.connect(('{pair.site.next_node_ip4}', 4000))\n"
        "for line in sys.stdin: s.send(line.encode()); print(s.recv(99).decode(), end='', flush=True)"
    )
    talk = pair.popen(
        "phone", ["python", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    for i, node in enumerate((None, "b", "a", "b")):
        if node:
            pair.roam("phone", node, hard=bool(i % 2))
        talk.stdin.write(f"{i}\n")
        talk.stdin.flush()
        assert talk.stdout.readline() == f"{i}\n"
    talk.kill()
    talk.wait()


def test_a_roam_takes_no_time(pair, phone):
    pair.roam("phone", "b")  # its cable is laid now
    nodes = itertools.cycle(("a", "b"))

    def is_quick():  # all of it, not only the gap; a busy machine takes longer at times
        begun_s = time.monotonic()
        return pair.roam("phone", next(nodes)) - begun_s < GAP_MS / 1000

    wait_until(is_quick, f"roam within {GAP_MS:g} ms")


def test_status_and_links_show_where_a_client_is(pair, phone):
    pair.roam("phone", "b")
    where = {client["name"]: (client["node"], client["home"]) for client in describe(pair)["clients"]}
    assert where == {"phone": ("b", "a"), "tablet": ("a", "a")}
    assert pair.cables["client-phone"].b.machine == "b"
    assert pair.cable("phone-b") == pair.cable("client-phone")


def test_cutting_a_clients_link_cuts_it_where_the_client_is(pair, phone):
    pair.roam("phone", "b")
    pair.cut("client-phone")
    assert not answers(pair)
    pair.heal("client-phone")
    wait_until(lambda: answers(pair), what="an answer after healing")


def test_a_node_that_boots_again_has_its_client_back_and_its_own_client_stays_away(pair, phone):
    pair.roam("phone", "b")
    pair.kill("b")
    assert not answers(pair)
    pair.start("b")
    assert pair.node_of("phone") == "b"
    wait_until(lambda: answers(pair), what="an answer of node b")
    pair.kill("a")
    pair.start("a")
    assert pair.node_of("phone") == "b"
    pair.roam("phone", "a")
    wait_until(lambda: answers(pair), what="an answer of node a")


def test_a_walk_to_nowhere_is_refused_in_one_sentence(pair, phone):
    for client, node, sentence in (
        ("nobody", "b", "there is no client 'nobody', known are phone, tablet"),
        ("phone", "nowhere", "there is no node 'nowhere'"),
        ("phone", "plain", "takes no clients"),
        ("phone", "a", "is at a already"),
    ):
        with pytest.raises(LabError, match=sentence):
            pair.roam(client, node)
    pair.kill("b")
    with pytest.raises(LabError, match="the node 'b' is off"):
        pair.roam("tablet", "b")
    pair.start("b")
    assert pair.node_of("phone") == "a"
