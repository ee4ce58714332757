# SPDX-License-Identifier: ISC
"""The rules of a roam with real packets: a client walks between two clatnodes while it talks to a server.

    client - a, b - mid - c, x - server      a, b: clatnodes; c, x: platnodes; all with the real 464xlat and siit

a's CLAT uses the PLAT of c and b's that of x, so a client that comes from a to b needs every rule there is. The daemon
is played by Hand, a process on a node that does what the test says.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from ipaddress import IPv4Address, IPv6Address

import pytest
from test_node_setup import (
    FIREWALLS,
    REPOSITORY,
    SIIT,
    Node,
    address,
    link,
    machines,  # noqa: F401 # a fixture
    wait_for,
)

from l3roamd_py.gate import HELD_A_CLIENT
from l3roamd_py.rules import PLATS_MAX, Held, Mapping, RulesError
from sdk.patience import SLOWER

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces, which needs root"),
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox"),
]

MESH_MTU = 1374
SERVER, NEXT_NODE = "198.51.100.2", "10.126.0.1"
NEXT_NODE_MAC = "16:41:95:40:f7:dc"
RANGES = "--clat-range fddd:1337:1337::/48 --plat-range fddd:1337:1338::/48"
NUMBERS = {"a": 1, "b": 2, "c": 3, "x": 4}


def clat(node, ipv4):
    """`CLAT::ipv4` of a clatnode, as 16 bytes."""
    return IPv6Address(f"fddd:1337:1337:200:0:{NUMBERS[node]}::").packed[:12] + IPv4Address(ipv4).packed


def plat(node):
    return IPv6Address(f"fddd:1337:1338:200:0:{NUMBERS[node]}::").packed


# --- the daemon's hand ---------------------------------------------------------

HAND = """
    import os, select, sys
    from l3roamd_py.rules import Held, Mapping, RulesError
    from l3roamd_py.rules_choice import choose_rules

    role, wanted, *arguments = eval(sys.argv[1])
    rules = choose_rules(wanted)[role](*arguments)
    def is_awake():
        return bool(select.select([rules], [], [], 0)[0])

    print(os.getpid(), flush=True)
    for line in sys.stdin:
        name, arguments = eval(line)
        try:
            found = is_awake if name == "is_awake" else getattr(rules, name)
            answer = found(*arguments) if callable(found) else found
            print(repr(list(answer) if name == "mappings" else answer), flush=True)
        except RulesError as error:
            print(repr(error), flush=True)
"""
CLAT_RULES, PLAT_RULES = 0, 1


class Hand:
    """ClatRules or PlatRules on a node; a method called here is called there."""

    def __init__(self, node, role, *arguments):
        self.node = node
        wanted = node.firewall.split("-")[0]
        variables = [f"{name}={value}" for name, value in node.variables.items()]
        self.process = subprocess.Popen(
            node.machine.words(
                [
                    "env",
                    *variables,
                    sys.executable,
                    "-c",
                    textwrap.dedent(HAND),
                    repr((role, wanted, *arguments)),
                ]
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        self.pid = int(self.process.stdout.readline())

    def __getattr__(self, name):
        def call(*arguments):
            print(repr((name, arguments)), file=self.process.stdin, flush=True)
            names = {"Mapping": Mapping, "Held": Held, "RulesError": RulesError}
            answer = eval(self.process.stdout.readline(), names)
            if isinstance(answer, RulesError):
                raise answer
            return answer

        return call

    def kill(self):
        """SIGKILL: it has no time for anything."""
        self.node.machine.run(f"kill -9 {self.pid}")
        self.close()

    def close(self):
        self.process.stdin.close()
        self.process.wait(10 * SLOWER)
        self.process.stdout.close()


# --- the mesh ---------------------------------------------------------------------

SERVER_PROGRAM = """
    import socket, threading, time
    SERVER = "198.51.100.2"

    def talk(connection):
        with connection, connection.makefile("rb") as reader:
            for line in reader:
                if line.startswith(b"tick"):  # from now on it is the server who speaks
                    for number in range(100000):
                        connection.sendall(b"%d\\n" % number)
                        time.sleep(0.02)
                connection.sendall(line)

    def tcp():
        server = socket.create_server(("", 7), backlog=50)
        while True:
            threading.Thread(target=quiet, args=(server.accept()[0],), daemon=True).start()

    def quiet(connection):
        try:
            talk(connection)
        except OSError:
            pass

    def note():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind((SERVER, 9))
        s.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)  # SO_RCVBUFFORCE: a gate's content comes in one go
        seen = []
        while True:
            data, peer = s.recvfrom(2000)
            if data == b"seen":
                s.sendto(b" ".join(seen), peer)
                seen = []
            else:
                seen.append(data)

    def big():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind((SERVER, 19))
        _, peer = s.recvfrom(100)
        s.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
        s.connect(peer)
        while True:
            try:
                s.send(b"x" * 1326)
            except OSError as error:
                print("big", error.errno, flush=True)
                return
            time.sleep(0.05)

    for each in (tcp, note, big):
        threading.Thread(target=each, daemon=True).start()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((SERVER, 7))
    print("ready", flush=True)
    while True:
        data, peer = udp.recvfrom(65536)
        udp.sendto(data, peer)
