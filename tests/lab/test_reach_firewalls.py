# SPDX-License-Identifier: ISC
"""Other people's firewalls: what `reach` says of them beforehand is what the kernel does.

caller .99 eth0 -- eth0 .7 router 192.168.1.1 eth1 -- eth0 host
"""

import contextlib
import json
import shutil
import socket
import sys
from ipaddress import IPv4Address

import firewalls
import pytest
import reach_site
from reach_day import udp
from reach_lab import ROOT, Machine, Server, address, cable, needs, wait_until
from reach_site import ENDS, WG, call, serve_tcp, tell

from reach import kernel_rules
from reach.passages import answer, stations
from reach.ruleset import Packet, decide
from sdk.timeouts import TIMEOUT_SCALE

pytestmark = needs()
PUBLIC, TARGET, CALLER = "203.0.113.7", "192.168.1.210", "203.0.113.99"
TCP = [22, 443, 8001, 8080]
UDP = [5060, 51820]
ASKED_S = 0.6 * TIMEOUT_SCALE
LISTING = """
import json
from reach import kernel_rules
print(json.dumps([list(kernel_rules.listings()), kernel_rules.run("nft", "-j", "list", "ruleset")]))
"""


class Router:
    def __init__(self, stack):
        self.caller, self.router, self.host = machines = [Machine() for _ in range(3)]
        for machine in machines:
            stack.callback(machine.end)
        cable(self.caller, "eth0", self.router, "eth0")
        cable(self.router, "eth1", self.host, "eth0")
        address(self.caller, "eth0", f"{CALLER}/24")
        address(self.router, "eth0", f"{PUBLIC}/24")
        address(self.router, "eth1", "192.168.1.1/24")
        address(self.host, "eth0", f"{TARGET}/24")
        self.router.run("sysctl", "-q", "net.ipv4.ip_forward=1")
        self.host.run("ip", "route", "add", "default", "via", "192.168.1.1")
        self.caller.run("ip", "route", "add", "192.168.1.0/24", "via", PUBLIC)
        for machine in machines:
            for port in TCP:
                server = Server(machine, "0.0.0.0", port, lambda c: c.sendall(b"x"), socket.AF_INET)
                stack.callback(server.close)


@pytest.fixture(scope="module")
def net():
    with contextlib.ExitStack() as stack:
        yield Router(stack)


def is_let_through(source, machine, target, protocol, port):
    """By asking."""
    if protocol == "tcp":
        try:
            return call(source, target, port, timeout_s=ASKED_S) == "x"
        except OSError:
            return False
    with udp(machine, "", port) as listening, udp(source, "", 40000) as sending:
        listening.settimeout(ASKED_S)
        with contextlib.suppress(OSError):
            sending.sendto(b"x", (target, port))
            return listening.recv(9) == b"x"
        return False


def tables(machine):
    listed = machine.run("env", f"PYTHONPATH={ROOT}", sys.executable, "-c", LISTING)
    return kernel_rules.tables_of(*json.loads(listed.stdout))


def is_foretold(found, packet):
    return all(
        decide(table, chain, each).verdict == "accept"
        for each in stations(packet)
        for table in found
        for chain in table.chains.values()
        if chain.hook == each.hook and 4 in table.families
    )


@pytest.mark.parametrize("name", firewalls.ALL)
def test_what_is_foretold_is_what_the_kernel_does(net, name):
    done = net.router.run("sh", "-e", input=firewalls.ALL[name], check=False)
    if "legacy" in firewalls.ALL[name] and done.returncode:
        pytest.skip("this kernel has no ip_tables")
    assert not done.returncode, done.stderr
    found, asked = tables(net.router), []
    for protocol, ports in (("tcp", TCP), ("udp", UDP)):
        for port in ports:
            caller, host = IPv4Address(CALLER), IPv4Address(TARGET)
            into = Packet("input", 4, protocol, port, "eth0", "", None, IPv4Address(PUBLIC))
            inwards = Packet("forward", 4, protocol, port, "eth0", "eth1", caller, host)
            outwards = Packet("forward", 4, protocol, port, "eth1", "eth0", host, caller)
            out = Packet("output", 4, protocol, port, "", "eth0", None, caller)
            asked += [
                (out, is_let_through(net.router, net.caller, CALLER, protocol, port)),
                (into, is_let_through(net.caller, net.router, PUBLIC, protocol, port)),
                (inwards, is_let_through(net.caller, net.host, TARGET, protocol, port)),
                (outwards, is_let_through(net.host, net.caller, CALLER, protocol, port)),
            ]
    net.router.run("sh", "-c", firewalls.FLUSH)
    wrong = [
        (packet, was)
        for packet, was in asked
        if (is_foretold(found, packet) and is_foretold(found, answer(packet))) != was
    ]
    assert not wrong
    assert {was for _, was in asked} == {True} if name == "an open one" else {True, False}


