# SPDX-License-Identifier: ISC
"""A real dnsmasq hears from us what a client would say: that it keeps its lease, or needs it no more."""

import os
import shutil
import time

import pytest
from node_lab import address
from waiting import wait_until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces, which needs root"),
    pytest.mark.skipif(not shutil.which("dnsmasq"), reason="needs dnsmasq"),
]

MAC, IPV4, SERVER = "02:aa:00:00:00:09", "10.46.0.50", "10.46.0.1"
LEASES, SCRIPT = "/run/leases", "/run/script"
TELL = """
    import sys
    from l3roamd_py import leases
    from xlat464.address import parse_ipv4, parse_mac
    kind, mac, ipv4, server = sys.argv[1], parse_mac(sys.argv[2]), *map(parse_ipv4, sys.argv[3:])
    packet = leases.encode_renewal(mac, ipv4, 1) if kind == "renew" else leases.encode_release(server, mac, ipv4, 1)
    leases.tell("br-client", server, packet)
"""


@pytest.fixture(params=["*", "01:02:aa:00:00:00:09"], ids=["no client-id", "client-id"])
def node(machines, request):
    """A node whose DHCP server gave a lease that ends in 20 seconds."""
    node = machines("node")
    node.run("ip link add br-client type bridge")
    node.run("ip link set br-client up")
    address(node, "br-client", f"{SERVER}/16")
    node.file(LEASES, f"{int(time.time()) + 20} {MAC} {IPV4} phone {request.param}\n")
    node.file(SCRIPT, "#!/bin/sh\necho $* >>/run/said\n", 0o755)
    options = (
        "--keep-in-foreground --port=0 --interface=br-client --bind-dynamic --user=root --conf-file=/dev/null"
    )
    options += f" --dhcp-range=10.46.0.50,10.46.0.59,255.255.0.0,120 --dhcp-leasefile={LEASES} --pid-file="
    node.start(f"dnsmasq {options} --dhcp-script={SCRIPT} --script-on-renewal")
    wait_until(lambda: "old" in said(node), "dnsmasq being there")
    return node


def said(node):
    return node.output(["sh", "-c", "cat /run/said 2>/dev/null || true"])


def lease_ends_s(node):
    """When the lease ends, None if there is none."""
    lines = [line.split() for line in node.output(["cat", LEASES]).splitlines()]
    return next((int(words[0]) for words in lines if words[1:3] == [MAC, IPV4]), None)


def test_a_lease_is_renewed_in_the_name_of_a_client_that_is_away(node):
    before = said(node).count("old")
    assert lease_ends_s(node) < time.time() + 21
    node.python(TELL, "renew", MAC, IPV4, SERVER)
    wait_until(lambda: lease_ends_s(node) > time.time() + 60, "longer lease")
    wait_until(lambda: said(node).count(f"old {MAC} {IPV4}") > before, "word to the roaming daemon")


def test_a_lease_is_given_back_in_the_name_of_a_client_that_may_not_have_it(node):
    node.python(TELL, "release", MAC, IPV4, SERVER)
    wait_until(lambda: lease_ends_s(node) is None, "end of the lease")


def test_nobody_is_given_a_lease_by_a_renewal_of_one_that_is_not_there(node):
    node.python(TELL, "renew", "02:aa:00:00:00:08", "10.46.0.51", SERVER)
    node.python(TELL, "renew", MAC, IPV4, SERVER)
    wait_until(lambda: lease_ends_s(node) > time.time() + 60, "longer lease")
    assert "10.46.0.51" not in node.output(["cat", LEASES])
