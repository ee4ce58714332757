# SPDX-License-Identifier: ISC
"""Packets through nodes that `464xlat` has set up, with the real siit: what gets through, what is heard of the rest."""

import re
import sys
import textwrap
import time

import pytest
from node_lab import EITHER_KIND, NEEDS, SIIT, address, snapshot
from setup_mesh import (
    ECHO_SERVER,
    MESH_MTU,
    NEXT_NODE,
    PRELUDE,
    SERVER,
    Mesh,
    mesh,
    nft_mesh,
)
from waiting import wait_until

pytestmark = NEEDS


def test_a_client_reaches_the_ipv4_internet(mesh):
    assert "3 received" in mesh.client.output(f"ping -c 3 -i 0.1 -W 20 {SERVER}")
    assert mesh.ask('print(tcp(b"who").recv(100))').startswith("b'203.0.113.1 ")
    assert mesh.ask('s = udp(); s.send(b"hello"); print(s.recv(100))') == "b'hello'"
    # not a multiple of anything, larger than any MTU on the way, once as fragments
    for size in (1200, 1346, 1347, 1400, 3000, 20000):
        assert mesh.ask(f's = udp(); s.send(b"x" * {size}); print(len(s.recv(65536)))') == str(size)
    size = 251 * 40000
    up = f'data = bytes(range(251)) * 40000; c = tcp(b"take {size}", timeout=60); c.sendall(data); '
    assert (
        mesh.ask(up + "print(c.makefile().readline().strip() == hashlib.sha256(data).hexdigest())") == "True"
    )
    down = f'data = tcp(b"give {size}", timeout=60).makefile("rb").read(); '
    assert mesh.ask(down + f"print(data == bytes(range(251)) * 40000, len(data) == {size})") == "True True"
    for node in mesh.nodes:
        node.xlat("clat down")
        node.xlat("plat down")
    for node, before in zip(mesh.nodes, mesh.before, strict=True):
        assert without_link_addresses(snapshot(node.machine, node.variables)) == without_link_addresses(
            before
        )


# a datagram without a checksum either way, and what became of it: SO_NO_CHECK is 11
BARE = """
    s = udp()
    s.setsockopt(socket.SOL_SOCKET, 11, 1)
    for size in {sizes}:
        s.send(b"x" * size)
        got = s.recv(65536)
        assert got == b"x" * size, (size, len(got))
    print("all")
"""


@pytest.mark.parametrize("mesh", EITHER_KIND, indirect=True)
def test_udp_without_a_checksum_passes_in_every_size_both_ways(mesh):
    """As VoWiFi, IPsec NAT-T and VXLAN send it; above the client's own MTU it comes in fragments."""
    echo = ECHO_SERVER.replace(
        'udp.bind(("", 7))', 'udp.bind(("", 8)); udp.setsockopt(socket.SOL_SOCKET, 11, 1)'
    )
    server = mesh.server.start(
        [sys.executable, "-c", textwrap.dedent(echo.replace('("", 7), backlog', '("", 8), backlog'))]
    )
    assert server.stdout.readline() == "ready\n"
    sizes = [1, 1326, 1327, 1400, 1472, 1473, 3000, 20000, 65000]
    assert mesh.ask(BARE.format(sizes=sizes).replace("udp()", "udp(); s.connect((SERVER, 8))")) == "all"


@pytest.mark.parametrize("mesh", EITHER_KIND, indirect=True)
def test_a_ping_passes_in_every_size(mesh):
    for size in (1326, 1400, 1472, 4000, 20000):
        assert "1 received" in mesh.client.output(f"ping -c 1 -W 20 -M dont -s {size} {SERVER}")


def without_link_addresses(text):
    """A snapshot without what happens by itself: links come up."""
    text = re.sub(r"^(local|multicast|anycast) .*\n", "", text, flags=re.M)
    return re.sub(r"^.*fe80::.*\n", "", text, flags=re.M)


def test_without_an_exit_clients_hear_so_at_once_and_nothing_leaks(nft_mesh):
    mesh = nft_mesh
    # a default route of the node's own, which is none of the clients'
    mesh.clat.run("ip link add uplink type bridge")
    address(mesh.clat, "uplink", "192.168.77.1/24")
    mesh.clat.run("ip -4 route add default via 192.168.77.254")
    mesh.clat.run("sysctl -qw net.ipv4.ip_forward=1")
    assert "1 received" in mesh.client.output(f"ping -c 1 -W 20 {SERVER}")
    mesh.clat_node.xlat("clat-route stop")
    start = time.monotonic()
    said = mesh.client.run(f"ping -c 1 -W 20 {SERVER}", check=False)
    assert f"From {NEXT_NODE} icmp_seq=1 Destination Net Unreachable" in said.stdout
    assert time.monotonic() - start < 10
    failed = "try: tcp(b'who')\nexcept OSError as error: print(error.strerror)"
    assert mesh.client.python(textwrap.dedent(PRELUDE) + failed) == "Network is unreachable"
    assert "1 received" in mesh.client.output(f"ping -c 1 -W 20 {NEXT_NODE}"), (
        "the node itself stays reachable"
    )
    mesh.clat_node.xlat("clat-route use")
    assert "1 received" in mesh.client.output(f"ping -c 1 -W 20 {SERVER}")