"""

# one word a line on stdin, one answer a line on stdout
CLIENT_PROGRAM = """
    import socket, sys, threading
    SERVER = "198.51.100.2"
    tcp = socket.create_connection((SERVER, 7), 10); tcp.setsockopt(6, 1, 1)
    lines = tcp.makefile("rb")
    ticks = socket.create_connection((SERVER, 7), 10)
    tick_lines = ticks.makefile("rb")
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.connect((SERVER, 7)); udp.settimeout(3)
    note = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); note.connect((SERVER, 9)); note.settimeout(3)
    echoed, fresh = 0, []

    def answer(word, *rest):
        global echoed
        if word == "echo":
            echoed += 1
            tcp.sendall(b"%d\\n" % echoed)
            return lines.readline() == b"%d\\n" % echoed
        if word == "fresh":
            fresh.append(socket.create_connection((SERVER, 7), 5))
        if word in ("fresh", "again"):
            fresh[0].settimeout(5)
            fresh[0].sendall(b"7\\n")
            return fresh[0].recv(10) == b"7\\n"
        if word == "bulk":  # more than the gate could hold in packets of the wire's size
            threading.Thread(target=tcp.sendall, args=(b"x" * 300000 + b"\\n",)).start()
            return len(lines.readline()) == 300001
        if word == "udp":
            udp.send(rest[0].encode())
            return udp.recv(65536).decode() == rest[0]
        if word == "tick":
            ticks.sendall(b"tick\\n")
            return tick_lines.readline() == b"0\\n"
        if word == "ticks":  # all that come while one says nothing oneself, without a gap
            numbers = [int(tick_lines.readline()) for _ in range(int(rest[0]))]
            return numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        if word == "send":
            for number in range(int(rest[0])):
                note.send(b"%d" % number)
            return True
        if word == "seen":
            note.send(b"seen")
            return note.recv(2000).decode()
        if word == "big":
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"go", (SERVER, 19))
            return True
        if word == "mtu":
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.3)
            s.setsockopt(socket.IPPROTO_IP, 10, 2); s.connect((SERVER, 7))
            for _ in range(20):
                try:
                    s.send(b"x" * 1326); s.recv(2000)
                except TimeoutError:
                    continue
                except OSError as error:
                    return error.errno

    print("ready", flush=True)
    for line in sys.stdin:
        try:
            print(repr(answer(*line.split())), flush=True)
        except OSError as error:
            print(repr(str(error)), flush=True)
