# SPDX-License-Identifier: ISC
"""What is published is there for everybody under its public name: who comes by a link, who is at home, the server.

The machines are those of test_reach_apply, and a second one in the home's LAN.
"""

import contextlib
import socket

import pytest
from reach_day import answers, udp
from reach_lab import Machine, address, cable, needs, wait_until
from reach_site import ENDS, HOST, WG, Site, call, machines, serve_tcp, servers, tell, whoami

from sdk.timeouts import TIMEOUT_SCALE

pytestmark = needs("wireguard-go", "wg")
PC, PUBLIC, TCP, UDP = "192.168.1.30", "203.0.113.7", 443, 5060
LAPTOP = ENDS.replace('"eth1"', '"br-lan"').replace("[home", "[client.laptop]\n[home")
EXIT = """
[link.wg1]
kind = "wireguard"
peers = { laptop = 2 }
masqueraded = ["198.18.4.0/24", "fd86:ea04:1119::/64"]
port = 51821
table = 44
route = "all"
userspace = true
"""
ALL = WG.replace("peers = { attic = 2 }", "peers = { attic = 2, laptop = 3 }\nroute = 'all'")
ALL = ALL.replace('endpoint = "[2001:db8:0:1::7]"\n', "")  # which the laptop does not reach
UPLINK = WG + 'route = "uplink"\n'
PORTS = f"""
[[publish]]
tcp = [{TCP}]
udp = {UDP}
to = "{HOST}"
[[publish]]
tcp = 8443
to = "{PC}"
to_port = 443
"""
TWO = PORTS.replace("[443]", '[443, "8000-8001"]').replace("udp = 5060", 'udp = "5060-5061"')
WHOLE = f'\n[[publish]]\nwhole_address = true\nexcept = ["tcp/22"]\nto = "{HOST}"\n'
ROUTED = EXIT.replace("masqueraded", "routed").replace('"all"', '"lan"')
RELAY = '\n[[publish]]\ntcp = 8080\nto="2001:db8:0:1::80"\n'
KNOWN = "192.0.2.7"  # as the internet knows a server behind its provider's NAT
NAT = {
    f'ipv4 = "{PUBLIC}"': f'ipv4 = "{KNOWN}"\nlisten = "{PUBLIC}"',
    "[link.wg1]": f'[link.wg1]\nendpoint = "{PUBLIC}"',
}
STATES = {
    "another link": WG + EXIT + PORTS,
    "another link, routed, and several ports": WG + ROUTED + TWO,
    "the same link": ALL + PORTS,
    "the home's IPv4 goes through it": UPLINK + EXIT + PORTS,
    "a whole address, and a port of the relay": WG + EXIT + WHOLE + RELAY,
    "a provider's NAT": WG + EXIT + PORTS + RELAY,
    "a whole address and ports of it": ALL + WHOLE + PORTS.replace("tcp = 8443", "tcp = [8443, 22000]"),
}


class Neighbours(Site):
    def __init__(self, stack, folder):
        super().__init__(stack, folder)
        self.pc = Machine()
        stack.callback(self.pc.end)
        self.home.run("ip", "link", "add", "br-lan", "type", "bridge")
        self.home.run("ip", "link", "set", "br-lan", "up")
        # as on a router; where it is 1, a bridge sends nothing out of the port by which it came
        self.home.run("sysctl", "-q", "net.bridge.bridge-nf-call-iptables=0", check=False)
        cable(self.home, "eth2", self.pc, "eth0")
        self.home.run("ip", "addr", "flush", "dev", "eth1", "scope", "global")
        for port in ("eth1", "eth2"):
            self.home.run("ip", "link", "set", port, "master", "br-lan")
        address(self.home, "br-lan", "192.168.1.1/24")
        address(self.pc, "eth0", f"{PC}/24")
        self.pc.run("ip", "route", "add", "default", "via", "192.168.1.1")
        # the laptop is elsewhere: what it has no better route to goes into its link
        self.caller.run("ip", "addr", "flush", "dev", "eth0", "scope", "global")
        address(self.caller, "eth0", "198.51.100.99/32")
        self.caller.run("ip", "route", "add", "default", "via", PUBLIC, "dev", "eth0", "onlink")
        self.server.run("ip", "route", "add", "198.51.100.99", "dev", "eth0")
        self.server.run("ip", "route", "add", "default", "via", "203.0.113.80")


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    with machines(tmp_path_factory.mktemp("reach"), Neighbours) as made:
        yield made


@pytest.fixture(params=STATES.values(), ids=STATES)
def site(net, request):
    """All is up, and both targets answer; the last of the descriptions is what it stands for."""
    text = LAPTOP + request.param.replace("\nto = ", "\nlink = 'wg0'\nto = ")
    net.described, net.known = request.param, PUBLIC
    if "NAT" in request.node.callspec.id:
        net.known = KNOWN
        for old, new in NAT.items():
            text = text.replace(old, new)
    net.describe(text)
    if "8080" in request.param:
        serve_tcp(net.site, "::", 8080, whoami)
    tell(net.host, TCP)
    if "8443" in request.param:
        tell(net.pc, TCP)
    net.at_once("up", (net.server, "server"), (net.home, "attic"), (net.caller, "laptop"))
    wait_until(lambda: answers(net.host, "198.18.0.1"), "the home's link works")
    hub = "198.18.4.1" if "wg1" in request.param else "198.18.0.1"
    wait_until(lambda: answers(net.caller, hub), "the laptop's link works")
    yield net
    net.down()


@contextlib.contextmanager
def phone(machine):
    """It answers each datagram in the test's own thread."""
    with udp(machine, "", UDP) as ringing:
        yield ringing


def telephones(machine, target, at):
    with phone(at) as ringing, udp(machine, "", 0) as calling:
        calling.connect((target, UDP))
        calling.send(b"INVITE")
        text, sender = ringing.recvfrom(99)
        assert text == b"INVITE"
        ringing.sendto(b"RINGING", sender)
        assert calling.recv(99) == b"RINGING"


def test_everybody_reaches_what_is_published_by_its_public_address(site):
    inside = [site.caller, site.pc, site.host, site.home, site.server]
    for machine in [*inside, site.site][: None if site.known == PUBLIC else -1]:
        assert call(machine, site.known, TCP, timeout_s=5 * TIMEOUT_SCALE)
        telephones(machine, site.known, site.host)
        if "8443" in site.described:
            assert call(machine, site.known, 8443)
        if "8000" in site.described:
            tell(site.host, 8001)
            assert call(machine, site.known, 8001)
            servers.pop().close()
    assert call(site.site, PUBLIC, TCP) == "203.0.113.80", "who calls from outside is seen as before"


def test_who_comes_by_a_link_reaches_what_the_relay_publishes_and_ipv6_at_home(site):
    if "8080" in site.described:
        by_link = [site.caller, site.server] + [site.host] * ("whole" in site.described)
        assert {call(machine, site.known, 8080) for machine in by_link} == {"2001:db8:0:1::7"}
    if "fd86:" in site.described and "routed" not in site.described:
        serve_tcp(site.home, "::", 444, whoami)
        assert call(site.caller, "2001:db8:0:1::20", 444, socket.AF_INET6) == "2001:db8:0:1::7"
