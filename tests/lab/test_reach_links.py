# SPDX-License-Identifier: ISC
"""A day of each link that needs modules of the kernel, where it has them: IPv4 in IPv6, WireGuard, GRETAP over that and
over GUE. Large packets, telephone and names; a server that reboots, a home whose provider gives it another prefix, a
laptop that comes into another network. The machines are those of test_reach_apply.
"""

import contextlib
import re
import socket
import subprocess

import pytest
from reach_day import (
    NOTHING,
    ask,
    caller_learns,
    changes,
    download,
    learns,
    reboot,
    resolvconf_at,
    says_on,
    serve_names,
    soon,
    telephone,
)
from reach_lab import DEADLINE_S, address, echo, needs, wait_until
from reach_site import (
    ENDS,
    HOST,
    PORTS,
    WHOLE,
    call,
    machines,
    serve_tcp,
    snapshot,
    tell,
)

pytestmark = needs()
SITES = ENDS.replace("2001:db8:0:1::7", "2001:db8:0:7::1").replace("2001:db8:0:1::20", "2001:db8:0:8::1")
IP6TNL = ("type", "ip6tnl", "remote", "2001:db8::1")  # one without an end is there already
FOUR_IN_SIX = '[link.wrap1]\nkind = "4in6"\nhome = "attic"\n'
HOME, LAPTOP, HUB = "198.18.0.2", "198.18.0.3", "198.18.0.1"  # in the network without NAT
WIREGUARD_MTU, TAP_MTU, TUNNEL_MTU = 1300, 1382, 1460
WIREGUARD = f"""
{ENDS.replace('"192.168.1.0/24"', '["192.168.1.0/24", "fd00:1::/64"]')}
[client.laptop]
[link.wg0]
kind = "wireguard"
peers = {{ attic = 2, laptop = 3 }}
routed = ["198.18.0.0/24", "fd00:464::/64"]
masqueraded = "198.18.1.0/24"
mtu = {WIREGUARD_MTU}
keepalive_s = 1
dns_upstream = "{HOST}"
domain = "fritz.box"
"""
BRIDGE = """
[server]
device = "eth0"
ipv4 = "203.0.113.7"
[home.attic]
device = "eth0"
ipv4 = "203.0.113.20"
lan = "192.168.88.0/24"
lan_device = "br-lan"
[client.laptop]
[link.wg0]
kind = "wireguard"
peers = { laptop = 2 }
routed = "172.16.0.0/24"
route = "nothing"
keepalive_s = 1
[link.taps]
kind = "bridge"
over = "wg0"
members = { laptop = 2, attic = 88 }
network = "192.168.0.0/16"
prefix = "2001:db8:0:5::/64"
remotes = { attic = "203.0.113.20:5555" }
"""
SIZE = 300_000
RA_S = 3 * DEADLINE_S  # until a router that was heard too early advertises again, RFC 4861 section 6.2.4


def has(*link):
    """Whether the kernel makes such a device."""
    with contextlib.suppress(OSError):
        made = subprocess.run(["unshare", "-n", "ip", "link", "add", "dev", "x", *link], capture_output=True)
        return made.returncode == 0
    return False


needs_gre = pytest.mark.skipif(
    not has("type", "wireguard") or not has("type", "gretap", "remote", "192.0.2.1"), reason="no GRE"
)


def advertised(machine, prefix, *device):
    """The address that a machine has made of the advertisement of a /64."""
    words = ("ip", "-6", "-o", "addr", "show", *device, "scope", "global", "-tentative")
    return re.search(rf"inet6 ({prefix}[0-9a-f:]+)/", machine.run(*words).stdout)


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    with machines(tmp_path_factory.mktemp("reach")) as site:
        for machine, own, other in ((site.server, 7, 8), (site.home, 8, 7)):
            address(machine, "eth0", f"2001:db8:0:{own}::1/64")
            machine.run("ip", "-6", "route", "add", f"2001:db8:0:{other}::/64", "dev", "eth0")
        yield site


@pytest.fixture
def site(net):
    yield net
    net.down()


def gives(machine, port, size=SIZE):
    serve_tcp(machine, "0.0.0.0", port, lambda connection: connection.sendall(bytes(size)), socket.AF_INET)


def move(machine, old, new):
    """To another address, without a warning; a route of the old one's network goes with it."""
    machine.run("ip", "addr", "del", old, "dev", "eth0")
    address(machine, "eth0", new)