"""


class Client:
    """A machine that is attached to one of the nodes, with connections that stay open."""

    def __init__(self, mesh, number):
        self.mesh, self.ipv4 = mesh, f"10.126.0.{number}"
        self.mac = bytes((2, 0, 0, 0, 1, number))
        self.machine = mesh.make(f"client{number}")
        # the radio is a bridge with one port for each node, of which one is up
        self.machine.run(f"ip link add eth0 address {self.mac.hex(':')} type bridge")
        for node in ("a", "b"):
            link(self.machine, f"to-{node}", mesh.machine[node], f"lan{number}")
            mesh.machine[node].run(f"ip link set lan{number} up master br-client")
            self.machine.run(f"ip link set to-{node} master eth0")
        address(self.machine, "eth0", f"{self.ipv4}/16")
        self.machine.run(f"ip route add default via {NEXT_NODE}")
        self.machine.run(f"ip neigh replace {NEXT_NODE} lladdr {NEXT_NODE_MAC} dev eth0")
        self.process = None

    @property
    def key(self):
        return self.mac, IPv4Address(self.ipv4).packed

    def home(self, node="a"):
        return clat(node, self.ipv4)

    def attach(self, node):
        for other in ("a", "b"):
            self.machine.run(f"ip link set to-{other} {'up' if other == node else 'down'}")
        neighbour = f"{self.ipv4} lladdr {self.mac.hex(':')} dev br-client"
        self.mesh.machine[node].run(f"ip neigh replace {neighbour}")

    def connect(self):
        self.process = subprocess.Popen(
            self.machine.words([sys.executable, "-c", textwrap.dedent(CLIENT_PROGRAM)]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def say(self, words):
        print(words, file=self.process.stdin, flush=True)

    def hear(self):
        return eval(self.process.stdout.readline())

    def do(self, words):
        self.say(words)
        return self.hear()

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait(10 * SLOWER)
            self.process.stdout.close()


class RoamingMesh:
    def __init__(self, make, firewall):
        self.make, self.firewall = make, firewall
        self.machine = {name: make(name) for name in ("a", "b", "c", "x", "mid", "server")}
        self.node = {}
        self.hands = {}
        self.clients = []
        for name, number in NUMBERS.items():
            self._join(name, number)
        self.machine["mid"].run("sysctl -qw net.ipv6.conf.all.forwarding=1")
        self.machine["server"].run(f"ip address add {SERVER}/32 dev lo")
        for name in NUMBERS:
            self._set_up(name)
        server = self.machine["server"]
        self.server = server.start([sys.executable, "-c", textwrap.dedent(SERVER_PROGRAM)])
        assert self.server.stdout.readline() == "ready\n"

    def _join(self, name, number):
        machine, mid = self.machine[name], self.machine["mid"]
        link(machine, "mesh", mid, f"to-{name}", MESH_MTU)
        address(machine, "mesh", f"fd00:{number}::1/64")
        address(mid, f"to-{name}", f"fd00:{number}::2/64")
        machine.run(f"ip -6 route add default via fd00:{number}::2")
        if name in "ab":
            machine.run(f"ip link add br-client address {NEXT_NODE_MAC} type bridge")
            address(machine, "br-client", f"{NEXT_NODE}/16")
            network = clat(name, "0.0.0.0")
        else:
            link(machine, "wan", self.machine["server"], f"to-{name}")
            address(machine, "wan", f"203.0.11{number}.1/24")
            address(self.machine["server"], f"to-{name}", f"203.0.11{number}.2/24")
            machine.run(f"ip route add default via 203.0.11{number}.2")
            network = plat(name)
        mid.run(f"ip -6 route add {IPv6Address(network)}/96 via fd00:{number}::1")

    def _set_up(self, name):
        machine = self.machine[name]
        node = self.node[name] = Node(machine, "dash", self.firewall, SIIT)
        machine.start(f"{SIIT} daemon")
        socket = "test -S /run/siit/control.sock"
        wait_for(lambda: machine.run(socket, check=False).returncode == 0, f"siit on {name}")
        mac = f"02:00:00:00:00:0{NUMBERS[name]}"
        common = f"{RANGES} --mesh-mtu {MESH_MTU} --client-range 10.126.0.0/16 --mac {mac}"
        if name in "ab":
            node.xlat(f"clat up {common}")
            self.choose(name, {"a": "c", "b": "x"}[name])
        else:
            node.xlat(f"plat up {common} --pool 192.0.2.{NUMBERS[name]}/32 --wan wan")

    def choose(self, name, platnode):
        """What prefixd does when it has chosen a PLAT."""
        remote = f"remote.v4 0.0.0.0/0 remote.v6 {IPv6Address(plat(platnode))}/96 remote.style RFC6052"
        machine = self.machine[name]
        machine.run([*SIIT.split(), "ctl", "--socket", "/run/siit/control.sock", f"config clat {remote}"])
        self.node[name].xlat("clat-route use")

    def wait_for_packets(self, name, number):
        """Wait until as many more packets have left a node's translator."""

        def count():
            (link,) = json.loads(self.machine[name].output("ip -json -stats link show dev clat"))
            return link["stats64"]["rx"]["packets"]

        wanted = count() + number
        wait_for(lambda: count() >= wanted, f"{number} packets from the CLAT of {name}")

    def hand(self, name):
        """The daemon on a node, set up."""
        arguments = (CLAT_RULES, "br-client", "clat") if name in "ab" else (PLAT_RULES, "plat", plat(name))
        self.hands[name] = hand = Hand(self.node[name], *arguments)
        hand.set_up()
        return hand

    def start(self):
        """Daemons everywhere, and a client at a that talks."""
        for name in NUMBERS:
            self.hand(name)
        self.hands["a"].set_current_plat(plat("c"))
        self.hands["b"].set_current_plat(plat("x"))
        return self.new_client(50)

    def new_client(self, number):
        client = Client(self, number)
        self.clients.append(client)
        client.attach("a")
        self.hands["a"].use_plat(client.home(), plat("c"), 300)
        self.hands["a"].open_gate(*client.key)
        client.connect()
        assert client.do("echo") is True
        return client

    def hold(self, name, client):
        """Wait until the gate of a node holds packets of a client."""

        def is_held():
            return any((held.mac, held.ipv4) == client.key for held in self.hands[name].read_held())

        wait_for(is_held, f"packet of {client.ipv4} at the gate of {name}")

    def roam_to_b(self, client, lease_s=300, serial=1):
        """All but the opening of the gate."""
        at = client.home("b")
        client.attach("b")
        self.hands["b"].use_plat(at, plat("c"), lease_s)
        mapping = Mapping(client.home(), at, None, lease_s, serial)
        assert self.hands["c"].map_clients([mapping]) == [None]
        self.hands["a"].close_gate(*client.key)
        self.hands["a"].leave_plat(client.home(), plat("c"))

    def roam_to_a(self, client):
        at = client.home("b")
        client.attach("a")
        self.hands["a"].use_plat(client.home(), plat("c"), 300)
        self.hands["c"].unmap_client(client.home(), at)
        self.hands["b"].close_gate(*client.key)
        self.hands["b"].leave_plat(at, plat("c"))

    def close(self):
        for each in [*self.clients, *self.hands.values()]:
            each.close()


