# SPDX-License-Identifier: ISC
"""prefixd beside a real radvd and a real dnsmasq, and a host that hears them: its kernel, dhcpcd, and sdk.handset."""

import os
import re
import shutil
import signal
import socket
import struct
import sys
import time

import micropython
import pytest
from advert_lab import PREF64, PREF64_OPTION, ROUTER_LIFETIME_S, A, Node
from prefixd_lab import Namespaces
from waiting import wait_until

from sdk.handset import dhcpcd
from sdk.timeouts import TIMEOUT_SCALE

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
    pytest.mark.skipif(shutil.which(dhcpcd()) is None, reason="no dhcpcd: `make setup` unpacks it"),
]
DNS6 = socket.inet_pton(socket.AF_INET6, "fddd:1337:1338::198.51.100.53")
RDNSS_OPTION = bytes.fromhex("1903 0000 0000 0708") + DNS6  # RFC 8106
MTU_OPTION = bytes.fromhex("0501 0000 0000 055e")  # RFC 4861, section 4.6.4
WITHDRAW_S, APART_S, LATE_S = 3.0, 3.0, 0.5
PYTHONS = [sys.executable, *map(str, list(micropython.find().values())[:1])]  # the oldest
as_on_a_router = pytest.mark.parametrize("node", PYTHONS[-1:], ids=["micropython"], indirect=True)


@pytest.fixture(params=PYTHONS, ids=["cpython", "micropython"][: len(PYTHONS)])
def node(request, tmp_path):
    with Namespaces() as spaces:
        yield Node(spaces, tmp_path, request.param)


def is_ours(packet):
    return packet[56:57] == b"\x26"


@as_on_a_router
def test_hosts_hear_of_an_exit_and_of_its_end(node):
    """Byte for byte beside radvd's, and within 3 s of the exit's silent death."""
    node.start_prefixd()
    node.prefixd.wait_chosen(A)
    time.sleep(0.5)
    assert not node.heard(), "there is no router to speak for"
    node.start_radvd()
    wait_until(lambda: [1 for _, packet in node.heard() if is_ours(packet)], "the first of ours")
    theirs = next(packet for _, packet in node.heard() if not is_ours(packet))
    ours = next(packet for _, packet in node.heard() if is_ours(packet))
    assert ours[7:40] == theirs[7:40], "hop limit, source and destination"
    assert ours[44:56] == theirs[44:56]
    assert struct.unpack("!H", ours[46:48])[0] == ROUTER_LIFETIME_S
    assert ours[56:] == PREF64_OPTION + RDNSS_OPTION + MTU_OPTION
    wait_until(
        lambda: "mtu 1374" in node.spaces.run("host", "ip", "-6", "route", "show", "default"), "the MTU"
    )
    died_s = node.kill_exit()
    gone_s = wait_until(lambda: node.withdrawn(died_s), "the withdrawal", 20)[0]
    before_s = max(at_s for at_s, _ in node.heard() if at_s < gone_s - 0.1)
    allowed_s = max(died_s + WITHDRAW_S, before_s + APART_S) + LATE_S * TIMEOUT_SCALE
    assert gone_s <= allowed_s, (gone_s - died_s, before_s - died_s)
    revived_s = time.monotonic()
    node.revive_exit()
    wait_until(lambda: node.announced(revived_s), "its coming back", 20)
    assert "default via fe80::" in node.spaces.run("host", "ip", "-6", "route", "show", "default")
    shown = node.hosts_status()
    assert (shown["told"], shown["state"], shown["others"]) == (True, "open", [])
    assert shown["lifetime_s"] == ROUTER_LIFETIME_S
    ended_s = time.monotonic()
    words = [sys.executable, "-m", "prefixd", "--withdraw", "--socket", node.folder / "prefixd.sock"]
    node.spaces.run("node", *words)
    assert len(node.withdrawn(ended_s)) == 2, "before somebody ends it"


ASK = """
import os, socket, struct, sys
found = {1: [], 28: []}
there = socket.getaddrinfo(sys.argv[1], 53, type=socket.SOCK_DGRAM)[0][4]
for kind, length in ((1, 4), (28, 16)):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.settimeout(5)
    name = b"\\x08ipv4only\\x04arpa\\x00"
    sock.sendto(struct.pack("!6H", 7, 256, 1, 0, 0, 0) + name + struct.pack("!HH", kind, 1), there)
    answer = sock.recv(512)
    at = 12 + len(name) + 4
    for _ in range(struct.unpack("!H", answer[6:8])[0]):  # a pointer to the name, type, class, TTL, length, address
        family = socket.AF_INET if kind == 1 else socket.AF_INET6
        found[kind].append(socket.inet_ntop(family, answer[at + 12 : at + 12 + length]))
        at += 12 + length
print(*sorted(found[1] + found[28]))
"""
FOUND_A = ["192.0.0.170", "192.0.0.171"]
FOUND_AAAA = ["fddd:1337:1338::c000:aa", "fddd:1337:1338::c000:ab"]


