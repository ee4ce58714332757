# SPDX-License-Identifier: ISC
"""IPv4 between clients of different nodes: they reach each other, walk, and what nobody has is an error."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from meshes import mesh_text
from pairs_lab import SERVER, TALKER, clat_of, end, leads_to, ping, say, spawn
from waiting import wait_until

from sdk.lab.plan import wan_addresses
from sdk.timeouts import TIMEOUT_SCALE

KINDS = {"nft": ("nft", "mixed"), "xtables": ("xtables", "python")}
LINE = mesh_text(
    "a=both b=clat c=clat",
    "a-b b-c",
    "laptop=b phone=c tablet=c",
    roaming="true",
    rules='"{rules}"',
    interpreter='"{interpreter}"',
)
NOBODY = "10.46.99.{}"


@pytest.fixture(scope="module", params=KINDS)
def lab(lab_of, request):
    rules, interpreter = KINDS[request.param]
    return lab_of(LINE.format(rules=rules, interpreter=interpreter))


def counters(lab, node):
    return lab.roaming_status(node)["counters"]


def pairs(lab, node):
    """The addresses that a node's translator has a pair for, and those that lead into the CLAT."""
    shown = lab.exec(node, ["siit", "ctl", "show"]).stdout
    routes = lab.exec(node, ["ip", "route", "show", "proto", "158"]).stdout
    words = [line.split() for line in shown.splitlines() if line.startswith("insert")]
    return (
        {each[each.index("remote.v4") + 1].removesuffix("/32") for each in words},
        {line.split()[0] for line in routes.splitlines()},
    )


def pair_of(lab, node, ipv4):
    """The words of a node's pair for an address."""
    shown = lab.exec(node, ["siit", "ctl", "show"]).stdout
    (words,) = [line.split() for line in shown.splitlines() if f"remote.v4 {ipv4}/32" in line]
    at = words.index("remote.v4")
    return " ".join(words[at : at + 4])


def parent_of(pid):
    """Its parent, as this process sees it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_client_reaches_one_of_another_node(lab):
    phone = lab.lease("phone")
    for node, other in (("b", "c"), ("c", "b")):
        wait_until(lambda: leads_to(lab, node, clat_of(lab, other)), f"babel's way from {node} to {other}")  # noqa: B023
    done = ping(lab, "laptop", phone, "-c", "5", "-i", "0.2", "-W", "2")
    assert " 0% packet loss" in done.stdout, done.stdout + str(counters(lab, "b"))
    assert pairs(lab, "b") == ({phone}, {phone})
    assert pairs(lab, "c") == ({lab.lease("laptop")}, {lab.lease("laptop")})
    done = ping(lab, "phone", lab.lease("laptop"), "-c", "3", "-i", "0.2", "-W", "2")
    assert " 0% packet loss" in done.stdout


def test_a_path_mtu_is_learnt(lab):
    done = ping(lab, "laptop", lab.lease("phone"), "-c", "3", "-s", "1400", "-M", "do", "-W", "1")
    assert "mtu" in done.stdout + done.stderr
    done = ping(lab, "laptop", lab.lease("phone"), "-c", "3", "-s", "2000", "-M", "dont", "-W", "2")
    assert " 0% packet loss" in done.stdout


def test_the_exit_is_as_near_as_before(lab):
    assert ping(lab, "laptop", "198.51.100.80", "-c", "1", "-W", "2").returncode == 0


def test_the_exit_s_own_address_leads_to_no_client(lab):
    """No port of it is a client's, so nobody can be met there: docs/architecture.md says why."""
    done = ping(lab, "laptop", str(wan_addresses(0)[1]), "-c", "1", "-W", "2")
    assert "Destination Host Prohibited" in done.stdout


def test_a_connection_lives_while_both_walk(lab):
    server = spawn(lab, "phone", SERVER)
    talk = spawn(lab, "laptop", TALKER, lab.lease("phone"))
    say(talk, "before")
    for client, node in (("phone", "a"), ("laptop", "c"), ("phone", "c"), ("phone", "b"), ("laptop", "b")):
        lab.roam(client, node)
        say(talk, f"{client}-at-{node}")
        say(talk, "again")
    lab.roam("phone", "c")
    say(talk, "home")
    end(talk)
    end(server)


def test_a_connection_lives_when_the_daemon_is_killed(lab):
    server = spawn(lab, "phone", SERVER)
    talk = spawn(lab, "laptop", TALKER, lab.lease("phone"))
    say(talk, "before")
    lab.running.stop("b", "l3roamd")
    say(talk, "without")
    lab.programs.start_l3roamd(lab.node("b"))
    say(talk, "after")
    end(talk)
    end(server)