@pytest.fixture
def mesh_of(machines):  # noqa: F811
    meshes = []

    def make(firewall):
        meshes.append(RoamingMesh(machines, firewall))
        return meshes[-1]

    yield make
    for mesh in meshes:
        mesh.close()


@pytest.fixture(params=["nft", "xtables-legacy"])
def mesh(mesh_of, request):
    """One of each kind of rules: what the other iptables makes of ours, the walk below and the tear-down tell."""
    return mesh_of(request.param)


@pytest.mark.parametrize("firewall", FIREWALLS)
def test_open_connections_walk_to_another_node_and_back(mesh_of, firewall):
    walk_and_return(mesh_of(firewall))


def walk_and_return(mesh):
    client = mesh.start()
    assert client.do("tick") is True
    assert client.do("udp one") is True
    for turn in range(2):
        client.attach("b")
        client.say("echo")
        mesh.hold("b", client)
        mesh.roam_to_b(client, serial=turn + 1)
        mesh.hands["b"].open_gate(*client.key)
        assert client.hear() is True
        assert client.do("udp two") is True
        assert client.do("udp " + 3000 * "f") is True  # in fragments
        assert client.do("ticks 30") is True
        assert client.do("echo") is True
        client.attach("a")
        client.say("bulk")
        mesh.hold("a", client)
        mesh.roam_to_a(client)
        mesh.hands["a"].open_gate(*client.key)
        assert client.hear() is True
        assert client.do("udp three") is True
        assert client.do("ticks 30") is True
    counters = mesh.hands["b"].counters()
    assert (counters["dropped"], counters["waiting"]) == (0, 0)
    assert counters["held"] == counters["released"] >= 2


def test_a_client_that_is_at_home_again_is_answered_there_though_its_mapping_stays(mesh):
    client = mesh.start()
    client.attach("b")
    mesh.roam_to_b(client, serial=1)
    mesh.hands["b"].open_gate(*client.key)
    assert client.do("echo") is True
    client.attach("a")  # the platnode's daemon hears nothing of it
    mesh.hands["a"].use_plat(client.home(), plat("c"), 300)
    mesh.hands["a"].open_gate(*client.key)
    assert client.do("fresh") is True
    client.attach("b")  # and what it began there comes along
    mesh.roam_to_b(client, serial=2)
    mesh.hands["b"].open_gate(*client.key)
    assert client.do("again") is True
    assert client.do("echo") is True


def test_the_gate_holds_in_order_and_drops_only_what_is_over_its_bound(mesh):
    client = mesh.start()
    client.attach("b")
    hand = mesh.hands["b"]
    client.do("send 60")

    def are_held(number):
        hand.read_held()
        return hand.counters()["held"] >= number

    wait_for(lambda: are_held(60), "60 packets at the gate")
    mesh.roam_to_b(client)
    hand.open_gate(*client.key)
    assert client.do("seen") == " ".join(str(number) for number in range(60))
    assert hand.counters() == {"held": 60, "released": 60, "dropped": 0, "waiting": 0}
    hand.close_gate(*client.key)
    assert hand.opened() == set()
    many = HELD_A_CLIENT + 16
    client.do(f"send {many}")
    wait_for(lambda: are_held(60 + many), "as many packets more")
    assert hand.counters() == {"held": 60 + many, "released": 60, "dropped": 16, "waiting": HELD_A_CLIENT}
    hand.open_gate(*client.key)
    assert client.do("seen") == " ".join(str(number) for number in range(HELD_A_CLIENT))
    assert hand.opened() == {client.key}
    client.do("send 100")
    assert client.do("seen") == " ".join(str(number) for number in range(100))
    assert hand.counters()["held"] == 60 + many  # an open gate is no detour


