# SPDX-License-Identifier: ISC
"""Neighbour discovery that nobody should send, at the running daemon: nothing crashes, hangs, grows, harms others."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from meshes import mesh_text
from ndp_attacks import KINDS
from version0 import end
from waiting import wait_until

from bench.roam_daemon import cpu_s, rss_kib
from sdk.lab.plan import short_name
from sdk.timeouts import TIMEOUT_SCALE
from xlat464.address import format_mac

LINE = mesh_text("a=both b=clat", "a-b", "phone=b attacker=b", roaming="true")
ATTACK_S = 4
GROWN_KIB = 1024  # from one attack to the same one again
ANSWER_S = 2.0 * TIMEOUT_SCALE  # of the daemon, while it lasts


@pytest.fixture(scope="module")
def lab(lab_of):
    return lab_of(LINE)


def served(lab, client):
    mac = format_mac(lab.client(client).mac)
    found = [each for each in lab.roaming_status("b")["clients"] if each["mac"] == mac]
    return set(found[0]["addresses"]) if found else set()


def ping(lab, *words):
    far = lab.plan.node_address(lab.node("a"))
    return lab.exec("phone", ["ping", "-6", *words, far], check=False)


def world_of(lab):
    mac = lab.site.next_node_mac
    link_local = bytes.fromhex("fe80" + 12 * "0") + bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return {
        "node_mac": format_mac(mac),
        "node": ":".join(link_local[at : at + 2].hex() for at in range(0, 16, 2)),
        "victim_mac": format_mac(lab.client("phone").mac),
        "victim": lab.ipv6_addresses("phone")[0],
        "own_mac": format_mac(lab.client("attacker").mac),
        "prefix": str(lab.site.prefix6.network_address).removesuffix("::") + ":0:",
    }


def start_attack(lab, kind, seconds, **options):
    program = [sys.executable, str(Path(__file__).with_name("ndp_attacks.py"))]
    words = [short_name("r", "b"), kind, str(seconds), json.dumps(world_of(lab))]
    return lab.popen("attacker", [*program, *words], **options)


def attack(lab, kind, pid):
    """Have a kind of frames sent, and return how much memory the daemon has then. It answers all the time."""
    running = start_attack(lab, kind, ATTACK_S)
    try:
        while running.poll() is None:
            begun_s = time.monotonic()
            assert lab.roaming_status("b")["clients"], "the daemon does not answer"
            assert time.monotonic() - begun_s < ANSWER_S
            time.sleep(0.2)
    finally:
        running.kill()
        assert running.wait() == 0
    return rss_kib(pid)


@pytest.mark.parametrize("kind", KINDS)
def test_no_frame_of_neighbour_discovery_harms_the_daemon_or_another_client(lab, kind):
    wait_until(lambda: len(lab.ipv6_addresses("phone")) == 2, "the phone's two addresses")
    mine = lab.ipv6_addresses("phone")
    for address in mine:
        wait_until(
            lambda a=address: ping(lab, "-c", "1", "-W", "1", "-I", a).returncode == 0, "the phone's answer"
        )
    (pid,) = lab.running.daemons()["b"]["l3roamd"]
    first_kib = attack(lab, kind, pid)
    begun_s, used_s = time.monotonic(), cpu_s(pid)
    second_kib = attack(lab, kind, pid)
    share = (cpu_s(pid) - used_s) / (time.monotonic() - begun_s)
    assert lab.running.daemons()["b"]["l3roamd"] == [pid], "it is still the same one"
    assert lab.roaming_status("b")["counters"]["bugs"] == 0, lab.running.log("b", "l3roamd")
    assert second_kib < first_kib + GROWN_KIB
    assert share < 0.9, "it has time for others"
    for address in mine:
        wait_until(
            lambda a=address: ping(lab, "-c", "1", "-W", "1", "-I", a).returncode == 0, "its answer again"
        )
    assert set(mine) <= served(lab, "phone")
    assert not set(mine) & served(lab, "attacker")


DRAWN_MOST = 20  # frames in the moment that it takes the daemon to hear of it
PINGS, PING_S = 75, 0.02


def neighbour(lab, address):
    """The node's neighbour entry, as words."""
    return lab.exec("b", ["ip", "-6", "neigh", "show", address]).stdout.split()


def test_who_advertises_another_s_address_gets_its_packets_for_a_moment_only(lab):
    """By all messages that the kernel learns from, hundreds a second."""
    wait_until(lambda: len(lab.ipv6_addresses("phone")) == 2, "the phone's two addresses")
    world = world_of(lab)
    mine, mac = world["victim"], world["victim_mac"]
    wait_until(
        lambda: ping(lab, "-c", "1", "-W", "1", "-I", mine).returncode == 0 and mine in served(lab, "phone"),
        "the phone's answer",
    )
    running = start_attack(lab, "drawing", PINGS * PING_S + 2, stdout=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: "PERMANENT" in neighbour(lab, mine), "the entry being pinned")
        said = ping(lab, "-c", str(PINGS), "-i", str(PING_S), "-W", "1", "-I", mine).stdout
        assert {mac, "PERMANENT"} <= set(neighbour(lab, mine))
        sent, drawn = running.communicate(timeout=60)[0].split()
    finally:
        running.kill()
        running.wait()
    assert f" {PINGS} received" in said, said
    assert int(sent) > PINGS
    assert int(drawn) <= DRAWN_MOST
    assert lab.roaming_status("b")["counters"]["bugs"] == 0
    assert "PERMANENT" in neighbour(lab, mine), "for some minutes"
    end(lab, "b")
    assert "PERMANENT" not in neighbour(lab, mine), "with the flush it is gone"
