# SPDX-License-Identifier: ISC
"""The links that need modules of the kernel, where it has them: IPv4 in IPv6, WireGuard, GRETAP over both and GUE."""

import contextlib
import socket
import subprocess

import pytest
from reach_lab import address, echo, wait_until
from test_reach_apply import ENDS, PORTS, WG, WHOLE, Site, call, keys, serve_tcp, servers, snapshot, tell

pytestmark = pytest.mark.skipif(
    subprocess.run(["id", "-u"], capture_output=True).stdout != b"0\n", reason="needs root"
)
SITES = ENDS.replace("2001:db8:0:1::7", "2001:db8:0:7::1").replace("2001:db8:0:1::20", "2001:db8:0:8::1")
IP6TNL = ("type", "ip6tnl", "remote", "2001:db8::1")  # one without an end is there already
FOUR_IN_SIX = '[link.wrap1]\nkind = "4in6"\nhome = "attic"\n'
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
[link.taps]
kind = "bridge"
over = "wg0"
members = { laptop = 2, attic = 88 }
network = "192.168.0.0/16"
remotes = { attic = "203.0.113.20:5555" }
"""


def has(*link):
    """Whether the kernel makes such a device."""
    with contextlib.suppress(OSError):
        made = subprocess.run(["unshare", "-n", "ip", "link", "add", "dev", "x", *link], capture_output=True)
        return made.returncode == 0
    return False


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    with contextlib.ExitStack() as stack:
        folder = tmp_path_factory.mktemp("reach")
        for end in ("server", "attic", "laptop"):
            keys.write(folder / "keys", end)
        site = Site(stack, folder)
        for machine, own, other in ((site.server, 7, 8), (site.home, 8, 7)):
            address(machine, "eth0", f"2001:db8:0:{own}::1/64")
            machine.run("ip", "-6", "route", "add", f"2001:db8:0:{other}::/64", "dev", "eth0")
        yield site


@pytest.fixture
def site(net):
    yield net
    net.down()
    while servers:
        servers.pop().close()


def answers(machine, target):
    return machine.run("ping", "-c1", "-W1", target, check=False).returncode == 0


@pytest.mark.skipif(not has(*IP6TNL), reason="no ip6_tunnel")
def test_4in6_a_whole_address_goes_home_and_comes_back(site):
    before = snapshot(site.server), snapshot(site.home)
    site.describe(SITES + FOUR_IN_SIX + WHOLE)
    site.reach(site.server, "up", "server")
    site.reach(site.home, "up", "attic")
    tell(site.host, 8443)
    tell(site.site, 80)
    wait_until(lambda: answers(site.caller, "203.0.113.7"), "ping")
    assert call(site.caller, "203.0.113.7", 8443) == "203.0.113.99"
    assert call(site.host, "203.0.113.80", 80) == "203.0.113.7"
    assert "encaplimit none" in site.server.run("ip", "-d", "link", "show", "wrap1").stdout
    assert ", 0 of " in site.reach(site.server, "up", "server").stdout
    site.down()
    # the module's own device, ip6tnl0, comes with the first tunnel and stays
    assert [part for part in snapshot(site.home) if "rule" in part] == [p for p in before[1] if "rule" in p]
    assert "wrap1" not in "".join(snapshot(site.server) + snapshot(site.home))


@pytest.mark.skipif(not has(*IP6TNL), reason="no ip6_tunnel")
def test_4in6_a_large_transfer_fits_the_tunnel(site):
    site.describe(SITES + FOUR_IN_SIX + PORTS)
    site.reach(site.server, "up", "server")
    site.reach(site.home, "up", "attic")
    size = 300_000
    serve_tcp(site.host, "0.0.0.0", 443, lambda c: c.sendall(bytes(size)), socket.AF_INET)
    with site.caller.connect("203.0.113.7", 443) as connection:
        got = 0
        while part := connection.recv(1 << 16):
            got += len(part)
    assert got == size


@pytest.mark.skipif(not has(*IP6TNL), reason="no ip6_tunnel")
def test_4in6_an_open_connection_outlives_another_prefix_of_the_home(site):
    old, new = "2001:db8:0:8::1", "2001:db8:0:9::1"
    site.describe(SITES + FOUR_IN_SIX + PORTS)
    site.at_once("up", (site.server, "server"), (site.home, "attic"))
    serve_tcp(site.host, "0.0.0.0", 443, echo, socket.AF_INET)
    site.server.run("ip", "-6", "route", "add", "2001:db8:0:9::/64", "dev", "eth0")
    with site.caller.connect("203.0.113.7", 443) as connection:
        connection.sendall(b"1")
        assert connection.recv(1) == b"1"
        site.home.run("ip", "addr", "del", f"{old}/64", "dev", "eth0")
        address(site.home, "eth0", f"{new}/64")
        site.describe(SITES.replace(old, new) + FOUR_IN_SIX + PORTS)
        site.at_once("up", (site.server, "server"), (site.home, "attic"))
        connection.sendall(b"2")
        assert connection.recv(1) == b"2"
    site.home.run("ip", "addr", "del", f"{new}/64", "dev", "eth0")
    address(site.home, "eth0", f"{old}/64")


@pytest.mark.skipif(not has("type", "wireguard"), reason="no WireGuard in the kernel")
def test_wireguard_of_the_kernel_carries_what_is_published(site):
    site.describe(ENDS + WG.replace("userspace = true\n", "") + PORTS)
    before = snapshot(site.server), snapshot(site.home)
    site.both_up()
    tell(site.host, 443)
    assert call(site.caller, "203.0.113.7", 443) == "203.0.113.99"
    assert "handshake" in site.reach(site.server, "status", "server").stdout
    site.down()
    assert (snapshot(site.server), snapshot(site.home)) == before


@pytest.mark.skipif(
    not has("type", "wireguard") or not has("type", "gretap", "remote", "192.0.2.1"), reason="no GRE"
)
def test_a_bridge_joins_a_site_over_gue_and_a_client_over_wireguard(site):
    address(site.home, "eth0", "203.0.113.20/24")
    site.home.run("ip", "link", "add", "br-lan", "type", "bridge")
    site.home.run("ip", "link", "set", "br-lan", "up")
    site.home.run("ip", "link", "set", "eth1", "master", "br-lan")
    address(site.home, "br-lan", "192.168.88.1/16")
    address(site.host, "eth0", "192.168.88.210/16")
    site.describe(BRIDGE)
    site.reach(site.server, "up", "server")
    site.reach(site.home, "up", "attic")
    site.reach(site.caller, "up", "laptop")
    wait_until(lambda: answers(site.caller, "192.168.88.210"), "the client reaches a host of the site")
    assert answers(site.host, "192.168.2.1")
    assert answers(site.host, "192.168.0.1")
    tell(site.host, 445)
    assert call(site.caller, "192.168.88.210", 445) == "192.168.2.1"
    site.down()
    left = "".join(m.run("ip", "link").stdout for m in (site.server, site.home, site.caller))
    assert "taps" not in left