SITE = f"""{ENDS}{WG}[[publish]]
tcp = 443
to = "192.168.1.210"
[[publish]]
tcp = 8080
to = "2001:db8:0:1::80"
"""


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    with reach_site.machines(tmp_path_factory.mktemp("reach")) as made:
        yield made


@pytest.fixture
def site(machines):
    if not all(map(shutil.which, ("wireguard-go", "wg"))):
        pytest.skip("no wireguard-go, no wireguard-tools")
    machines.describe(SITE)
    tell(machines.host, 443)
    serve_tcp(machines.site, "::", 8080, lambda c: c.sendall(b"x"))
    yield machines
    machines.down()
    for machine in (machines.server, machines.home):
        machine.run("sh", "-c", firewalls.FLUSH)


def status(site, machine, end):
    done = site.reach(machine, "status", end, "--json", check=False)
    found = json.loads(done.stdout)
    assert done.returncode == (1 if found["problems"] else 0)
    return found


def reaches(site, port):
    with contextlib.suppress(OSError):
        return bool(call(site.caller, PUBLIC, port, timeout_s=2 * TIMEOUT_SCALE))
    return False


def follow(site, machine, end):
    """Do what `reach` proposes, until it is content."""
    for _ in range(9):
        found = status(site, machine, end)["firewall"]
        if not found:
            return
        said = found[0]["says"]
        assert "; for example: " in said
        machine.run("sh", "-ec", said.partition("; for example: ")[2])
    pytest.fail(f"what is proposed does not help: {found}")


@pytest.mark.parametrize(
    "name", ["Oracle's image", "Docker", "by hand, iptables", "the same by the older program"]
)
def test_a_firewall_is_warned_of_and_what_is_proposed_mends_it(site, name):
    for machine in (site.server, site.home):
        if machine.run("sh", "-e", input=firewalls.ALL[name], check=False).returncode:
            pytest.skip("this kernel has no ip_tables")
    said = [site.reach(site.server, "up", "server").stderr, site.reach(site.home, "up", "attic").stderr]
    assert all(
        "chain FORWARD: drops what it does not know: let wg0 through there, both ways" in s for s in said
    )
    assert ("chain INPUT: drops what it does not know: accept tcp 8080, udp 51820" in said[0]) == (
        name != "Docker"
    )
    assert not reaches(site, 443)
    found = status(site, site.server, "server")
    assert found["published"][0]["answers"] is False
    assert any("FORWARD" in place for place in found["published"][0]["held_up_by"])
    follow(site, site.server, "server")
    follow(site, site.home, "attic")
    wait_until(lambda: reaches(site, 443) and reaches(site, 8080), "what is published answers")
    wait_until(lambda: not status(site, site.server, "server")["problems"], "all is well")


@pytest.mark.parametrize("name", ["firewalld", "ufw", "by hand, nft"])
def test_a_firewall_of_a_distribution_is_warned_of_at_both_ends(site, name):
    for machine in (site.server, site.home):
        machine.run("sh", "-e", input=firewalls.ALL[name])
    said = [site.reach(site.server, "up", "server").stderr, site.reach(site.home, "up", "attic").stderr]
    assert "drops what it does not know: accept tcp 8080, udp 51820 there" in said[0]
    assert "drops what it does not know: let wg0 through there, both ways" in said[1]
    # firewalld lets through what is published, but not at home, where nobody sees that it is
    assert ("let wg0 through" in said[0]) == (name != "firewalld")
    assert status(site, site.server, "server")["problems"]
    assert status(site, site.home, "attic")["problems"]


def test_a_forward_policy_that_docker_sets_later_is_seen(site):
    site.both_up()
    wait_until(lambda: not status(site, site.server, "server")["problems"], "all is well")
    assert reaches(site, 443)
    for machine, end in ((site.server, "server"), (site.home, "attic")):
        machine.run("sh", "-e", input=firewalls.DOCKER)
        assert not reaches(site, 443)
        done = site.reach(machine, "status", end, check=False)
        assert done.returncode == 1
        assert "FIREWALL: iptables, table filter, chain FORWARD: drops what it does not know" in done.stdout
        if end == "server":
            held = "CALLERS ARE HELD UP by iptables, table filter, chain FORWARD"
            assert f"tcp 443 to 192.168.1.210 by the kernel: {held}" in done.stdout
            assert "tcp 8080 to 2001:db8:0:1::80 by the relay: answers" in done.stdout
        machine.run(
            "sh",
            "-c",
            firewalls.FLUSH.replace(
                "nft flush ruleset", "nft flush table ip filter; iptables -P FORWARD ACCEPT"
            ),
        )
        wait_until(lambda: reaches(site, 443), "it answers again")


def test_an_open_firewall_is_not_complained_of(site):
    for machine in (site.server, site.home):
        machine.run("sh", "-e", input=firewalls.OPEN)
    assert (
        "drops"
        not in site.reach(site.server, "up", "server").stderr + site.reach(site.home, "up", "attic").stderr
    )
    wait_until(lambda: reaches(site, 443), "it answers")
    assert not status(site, site.server, "server")["firewall"]