def test_what_nobody_has_is_unreachable(lab):
    words = ["timeout", "9", "tcpdump", "-lnni", "eth0", "-c", "1", "icmp[0]==3"]
    heard = lab.popen("laptop", words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_until(lambda: "listening" in heard.stdout.readline(), "tcpdump")
    done = ping(lab, "laptop", NOBODY.format(9), "-c", "6", "-i", "0.5", "-W", "3")
    assert "Destination Host Unreachable" in done.stdout, done.stdout
    gateway = str(lab.site.next_node_ip4)
    assert f"From {gateway}" in done.stdout, "the node says so"
    assert (
        f"{gateway} > {lab.lease('laptop')}: ICMP host {NOBODY.format(9)} unreachable"
        in heard.communicate()[0]
    )


def test_a_translator_that_does_not_answer_keeps_nobody_waiting(lab):
    (siit,) = lab.running.daemons()["b"]["siit"]
    tablet, slowest_s = lab.lease("tablet"), 0.0
    assert tablet not in pairs(lab, "b")[0]
    before = counters(lab, "b").get("pairs_not_made", 0)
    os.kill(siit, signal.SIGSTOP)
    try:
        asking = lab.popen("laptop", ["ping", "-n", "-c", "2", "-W", "1", tablet])
        while asking.poll() is None:
            begun_s = time.monotonic()
            counters(lab, "b")
            slowest_s = max(slowest_s, time.monotonic() - begun_s)
        assert counters(lab, "b").get("pairs_not_made", 0) > before, "it was asked in vain"
    finally:
        for pid in (parent_of(siit), siit):  # nsenter stops with its child
            os.kill(pid, signal.SIGCONT)
    assert slowest_s < 0.5 * TIMEOUT_SCALE
    wait_until(lambda: ping(lab, "laptop", tablet, "-c", "1", "-W", "1").returncode == 0, "the tablet")


def test_a_scan_of_a_thousand_addresses_is_bounded(lab):
    before = {node: counters(lab, node) for node in "abc"}
    addresses = [f"10.46.{50 + i // 250}.{1 + i % 250}" for i in range(1000)]
    scan = "for a in $(cat); do ping -n -c 1 -W 1 $a >/dev/null & done; wait"
    lab.exec("laptop", ["sh", "-c", scan], stdin=" ".join(addresses), check=False)
    after = {node: counters(lab, node) for node in "abc"}

    def grown(node, name):
        return after[node].get(name, 0) - before[node].get(name, 0)

    assert 0 < grown("b", "searches") < 20
    assert grown("a", "seeks") < 80
    assert grown("b", "bugs") == 0
    phone = lab.lease("phone")
    wait_until(
        lambda: ping(lab, "laptop", phone, "-c", "1", "-W", "1").returncode == 0, "the phone all the same"
    )


def test_what_is_not_used_goes_and_what_somebody_removed_comes_back(lab):
    phone = lab.lease("phone")
    wait_until(lambda: ping(lab, "laptop", phone, "-c", "1").returncode == 0, "an answer")
    lab.exec("b", ["siit", "ctl", f"remove clat {pair_of(lab, 'b', phone)}"])
    lab.exec("b", ["ip", "route", "del", f"{phone}/32", "proto", "158"])
    assert phone not in pairs(lab, "b")[0]
    wait_until(lambda: {phone} <= pairs(lab, "b")[0] & pairs(lab, "b")[1], "it being restored", deadline_s=60)
    wait_until(lambda: pairs(lab, "b") == (set(), set()), "no pair at b", deadline_s=150)
    wait_until(lambda: pairs(lab, "c") == (set(), set()), "no pair at c", deadline_s=60)
    assert ping(lab, "laptop", lab.lease("phone"), "-c", "2", "-W", "2").returncode == 0


# IPv6


def test_a_packet_for_a_silent_client_waits_until_it_is_found(lab):
    """babel knows nothing of it: as after a restart without memory, or when its route timed out."""
    address = lab.ipv6_addresses("tablet")[0]
    wait_until(lambda: ping(lab, "laptop", address, "-6", "-c", "1", "-W", "1").returncode == 0, "the tablet")
    lab.running.stop("c", "l3roamd")
    lab.exec("c", ["ip", "-6", "route", "flush", "proto", "158", "dev", "br-client"])
    lab.exec("c", ["rm", "/run/l3roamd.state"], check=False)
    wait_until(lambda: not leads_to(lab, "b", address), "no route at b")
    lab.programs.start_l3roamd(lab.node("c"))
    assert not leads_to(lab, "b", address)
    before = counters(lab, "b").get("searches_found", 0)
    done = ping(lab, "laptop", address, "-6", "-c", "1", "-W", "6")
    assert done.returncode == 0, done.stdout + str(counters(lab, "b")) + str(counters(lab, "c"))
    assert counters(lab, "b")["searches_found"] == before + 1


def test_an_ipv6_address_that_nobody_has_is_unreachable_after_five_seconds(lab):
    begun_s = time.monotonic()
    done = ping(lab, "laptop", str(lab.site.prefix6[0x999]), "-6", "-c", "1", "-W", "8")
    assert "Address unreachable" in done.stdout, done.stdout
    assert 4 < time.monotonic() - begun_s < 7
