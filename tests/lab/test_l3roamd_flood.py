# SPDX-License-Identifier: ISC
"""Thousands of MACs from one port of a node: what the mesh hears of them, and what other clients notice."""

import json
import subprocess
import time

import pytest
from meshes import mesh_text
from talk import Talk
from waiting import wait_until

from sdk.lab.plan import short_name
from xlat464.address import format_mac

LINE = mesh_text("a=clat b=clat c=plat", "a-b b-c", "phone=a crowd=a walker=b", roaming="true")
MACS = 4500
ROUTES_MOST = 20  # of the three that are there

# a frame and an ARP request, with an IPv4 address of its own, for each MAC
SEND = """
import socket, struct, sys, time
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind((sys.argv[1], 0))
for number in range(int(sys.argv[2])):
    mac = b"\\2\\xbb\\0\\0" + number.to_bytes(2, "big")
    ipv4 = bytes((10, 46, 200 + number // 250, 1 + number % 250))
    request = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac, ipv4, bytes(6), bytes((10, 46, 0, 1)))
    for kind, body in ((0x88B5, bytes(46)), (0x0806, request.ljust(46, b"\\0"))):
        raw.send(b"\\xff" * 6 + mac + kind.to_bytes(2, "big") + body)
    if number % 4 == 0:
        time.sleep(0.002)
"""


@pytest.fixture
def lab(lab_of):
    return lab_of(LINE)


def status(lab, node):
    return json.loads(lab.exec(node, ["l3roamd_py", "status", "--json"]).stdout)


def diagnosis(lab):
    return json.dumps({node: status(lab, node)["counters"] for node in "ab"}, indent=1) + lab.running.log(
        "a", "l3roamd"
    )


def host_routes(lab, node):
    """What babel tells a node of the clients of all others."""
    prefix = str(lab.site.node_client_prefix6)
    routes = lab.exec(node, ["ip", "-6", "route", "show", "root", prefix, "proto", "babel"]).stdout
    return [line.split()[0] for line in routes.splitlines()]


def is_served(lab, node, client):
    mac = format_mac(lab.client(client).mac)
    return any(each["mac"] == mac and each["state"] == "served" for each in status(lab, node)["clients"])


def test_many_macs_from_one_port_cost_the_mesh_no_routes_and_other_clients_nothing(lab):
    for client, node in (("phone", "a"), ("crowd", "a"), ("walker", "b")):
        wait_until(lambda client=client, node=node: is_served(lab, node, client), f"{client} being served")
    wait_until(lambda: len(host_routes(lab, "c")) == 3, "babel telling of three clients")
    with Talk(lab, "phone", diagnosis) as talk:
        flood = lab.popen(
            "crowd",
            ["python", "-c", SEND, short_name("r", "a"), str(MACS)],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            most = 0
            while flood.poll() is None:
                talk.echo()
                most = max(most, len(host_routes(lab, "c")))
                time.sleep(0.1)
            assert flood.returncode == 0, flood.stderr.read()
        finally:
            flood.kill()
            flood.wait()
        counters = status(lab, "a")["counters"]
        assert counters["newcomers_too_many_at_port"] > MACS / 2, diagnosis(lab)
        assert most <= ROUTES_MOST, diagnosis(lab)
        lab.roam("walker", "a", hard=True)
        wait_until(lambda: is_served(lab, "a", "walker"), "the walker being served")
        wait_until(lambda: lab.is_answered("walker"), "an answer for the walker")
        wait_until(lambda: lab.is_answered("crowd"), "an answer for who is at the flooded port")
        talk.echo()
        assert len(host_routes(lab, "c")) <= ROUTES_MOST, diagnosis(lab)
    counters = status(lab, "a")["counters"]
    assert counters["bugs"] == 0
    assert counters["failures"] == 0, diagnosis(lab)
    # once, and once for those that are heard before it is known where they are
    assert 1 <= lab.running.log("a", "l3roamd").count("as many as it may") <= 2
