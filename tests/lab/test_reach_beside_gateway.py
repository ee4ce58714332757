# SPDX-License-Identifier: ISC
"""A home's end that is a machine in the LAN, beside the router that all others there answer by.

caller .99, server .7 -- wire -- .20 router -- br-lan 192.168.178.0/24, 2001:db8:0:2::/64 -- pi .20 ::20, nas .30 ::30
"""

import socket

import pytest
from reach_day import udp
from reach_lab import Machine, address, cable, needs, wait_until
from reach_site import Site, call, machines, serve_tcp, snapshot, tell, whoami

from sdk.timeouts import TIMEOUT_SCALE

pytestmark = needs("wireguard-go", "wg")
PUBLIC, PI, NAS = "203.0.113.7", "192.168.178.20", "192.168.178.30"
NAS_IPV6, SERVER_IPV6 = "2001:db8:0:2::30", "2001:db8:0:1::7"
ENDS = f"""
[server]
device = "eth0"
ipv4 = "{PUBLIC}"
ipv6 = "{SERVER_IPV6}/64"
[home.pi]
device = "eth0"
ipv6 = "2001:db8:0:2::20/64"
lan = "192.168.178.0/24"
[client.laptop]
[link.wg0]
kind = "wireguard"
peers = {{ pi = 2, laptop = 3 }}
masqueraded = "198.18.0.0/24"
userspace = true
keepalive_s = 1
"""
MASQUERADE = ENDS.replace("[client", "masquerade = true\n[client")
PUBLISH = '[[publish]]\ntcp = 443\nudp = 5060\nto = "{}"\n'


class Beside(Site):
    ends = {"server": "server", "home": "pi", "caller": "laptop"}  # noqa: RUF012

    def __init__(self, stack, folder):
        self.folder = folder
        names = ("wire", "caller", "server", "router", "home", "nas")
        machines = [Machine() for _ in names]
        for name, machine in zip(names, machines, strict=True):
            setattr(self, name, machine)
            stack.callback(machine.end)
        self.wire.run("ip", "link", "add", "br0", "type", "bridge")
        self.router.run("ip", "link", "add", "br-lan", "type", "bridge")
        for bridging, bridge in ((self.wire, "br0"), (self.router, "br-lan")):
            bridging.run("ip", "link", "set", bridge, "up")
        cable(self.wire, "p3", self.router, "wan")
        for number, machine in enumerate((self.caller, self.server, self.home, self.nas)):
            bridging, bridge = (self.wire, "br0") if number < 2 else (self.router, "br-lan")
            cable(bridging, f"p{number}", machine, "eth0")
            bridging.run("ip", "link", "set", f"p{number}", "master", bridge)
        self.wire.run("ip", "link", "set", "p3", "master", "br0")
        address(self.caller, "eth0", "203.0.113.99/24")
        address(self.server, "eth0", f"{PUBLIC}/24", f"{SERVER_IPV6}/64")
        address(self.router, "wan", "203.0.113.20/24", "2001:db8:0:1::20/64")
        address(self.router, "br-lan", "192.168.178.1/24", "2001:db8:0:2::1/64")
        address(self.home, "eth0", f"{PI}/24", "2001:db8:0:2::20/64")
        address(self.nas, "eth0", f"{NAS}/24", f"{NAS_IPV6}/64")
        self.router.run("sysctl", "-q", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        self.router.run("nft", "add table ip n; add chain ip n c { type nat hook postrouting priority 100; }")
        self.router.run("nft", "add rule ip n c oifname wan masquerade")
        # an answer that belongs to nothing that the router knows ends there, as a FRITZ!Box has it
        self.router.run("nft", "add chain ip n f { type filter hook forward priority 0; }")
        self.router.run("nft", "add rule ip n f tcp flags & (syn|ack) == (syn|ack) ct state invalid,new drop")
        for machine in (self.home, self.nas):
            machine.run("ip", "route", "add", "default", "via", "192.168.178.1")
            machine.run("ip", "-6", "route", "add", "default", "via", "2001:db8:0:2::1")
        self.server.run("ip", "-6", "route", "add", "2001:db8:0:2::/64", "via", "2001:db8:0:1::20")


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    with machines(tmp_path_factory.mktemp("reach"), Beside) as made:
        yield made


@pytest.fixture
def site(net):
    tell(net.nas, 443)
    tell(net.home, 443)
    serve_tcp(net.nas, "::", 444, whoami)
    yield net
    net.down()


def up(site, text, *more):
    site.describe(text)
    site.at_once("up", (site.server, "server"), (site.home, "pi"), *more)
    ping = ("ping", "-c1", "-W1", "198.18.0.1")
    wait_until(lambda: site.home.run(*ping, check=False).returncode == 0, "the link works")


def test_callers_time_out_and_check_has_said_so(site):
    up(site, ENDS + PUBLISH.format(NAS))
    with pytest.raises(OSError):  # noqa: PT011
        call(site.caller, PUBLIC, 443, timeout_s=2 * TIMEOUT_SCALE)
    said = site.reach(site.home, "check").stdout
    assert f"warning: publish[1].to: {NAS} must answer by pi, which has no lan_device" in said


def test_snat_at_the_homes_end_lets_the_target_answer_and_down_takes_it_back(site):
    before = snapshot(site.home)
    up(site, MASQUERADE + PUBLISH.format(NAS), (site.caller, "laptop"))
    assert "must answer by" not in site.reach(site.home, "check").stdout
    for machine in (site.caller, site.server, site.nas, site.home, site.router):
        assert call(machine, PUBLIC, 443) == PI
    assert call(site.caller, NAS, 443) == PI, "the laptop reaches the LAN by the link as well"
    with udp(site.nas, "", 5060) as phone, udp(site.caller, "", 0) as calling:
        calling.connect((PUBLIC, 5060))
        calling.send(b"INVITE")
        text, sender = phone.recvfrom(99)
        phone.sendto(b"RINGING", sender)
        assert (text, calling.recv(99)) == (b"INVITE", b"RINGING")
    site.reach(site.home, "down", "pi")
    assert snapshot(site.home) == before


def test_the_relay_reaches_the_target_by_ipv6_and_the_homes_end_is_a_target_too(site):
    relayed = f'[[publish]]\ntcp = 8080\nto_port = 444\nto = "{NAS_IPV6}"\n'
    up(site, ENDS + PUBLISH.format("198.18.0.2") + relayed)
    assert "must answer by" not in site.reach(site.home, "check").stdout
    assert call(site.caller, PUBLIC, 8080) == SERVER_IPV6
    assert call(site.caller, PUBLIC, 443) == "203.0.113.99"
    with site.home.connect(PUBLIC, 443, socket.AF_INET) as connection:
        assert connection.recv(99)
