# SPDX-License-Identifier: ISC
"""Packets through nodes that `464xlat` has set up, with the real siit: what gets through, what is heard of the rest."""

import re
import sys
import textwrap
import time

import pytest
from node_lab import EITHER_KIND, FIREWALLS, NEEDS, RANGES, SIIT, Node, address, link, snapshot
from waiting import wait_until

pytestmark = NEEDS
MESH_MTU = 1374
CLIENT, SERVER, NEXT_NODE = "10.126.0.50", "198.51.100.2", "10.126.0.1"
CLAT_PREFIX = "fddd:1337:1337:200:0:c1::/96"
PLAT_PREFIX = "fddd:1337:1338:200:0:b2::/96"

ECHO_SERVER = """
    import socket, threading

    def tcp():
        server = socket.create_server(("", 7), backlog=50)
        while True:
            connection, peer = server.accept()
            threading.Thread(target=talk, args=(connection, peer), daemon=True).start()

    def talk(connection, peer):
        # one line says what to do: echo, take N bytes, or give N bytes
        with connection, connection.makefile("rb") as reader:
            word, *rest = reader.readline().split()
            if word == b"who":
                connection.sendall(b"%s %d\\n" % (peer[0].encode(), peer[1]))
            elif word == b"take":
                import hashlib
                digest, left = hashlib.sha256(), int(rest[0])
                while left:
                    data = reader.read(min(left, 65536))
                    digest.update(data)
                    left -= len(data)
                connection.sendall(digest.hexdigest().encode() + b"\\n")
            elif word == b"give":
                connection.sendall(bytes(range(251)) * (int(rest[0]) // 251))

    threading.Thread(target=tcp, daemon=True).start()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("", 7))
    udp.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER, IP_PMTUDISC_DONT: what is too large is cut up
    print("ready", flush=True)
    while True:
        data, peer = udp.recvfrom(65536)
        if data.startswith(b"who"):
            data = b"%s %d" % (peer[0].encode(), peer[1])
        udp.sendto(data, peer)
"""

PRELUDE = """
    import hashlib, socket, sys, time
    SERVER = "198.51.100.2"
    def tcp(command, address=SERVER, timeout=60):
        connection = socket.create_connection((address, 7), timeout)
        connection.sendall(command + b"\\n")
        return connection
    def udp(address=SERVER, timeout=60, df=False):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(timeout)
        s.setsockopt(socket.IPPROTO_IP, 10, 2 if df else 0)  # IP_MTU_DISCOVER
        s.connect((address, 7))
        return s
"""