def test_a_gate_that_has_nothing_to_tell_any_more_wakes_nobody(mesh):
    client = mesh.start()
    client.attach("b")
    hand = mesh.hands["b"]
    client.do("send 5")
    wait_for(hand.is_awake, "packets at the gate")
    mesh.roam_to_b(client)
    hand.open_gate(*client.key)  # before anybody asked who is there
    assert client.do("seen") == "0 1 2 3 4"
    assert hand.read_held() == []
    assert not hand.is_awake()


def test_the_gate_lets_go_what_is_for_the_node_itself_and_refuses_who_is_refused(mesh):
    client = mesh.start()
    client.attach("b")
    assert "2 received" in client.machine.output(f"ping -c 2 -i 0.1 -W 2 {NEXT_NODE}")
    hand = mesh.hands["b"]
    hand.refuse(*client.key)
    client.do("send 5")
    assert "1 received" in client.machine.output(f"ping -c 1 -W 2 {NEXT_NODE}")
    assert hand.read_held() == []
    assert hand.counters()["held"] == 0
    # the gate is by MAC as well: another client may have the address
    stranger = (bytes(5) + b"\7", client.key[1])
    hand.open_gate(*stranger)
    assert stranger in hand.opened()
    hand.close_gate(*stranger)
    # who was refused may be let in later
    mesh.roam_to_b(client)
    hand.open_gate(*client.key)
    assert client.do("echo") is True


def test_a_mark_of_somebody_else_stays(mesh_of):
    mesh = mesh_of("nft")
    client = mesh.start()
    b = mesh.machine["b"]
    b.run(
        "nft -f -",
        input="table ip other { chain before { type filter hook prerouting priority 0; "
        'iifname "br-client" meta mark set 0x1234; }; chain after { type filter hook forward priority 200; '
        'oifname "clat" meta mark 0x1234 counter name good; oifname "clat" meta mark != 0x1234 counter name bad; }; '
        "counter good { }; counter bad { }; }",
    )
    client.attach("b")
    client.say("echo")
    mesh.hold("b", client)
    mesh.roam_to_b(client)
    mesh.hands["b"].open_gate(*client.key)
    assert client.hear() is True
    assert client.do("echo") is True
    assert "packets 0" in b.output("nft list counter ip other bad")
    assert "packets 0" not in b.output("nft list counter ip other good")


def test_path_mtu_is_learnt_by_a_client_and_a_server_after_a_roam(mesh):
    """A mesh router's Packet Too Big quotes a packet with the addresses that it has in the mesh."""
    client = mesh.start()
    mesh.roam_to_b(client)
    mesh.hands["b"].open_gate(*client.key)
    assert client.do("echo") is True
    mid = mesh.machine["mid"]
    mid.run(f"ip -6 route change {IPv6Address(clat('b', '0.0.0.0'))}/96 via fd00:2::1 mtu 1300")
    mid.run(f"ip -6 route change {IPv6Address(plat('c'))}/96 via fd00:3::1 mtu 1300")
    assert client.do("mtu") == 90  # EMSGSIZE
    assert "mtu 1280" in client.machine.output(f"ip route get {SERVER}")
    client.do("big")
    assert mesh.server.stdout.readline() == "big 90\n"
    assert "mtu 1280" in mesh.machine["server"].output("ip route get 203.0.113.1")


def test_two_clients_roam_at_once(mesh):
    clients = [mesh.start(), mesh.new_client(51)]
    for client in clients:
        assert client.do("tick") is True
        client.attach("b")
        client.say("echo")
    for client in clients:
        wait_for(lambda: mesh.hands["b"].read_held() or mesh.hands["b"].counters()["waiting"] >= 2, "packets")
        mesh.hands["b"].use_plat(client.home("b"), plat("c"), 300)
    mappings = [Mapping(client.home(), client.home("b"), None, 300, 7) for client in clients]
    assert mesh.hands["c"].map_clients(mappings) == [None, None]
    for client in clients:
        mesh.hands["b"].open_gate(*client.key)
        assert client.hear() is True
        assert client.do("ticks 30") is True
    found = {each.home: each for each in mesh.hands["c"].mappings()}
    assert {home: (each.at, each.serial) for home, each in found.items()} == {
        client.home(): (client.home("b"), 7) for client in clients
    }
    assert all(295 <= each.lease_s <= 300 for each in found.values())


