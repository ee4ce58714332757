# SPDX-License-Identifier: ISC
"""IPv6 of clients that are as they come from a shop: addresses of router advertisements, and nothing said unasked."""

import subprocess
import time

import pytest
from meshes import mesh_text
from waiting import wait_until

from sdk.lab import ECHO
from sdk.roaming import TrafficProgram, evaluate, roam_through
from xlat464.address import format_mac

LINE = mesh_text("a=both b=clat", "a-b", "phone=b thief=b", roaming="true", rules='"{rules}"')


@pytest.fixture(scope="module", params=["nft", "xtables"])
def rules(request):
    return request.param


@pytest.fixture(scope="module")
def lab(lab_of, rules):
    return lab_of(LINE.format(rules=rules))


def far(lab):
    """An address across the mesh: the other node's own."""
    return lab.plan.node_address(lab.node("a"))


def served(lab, node, client):
    mac = format_mac(lab.client(client).mac)
    found = [each for each in lab.roaming_status(node)["clients"] if each["mac"] == mac]
    return found[0]["addresses"] if found else []


def routed(lab, node, address):
    """Whether its client is at a node; the route of one that walked on has another protocol."""
    return "dev br-client proto 158" in lab.exec(node, ["ip", "-6", "route", "show", address]).stdout


def is_known_to_babel(lab, address):
    """Whether the other node has a way back. babeld tells of a new address within six seconds."""
    return "proto babel" in lab.exec("a", ["ip", "-6", "route", "show", address]).stdout


def is_sent_on(lab):
    return "Number of entries: 0" not in lab.exec("a", ["ipset", "list", "l3roamd_care_of"]).stdout


def ping(lab, client, *words):
    return lab.exec(client, ["ping", "-6", *words, far(lab)], check=False)


def test_a_silent_newcomer_s_first_packet_is_answered(lab):
    wait_until(lambda: len(lab.ipv6_addresses("phone")) == 2, "the phone's two addresses")
    for address in lab.ipv6_addresses("phone"):
        wait_until(lambda address=address: is_known_to_babel(lab, address), "babel telling of it")
        begun_s = time.monotonic()
        done = ping(lab, "phone", "-c", "1", "-W", "2", "-I", address)
        assert done.returncode == 0, done.stdout + str(lab.roaming_status("b")["clients"])
        assert time.monotonic() - begun_s < 1.2
        assert routed(lab, "b", address)
    assert set(lab.ipv6_addresses("phone")) <= set(served(lab, "b", "phone"))


def test_its_addresses_walk_along(lab):
    known = lab.ipv6_addresses("phone")
    lab.roam("phone", "a")
    wait_until(lambda: set(known) <= set(served(lab, "a", "phone")), "the phone's addresses at a")
    wait_until(lambda: not any(routed(lab, "b", each) for each in known), "no route at b")
    assert not served(lab, "b", "phone")
    lab.roam("phone", "b", hard=True)
    wait_until(lambda: ping(lab, "phone", "-c", "1", "-W", "1").returncode == 0, "an answer at b")
    assert not any(routed(lab, "a", each) for each in known)


def test_a_phone_that_tries_its_addresses_at_each_association_keeps_them(lab):
    """As phones do: duplicate address detection, and then not a word unasked."""
    address = str(lab.site.prefix6[0x777])
    for node in ("a", "b"):
        lab.roam("phone", node, hard=True)
        lab.exec("phone", ["ip", "-6", "addr", "del", f"{address}/64", "dev", "eth0"], check=False)
        lab.exec("phone", ["ip", "-6", "addr", "add", f"{address}/64", "dev", "eth0"])
        wait_until(lambda: "tentative" not in shown(lab, address), "the end of what it tries")
        assert "dadfailed" not in shown(lab, address)
        words = ["-c", "1", "-W", "1", "-I", address, NEAR[node](lab)]
        wait_until(
            lambda words=words: lab.exec("phone", ["ping", "-6", *words], check=False).returncode == 0,
            f"an answer at {node}",
        )
        assert routed(lab, node, address)
    lab.exec("phone", ["ip", "-6", "addr", "del", f"{address}/64", "dev", "eth0"])


NEAR = {  # the other node's own address
    "a": lambda lab: lab.plan.node_address(lab.node("b")),
    "b": far,
}


