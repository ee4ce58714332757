# SPDX-License-Identifier: ISC
"""A host that translates itself, at a node without the roaming daemon: the roles' own rules, and the exit's."""

import re

import pytest
from hosts_lab import CLIENTS6, HOST6, OPTIONS, PREF64, Host
from node_lab import EITHER_KIND, NEEDS, address, snapshot
from setup_mesh import PLAT_PREFIX, SERVER, Mesh
from test_node_setup_traffic import without_link_addresses
from waiting import wait_until

pytestmark = NEEDS
PLAT = PLAT_PREFIX.removesuffix(":/96")  # and an IPv4 address


@pytest.fixture(params=EITHER_KIND)
def mesh(machines, request):
    """The client is such a host, with an address that the mesh leads to its node."""
    mesh = Mesh(machines, request.param)
    address(mesh.client, "eth0", f"{HOST6}/128")
    address(mesh.clat, "br-client", "fd00:3::1/64")
    address(mesh.client, "eth0", "fd00:3::2/64")
    mesh.client.run(f"ip -6 route add default via fd00:3::1 src {HOST6}")
    mesh.clat.run(f"ip -6 route add {HOST6}/128 dev br-client")
    mesh.mid.run(f"ip -6 route add {HOST6}/128 via fd00:1::1")
    mesh.clat_node.xlat(f"clat up {mesh.clat_options} {OPTIONS}")
    mesh.plat_node.xlat(f"plat up {mesh.plat_options} {OPTIONS}")
    mesh.clat_node.xlat(f"clat-route use {PLAT_PREFIX}")
    mesh.host = Host(mesh.client)
    wait_until(lambda: mesh.host.do(f"udp {PREF64}{SERVER} 10") is True, "way to the server")
    yield mesh
    mesh.host.close()


def test_a_host_has_the_ipv4_internet_and_nothing_else_of_the_platnodes(mesh):
    host = mesh.host
    assert host.do("take") is True
    for size in (1200, 1326, 4000):
        assert host.do(f"udp {PREF64}{SERVER} {size}") is True
    # another's name, the PLAT itself, nodes' own addresses, networks that are nobody's on the internet
    assert host.do(f"udp {PLAT}{SERVER} 10") == "silence"
    assert host.do(f"udp {PREF64}192.0.0.1 10") == "silence"
    assert host.do(f"udp {PREF64}10.1.2.3 10") == "EACCES"
    assert host.do(f"udp {PREF64}203.0.113.1 10") == "EACCES"
    mesh.clat.run("ip -6 route add fd00:9::/64 dev br-client")
    before = packets(mesh)
    mesh.client.run("ip -6 address add fddd:1337:1337:200:0:c1:a7e:33/128 dev eth0 nodad")
    mesh.client.run(f"ping -c 1 -W 1 -I fddd:1337:1337:200:0:c1:a7e:33 {PREF64}{SERVER}", check=False)
    assert packets(mesh) == before
    # the path is narrower than the mesh's MTU: the error is about what the host has sent
    mesh.mid.run("ip link set right mtu 1300")
    assert host.do(f"mtu {PREF64}{SERVER} 1290") == ("EMSGSIZE", 1300)
    said = mesh.clat_node.xlat("clat status").stdout
    if mesh.clat_node.firewall == "nft":
        assert ", 1 translate themselves" in said
    else:
        assert " up " in said


def without_times(text):
    return re.sub(r"expires [^,} ]*", "", text)


def packets(mesh):
    """How many have come to the exit's translator."""
    return int(re.search(r"TX:.*\n +\d+ +(\d+)", mesh.plat.output("ip -s link show dev plat"))[1])


def test_without_an_exit_a_host_hears_so_at_once_and_rules_that_were_flushed_come_back(mesh):
    host, node = mesh.host, mesh.clat_node
    node.xlat("clat-route stop")
    assert host.do(f"udp {PREF64}{SERVER} 10") == "ENETUNREACH"
    node.xlat(f"clat-route use {PLAT_PREFIX}")
    assert host.do(f"udp {PREF64}{SERVER} 10") is True
    before = without_times(snapshot(node.machine, node.variables))
    if node.firewall == "nft":
        node.machine.run("nft delete table ip6 xlat464_hosts")
    else:
        node.machine.run("ip6tables -t nat -F", **node.variables)
    assert "rules for hosts that translate themselves are gone" in node.xlat("clat check", check=False).stderr
    node.xlat(f"clat up {mesh.clat_options} {OPTIONS}")
    assert host.do(f"udp {PREF64}{SERVER} 10") is True
    assert without_times(snapshot(node.machine, node.variables)) == before
    node.xlat(f"clat up {mesh.clat_options} --client-prefixes {CLIENTS6} --pref64 off")
    assert host.do(f"udp {PREF64}{SERVER} 10") == "silence"
    for each in mesh.nodes:
        each.xlat("clat down")
        each.xlat("plat down")
    mesh.clat.run(f"ip -6 route del {HOST6}/128 dev br-client")
    after = snapshot(mesh.plat_node.machine, mesh.plat_node.variables)
    assert without_link_addresses(after) == without_link_addresses(mesh.before[1])
    tables = mesh.clat.output("nft list tables") if node.firewall == "nft" else ""
    assert "xlat464" not in tables
    assert PREF64 not in mesh.clat.output("ip -6 rule show")