class Mesh:
    """client - clat - mid - plat - net4 - server: one node of each role, a router between, and the internet.

    `both` makes of plat a node with clients of its own: client2 is attached to it.
    """

    def __init__(self, machines, firewall="nft", pool="192.0.2.9/32", ports="1024-65535", both=False):
        names = ["client", "clat", "mid", "plat", "net4", "server"] + (["client2"] if both else [])
        for name in names:
            setattr(self, name, machines(name))
        link(self.client, "eth0", self.clat, "lan")
        link(self.clat, "mesh", self.mid, "left", MESH_MTU)
        link(self.mid, "right", self.plat, "mesh", MESH_MTU)
        link(self.plat, "wan", self.net4, "left")
        link(self.net4, "right", self.server, "eth0")
        self.attach(self.client, self.clat, CLIENT)
        address(self.clat, "mesh", "fd00:1::1/64")
        address(self.mid, "left", "fd00:1::2/64")
        address(self.mid, "right", "fd00:2::2/64")
        address(self.plat, "mesh", "fd00:2::1/64")
        address(self.plat, "wan", "203.0.113.1/24")
        address(self.net4, "left", "203.0.113.254/24")
        address(self.net4, "right", "198.51.100.1/24")
        address(self.server, "eth0", f"{SERVER}/24")
        self.clat.run("ip -6 route add default via fd00:1::2")
        self.plat.run("ip -6 route add default via fd00:2::2")
        self.plat.run("ip -4 route add default via 203.0.113.254")
        self.server.run("ip -4 route add default via 198.51.100.1")
        self.mid.run("sysctl -qw net.ipv6.conf.all.forwarding=1")
        self.net4.run("sysctl -qw net.ipv4.ip_forward=1")
        self.mid.run(f"ip -6 route add {CLAT_PREFIX} via fd00:1::1")
        self.mid.run("ip -6 route add fddd:1337:1337:200:0:b2::/96 via fd00:2::1")
        self.mid.run(f"ip -6 route add {PLAT_PREFIX} via fd00:2::1")
        if both:
            link(self.client2, "eth0", self.plat, "lan")
            self.attach(self.client2, self.plat, "10.126.0.60")
        # reverse path filtering on all devices makes it hard
        for node in (self.clat, self.plat):
            node.run("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1")
        self.nodes = [Node(self.clat, "busybox ash", firewall, SIIT), Node(self.plat, "dash", firewall, SIIT)]
        self.before = [snapshot(node.machine, node.variables) for node in self.nodes]
        self.clat_node, self.plat_node = self.nodes
        for node in self.nodes:
            daemon = node.machine.start(f"{SIIT} daemon")
            wait_until(
                lambda machine=node.machine: (
                    machine.run("test -S /run/siit/control.sock", check=False).returncode == 0
                ),
                f"siit on {node.machine.name}: {daemon.poll()}",
            )
        common = f"{RANGES} --mesh-mtu {MESH_MTU} --client-range 10.126.0.0/16"
        self.plat_options = f"{common} --mac 02:00:00:00:00:b2 --pool {pool} --ports {ports} --wan wan"
        self.clat_options = f"{common} --mac 02:00:00:00:00:c1"
        self.plat_node.xlat(f"plat up {self.plat_options}")
        self.clat_node.xlat(f"clat up {self.clat_options}")
        self.choose(self.clat_node)
        if both:
            self.plat_node.xlat(f"clat up {common} --mac 02:00:00:00:00:b2")
            self.choose(self.plat_node)
        server = self.server.start([sys.executable, "-c", textwrap.dedent(ECHO_SERVER)])
        assert server.stdout.readline() == "ready\n"

    @staticmethod
    def attach(client, node, ipv4):
        node.run("ip link add br-client type bridge")
        address(node, "br-client", f"{NEXT_NODE}/16")
        node.run("ip link set lan up master br-client")
        address(client, "eth0", f"{ipv4}/16")
        client.run(f"ip route add default via {NEXT_NODE}")

    @staticmethod
    def choose(node):
        """What prefixd does when it has chosen the PLAT."""
        command = f"config clat remote.v4 0.0.0.0/0 remote.v6 {PLAT_PREFIX} remote.style RFC6052"
        node.machine.run([*SIIT.split(), "ctl", "--socket", "/run/siit/control.sock", command])
        node.xlat("clat-route use")

    def ask(self, text, machine=None, **options):
        return (machine or self.client).python(textwrap.dedent(PRELUDE) + textwrap.dedent(text), **options)


@pytest.fixture(params=FIREWALLS)
def mesh(machines, request):
    return Mesh(machines, request.param)


@pytest.fixture
def nft_mesh(machines):
    return Mesh(machines)


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


def test_a_datagram_with_df_is_told_the_mtu_of_the_mesh_by_the_translator(nft_mesh):
    fits, larger = MESH_MTU - 48, MESH_MTU - 47
    assert nft_mesh.ask(f's = udp(df=True); s.send(b"x" * {fits}); print(len(s.recv(2000)))') == str(fits)
    refused = f"""
        s = udp(df=True)
        for _ in range(600):
            try:
                s.send(b"x" * {larger})
            except OSError as error:
                print(error.errno)
                break
            time.sleep(0.1)
    """
    assert nft_mesh.ask(refused) == "90"
    assert path_mtu(nft_mesh, nft_mesh.client, SERVER) == MESH_MTU - 20


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


def path_mtu(mesh, machine, to):
    """What a machine learnt about the path, in bytes; 0 if nothing."""
    found = re.search(r"mtu (\d+)", machine.output(f"ip route get {to}"))
    return int(found[1]) if found else 0


# sends what just fits the CLAT until an error says that the path is narrower: EMSGSIZE, 90
PROBE = """
    s = udp(df=True, timeout=0.3)
    for _ in range(200):
        try:
            s.send(b"x" * 1326)
            s.recv(2000)
        except TimeoutError:
            continue
        except OSError as error:
            print(error.errno)
            break
"""


