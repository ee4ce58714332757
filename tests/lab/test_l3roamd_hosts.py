# SPDX-License-Identifier: ISC
"""A host that translates itself walks with what it has open, by the rules of each kind. No translator is on its way."""

from ipaddress import IPv6Address

import pytest
from hosts_lab import HOST6, OPTIONS, PREF64, Host
from node_lab import BESIDE, NEEDS, address, link
from rules_lab import NEXT_NODE_MAC, SERVER, plat
from waiting import wait_until

pytestmark = NEEDS
HOST = IPv6Address(HOST6).packed
PREFIX, RANGE = (IPv6Address(each).packed for each in (PREF64, "fddd:1337:1338::"))
LINK_LOCAL = "fe80::1"


class Walker:
    """The host's machine. Its routes in the mesh are there before it comes, as babel and the daemon would have them."""

    def __init__(self, mesh):
        self.mesh, self.machine = mesh, mesh.make("host")
        mac = "02:00:00:00:01:50"
        self.machine.run(f"ip link add eth0 address {mac} type bridge")
        for name in ("a", "b"):
            node = mesh.machine[name]
            link(self.machine, f"to-{name}", node, "lan50")
            node.run("ip link set lan50 up master br-client")
            node.run(f"ip -6 route add {HOST6}/128 dev br-client")
            node.run(f"ip -6 neigh replace {HOST6} lladdr {mac} dev br-client")
            self.machine.run(f"ip link set to-{name} master eth0")
        address(self.machine, "eth0", f"{HOST6}/128")
        self.machine.run(f"ip -6 neigh replace {LINK_LOCAL} lladdr {NEXT_NODE_MAC} dev eth0")
        self.machine.run(f"ip -6 route add default via {LINK_LOCAL} dev eth0 src {HOST6}")
        self.go("a")
        self.program = Host(self.machine)

    def go(self, to):
        for name, number in (("a", 1), ("b", 2)):
            self.machine.run(f"ip link set to-{name} {'up' if name == to else 'down'}")
            if name == to:
                self.mesh.machine["mid"].run(f"ip -6 route replace {HOST6}/128 via fd00:{number}::1")
        port = "bridge -json link show dev "
        wait_until(
            lambda: (
                '"state":"forwarding"' in self.machine.output(port + f"to-{to}")
                and '"state":"forwarding"' in self.mesh.machine[to].output(port + "lan50")
            ),
            f"way to {to}",
        )


@pytest.fixture(params=["nft", "xtables-legacy", BESIDE])
def mesh(mesh_of, request):
    """a uses the PLAT of c, b that of x."""
    mesh = mesh_of(request.param, options=OPTIONS)
    for name in ("a", "b"):
        mesh.hand(name, PREFIX, RANGE)
    mesh.hands["a"].set_current_plat(plat("c"))
    mesh.hands["b"].set_current_plat(plat("x"))
    return mesh


def test_what_a_host_has_open_walks_along_until_its_plat_is_lost(mesh):
    walker = Walker(mesh)
    host, a, b = walker.program, mesh.hands["a"], mesh.hands["b"]
    mesh.clients.append(host)
    wait_until(lambda: host.do(f"udp {PREF64}{SERVER} 10") is True, "way to the server")
    assert host.do("open one") is True
    # the node chooses another: who is there keeps the former one, by an entry that comes first
    a.use_plats([HOST], plat("c"))
    a.set_current_plat(plat("x"))
    assert host.do("big one") is True
    for turn in range(2):
        b.use_plats([HOST], plat("c"))
        walker.go("b")
        a.leave_plat(HOST, plat("c"))
        assert host.do(f"echo one at-b-{turn}") is True
        assert host.do("big one") is True
        a.use_plats([HOST], plat("c"))
        walker.go("a")
        b.leave_plat(HOST, plat("c"))
        assert host.do(f"echo one at-a-{turn}") is True
    assert host.do("open two") is True
    # what is on the way is put right as well: nothing else goes there, and errors are about what the host has sent
    assert host.do(f"udp {str(IPv6Address(plat('c')))[:-1]}{SERVER} 10") == "silence"
    assert host.do(f"udp {PREF64}192.0.0.1 10") == "silence"
    assert host.do(f"udp {PREF64}10.1.2.3 10") == "EACCES"
    mesh.machine["mid"].run("ip link set to-c mtu 1300")
    assert host.do(f"mtu {PREF64}{SERVER} 1290") == ("EMSGSIZE", 1300)
    if mesh.firewall != "xtables-legacy":
        assert a.hosts() == [HOST]
    # it is lost: what was open is over, and what begins is right at once
    mesh.machine["c"].run("ip link set mesh down")
    a.drop_plat(plat("c"))
    assert host.do("open three") is True
    assert host.do(f"udp {PREF64}{SERVER} 10") is True
    assert not a.own_plat_of()
    a.set_current_plat(None)
    assert host.do(f"udp {PREF64}{SERVER} 10") == "ENETUNREACH"
