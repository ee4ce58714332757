# SPDX-License-Identifier: ISC
"""The BPF fast path under real traffic: what it takes and leaves, without a daemon, with a limit, chains, tunnels."""

import json
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading

import pytest
from siit_lab import NEEDS, ROOT, SIIT
from siit_path_lab import CLIENT, SERVER, connect, receive_exactly, transfer
from waiting import wait_until

pytestmark = [*NEEDS, pytest.mark.parametrize("path", ["fast"], indirect=True)]
UDP_SEGMENT = 103
DATA = random.Random(1).randbytes(3_000_000)
REMOVE = (
    "import socket; from siit._siit import lib; "
    "print(lib.siit_fast_detach(socket.if_nametoindex('clat')), lib.siit_fast_detach(socket.if_nametoindex('clat')))"
)


def state(node, device):
    (described,) = json.loads(node.run(SIIT, "stat", "--socket", node.socket, device, "--json").stdout)[
        "devices"
    ]
    return described["fast"]


def remove(node):
    """Take the programs away from the device clat; how many there were, twice."""
    return node.run(sys.executable, "-c", REMOVE, cwd=ROOT).stdout.split()


def translated(node, device, does):
    """What becomes of the packets of a piece of traffic at a device: (by the program, by the pump)."""
    before = node.counters(device)
    does()
    after = node.counters(device)
    fast, both = (after[name] - before[name] for name in ("translated_in_kernel", "translated"))
    return fast, both - fast


def ping(client, *options):
    return client.run("ping", "-c", "1", "-W", "5", *options, SERVER, check=False).returncode == 0


def test_what_is_simple_never_comes_to_the_pump(path):
    client, clat, plat, server = path
    near, far = connect(client, server)
    for data_from, data_to in ((near, far), (far, near)):
        for node, device in ((clat, "clat"), (plat, "plat")):
            assert state(node, device) == "on"
            fast, slow = translated(node, device, lambda ends=(data_from, data_to): transfer(*ends, DATA))
            assert (fast > 50, slow) == (True, 0)
    assert translated(clat, "clat", lambda: ping(client)) == (2, 0)
    assert translated(clat, "clat", lambda: ping(client, "-s", "3000"))[0] == 0
    fast, slow = translated(clat, "clat", lambda: ping(client, "-t", "2"))
    assert (fast, slow) == (0, 0), "a TTL that runs out"


def test_simple_traffic_goes_on_when_the_daemons_are_killed(path):
    client, clat, plat, server = path
    near, far = connect(client, server)
    moved = threading.Event()

    def move():
        for _ in range(20):
            transfer(near, far, DATA)
            moved.set()

    mover = threading.Thread(target=move)
    mover.start()
    assert moved.wait(60)
    for node in (clat, plat):
        node.end_siit(signal.SIGKILL)
    mover.join()
    assert ping(client)
    for port in (7001, 7002):
        transfer(*connect(client, server, port), DATA)
    near.sendall(b"and while daemons start")
    for node in (clat, plat):
        node.start_siit()
    assert receive_exactly(far, 23) == b"and while daemons start"
    assert state(clat, "clat") == "on"
    assert clat.counters("clat")["translated_in_kernel"] < 1000, (
        "its own counters, not those of the one before"
    )
    assert remove(clat) == ["1", "0"], "the new program took the old one's place"


def test_a_daemon_that_is_told_to_do_without_takes_it_away(path):
    client, clat, _, _ = path
    clat.end_siit(signal.SIGKILL)
    clat.options = ("--fast", "off")
    clat.start_siit()
    assert state(clat, "clat") == "off"
    assert translated(clat, "clat", lambda: ping(client)) == (0, 2)
    assert remove(clat) == ["0", "0"]


def test_what_is_limited_goes_through_the_limit(path):
    """Translated in front of it, a packet would never come to the qdisc."""
    client, clat, _, _ = path
    clat.run("tc", "qdisc", "add", "dev", "clat", "root", "handle", "464:", "htb", "default", "1")
    clat.run(
        "tc", "class", "add", "dev", "clat", "parent", "464:", "classid", "464:1", "htb", "rate", "1gbit"
    )
    wait_until(lambda: "htb" in state(clat, "clat"), "the daemon sees the limit")
    assert state(clat, "clat") == "off: the device's qdisc htb would see no packet"
    assert translated(clat, "clat", lambda: ping(client)) == (0, 2)
    assert " 2 pkt" in clat.run("tc", "-s", "qdisc", "show", "dev", "clat").stdout
    clat.end_siit(signal.SIGKILL)
    clat.start_siit()
    assert "htb" in state(clat, "clat")
    clat.run("tc", "qdisc", "del", "dev", "clat", "root")
    wait_until(lambda: state(clat, "clat") == "on", "the daemon sees that it is gone")
    assert translated(clat, "clat", lambda: ping(client)) == (2, 0)