@pytest.mark.skipif(not has(*IP6TNL), reason="no ip6_tunnel")
def test_4in6_a_whole_address_goes_home_and_comes_back(site):
    before = snapshot(site.server), snapshot(site.home)
    site.describe(SITES + FOUR_IN_SIX + WHOLE)
    site.at_once("up", (site.server, "server"), (site.home, "attic"))
    tell(site.host, 8443)
    tell(site.site, 80)
    for machine, target in ((site.caller, "203.0.113.7"), (site.host, "203.0.113.80")):
        soon(machine, target)
    assert call(site.caller, "203.0.113.7", 8443) == "203.0.113.99"
    assert call(site.host, "203.0.113.80", 80) == "203.0.113.7"
    learns(site.caller, "203.0.113.7", TUNNEL_MTU)
    learns(site.host, "203.0.113.80", TUNNEL_MTU)
    assert "encaplimit none" in site.server.run("ip", "-d", "link", "show", "wrap1").stdout
    assert ", 0 of " in site.reach(site.server, "up", "server").stdout
    site.down()
    # the module's own device, ip6tnl0, comes with the first tunnel and stays
    assert [part for part in snapshot(site.home) if "rule" in part] == [p for p in before[1] if "rule" in p]
    assert "wrap1" not in "".join(snapshot(site.server) + snapshot(site.home))


@pytest.mark.skipif(not has(*IP6TNL), reason="no ip6_tunnel")
def test_4in6_an_open_connection_outlives_the_servers_reboot_and_another_prefix_of_the_home(site):
    old, new = "2001:db8:0:8::1", "2001:db8:0:9::1"
    site.describe(SITES + FOUR_IN_SIX + PORTS.replace("443", "[443, 444]"))
    site.at_once("up", (site.server, "server"), (site.home, "attic"))
    serve_tcp(site.host, "0.0.0.0", 443, echo, socket.AF_INET)
    gives(site.host, 444)
    download(site.caller, "203.0.113.7", 444, SIZE)
    caller_learns(site.caller, "203.0.113.7", 5060, site.host, TUNNEL_MTU)
    site.server.run("ip", "-6", "route", "add", "2001:db8:0:9::/64", "dev", "eth0")
    with site.caller.connect("203.0.113.7", 443) as connection:
        says_on(connection)
        reboot(site, site.server, "server")
        says_on(connection)
        move(site.home, f"{old}/64", f"{new}/64")
        site.describe(SITES.replace(old, new) + FOUR_IN_SIX + PORTS)
        site.at_once("up", (site.server, "server"), (site.home, "attic"))
        says_on(connection)
    move(site.home, f"{new}/64", f"{old}/64")
    site.server.run("ip", "-6", "route", "del", "2001:db8:0:9::/64", "dev", "eth0")


@pytest.fixture
def dual_stack(site):
    """The home's LAN has IPv6 as well."""
    address(site.home, "eth1", "fd00:1::1/64")
    address(site.host, "eth0", "fd00:1::210/64")
    site.host.run("ip", "-6", "route", "add", "default", "via", "fd00:1::1")
    yield site
    site.host.run("ip", "addr", "del", "fd00:1::210/64", "dev", "eth0")
    site.home.run("ip", "addr", "del", "fd00:1::1/64", "dev", "eth1")


@pytest.mark.skipif(not has("type", "wireguard"), reason="no WireGuard in the kernel")
def test_a_day_of_wireguard(dual_stack):
    """The laptop is in the link, and the machine that calls what is published is not."""
    site, remote = dual_stack, dual_stack.site
    machines = (site.server, site.home, site.caller)
    before = [snapshot(machine) for machine in machines]
    site.describe(WIREGUARD + PORTS.replace("443", "[443, 444]"))
    with resolvconf_at(site.caller):
        site.at_once("up", (site.server, "server"), (site.home, "attic"), (site.caller, "laptop"))
        through_wireguard(site, remote)
        serve_tcp(site.host, "0.0.0.0", 443, echo, socket.AF_INET)
        with remote.connect("203.0.113.7", 443) as called, site.caller.connect(HOST, 443) as inside:
            what_outlives(site, called, inside)
        assert "handshake" in site.reach(site.server, "status", "server").stdout
        site.down()
    for machine, was in zip(machines, before, strict=True):
        assert changes(was, snapshot(machine)) == NOTHING