def shown(lab, address):
    """What the phone's kernel says of an address of its."""
    words = ["ip", "-6", "addr", "show", "dev", "eth0", "to", address]
    return lab.exec("phone", words).stdout


def test_what_a_phone_translates_itself_walks_along(lab, rules):
    """It speaks from an address of its own to the domain's prefix: a TCP connection and a stream of UDP.

    One of the nodes is the exit: what it answers goes on to where the phone is, also if it began there.
    """
    there = f"{lab.site.pref64.network_address!s}{ECHO}"
    other = {"a": "b", "b": "a"}
    for count in (1, 3):  # so that it is at home again
        at = lab.node_of("phone")
        with TrafficProgram(lab, "phone", "echo", there, "7") as traffic:
            time.sleep(0.5)  # that the walk meets a connection that carries data
            walks = roam_through(lab, "phone", [(other[at], 1.0), (at, 1.0), (other[at], 1.0)][:count])
            result = evaluate(traffic.end(), walks)
        assert not result.broken, (at, result.broken)
        assert all(each.ms is not None for each in result.handoffs), (at, result)
        assert result.lost < result.sent / 10, (at, result.lost, result.sent)
    counted = {"nft": 1, "xtables": None}[rules]  # iptables has nothing that tells
    assert lab.roaming_status(lab.node_of("phone"))["translating"] == counted


def test_what_was_learnt_outlives_the_daemon(lab, rules):
    """And what the kernel's gate has of a client that nobody remembers does not."""
    if rules == "xtables":  # what is sent on goes by the daemon
        wait_until(lambda: not is_sent_on(lab), "the end of what goes on from a")
    lab.running.stop("b", "l3roamd")
    assert ping(lab, "phone", "-c", "1", "-W", "2").returncode == 0, "it works on without a daemon"
    lab.programs.start_l3roamd(lab.node("b"))
    assert ping(lab, "phone", "-c", "1", "-W", "2").returncode == 0
    lab.running.stop("b", "l3roamd")
    lab.exec("b", ["rm", "/run/l3roamd.state"], check=False)
    lab.programs.start_l3roamd(lab.node("b"))
    wait_until(lambda: ping(lab, "phone", "-c", "1", "-W", "1").returncode == 0, "being learnt anew")


def test_an_address_that_is_only_tried_is_heard_through_a_bridge_that_snoops(lab):
    """With a querier the bridge keeps from us what is for a group that only the client is in."""
    snoop = ["mcast_snooping", "1", "mcast_querier", "1", "mcast_query_response_interval", "100"]
    lab.exec("b", ["ip", "link", "set", "br-client", "type", "bridge", *snoop])
    tried = str(lab.site.prefix6[0x464])
    wait_until(lambda: is_queried(lab), "the bridge's query")
    lab.exec("thief", ["ip", "-6", "addr", "add", f"{tried}/64", "dev", "eth0"])
    wait_until(lambda: tried in served(lab, "b", "thief"), "the address that is tried")
    wait_until(lambda: routed(lab, "b", tried), "the route to it")


def is_queried(lab):
    """Whether clients have answered the bridge's query: it knows their groups."""
    return "ff02::1:ff" in lab.exec("b", ["bridge", "mdb", "show"]).stdout


def test_another_s_address_is_refused(lab, rules):
    """Both are at the same node; the phone answers for its address, so what the thief sends from it goes nowhere."""
    stolen = lab.ipv6_addresses("phone")[0]
    wait_until(
        lambda: ping(lab, "phone", "-c", "1", "-W", "1", "-I", stolen).returncode == 0, "the phone's answer"
    )
    lab.exec("thief", ["ip", "-6", "addr", "add", f"{stolen}/64", "dev", "eth0", "nodad"])
    words = ["timeout", "8", "tcpdump", "-lni", "mesh0", "src", "host", stolen]
    heard = lab.popen("b", words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    ping(lab, "thief", "-c", "20", "-i", "0.2", "-W", "1", "-I", stolen)
    out = heard.communicate()[0]
    if rules == "nft":  # iptables' gate knows addresses only
        assert not out.strip()
        assert lab.roaming_status("b")["counters"]["conflicts"] >= 1
    assert stolen in served(lab, "b", "phone")
    assert stolen not in served(lab, "b", "thief")
    lab.exec("thief", ["ip", "-6", "addr", "del", f"{stolen}/64", "dev", "eth0"])
