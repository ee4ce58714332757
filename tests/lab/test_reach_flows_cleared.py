# SPDX-License-Identifier: ISC
"""Flows that began under other rules: before `reach up`, with another target, while a port was published."""

import socket
import time

import pytest
import reach_site
from reach_lab import needs, wait_until
from reach_site import ENDS, HOST, PORTS, WG

pytestmark = needs("wireguard-go", "wg")
net, site = reach_site.net, reach_site.site
CALLS_FROM = 4000


@pytest.fixture
def phones(site):
    """A caller's socket with one port, and two of the host at home; the server tracks connections before we come."""
    site.server.run(
        "nft", "add table ip other; add chain ip other c { type filter hook prerouting priority 0; }"
    )
    site.server.run("nft", "add rule ip other c ct state new,established accept")
    with (
        site.caller.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as caller,
        site.host.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as phone,
        site.host.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as second,
    ):
        caller.bind(("", CALLS_FROM))
        phone.bind(("", 5060))
        second.bind(("", 5070))
        for each in (phone, second):
            each.setblocking(False)
        yield caller, phone, second
    site.server.run("nft", "delete table ip other")


def heard(phone):
    """Whether anything has come, which is then gone."""
    found = False
    while True:
        try:
            phone.recv(99)
        except BlockingIOError:
            return found
        found = True


def keep_alive(caller, phone):
    caller.sendto(b"KEEPALIVE", ("203.0.113.7", 5060))
    time.sleep(0.05)
    return heard(phone)


def test_a_keepalive_follows_what_is_published(site, phones):
    caller, phone, second = phones
    caller.sendto(b"KEEPALIVE", ("203.0.113.7", 5060))
    wait_until(lambda: flows(site).count("dport=5060") == 1, "a flow before we come")
    site.both_up()
    wait_until(lambda: keep_alive(caller, phone), "what began before is heard")
    site.describe(ENDS + WG + PORTS + "to_port = 5070\n")
    site.at_once("up", (site.server, "server"), (site.home, "attic"))
    wait_until(lambda: keep_alive(caller, second), "it goes where it belongs now")
    assert not heard(phone)
    # another port than the caller's takes its place: it is answered no more
    site.describe(ENDS + WG + PORTS.replace("udp = 5060\n", ""))
    site.at_once("up", (site.server, "server"), (site.home, "attic"))
    assert not any(keep_alive(caller, each) for each in (phone, second) for _ in range(10))


def test_flushed_rules_are_missed_and_flows_of_that_time_cleared(site, phones):
    caller, phone, _ = phones
    site.both_up()
    wait_until(lambda: keep_alive(caller, phone), "what is published is heard")
    site.server.run(
        "nft", "add table ip other2; add chain ip other2 c { type nat hook prerouting priority -101; }"
    )
    site.server.run("nft", "add rule ip other2 c udp dport 7000 dnat to 203.0.113.80:7001")
    caller.sendto(b"another's", ("203.0.113.7", 7000))
    site.server.run("nft", "flush", "chain", "inet", "reach", "publish")
    assert "LOST: nft reach" in site.reach(site.server, "status", "server", check=False).stdout
    site.server.run("conntrack", "-D", "-p", "udp", "--orig-port-dst", "5060")
    assert not keep_alive(caller, phone)
    assert "sport=5060 dport=4000" in flows(site), "a flow without DNAT"
    site.reach(site.server, "up", "server")
    assert "LOST" not in site.reach(site.server, "status", "server", check=False).stdout
    wait_until(lambda: keep_alive(caller, phone), "it is heard again")
    site.reach(site.server, "down", "server")
    assert HOST not in flows(site)
    assert "dport=7000" in flows(site), "what is another's stays"
    site.server.run("nft", "delete table ip other2")


def flows(site):
    return site.server.run("conntrack", "-L", "-f", "ipv4", "-p", "udp").stdout