def through_wireguard(site, remote):
    for machine, target in ((site.caller, HOST), (site.caller, HUB), (site.host, LAPTOP)):
        soon(machine, target)
    for machine, target in ((site.caller, "fd00:1::210"), (site.host, "fd00:464::3")):
        soon(machine, target)
    telephone(site.host, HOST, site.caller, LAPTOP)
    serve_names(site.host, "nas.fritz.box", "192.168.1.30")
    assert wait_until(lambda: asked(site.caller, HUB, "nas.fritz.box"), "an answer") == "192.168.1.30"
    assert "nameserver 198.18." in site.caller.run("cat", "/run/resolvconf.said").stdout
    for machine, target in ((site.host, LAPTOP), (site.host, "fd00:464::3"), (site.caller, HOST)):
        learns(machine, target, WIREGUARD_MTU)
    caller_learns(remote, "203.0.113.7", 5060, site.host, WIREGUARD_MTU)
    gives(site.host, 444)
    download(remote, "203.0.113.7", 444, SIZE)
    download(site.caller, HOST, 444, SIZE)


def asked(machine, server, name):
    with contextlib.suppress(OSError):  # who answers has just been started
        return ask(machine, server, name)


def what_outlives(site, called, inside):
    """Two open connections, from outside and through the link, live on whatever happens to its ends."""
    for connection in (called, inside):
        says_on(connection)
    reboot(site, site.server, "server")
    for connection in (called, inside):
        says_on(connection)
    # the home's provider gives it another prefix
    site.server.run("ip", "-6", "route", "add", "2001:db8:0:9::/64", "dev", "eth0")
    move(site.home, "2001:db8:0:1::20/64", "2001:db8:0:9::20/64")
    site.home.run("ip", "-6", "route", "add", "2001:db8:0:1::/64", "dev", "eth0")
    # and the laptop comes into another network
    site.server.run("ip", "route", "add", "198.51.100.0/24", "dev", "eth0")
    move(site.caller, "203.0.113.99/24", "198.51.100.99/24")
    site.caller.run("ip", "route", "add", "203.0.113.0/24", "dev", "eth0")
    for connection in (called, inside):
        says_on(connection)
    site.server.run("ip", "-6", "route", "del", "2001:db8:0:9::/64")
    site.server.run("ip", "route", "del", "198.51.100.0/24")
    site.home.run("ip", "-6", "route", "del", "2001:db8:0:1::/64", "dev", "eth0")
    site.caller.run("ip", "route", "del", "203.0.113.0/24", "dev", "eth0")
    move(site.home, "2001:db8:0:9::20/64", "2001:db8:0:1::20/64")
    move(site.caller, "198.51.100.99/24", "203.0.113.99/24")


@needs_gre
def test_a_day_of_a_bridge_that_joins_a_site_over_gue_and_a_client_over_wireguard(site):
    host, laptop = "192.168.88.210", "192.168.2.1"
    address(site.home, "eth0", "203.0.113.20/24")
    site.home.run("ip", "link", "add", "br-lan", "type", "bridge")
    site.home.run("ip", "link", "set", "br-lan", "up")
    site.home.run("ip", "link", "set", "eth1", "master", "br-lan")
    address(site.home, "br-lan", "192.168.88.1/16")
    address(site.host, "eth0", f"{host}/16")
    site.describe(BRIDGE)
    site.at_once("up", (site.server, "server"), (site.home, "attic"), (site.caller, "laptop"))
    for machine, target in ((site.caller, host), (site.host, laptop), (site.host, "192.168.0.1")):
        soon(machine, target)
    tell(site.host, 445)
    assert call(site.caller, host, 445) == laptop
    telephone(site.host, host, site.caller, laptop)
    gives(site.host, 444)
    download(site.caller, host, 444, SIZE)
    into_a_bridge(site)
    serve_tcp(site.host, "0.0.0.0", 443, echo, socket.AF_INET)
    with site.caller.connect(host, 443) as connection:
        says_on(connection)
        reboot(site, site.server, "server")
        says_on(connection)
        move(site.caller, "203.0.113.99/24", "203.0.113.98/24")
        says_on(connection)
        move(site.home, "203.0.113.20/24", "203.0.113.21/24")
        site.describe(BRIDGE.replace("203.0.113.20", "203.0.113.21"))
        site.reach(site.server, "up", "server")
        says_on(connection)
    site.down()
    left = "".join(m.run("ip", "link").stdout for m in (site.server, site.home, site.caller))
    assert "taps" not in left


def into_a_bridge(site):
    """Both sites' machines have public addresses; who sends to them from outside learns what fits."""
    site.site.run("ip", "-6", "route", "add", "2001:db8:0:5::/64", "via", "2001:db8:0:1::7")
    for machine in (site.caller, site.host):
        own = wait_until(
            lambda m=machine: advertised(m, "2001:db8:0:5:"), "an address from the advertisement", RA_S
        )[1]
        learns(site.site, own, TAP_MTU)