def test_a_client_of_a_node_with_both_roles_uses_its_own_exit(machines):
    mesh = Mesh(machines, both=True)
    mesh.mid.run("ip link set right down")
    assert mesh.ask('print(tcp(b"who").recv(100))', mesh.client2).startswith("b'203.0.113.1 ")
    size = 251 * 20000
    down = f'print(len(tcp(b"give {size}", timeout=60).makefile("rb").read()))'
    assert mesh.ask(down, mesh.client2) == str(size)
    mesh.plat_node.xlat("plat down")
    said = mesh.client2.run(f"ping -c 1 -W 1 {SERVER}", check=False)
    assert " 0 received" in said.stdout, "no way past the CLAT"
    mesh.plat_node.xlat(f"plat up {mesh.plat_options}")
    assert mesh.ask('print(tcp(b"who").recv(100))', mesh.client2).startswith("b'203.0.113.1 ")


def test_errors_of_mesh_routers_reach_the_client_from_192_0_0_8(nft_mesh):
    mesh = nft_mesh
    # hops: clat's IPv4 stack, its translator, clat's IPv6 stack, mid
    seen = [mesh.client.run(f"ping -c 1 -W 5 -t {ttl} {SERVER}", check=False).stdout for ttl in range(1, 7)]
    assert f"From {NEXT_NODE}" in seen[0]
    assert any("From 192.0.0.8" in text for text in seen[1:]), seen


def test_tcp_mss_is_clamped_both_ways_and_never_raised(mesh):
    mss = "s = tcp(b'who'); s.recv(100); print(s.getsockopt(6, 2))"  # TCP_MAXSEG
    assert int(mesh.ask(mss)) <= MESH_MTU - 60
    mesh.server.run("ip route change default via 198.51.100.1 advmss 1000")
    assert int(mesh.ask(mss)) <= 1000


def test_only_the_clat_range_enters_the_plat_and_nobody_from_outside(mesh):
    # another network's host in the mesh, and a node's own address
    mesh.mid.run("ip -6 address add fd00:9::1/128 dev lo nodad")
    mesh.plat.run("ip -6 route add fd00:9::1 via fd00:2::2")
    target = "fddd:1337:1338:200:0:b2:c633:6402"  # SERVER in the PLAT's prefix
    said = mesh.mid.run(f"ping -c 5 -i 0.3 -W 5 -I fd00:9::1 {target}", check=False)
    assert "Administratively prohibited" in said.stdout, said
    client = "fddd:1337:1337:dead::a7e:1"  # 10.126.0.1 of another node
    mesh.mid.run(f"ip -6 address add {client}/128 dev lo nodad")
    mesh.plat.run(f"ip -6 route add {client} via fd00:2::2")
    assert "1 received" in mesh.mid.output(f"ping -c 1 -W 20 -I {client} {target}")
    # from the internet side, to the pool, which no connection asked for
    mesh.net4.run("ip -4 route add 192.0.2.9 via 203.0.113.1")
    before = packets_in(mesh.plat, "plat")
    assert " 0 received" in mesh.net4.run("ping -c 2 -i 0.1 -W 1 192.0.2.9", check=False).stdout
    assert packets_in(mesh.plat, "plat") == before
    # out of the PLAT to anything but the WAN
    mesh.plat.run("ip link add office type bridge")
    address(mesh.plat, "office", "192.168.50.1/24")
    said = mesh.client.run("ping -c 1 -W 20 192.168.50.7", check=False)
    assert "Destination Host Prohibited" in said.stdout, said


def packets_in(machine, device):
    """IPv4 packets that siit has read from a device."""
    return re.search(r"in4_packets\s+(\d+)", machine.output(f"{SIIT} stat {device}"))[1]


@pytest.mark.parametrize("firewall", EITHER_KIND)
def test_clients_share_the_pools_addresses_and_stay_in_the_port_range(machines, firewall):
    mesh = Mesh(machines, firewall, pool="192.0.2.8/30", ports="20000-20199")
    watch = mesh.plat.start("tcpdump -i plat -nn -l --immediate-mode ip and dst 198.51.100.2 and not icmp")
    wait_until(lambda: "listening" in watch.stdout.readline(), "tcpdump")
    many = """
        for i in range(60):
            for s in (tcp(b"who"), udp()):
                if s.type == socket.SOCK_DGRAM: s.send(b"who")
                s.recv(100)
    """
    mesh.ask(many)
    mesh.plat.run("pkill -INT tcpdump")
    sources = re.findall(r"IP (192\.0\.2\.\d+)\.(\d+) > 198", watch.stdout.read())
    assert len(sources) >= 120
    assert {ip for ip, _ in sources} <= {"192.0.2.8", "192.0.2.9", "192.0.2.10", "192.0.2.11"}
    assert all(20000 <= int(port) <= 20199 for _, port in sources)
