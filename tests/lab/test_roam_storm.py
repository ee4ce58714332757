# SPDX-License-Identifier: ISC
"""Clients walk over a bad mesh while connections are open, daemons die, and somebody forges messages."""

import os
import random
import signal
import subprocess
import time

import pytest
from forger import Forger, send
from meshes import mesh_text
from repeats import IS_LONG
from talk import diagnosis
from waiting import wait_until

from l3roamd_py.core import wire
from sdk.lab import WEB
from sdk.lab.plan import clatnodes
from sdk.lab.programs import UDHCPC
from sdk.phone import pattern_sha256
from sdk.roaming import TrafficProgram, echo_traffic, evaluate
from xlat464.address import format_ipv6
from xlat464.node import management_address

# wireless: babel calls a wired link dead that loses two of three hellos
BAD = """\
delay_ms = 2
jitter_ms = 1
loss_percent = 0.5
reorder_percent = 1
type = "wireless"
"""
NODES = {"nft": "a=clat b=clat c=both exit=plat", "xtables": "exit=plat a=clat b=clat c=both"}
STALL_S = 13.0  # so long TCP sends a segment again, six times, before it is taken for lost
ENDLESS = f"http://{WEB}/bytes/{10**12}"


# mixed: every other node has the other Python, so with either kind of rules both serve clients, and one has the exit
MIXED = tuple(f"{rules}-mixed" for rules in NODES)
ALONE = tuple(f"{rules}-{python}" for rules in NODES for python in ("python", "micropython"))


@pytest.fixture(scope="module", params=MIXED + ALONE * IS_LONG)
def mesh(lab_of, request):
    rules, interpreter = request.param.split("-")
    return lab_of(
        mesh_text(
            NODES[rules],
            "a-b b-c a-exit b-exit c-exit",
            "phone=a tablet=b",
            of_links=BAD,
            rules=f'"{rules}"',
            interpreter=f'"{interpreter}"',
        )
    )


@pytest.fixture
def phone(mesh):
    """The phone at node a, with IPv4 and known to the daemon there."""
    if mesh.node_of("phone") != "a":
        mesh.roam("phone", "a")
    try:
        wait_until(lambda: served(mesh, "a") and mesh.is_answered("phone"), what="the phone at node a")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{diagnosis(mesh)}") from None
    return mesh.client("phone")


def served(lab, node, client="phone"):
    """Return what a node's daemon says of a client that is there and that it serves, or None."""
    return lab.serving(client) if lab.node_of(client) == node else None


def whole(result):
    """Whether a download's bytes are the right ones and it went on."""
    assert result["error"] is None
    assert result["sha256"] == pattern_sha256(result["bytes"])
    assert result["stall_s"] < STALL_S
    return result["bytes"] > 0


def test_a_storm_of_roams_over_a_bad_mesh_breaks_nothing(mesh, phone):
    chance, at, roams = random.Random(3), "a", []
    nodes = [node.name for node in clatnodes(mesh.topology)]
    with (
        echo_traffic(mesh, "phone", connections=5, datagram_ms=10) as talking,
        TrafficProgram(mesh, "phone", "download", ENDLESS) as load,
    ):
        for _ in range(24):
            at = chance.choice([node for node in nodes if node != at])
            roams.append((at, mesh.roam("phone", at, hard=chance.random() < 0.7)))
            time.sleep(chance.uniform(0.1, 0.6))
        time.sleep(1)
        found, loaded = evaluate(talking.end(), roams), load.end()
    assert found.broken == []
    assert found.longest_stall_ms < STALL_S * 1000
    assert whole(loaded)


def test_a_roam_there_and_back_at_once_is_survived(mesh, phone):
    with echo_traffic(mesh, "phone") as talking:
        time.sleep(0.5)
        roams = [(node, mesh.roam("phone", node, hard=True)) for node in ("b", "a", "b", "c", "a")]
        time.sleep(3)
        found = evaluate(talking.end(), roams)
    assert found.broken == []
    assert found.longest_stall_ms < STALL_S * 1000
    wait_until(lambda: served(mesh, "a"), what="node a serving the phone")


def test_a_platnode_that_restarts_in_the_middle_of_a_roam_finds_the_mapping_again(mesh, phone):
    mesh.roam("phone", "b", hard=True)
    wait_until(lambda: served(mesh, "b"), what="node b serving the phone")
    wait_until(lambda: len(mesh.roaming_status(plat_of(mesh))["roams"]) == 1, what="the mapping")
    before = mesh.roaming_status(plat_of(mesh))["roams"]
    mesh.running.stop(plat_of(mesh), "l3roamd")
    mesh.programs.start_l3roamd(mesh.node(plat_of(mesh)))
    after = mesh.roaming_status(plat_of(mesh))["roams"]
    assert [(each["home"], each["at"]) for each in after] == [(each["home"], each["at"]) for each in before]


def plat_of(lab):
    """The platnode of the phone's lease."""
    return lab.plat_of_client("phone")


# Forged messages


def places(lab, exit_):
    """Where the roamed clients are, and with the token of which serial."""
    return [(each["home"], each["at"], each["serial"]) for each in lab.roaming_status(exit_)["roams"]]