def names(node):
    """Return the addresses of ipv4only.arpa, as a host gets them from the node."""
    said = node.spaces.run("node", "ip", "-6", "addr", "show", "dev", "host", "scope", "link")
    server = re.search(r"inet6 (fe80\S+)/", said)[1] + "%node"
    # at the very start neither end may have an address
    return node.spaces.run("host", sys.executable, "-c", ASK, server, check=False).split()


def offered(node, *options):
    """Return option 108 as a DHCP client gets it, which asks for it or not; "" if it gets an address alone."""
    script = node.folder / "udhcpc.sh"
    script.write_text('#!/bin/sh\n[ "$1" != bound ] || echo "$ip $opt108"\n')
    script.chmod(0o755)
    words = ["busybox", "udhcpc", "-f", "-n", "-q", "-R", "-i", "node", "-s", script, "-A", "1", *options]
    address, _, option = node.spaces.run("host", *words).partition(" ")
    assert address.startswith("10.46.")
    return option.strip()


@as_on_a_router
def test_a_host_does_without_ipv4_while_there_is_an_exit(node):
    """DHCP option 108 for those that ask, by dnsmasq to dhcpcd; ipv4only.arpa; a CLAT by tayga. All go with it."""
    node.start_radvd()
    node.start_dnsmasq()
    assert offered(node, "-O", "108") == ""
    for words in ("local fddd:1337:1338::/96 dev lo", "fd46:4646:4646::/64 dev host"):
        node.spaces.run("node", "ip", "-6", "route", "add", *words.split())
    node.start_prefixd()
    wait_until(lambda: node.hosts_status().get("told"), "prefixd's word of an exit")
    wait_until(lambda: names(node) == sorted(FOUND_A + FOUND_AAAA), "the names")
    assert (offered(node, "-O", "108"), offered(node)) == ("0000012c", ""), "those that ask, and nobody else"
    handset = node.start_handset()
    wait_until(lambda: node.handset_says().get("clat"), "its CLAT")
    said = node.handset_says()
    assert (said["pref64"], said["mtu"], said["dns"]) == (PREF64, 1374, ["fddd:1337:1338::c633:6435"])
    wait_until(lambda: "IPv6-Only Preferred received (300 seconds)" in node.dhcp_log(), "dhcpcd's giving up")
    assert not node.address_of_host()
    ping = ["ping", "-c", "1", "-W", "1", "-s", "1300", "192.0.2.1"]
    wait_until(lambda: " 0% packet loss" in node.spaces.run("host", *ping, check=False), "IPv4 by its CLAT")
    node.kill_exit()
    wait_until(lambda: not node.handset_says()["clat"], "the end of its CLAT", 20)
    wait_until(lambda: names(node) == FOUND_A, "the end of the names")
    assert offered(node, "-O", "108") == ""
    handset.send_signal(signal.SIGTERM)
    handset.wait()


def test_what_was_told_is_taken_back_where_nobody_wants_it_any_more(node):
    node.start_radvd()
    node.start_dnsmasq()
    node.hosts.mkdir()
    (node.hosts / ".464xlat-options").write_text("tag:host,108,00:00:01:2c\n")
    node.start_prefixd(announce="off")
    wait_until(node.withdrawn, "lifetime 0")
    wait_until(lambda: not (node.hosts / ".464xlat-options").read_text().strip(), "the end of the option")
    assert node.prefixd.chosen() == A


def test_a_strange_router_is_named_and_a_device_may_come_late(node):
    node.spaces.run("node", "ip", "link", "set", "host", "down")
    node.start_prefixd(client_device="late")
    wait_until(lambda: node.hosts_status().get("told"), "prefixd's word of an exit")
    assert node.hosts_status()["state"] == "there is no device late"
    node.spaces.run("node", "ip", "link", "set", "host", "name", "late")
    node.spaces.run("node", "ip", "link", "set", "late", "up")
    wait_until(lambda: node.hosts_status()["state"] == "open", "the device")
    strange = bytes.fromhex("86000000 40000708 00000000 00000000") + PREF64_OPTION
    send = (
        "import socket, sys; s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)\n"
        "s.setsockopt(41, 18, 255)\n"
        "s.sendto(bytes.fromhex(sys.argv[1]), ('ff02::1', 0, 0, socket.if_nametoindex('node')))"
    )
    wait_until(
        lambda: (
            node.spaces.run("host", sys.executable, "-c", send, strange.hex(), check=False) is not None
            and node.hosts_status()["others"]
        ),
        "the strange router",
    )
    assert node.prefixd.log().count("advertises itself as a router to our clients") == 1
    assert not [1 for _, packet in node.heard() if is_ours(packet)], "it is not followed"