def test_the_current_plat_may_change_and_a_lost_one_goes_with_its_rules(mesh):
    client = mesh.start()
    assert client.do("tick") is True
    mesh.choose("a", "x")
    mesh.wait_for_packets("a", 5)  # before the daemon hears of it
    mesh.hands["a"].set_current_plat(plat("x"))
    assert client.do("echo") is True
    assert client.do("ticks 30") is True
    mesh.choose("a", "c")
    mesh.hands["a"].set_current_plat(plat("c"))
    assert client.do("echo") is True
    mesh.choose("a", "x")
    mesh.hands["a"].drop_plat(plat("c"))
    mesh.hands["a"].set_current_plat(plat("x"))
    mesh.hands["a"].use_plat(client.home(), plat("x"), 300)
    assert client.do("udp new") is True  # by the other PLAT


def test_a_killed_daemon_is_taken_over_and_nobody_notices(mesh):
    client = mesh.start()
    assert client.do("tick") is True
    mesh.roam_to_b(client, serial=99)
    mesh.hands["b"].open_gate(*client.key)
    assert client.do("echo") is True
    for name in "bc":
        mesh.hands[name].kill()
        assert client.do("echo") is True  # with nobody there
        assert client.do("udp alone") is True
        hand = mesh.hand(name)
        assert client.do("echo") is True
        hand.set_up()  # again: nothing more
    assert client.do("ticks 20") is True
    assert mesh.hands["b"].opened() == {client.key}
    [mapping] = mesh.hands["c"].mappings()
    assert (mapping.home, mapping.at, mapping.serial) == (client.home(), client.home("b"), 99)
    assert 280 <= mapping.lease_s <= 300
    # and it goes on from there
    client.attach("a")
    client.say("echo")
    mesh.hold("a", client)
    mesh.roam_to_a(client)
    mesh.hands["a"].open_gate(*client.key)
    assert client.hear() is True
    assert list(mesh.hands["c"].mappings()) == []


def test_a_dead_daemon_keeps_nobody_out(mesh):
    client = mesh.start()
    mesh.hands["a"].close_gate(*client.key)
    client.say("echo")
    mesh.hold("a", client)
    mesh.hands["a"].kill()
    assert client.hear() is True  # what waited is lost and sent again, by nobody's leave
    mesh.hand("a")
    client.say("echo")
    mesh.hold("a", client)
    mesh.hands["a"].open_gate(*client.key)
    assert client.hear() is True


def test_the_kernel_ends_a_roam_when_the_lease_is_over(mesh):
    client = mesh.start()
    mesh.roam_to_b(client, lease_s=3)
    mesh.hands["b"].open_gate(*client.key)
    for name in "bc":
        mesh.hands[name].kill()
    listing = "nft list ruleset; ipset list"

    def is_gone(name, place):
        text = str(IPv6Address(place))
        return text not in mesh.machine[name].output(["sh", "-c", listing])

    assert not is_gone("b", client.home("b"))
    assert not is_gone("c", client.home())
    wait_for(lambda: is_gone("b", client.home("b")) and is_gone("c", client.home()), "end of the lease")
    # a roam that finds nothing of the old one any more is none the worse for it
    hand = mesh.hand("c")
    again = Mapping(client.home(), client.home("b"), client.home("b"), 300, 2)
    assert hand.map_clients([again]) == [None]
    hand.unmap_client(client.home(), client.home("b"))
    hand.unmap_client(client.home(), client.home("b"))
    clat_hand = mesh.hand("b")
    clat_hand.leave_plat(client.home("b"), plat("c"))
    clat_hand.use_plat(client.home("b"), plat("c"), 300)


@pytest.mark.parametrize("firewall", FIREWALLS)
def test_tear_down_leaves_nothing(machines, firewall):  # noqa: F811
    machine = machines("node")
    node = Node(machine, "dash", firewall)
    machine.run(
        ["sh", "-c", "iptables -t mangle -A FORWARD -j ACCEPT; ip6tables -t nat -N MINE"], **node.variables
    )
    machine.run("ipset create mine hash:ip")
    listing = f"{{ {snapshot_command()}; }} 2>/dev/null"
    before = machine.output(["sh", "-c", listing], **node.variables)
    for arguments in ((CLAT_RULES, "br-client", "clat"), (PLAT_RULES, "plat", plat("c"))):
        with contextlib.closing(Hand(node, *arguments)) as hand:
            hand.tear_down()  # nothing there: nothing said
            hand.set_up()
            fill(hand, arguments[0])
            assert machine.output(["sh", "-c", listing], **node.variables) != before
            hand.tear_down()
            hand.tear_down()
            assert machine.output(["sh", "-c", listing], **node.variables) == before


