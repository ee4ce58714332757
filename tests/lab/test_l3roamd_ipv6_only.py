# SPDX-License-Identifier: ISC
"""A node of ours that is started by the C l3roamd's command line, as Gluon does it: it serves IPv6, and no IPv4.

What troubles the C daemon does not trouble it: docs/l3roamd.md.
"""

import socket
import time

import pytest
from meshes import mesh_text
from version0 import OURS, addresses, ask, connect, end, private, reaches, routes, run, say, serving, words
from waiting import wait_until

from l3roamd_py.core import wire
from l3roamd_py.daemon import PEER_S
from sdk.lab.radio import in_namespace
from xlat464.address import format_mac
from xlat464.node import management_address

PAIR = mesh_text("a=both six=clat", "a-six", "phone=six", roaming="true")
TABLE = 70000  # the C daemon has room for a byte
UNKNOWN_TLV = bytes((77, 6)) + b"what"


@pytest.fixture(scope="module")
def lab(lab_of):
    lab = lab_of(PAIR)
    run(lab, "six", OURS, "-p", "10.46.0.0/16")
    return lab


def ping(lab, address, *more):
    far = lab.plan.node_address(lab.node("a"))
    return lab.exec("phone", ["ping", "-6", "-I", address, *more, far], check=False)


def test_an_address_of_which_nothing_was_said_is_learnt_from_its_packets(lab):
    wait_until(lambda: ping(lab, private(lab, "phone"), "-c", "1", "-W", "1").returncode == 0, "an answer")
    new = str(lab.site.prefix6[0x464])
    lab.exec("phone", ["ip", "-6", "addr", "add", f"{new}/64", "dev", "eth0", "nodad"])
    try:
        assert new not in addresses(lab, "six", "phone")
        # what babel has not told of in time the other end cannot answer
        done = ping(lab, new, "-c", "10", "-i", "0.3", "-W", "1")
        assert done.returncode == 0, done.stdout + str(lab.roaming_status("six"))
        assert addresses(lab, "six", "phone")[new] == 1
    finally:
        lab.exec("phone", ["ip", "-6", "addr", "del", f"{new}/64", "dev", "eth0"])
    status = lab.roaming_status("six")
    assert (status["clat"], status["counters"]["bugs"]) == (None, 0)
    assert [each["ipv4"] for each in status["clients"]] == [None]
    assert "-p 10.46.0.0/16 is ignored" in lab.running.log("six", "l3roamd")


def test_clients_walk_between_it_and_a_node_with_a_clat(lab):
    address = private(lab, "phone")
    for node, other in (("a", "six"), ("six", "a")) * 3:
        lab.roam("phone", node, hard=True)
        wait_until(lambda: ping(lab, address, "-c", "1", "-W", "1").returncode == 0, f"an answer at {node}")
        wait_until(lambda node=node: serving(lab, "phone") == [node], f"{node} alone having it")
        wait_until(lambda other=other: reaches(lab, other, address), f"{other} reaching it at {node}")
    assert lab.roaming_status("six")["counters"]["bugs"] == 0
    wait_until(lambda: lab.is_answered("phone"), "IPv4 at six, which has a CLAT and no roaming for it")


def test_another_table_takes_the_routes_over_and_flush_finds_all(lab):
    address = private(lab, "phone")
    wait_until(lambda: ping(lab, address, "-c", "1", "-W", "1").returncode == 0, "an answer")
    assert address in routes(lab, "six", "main")
    lab.running.stop("six", "l3roamd")
    lab.programs.start_l3roamd(lab.node("six"), ["l3roamd_py", *words(lab, "six", "-t", str(TABLE))])
    wait_until(lambda: address in routes(lab, "six", TABLE), "the route in the other table")
    assert address not in routes(lab, "six", "main")
    end(lab, "six")
    assert not routes(lab, "six", TABLE)
    run(lab, "six", OURS)


def test_a_peer_that_is_silent_at_the_socket_holds_nobody_up(lab):
    """The C daemon reads from it until it speaks."""
    silent = [connect(lab, "six", 2 * PEER_S) for _ in range(8)]
    begun_s = time.monotonic()
    assert "prefixes" in ask(lab, "six", "get_prefixes")
    assert time.monotonic() - begun_s < 1
    assert [each.recv(1000) for each in silent] == [b""] * len(silent), "each is sent away"
    assert time.monotonic() - begun_s < 2 * PEER_S


@pytest.mark.parametrize("body", [wire.Seek(bytes(16)), wire.Claim(bytes((2, 0, 0, 0, 0, 9)))])
def test_a_tlv_that_is_not_known_is_passed_over(lab, body):
    """The C daemon reads it over and over, and writes a line of its log each time."""
    name = "seeks" if isinstance(body, wire.Seek) else "claims_unknown"
    before = lab.roaming_status("six")["counters"].get(name, 0)
    sender, there = (management_address(lab.plan.clat_prefix(lab.node(name))) for name in ("a", "six"))
    payload = wire.encode(wire.Header(sender, 4711, 1, False), body) + UNKNOWN_TLV
    with in_namespace(
        lab.running.pids["a"], lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    ) as out:
        out.sendto(payload, (socket.inet_ntop(socket.AF_INET6, there), wire.PORT))
    wait_until(lambda: lab.roaming_status("six")["counters"].get(name, 0) > before, "its being read", 10)


@pytest.mark.parametrize("way", ["ndp", "nl80211"])
def test_no_ndp_means_ndp_and_no_nl80211_does_not(lab, way):
    """The C daemon has them swapped."""
    run(lab, "six", OURS, f"--no-{way}", "--no-netlink")
    known, tried = private(lab, "phone"), str(lab.site.prefix6[0x460 + (way == "ndp")])
    wait_until(lambda: ping(lab, known, "-c", "1", "-W", "1").returncode == 0, "an answer")
    try:
        lab.exec("phone", ["ip", "-6", "addr", "add", f"{tried}/64", "dev", "eth0"])  # it tries it: DAD
        if way == "nl80211":
            wait_until(lambda: tried in addresses(lab, "six", "phone"), "the address that is tried")
        else:
            wait_until(lambda: tried in lab.ipv6_addresses("phone"), "the end of its trial")
            assert tried not in addresses(lab, "six", "phone")
            assert ping(lab, tried, "-c", "10", "-i", "0.3", "-W", "1").returncode == 0, "its packets tell"
    finally:
        lab.exec("phone", ["ip", "-6", "addr", "del", f"{tried}/64", "dev", "eth0"])
        run(lab, "six", OURS)


def test_a_mesh_device_and_a_prefix_come_and_go_at_its_socket(lab):
    """As Gluon's reload_service has it, which asks what there is and adds and removes the difference."""
    assert say(lab, "six", "add_meshif vxlan9") == ""
    assert ask(lab, "six", "get_meshifs") == {"mesh_interfaces": ["mesh0", "vxlan9"]}
    assert say(lab, "six", "del_meshif vxlan9") == ""
    assert say(lab, "six", "get_meshifs") == '{ "mesh_interfaces": [ "mesh0" ] }'
    mac = format_mac(lab.client("phone").mac)
    assert say(lab, "six", f"del_address {private(lab, 'phone')} {mac}") == "OK"
    wait_until(
        lambda: ping(lab, private(lab, "phone"), "-c", "1", "-W", "1").returncode == 0, "its coming back"
    )
