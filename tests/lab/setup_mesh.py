# SPDX-License-Identifier: ISC
"""A mesh of nodes that `464xlat` has set up, with the real siit: who is on the way, and what they run."""

import sys
import textwrap

import pytest
from node_lab import FIREWALLS, RANGES, SIIT, Node, address, link, snapshot
from waiting import wait_until

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