@pytest.mark.parametrize("firewall", ["nft", "xtables-nft"])
def test_what_iptables_made_for_us_goes_with_us_and_what_others_need_stays(machines, firewall):  # noqa: F811
    machine = machines("node")
    node = Node(machine, "dash", firewall)
    foreign = "iptables-nft -t mangle -A FORWARD -m mark --mark 7 -j ACCEPT"
    for before, meanwhile, left in (
        ("true", "true", ""),
        ("true", foreign, "chain FORWARD"),
        ("nft add table ip mangle", "nft add set ip mangle mine { type ipv4_addr; }", "set mine"),
    ):
        machine.run(["sh", "-c", before.replace(";", "\\;")])
        with contextlib.closing(Hand(node, CLAT_RULES, "br-client", "clat")) as hand:
            hand.set_up()
            fill(hand, CLAT_RULES)
            machine.run(["sh", "-c", meanwhile.replace(";", "\\;").replace("{", "\\{")])
            hand.tear_down()
        after = machine.output("nft list ruleset")
        assert (left in after) if left else not after, after
        machine.run("nft flush ruleset")


def test_plats_that_somebody_made_up_do_not_fill_the_kernel(machines):  # noqa: F811
    """A roam begins with the word of whoever had the client, so its PLAT may be any."""
    client, other = clat("a", "10.1.2.3"), clat("a", "10.1.2.4")
    made_up = [plat("c")[:8] + number.to_bytes(4, "big") + bytes(4) for number in range(99, 108 + PLATS_MAX)]
    with contextlib.closing(Hand(Node(machines("node")), CLAT_RULES, "br-client", "clat")) as hand:
        hand.set_up()
        hand.set_current_plat(plat("c"))
        hand.use_plat(other, plat("x"), 600)
        for each in made_up:
            hand.use_plat(client, each, 60)
            hand.leave_plat(client, each)
        assert plat("x") in hand.plats()
        assert len(hand.plats()) <= PLATS_MAX
        for number, each in enumerate(made_up[: PLATS_MAX - 1]):
            hand.use_plat(clat("b", f"10.1.3.{number}"), each, 60)
        with pytest.raises(RulesError, match="expected at most"):
            hand.use_plat(client, made_up[-1], 60)
        hand.use_plat(client, plat("x"), 60)


def test_a_set_that_a_rule_lets_go_of_a_moment_later_is_removed_all_the_same(machines):  # noqa: F811
    machine = machines("node")
    rule = "FORWARD -m set --match-set l3roamd_roamed src -j ACCEPT"
    with contextlib.closing(
        Hand(Node(machine, "dash", "xtables-nft"), PLAT_RULES, "plat", plat("c"))
    ) as hand:
        hand.set_up()
        machine.run(f"ip6tables -A {rule}")
        later = machine.start(["sh", "-c", f"sleep 0.3; ip6tables -D {rule}"])
        hand.tear_down()
        later.wait()
    assert "l3roamd_roamed" not in machine.output("ipset list")


def snapshot_command():
    saves = "iptables-legacy-save iptables-nft-save ip6tables-legacy-save ip6tables-nft-save"
    quiet = "grep -v -e '^#' -e '^\\*' -e '^:[A-Z]* ACCEPT' -e COMMIT"
    return f"for s in {saves}; do $s | {quiet}; done; nft list tables | grep -v -e mangle -e nat; ipset list"


def fill(hand, role):
    if role == PLAT_RULES:
        assert hand.map_clients([Mapping(clat("a", "10.1.2.3"), clat("b", "10.1.2.3"), None, 60, 1)]) == [
            None
        ]
        return
    hand.set_current_plat(plat("c"))
    hand.use_plat(clat("a", "10.1.2.3"), plat("x"), 60)
    hand.open_gate(b"\2abcde", bytes((10, 1, 2, 3)))
    hand.refuse(b"\2abcdf", bytes((10, 1, 2, 4)))


OLDER = """
    table ip6 l3roamd_plat {
        map from { type ipv6_addr : ipv6_addr; flags timeout; }
        map to { type ipv6_addr : ipv6_addr; flags timeout; }
        chain old { type filter hook prerouting priority -300; iifname "old" ip6 saddr set ip6 saddr map @from; }
    }
    add element ip6 l3roamd_plat from { fddd::b timeout 300s comment "5" : fddd::a }
    add element ip6 l3roamd_plat to { fddd::a timeout 300s : fddd::b }
"""


