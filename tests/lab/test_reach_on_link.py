# SPDX-License-Identifier: ISC
"""A provider that has the /64 on the wire, and expects to find each address there: the bridge behind is found.

    router fe80::1, ::ffff on its wire -- eth0 server taps -- member, which makes itself an address (SLAAC)

The bridge's members are veths, for kernels without GRE.
"""

import contextlib
import socket
from dataclasses import replace

import pytest
from reach_day import NOTHING, answers, await_addresses, changes, download, learns, says_on, soon
from reach_lab import Machine, address, cable, echo, needs, wait_until
from reach_site import Site, serve_tcp, servers, snapshot
from test_reach_links import RA_S, SIZE, TAP_MTU, advertised, needs_gre

from reach import keys, reader
from reach.plan import Br
from reach.plan_publish import make
from reach.render.commands import Place, commands, services

pytestmark = needs("radvd", "ndppd")
DESCRIPTION = """
[server]
device = "eth0"
ipv4 = "203.0.113.7"
ipv6 = "2001:db8:0:7::7/64"
[client.office]
[link.wg0]
kind = "wireguard"
peers = { office = 2 }
routed = "172.16.0.0/24"
[link.taps]
kind = "bridge"
over = "wg0"
members = { office = 2 }
prefix = "2001:db8:0:7::/64"
provider = "proxied"
"""
OUTSIDE = "2001:db8:ffff::1"


@pytest.fixture
def site(tmp_path):
    with contextlib.ExitStack() as stack:
        router, server, member = (Machine() for _ in range(3))
        for machine in (router, server, member):
            stack.callback(machine.end)
        cable(router, "eth0", server, "eth0")
        address(router, "eth0", "fe80::1/64", "2001:db8:0:7::ffff/64")
        address(router, "lo", f"{OUTSIDE}/128")
        address(server, "eth0", "2001:db8:0:7::7/64")
        server.run("ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
        whole = make(reader.read(DESCRIPTION), "server")
        plan = replace(whole, devices=tuple(each for each in whole.devices if isinstance(each, Br)))
        plan = replace(
            plan,
            addresses=tuple(each for each in plan.addresses if each.device == "taps"),
            routes=tuple(each for each in plan.routes if each.device == "taps"),
        )
        place = Place(keys.Keys({}, {}))
        for each in commands(plan, place, with_firewall=False):
            server.run("sh", "-c", each.up)
        cable(server, "member", member, "eth0")
        server.run("ip", "link", "set", "member", "master", "taps")
        for each in services(plan, place):
            config = tmp_path / f"{each.name}.conf"
            config.write_text(each.config)
            words = [word.replace("{config}", str(config)) for word in each.command]
            server.run("sh", "-c", f"{' '.join(words)} >{tmp_path}/{each.name}.log 2>&1 &")
        yield router, server, member


def public(machine, device):
    return advertised(machine, "2001:db8:0:7:", "dev", device)


def test_a_member_has_a_public_address_that_the_providers_router_finds(site):
    router, _, member = site
    own = wait_until(lambda: public(member, "eth0"), "an address from the advertisement")[1]
    wait_until(lambda: answers(member, OUTSIDE), "the internet answers a member")
    wait_until(lambda: answers(router, own, "-I", OUTSIDE), "the router finds the member")
    assert answers(member, "2001:db8:0:7::7"), "the server is there for members as well"
    assert answers(router, "2001:db8:0:7::7", "-I", OUTSIDE)
    assert not answers(router, "2001:db8:0:7::dead", "-I", OUTSIDE), "nobody answers for who is not there"


ADVERTISEMENT = "interface eth0 { AdvSendAdvert on; MinRtrAdvInterval 3; prefix 2001:db8:0:7::/64 { }; };"


class Rented(Site):
    """A server at its provider's router, and an office in a network behind that router."""

    def __init__(self, stack, folder):
        self.folder = folder
        self.router, self.server, self.office = machines = [Machine() for _ in range(3)]
        for machine in machines:
            stack.callback(machine.end)
        cable(self.router, "eth0", self.server, "eth0")
        cable(self.router, "eth1", self.office, "eth0")
        self.router.run("sysctl", "-q", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        address(self.router, "eth0", "203.0.113.1/24", "fe80::1/64", "2001:db8:0:7::ffff/64")
        address(self.router, "eth1", "198.51.100.1/24")
        address(self.router, "lo", f"{OUTSIDE}/128")
        self.server.run("sysctl", "-q", "net.ipv6.conf.eth0.accept_ra=0")
        address(self.server, "eth0", "203.0.113.7/24", "2001:db8:0:7::7/64")
        self.server.run("ip", "route", "add", "default", "via", "203.0.113.1")
        self.server.run("ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
        address(self.office, "eth0", "198.51.100.2/24")
        self.office.run("ip", "route", "add", "default", "via", "198.51.100.1")
        await_addresses(self.server, "eth0")

    def advertise(self):
        config = self.folder / "radvd.conf"
        config.write_text(ADVERTISEMENT)
        self.router.run("sh", "-c", f"radvd --nodaemon --config={config} >{config}.log 2>&1 &")


@needs_gre
@pytest.mark.parametrize("provider", ["proxied", "bridged"])
def test_up_gives_a_member_a_public_address_and_down_gives_all_back(provider, tmp_path):
    with contextlib.ExitStack() as stack:
        site = Rented(stack, tmp_path)
        for end in ("server", "office"):
            keys.write(tmp_path / "keys", end)
        site.describe(DESCRIPTION.replace("proxied", provider))
        before = snapshot(site.server)
        serve_tcp(site.server, "::", 22, echo)
        stack.callback(servers.pop().close)
        # from outside, for a server whose provider is proxied looks for its /64 in the bridge
        with site.router.connect("2001:db8:0:7::7", 22, socket.AF_INET6, OUTSIDE) as connection:
            says_on(connection)
            site.at_once("up", (site.server, "server"), (site.office, "office"))
            says_on(connection)
            if provider == "bridged":
                site.advertise()
            reaches_the_office(site, provider)
            assert ", 0 of " in site.reach(site.server, "up", "server").stdout
            site.at_once("down", (site.server, "server"), (site.office, "office"))
            says_on(connection)
        assert changes(before, snapshot(site.server)) == NOTHING


def reaches_the_office(site, provider):
    member = wait_until(lambda: public(site.office, "taps"), "an address from the advertisement", RA_S)[1]
    soon(site.office, OUTSIDE)
    soon(site.router, member, "-I", OUTSIDE)
    soon(site.office, "2001:db8:0:7::7")  # the server is there for members as well
    if provider == "proxied":
        learns(site.router, member, TAP_MTU, "-I", OUTSIDE)  # a bridge sends no Packet Too Big
    for machine, caller, target, source in (
        (site.office, site.router, member, OUTSIDE),
        (site.router, site.office, OUTSIDE, None),
    ):
        serve_tcp(machine, "::", 80, lambda connection: connection.sendall(bytes(SIZE)))
        download(caller, target, 80, SIZE, source)
        servers.pop().close()