def test_rules_that_it_does_not_know_are_the_pumps(path):
    client, clat, _, _ = path
    pair = "local.v4 10.1.0.9/32 local.v6 2001:db8::9/128"
    clat.ctl(f"insert clat {pair}")
    assert state(clat, "clat") == "off: it knows no rules but one pair of RFC6052 with a /96 on both sides"
    assert translated(clat, "clat", lambda: ping(client)) == (0, 2)
    clat.ctl(f"remove clat {pair}")
    assert state(clat, "clat") == "on"
    assert translated(clat, "clat", lambda: ping(client)) == (2, 0)


def test_a_mark_ends_at_the_device_as_it_does_in_user_space(path):
    client, clat, _, _ = path
    clat.run("iptables", "-t", "mangle", "-A", "PREROUTING", "-i", "down0", "-j", "MARK", "--set-mark", "7")
    for mark in ("7", "0"):
        clat.run("ip6tables", "-t", "mangle", "-A", "PREROUTING", "-i", "clat", "-m", "mark", "--mark", mark)
    assert ping(client)
    shown = clat.run("ip6tables", "-t", "mangle", "-L", "PREROUTING", "-vnx").stdout
    packets = re.findall(r"^ +(\d+) .*mark match (\w+)", shown, re.MULTILINE)
    assert {mark: int(count) for count, mark in packets} == {"0x7": 0, "0x0": 1}


def sent_in_segments(source, size, count, chance):
    """Send datagrams of one size as one super-packet; return them."""
    data = chance.randbytes(size * count - 10)
    source.sendmsg([data], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", size))])
    return [data[at : at + size] for at in range(0, len(data), size)]


def udp_pair(client, server):
    sink = server.socket_in(socket.AF_INET, socket.SOCK_DGRAM)
    sink.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
    sink.bind((SERVER, 7000))
    source = client.socket_in(socket.AF_INET, socket.SOCK_DGRAM)
    source.connect((SERVER, 7000))
    return source, sink


def test_super_packets_of_udp_cross_whole(path):
    client, clat, _, server = path
    source, sink = udp_pair(client, server)
    for size in (1, 100, 1200, 1432):
        fast, slow = translated(
            clat,
            "clat",
            lambda size=size: [
                sink.recv(2000) == each or pytest.fail(f"{size} bytes")
                for each in sent_in_segments(source, size, 40, random.Random(size))
            ],
        )
        assert (fast, slow) == (1, 0)


def test_chains_of_packets_are_cut_right_behind_the_translation(path):
    """What OpenWrt makes of every device's packets: fraglist GRO."""
    client, clat, _, server = path
    client.run("ethtool", "-K", "up0", "tso", "off", "gso", "off", "tx-udp-segmentation", "off", "tx", "off")
    clat.run("ethtool", "-K", "down0", "gro", "on", "rx-gro-list", "on")
    near, far = connect(client, server)
    transfer(near, far, DATA)
    source, sink = udp_pair(client, server)
    for _ in range(50):
        for each in sent_in_segments(source, 1200, 40, random.Random(2)):
            assert sink.recv(2000) == each


@pytest.mark.parametrize("sums", ["udpcsum", "noudpcsum"])
def test_tunnels_of_the_node_itself_cross(path, sums):
    """Their super-packets are not of datagrams, and their partial checksums are of what is inside."""
    _, clat, _, server = path
    for node, local, remote, address in (
        (clat, "10.1.0.1", SERVER, "192.0.2.1"),
        (server, SERVER, "10.1.0.1", "192.0.2.2"),
    ):
        ends = ("local", local, "remote", remote, "dstport", "4789")
        node.run("ip", "link", "add", "vx", "mtu", "1300", "type", "vxlan", "id", "7", *ends, sums)
        node.run("ip", "address", "add", f"{address}/24", "dev", "vx")
        node.run("ip", "link", "set", "vx", "up")
    listener = server.socket_in(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("192.0.2.2", 7000))
    listener.listen()
    near = clat.socket_in(socket.AF_INET, socket.SOCK_STREAM)
    near.connect(("192.0.2.2", 7000))
    far, _ = listener.accept()
    far.settimeout(60)
    transfer(near, far, DATA)
    transfer(far, near, DATA)
    listener.close()


def test_nothing_of_it_is_left_when_the_device_goes(path):
    _, clat, _, _ = path
    clat.ctl("del clat")
    assert (
        subprocess.run([*clat.command("tc", "qdisc")], capture_output=True, text=True).stdout.count("clsact")
        == 0
    )
    clat.ctl("add clat")
    assert state(clat, "clat").startswith("off: it knows no rules")
    assert CLIENT not in clat.log.read_text()
