# SPDX-License-Identifier: ISC
"""A provider that has the /64 on the wire, and expects to find each address there: the bridge behind is found.

    router fe80::1, ::ffff on its wire -- eth0 server taps -- member, which makes itself an address (SLAAC)

The bridge's members are veths, for kernels without GRE.
"""

import contextlib
import os
import shutil
from dataclasses import replace

import pytest
from reach_lab import Machine, address, cable, wait_until

from reach import keys, reader
from reach.plan import Br
from reach.plan_publish import make
from reach.render.commands import Place, commands, services

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(not all(map(shutil.which, ("radvd", "ndppd"))), reason="no radvd, no ndppd"),
]
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


def answers(machine, target, *options):
    return machine.run("ping", "-c1", "-W1", *options, target, check=False).returncode == 0


def test_a_member_has_a_public_address_that_the_providers_router_finds(site):
    router, _, member = site
    wait_until(
        lambda: "2001:db8:0:7:" in member.run("ip", "-6", "addr", "show", "dev", "eth0", "-tentative").stdout,
        "an address from the advertisement",
    )
    wait_until(lambda: answers(member, OUTSIDE), "the internet answers a member")
    shown = member.run("ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "global").stdout
    own = shown.split()[3].partition("/")[0]
    wait_until(lambda: answers(router, own, "-I", OUTSIDE), "the router finds the member")
    assert answers(member, "2001:db8:0:7::7"), "the server is there for members as well"
    assert answers(router, "2001:db8:0:7::7", "-I", OUTSIDE)
    assert not answers(router, "2001:db8:0:7::dead", "-I", OUTSIDE), "nobody answers for who is not there"
