# SPDX-License-Identifier: ISC
"""Clients of different nodes reach each other by pairs in nat46 itself: they talk, walk, and the pairs go.

NAT46_KO names the module. Every other node's roaming daemon runs on MicroPython.
"""

import pytest
from conftest import load_nat46
from meshes import mesh_text
from pairs_lab import SERVER, TALKER, clat_of, end, leads_to, ping, say, spawn
from waiting import wait_until

from xlat464.address import format_ipv6, parse_ipv4

CONTROL = "/proc/net/nat46/control"
LINE = mesh_text(
    "a=both b=clat c=clat",
    "a-b b-c",
    "laptop=b phone=c",
    roaming="true",
    interpreter='"mixed"',
    translator='"nat46"',
)
PATIENCE_S = 90


@pytest.fixture(scope="module")
def lab(lab_modules, lab_of):
    load_nat46()
    lab = lab_of(LINE)
    for node, other in (("b", "c"), ("c", "b")):
        wait_until(lambda: leads_to(lab, node, clat_of(lab, other)), f"babel's way from {node} to {other}")  # noqa: B023
    return lab


def pairs(lab, node):
    """IPv4 address -> IPv6 address, of the pairs of a node's device that are for one client."""
    lines = lab.exec(node, ["cat", CONTROL]).stdout.splitlines()
    words = [line.split() for line in lines if line.startswith("insert clat")]
    found = {}
    for each in words:
        values = dict(zip(each[2::2], each[3::2], strict=False))
        found[values["remote.v4"].removesuffix("/32")] = values["remote.v6"].removesuffix("/128")
    return found


def routes(lab, node):
    """What leads into a node's device because of a pair."""
    lines = lab.exec(node, ["ip", "route", "show", "proto", "158"]).stdout.splitlines()
    return {line.split()[0] for line in lines}


def at(lab, node, ipv4):
    """A client's address at a node's CLAT."""
    return format_ipv6(lab.plan.clat_prefix(lab.node(node))[:12] + parse_ipv4(ipv4))


def test_they_reach_each_other_by_a_pair_at_each_node(lab):
    phone, laptop = lab.lease("phone"), lab.lease("laptop")
    wait_until(lambda: ping(lab, "laptop", phone, "-c", "1", "-W", "2").returncode == 0, "an answer")
    assert pairs(lab, "b") == {phone: at(lab, "c", phone)}
    assert pairs(lab, "c") == {laptop: at(lab, "b", laptop)}
    assert (routes(lab, "b"), routes(lab, "c")) == ({phone}, {laptop})
    for client, other in (("laptop", phone), ("phone", laptop)):
        done = ping(lab, client, other, "-c", "5", "-i", "0.5", "-W", "5")
        assert " 0% packet loss" in done.stdout, done.stdout


def test_the_exit_is_as_near_as_before(lab):
    for client in ("laptop", "phone"):
        wait_until(lambda: lab.is_answered(client), f"an answer of the internet to the {client}")  # noqa: B023


def test_a_connection_lives_while_they_walk_and_the_pairs_go_with_them(lab):
    phone, laptop = lab.lease("phone"), lab.lease("laptop")
    server = spawn(lab, "phone", SERVER)
    talk = spawn(lab, "laptop", TALKER, phone)
    say(talk, "before")
    say(talk, "x" * 4000)
    lab.roam("phone", "a")
    say(talk, "at-a")
    wait_until(lambda: pairs(lab, "b") == {phone: at(lab, "a", phone)}, "the pair's new place", PATIENCE_S)
    say(talk, "again")
    lab.roam("phone", "b")
    say(talk, "beside")
    wait_until(lambda: pairs(lab, "b") == {}, "no pair for who is here", PATIENCE_S)
    assert routes(lab, "b") == set()
    lab.roam("phone", "c")
    say(talk, "home")
    assert phone in pairs(lab, "b")
    assert laptop in pairs(lab, "c")
    end(talk)
    end(server)


def test_a_daemon_that_starts_again_removes_what_the_one_before_it_left(lab):
    phone = lab.lease("phone")
    wait_until(lambda: ping(lab, "laptop", phone, "-c", "1", "-W", "2").returncode == 0, "an answer")
    lab.running.stop("b", "l3roamd")
    assert phone in pairs(lab, "b"), "a daemon that ends takes nothing away"
    lab.programs.start_l3roamd(lab.node("b"))
    wait_until(lambda: phone not in pairs(lab, "b"), "the pair's end", PATIENCE_S)
    wait_until(lambda: ping(lab, "laptop", phone, "-c", "1", "-W", "2").returncode == 0, "an answer again")
    assert lab.is_answered("laptop")


def test_what_nobody_uses_goes(lab):
    wait_until(lambda: not pairs(lab, "b") and not routes(lab, "b"), "no pair at b", 2 * PATIENCE_S)
    wait_until(lambda: not pairs(lab, "c") and not routes(lab, "c"), "no pair at c", PATIENCE_S)