def test_a_table_of_an_older_version_is_replaced_with_its_elements_kept(machines):  # noqa: F811
    machine = machines("node")
    machine.run("nft -f -", input=OLDER)
    machine.run("nft add table ip6 foreign")
    with contextlib.closing(Hand(Node(machine), PLAT_RULES, "plat", plat("c"))) as hand:
        hand.set_up()
        [mapping] = hand.mappings()
        assert (mapping.home, mapping.at, mapping.serial) == (
            IPv6Address("fddd::a").packed,
            IPv6Address("fddd::b").packed,
            5,
        )
        listing = machine.output("nft --terse list ruleset")
        assert "chain old" not in listing
        assert 'iifname != "plat"' in listing
        assert "table ip6 foreign" in listing
        # and one that somebody took a part of is whole again
        machine.run("nft flush chain ip6 l3roamd_plat after_nat")
        machine.run("nft delete chain ip6 l3roamd_plat after_nat")
        hand.set_up()
        assert sorted(machine.output("nft --terse list ruleset").split()) == sorted(listing.split())
        machine.run("nft flush ruleset")
        assert hand.map_clients([mapping]) == [None]
        assert [each.home for each in hand.mappings()] == [mapping.home]


def test_where_nothing_can_hold_packets_the_gate_drops(mesh_of):
    mesh = mesh_of("nft")
    mesh.node["b"].variables["PATH"] = (
        "/nowhere"  # nft's own queue is not in this kernel, so iptables is needed
    )
    client = mesh.start()
    hand = mesh.hands["b"]
    if hand.fileno() >= 0:
        pytest.skip("nftables can queue here")
    client.attach("b")
    client.do("send 5")
    assert hand.read_held() == []
    mesh.roam_to_b(client)
    hand.open_gate(*client.key)
    assert client.do("echo") is True
    assert client.do("seen") == ""


def test_who_comes_to_a_place_takes_it_and_a_late_word_of_the_former_takes_nothing(machines):  # noqa: F811
    with contextlib.closing(Hand(Node(machines("node")), PLAT_RULES, "plat", plat("c"))) as hand:
        hand.set_up()
        one, two = clat("a", "10.1.2.3"), clat("x", "10.1.2.3")
        place, other = clat("b", "10.1.2.3"), clat("c", "10.1.2.3")
        assert hand.map_clients([Mapping(one, place, None, 60, 1)]) == [None]
        assert hand.map_clients([Mapping(two, place, None, 60, 2)]) == [None]
        assert [(each.home, each.at) for each in hand.mappings()] == [(two, place)]
        assert hand.map_clients([Mapping(one, other, place, 60, 3)]) == [None]
        assert {(each.home, each.at) for each in hand.mappings()} == {(two, place), (one, other)}
        hand.unmap_client(one, place)
        assert [(each.home, each.at) for each in hand.mappings() if each.at == place] == [(two, place)]
        # twice in one go: the later word counts, and the place between is nobody's
        hand.unmap_client(two, place)
        walk = [Mapping(two, place, None, 60, 4), Mapping(two, one, place, 60, 5)]
        assert hand.map_clients(walk) == [None, None]
        assert [(each.home, each.at) for each in hand.mappings() if each.home == two] == [(two, one)]
        # what we are told of the former place may be wrong
        assert hand.map_clients([Mapping(two, place, other, 60, 6)]) == [None]
        assert hand.map_clients([Mapping(two, other, None, 60, 7)]) == [None]
        assert {each.at: each.home for each in hand.mappings()}[other] == two


@pytest.mark.parametrize("firewall", FIREWALLS)
def test_without_its_programs_a_kind_says_what_it_lacks(machines, firewall):  # noqa: F811
    node = Node(machines("node"), "dash", firewall)
    ask = "from l3roamd_py.rules_choice import choose_rules\ntry: print(choose_rules({!r})[1].__name__)\n"
    ask += "except Exception as error: print(error)"
    wanted = firewall.split("-")[0]

    def choose(which, *environment):
        words = ["env", *environment, sys.executable, "-c", ask.format(which)]
        return node.machine.output(words, **node.variables, PYTHONPATH=str(REPOSITORY)).strip()

    assert choose("auto") == "NftPlatRules"
    assert choose(wanted) == {"nft": "NftPlatRules", "xtables": "XtablesPlatRules"}[wanted]
    assert "there is no iptables" in choose("xtables", "PATH=/nowhere")
    assert "l3roamd" not in node.machine.output("nft list ruleset") + node.machine.output("ipset list")
