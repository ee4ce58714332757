# SPDX-License-Identifier: ISC
"""The daemon starts whatever neighbours, routes, links and sets it finds."""

import json
import os
import sys
from ipaddress import IPv6Address

import pytest
from node_lab import address
from waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces, which needs root")

DAEMON = (
    "-m l3roamd_py daemon --clat --plat --clat-range fddd:1337:1337::/48 --plat-range fddd:1338:1338::/48"
    " --mac 02:00:00:00:00:aa --node-client-prefix fddd:1337:1339::/64 --mesh mesh0 --prefix 2001:db8:5::/64"
)
ODD = (  # what is there before the daemon
    "ip neigh replace 10.46.0.7 dev br-client nud failed protocol 158",  # its own entry, without a MAC
    "ip neigh replace 10.46.0.8 dev br-client nud incomplete protocol 158",
    "ip neigh add proxy 10.46.0.9 dev br-client",
    "ip neigh replace 2001:db8:5::7 dev br-client nud failed protocol 158",
    "ip neigh replace 2001:db8:5::8 dev mesh0 lladdr 02:00:00:00:00:08 nud stale protocol 158",
    "ip -6 route add 2001:db8:5::9/128 dev br-client protocol 158",
    "ip -6 route add 2001:db8:5::10/128 protocol 158 nexthop via fe80::8 dev mesh0 nexthop via fe80::9 dev mesh0",
    "ip -6 route add unreachable 2001:db8:5::11/128 protocol 158",
    "ip -6 route add blackhole fddd:1337:1339::12/128",
    "ip -6 addr add fddd:1337:1339::5 peer fddd:1337:1339::6/128 dev lo",
    "ip tunnel add tun4 mode ipip local 10.46.0.1 remote 10.46.0.2",  # 4 bytes where others have a MAC
    r'sh -c ip\040link\040add\040"$(printf\040"x\\377y")"\040type\040bridge',  # no UTF-8
)


def status(node):
    done = node.run([sys.executable, "-m", "l3roamd_py", "status", "--json"], check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


@pytest.fixture
def node(machines):
    node = machines("node")
    for name in ("br-client", "mesh0", "clat", "plat"):
        node.run(f"ip link add {name} type bridge")
        node.run(f"ip link set {name} up")
    address(node, "mesh0", "fe80::1/64")
    node.run("ip addr add 10.46.0.1/16 dev br-client")
    return node


def test_the_daemon_starts_among_entries_of_all_kinds(node):
    done = 0
    for command in ODD:
        words = [word.replace(r"\040", " ") for word in command.split()]
        done += node.run(words, check=False).returncode == 0  # not every kernel has all of it
    assert done > len(ODD) // 2
    daemon = node.start([sys.executable, *DAEMON.split()])
    wait_until(lambda: status(node) or daemon.poll() is not None, "answer of the daemon, or its end")
    assert daemon.poll() is None, daemon.stdout.read()
    assert status(node)["counters"]["bugs"] == 0
    left = node.output("ip neigh show proto 158") + node.output("ip -6 route show proto 158 dev br-client")
    assert "10.46.0.7 " not in left, "what is nobody's is removed"
    assert "2001:db8:5::9 " not in left


def test_rules_of_the_other_backend_go_when_it_is_another(node):
    listed = "iptables-save; ip6tables-save; nft list ruleset; ipset list -n"
    left = {"nft": "table ip6 l3roamd {", "xtables": "L3ROAMD_to_plat"}
    # who has roamed, and the source that connection tracking knows of what it has open
    home, at = "fddd:1337:1337:200:0:1:a2e:5", "fddd:1337:1337:200:0:2:a2e:5"
    source = {"nft": home, "xtables": at}
    roams = {"nft": f"{at} timeout", "xtables": f"{home} timeout"}
    serve = f"-s {at} -d 2001:db8::7 -p udp --sport 5000 --dport 7 -t 300"
    for turn, (rules, other) in enumerate((("xtables", "nft"), ("nft", "xtables"), ("xtables", "nft"))):
        daemon = node.start([sys.executable, *DAEMON.split(), "--rules", rules])
        wait_until(lambda process=daemon: status(node) or process.poll() is not None, "the daemon")
        assert daemon.poll() is None, daemon.stdout.read()
        shown = node.output(["sh", "-c", listed])
        assert left[rules] in shown
        assert left[other] not in shown
        if turn == 0:
            comment = f"{IPv6Address(at).packed.hex()} 7"
            node.run(["ipset", "add", "l3roamd_roamed", home, "timeout", "300", "comment", comment])
            node.run(f"conntrack -I {serve}")
        assert f"src={source[rules]} dst=2001:db8::7" in node.output("conntrack -L -f ipv6")
        assert roams[rules] in node.output(["sh", "-c", "nft list ruleset; ipset list"])
        node.run("pkill -f l3roamd_py.daemon")  # in the node's own PID namespace
        daemon.wait(30)