def test_what_another_node_forges_changes_nothing(mesh, phone):
    forger, exit_ = Forger(mesh), plat_of(mesh)
    before = places(mesh, exit_)
    messages = forger.forgeries()
    with echo_traffic(mesh, "phone", pause_ms=20) as talking:
        time.sleep(0.3)
        for _ in range(5):
            random.Random(5).shuffle(messages)
            send(mesh, "c", messages)
        time.sleep(1)
        found = evaluate(talking.end(), [])
    assert found.broken == []
    assert found.longest_stall_ms < STALL_S * 1000
    assert places(mesh, exit_) == before
    assert served(mesh, "a")
    counters = mesh.roaming_status("a")["counters"] | mesh.roaming_status(exit_)["counters"]
    assert counters["roams_bad_token"] > 0, counters


def test_a_roamed_client_stays_where_it_is_whatever_is_forged(mesh, phone):
    mesh.roam("phone", "b", hard=True)
    wait_until(lambda: served(mesh, "b") and mesh.is_answered("phone"), what="the phone at node b")
    exit_ = plat_of(mesh)
    (before,) = mesh.roaming_status(exit_)["roams"]
    send(mesh, "c", Forger(mesh).forgeries())
    time.sleep(0.5)
    (after,) = mesh.roaming_status(exit_)["roams"]
    assert (after["home"], after["at"]) == (before["home"], before["at"])
    assert served(mesh, "b")
    wait_until(lambda: mesh.is_answered("phone"), what="an answer, over links that lose packets")


# a hundred times what is read of one source; more would only take the processor, which all nodes share here
FLOOD = """
import contextlib, socket, sys, time
source, destination, payload = sys.argv[1:]
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
    s.bind((source, 0))
    print("begun", flush=True)
    while True:
        for _ in range(20):
            with contextlib.suppress(OSError):
                s.sendto(bytes.fromhex(payload), (destination, 5523))
        time.sleep(0.004)
"""


def test_a_flood_of_roams_starves_nobody(mesh, phone):
    forger, exit_ = Forger(mesh), plat_of(mesh)
    words = [format_ipv6(forger.address), format_ipv6(management_address(forger.plat))]
    words.append(forger.roam(wire.NO_TOKEN).hex())
    before = mesh.roaming_status(exit_)["counters"].get("datagrams_too_fast", 0)
    with echo_traffic(mesh, "phone") as talking:
        flooding = mesh.popen("c", ["python", "-c", FLOOD, *words], stdout=subprocess.PIPE, text=True)
        try:
            assert flooding.stdout.readline() == "begun\n"
            roams = [("b", mesh.roam("phone", "b", hard=True))]
            wait_until(lambda: served(mesh, "b"), "node b serving the phone meanwhile")
            time.sleep(2)
        finally:
            flooding.kill()
            flooding.communicate()
        found = evaluate(talking.end(), roams)
    assert mesh.roaming_status(exit_)["counters"]["datagrams_too_fast"] > before
    assert found.broken == [], diagnosis(mesh)
    assert found.handoffs[0].ms is not None
    wait_until(lambda: served(mesh, "b"), what="node b serving the phone")


def test_every_roaming_daemon_may_be_killed_while_a_download_runs(mesh, phone):
    with TrafficProgram(mesh, "phone", "download", ENDLESS) as load, echo_traffic(mesh, "phone") as talking:
        roams = [("b", mesh.roam("phone", "b", hard=True))]
        wait_until(lambda: served(mesh, "b"), what="node b serving the phone")
        for node in ("a", "exit", "b", "c"):
            mesh.running.stop(node, "l3roamd")
            mesh.programs.start_l3roamd(mesh.node(node))
        wait_until(lambda: served(mesh, "b"), what="node b serving the phone again")
        roams.append(("c", mesh.roam("phone", "c", hard=True)))
        time.sleep(1)
        roams.append(("a", mesh.roam("phone", "a", hard=True)))
        time.sleep(2)
        found, loaded = evaluate(talking.end(), roams), load.end()
    assert found.broken == [], diagnosis(mesh)
    assert whole(loaded)


# Two nodes that lease the same addresses


def ask_for(lab, client, address):
    """Have a client give its lease back and ask for this address."""
    for pid in lab.running.daemons()[client]["udhcpc"]:
        os.kill(pid, signal.SIGUSR2)
    wait_until(lambda: not lab.lease(client), what="the lease given back")
    lab.running.stop(client, "udhcpc")
    lab.running.daemon(client, "udhcpc", [*UDHCPC, "-t", "20", "-T", "1", "-A", "1", "-r", address])
    wait_until(lambda: lab.lease(client) == address, what=f"{address} for the {client}")


def test_of_two_clients_with_one_address_the_resident_notices_nothing(mesh, phone):
    address = mesh.lease("phone")
    ask_for(mesh, "tablet", address)
    wait_until(
        lambda: (served(mesh, "b", "tablet") or {}).get("ipv4") == address, what="node b serving the tablet"
    )
    with echo_traffic(mesh, "tablet") as talking:
        mesh.roam("phone", "b", hard=True, renew=True)  # as phones do
        wait_until(
            lambda: mesh.lease("phone") not in (None, "", address), what="another address for the phone"
        )
        wait_until(lambda: mesh.is_answered("phone"), what="an answer for the phone")
        found = evaluate(talking.end(), [])
    assert found.broken == [], diagnosis(mesh)
    assert mesh.roaming_status("b")["counters"]["conflicts"] >= 1
    assert served(mesh, "b", "tablet")["ipv4"] == address