def test_path_mtu_of_the_mesh_is_learnt_from_the_client(nft_mesh):
    mesh = nft_mesh
    narrow(mesh)
    assert mesh.ask(PROBE) == "90"
    assert path_mtu(mesh, mesh.client, SERVER) == 1280


@pytest.mark.parametrize("mesh", EITHER_KIND, indirect=True)
def test_path_mtu_of_the_mesh_is_learnt_from_the_server(mesh):
    """The router in the mesh has no IPv4 address, and none that the PLAT's prefix maps.

    So conntrack must know the connection of its Packet Too Big, NAT66 and siit translate it, and the masquerade replace
    its source.
    """
    narrow(mesh)
    server = mesh.server.start([sys.executable, "-c", textwrap.dedent(BIG_ANSWERS)])
    assert server.stdout.readline() == "ready\n"
    asks = textwrap.dedent(PRELUDE) + 's = udp(); s.connect((SERVER, 9)); s.send(b"go"); time.sleep(600)'
    mesh.client.start([sys.executable, "-c", asks])
    assert server.stdout.readline() == "90\n"  # EMSGSIZE
    assert path_mtu(mesh, mesh.server, "203.0.113.1") == 1280


BIG_ANSWERS = """
    import socket, time
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", 9))
    s.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
    print("ready", flush=True)
    _, peer = s.recvfrom(100)
    s.connect(peer)
    for _ in range(600):
        try:
            s.send(b"x" * 1326)
        except OSError as error:
            print(error.errno, flush=True)
            break
        time.sleep(0.1)
"""


def narrow(mesh):
    """A link in the mesh gets an MTU below the mesh's: the router before it says so, on either side."""
    for machine, device in (
        (mesh.mid, "left"),
        (mesh.clat, "mesh"),
        (mesh.mid, "right"),
        (mesh.plat, "mesh"),
    ):
        machine.run(f"ip link set {device} mtu {MESH_MTU}")
    mesh.mid.run("ip -6 route change fddd:1337:1337:200:0:c1::/96 via fd00:1::1 mtu 1300")
    mesh.mid.run(f"ip -6 route change {PLAT_PREFIX} via fd00:2::1 mtu 1300")


@pytest.mark.parametrize("mesh", EITHER_KIND, indirect=True)
def test_fragments_get_through_a_path_that_is_narrower_than_the_mesh_says(mesh):
    """Conntrack on the platnode puts them together, so a Packet Too Big would quote a whole packet."""
    narrow(mesh)
    for size in (1400, 3000, 20000):
        assert mesh.ask(f's = udp(); s.send(b"x" * {size}); print(len(s.recv(65536)))') == str(size)


def test_tcp_gets_through_a_path_that_is_narrower_than_its_mss(nft_mesh):
    mesh = nft_mesh
    narrow(mesh)
    size = 251 * 20000
    down = f'print(len(tcp(b"give {size}", timeout=60).makefile("rb").read()))'
    assert mesh.ask(down) == str(size)
    up = f'data = bytes({size}); c = tcp(b"take {size}", timeout=60); c.sendall(data); '
    assert (
        mesh.ask(up + "print(c.makefile().readline().strip() == hashlib.sha256(data).hexdigest())") == "True"
    )


@pytest.mark.parametrize(("mtu", "learnt"), [(1300, 1300), (1200, 1260)])
def test_path_mtu_of_the_ipv4_internet_is_learnt_by_the_client(nft_mesh, mtu, learnt):
    """Below 1280 IPv6 has no MTU to tell: what fits there goes without DF (RFC 7915 sections 4.2 and 5.1)."""
    mesh = nft_mesh
    for machine, device in ((mesh.net4, "right"), (mesh.server, "eth0")):
        machine.run(f"ip link set {device} mtu {mtu}")
    assert mesh.ask(PROBE) == "90"
    assert path_mtu(mesh, mesh.client, SERVER) == learnt
    size = learnt - 28
    assert mesh.ask(f's = udp(df=True); s.send(b"x" * {size}); print(len(s.recv(2000)))') == str(size)


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
    said = mesh.mid.run(f"ping -c 1 -W 20 -I fd00:9::1 {target}", check=False)
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
