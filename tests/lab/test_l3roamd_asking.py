# SPDX-License-Identifier: ISC
"""A client without IPv4 is asked by real Neighbour Discovery on a real bridge before a CLAIM takes it."""

import json
import os
import sys

import pytest
from node_lab import address, link
from waiting import wait_until

from xlat464.address import format_ipv6, parse_prefix6
from xlat464.node import management_address, node_prefix

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces, which needs root")

RANGE, MACS = "fddd:1337:1337::/48", {"node": "02:00:00:00:00:aa", "other": "02:00:00:00:00:ee"}
CLIENT_MAC, CLIENT = "02:aa:00:00:00:09", "2001:db8:5::9"
DAEMON = (
    f"-m l3roamd_py daemon --clat --clat-range {RANGE} --plat-range fddd:1338:1338::/48 --mac {MACS['node']}"
    " --node-client-prefix fddd:1337:1339::/64 --mesh mesh0 --prefix 2001:db8:5::/64"
)
CLAIM = """
    import socket, sys
    from l3roamd_py.core import wire
    from xlat464.address import parse_ipv6, parse_mac
    own, to, mac = sys.argv[1:]
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        sender.bind((own, 0))
        payload = wire.encode(wire.Header(parse_ipv6(own), int.from_bytes(__import__("os").urandom(4)), 8),
                              wire.Claim(parse_mac(mac)))
        sender.sendto(payload, (to, wire.PORT))
"""


def prefix(name):
    return node_prefix(parse_prefix6(RANGE)[0], bytes.fromhex(MACS[name].replace(":", "")))


def management(name):
    return format_ipv6(management_address(prefix(name)))


@pytest.fixture
def node(machines):
    """A node with a bridge and the daemon, a client on the bridge, another node to claim it."""
    node, client, other = machines("node"), machines("client"), machines("other")
    link(node, "port", client, "eth0")
    link(node, "mesh0", other, "mesh0")
    address(node, "mesh0", "fe80::1/64")
    address(other, "mesh0", "fe80::2/64")
    for command in (
        "ip link add br-client type bridge",
        f"ip link set br-client address {MACS['node']} up",
        "ip link set port master br-client up",
        "ip link add clat type veth peer name clat-end",
        f"ip -6 addr add {management('node')}/128 dev lo nodad",
        f"ip -6 route add {format_ipv6(prefix('other'))}/96 via fe80::2 dev mesh0",
    ):
        node.run(command)
    for command in (
        f"ip -6 addr add {management('other')}/128 dev lo nodad",
        f"ip -6 route add {format_ipv6(prefix('node'))}/96 via fe80::1 dev mesh0",
    ):
        other.run(command)
    client.run(f"ip link set eth0 address {CLIENT_MAC}")
    address(client, "eth0", f"{CLIENT}/64")
    node.client, node.other = client, other
    node.start([sys.executable, *DAEMON.split()])
    wait_until(lambda: status(node), "answer of the daemon")
    return node


def status(node):
    done = node.run([sys.executable, "-m", "l3roamd_py", "status", "--json"], check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def knows(node):
    """Whether the node has the client with its address; it is made to speak."""
    node.client.run(["ping", "-c", "1", "-W", "1", "-I", CLIENT, "fe80::ff:fe00:aa%eth0"], check=False)
    return any(CLIENT in each["addresses"] for each in status(node)["clients"])


def claim(node):
    node.other.python(CLAIM, management("other"), management("node"), CLIENT_MAC)
    return status(node)["counters"]


def test_a_client_without_ipv4_is_asked_before_it_is_let_go(node):
    for count in (1, 2, 3):
        # on a busy machine its answer may be late: then it is let go and comes back
        wait_until(
            lambda count=count: knows(node) and claim(node).get("claims_refused", 0) >= count, "refusal"
        )
    wait_until(lambda: knows(node), "client with its address")
    assert CLIENT in node.output("ip -6 route show proto 158")
    node.client.run("ip link set eth0 down")
    wait_until(lambda: claim(node).get("departures"), "departure")
    assert CLIENT not in node.output("ip -6 route show proto 158")
