# SPDX-License-Identifier: ISC
"""A mesh for the rules of a roam, in which a client talks to a server and walks between two clatnodes.

    client - a, b - mid - c, x - server      a, b: clatnodes; c, x: platnodes; all with the real 464xlat and siit

a's CLAT uses the PLAT of c and b's that of x, so a client that comes from a to b needs every rule there is. The daemon
is played by Hand, a process on a node that does what the test says.
"""

import json
import os
import select
import subprocess
import sys
import textwrap
import time
from ipaddress import IPv4Address, IPv6Address

import pytest
from asked import Asked
from node_lab import RANGES, REPOSITORY, SIIT, Node, address, link
from waiting import wait_until

from l3roamd_py.core.mapping import Mapping
from l3roamd_py.netfilter.gate import QUEUED_S
from l3roamd_py.netfilter.rules import Arrival, RulesError
from sdk.timeouts import TIMEOUT_SCALE

MESH_MTU = 1374
SERVER, NEXT_NODE = "198.51.100.2", "10.126.0.1"
NEXT_NODE_MAC = "16:41:95:40:f7:dc"
NUMBERS = {"a": 1, "b": 2, "c": 3, "x": 4}
CLAT_RULES, PLAT_RULES = 0, 1

HAND = """
    import os, sys
    from l3roamd_py.core.mapping import Mapping
    from l3roamd_py.netfilter.rules import Arrival, RulesError
    from l3roamd_py.netfilter.choice import choose_rules
    from runtime.loop import Poller

    exec(os.getenv("HAND_BEFORE") or "")

    role, wanted, *arguments = eval(sys.argv[1])
    rules = choose_rules(wanted)[role](*arguments)
    poller = Poller()
    if role == 0:
        rules.attend(poller, lambda: None)
    def is_awake():
        return bool(poller.ready(0)) or rules.has_arrived

    def tell(text):
        print(text)
        if hasattr(sys.stdout, "flush"):  # MicroPython keeps nothing back
            sys.stdout.flush()

    with open("/proc/self/stat") as file:  # MicroPython has no getpid
        tell(file.read().split()[0])
    for line in sys.stdin:
        name, arguments, waits = eval(line)
        try:
            found = is_awake if name == "is_awake" else rules
            for part in () if name == "is_awake" else name.split("."):
                found = getattr(found, part)
            answer = found(*arguments) if callable(found) else found
            if role == 0:
                rules.go_on()  # as at the end of the daemon's rounds
            while waits and getattr(rules, "is_busy", False):  # as the daemon's loop does
                poller.ready(60000)
                rules.go_on()
            tell(repr(list(answer) if name == "mappings" else answer))
        except RulesError as error:
            tell("RulesError(%r)" % str(error))
"""

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
    import select, socket, sys, threading
    SERVER = "198.51.100.2"
    tcp = socket.create_connection((SERVER, 7), 30); tcp.setsockopt(6, 1, 1)
    lines = tcp.makefile("rb")
    ticks = socket.create_connection((SERVER, 7), 30)
    tick_lines = ticks.makefile("rb")
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.connect((SERVER, 7)); udp.settimeout(30)
    note = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); note.connect((SERVER, 9)); note.settimeout(30)
    echoed, fresh = 0, []

    def refuser(port, ttl):  # from whom an error is that a datagram to the server brings
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
        s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        s.connect((SERVER, port))
        poll = select.poll()
        poll.register(s, 0)
        for _ in range(3):
            try:
                s.send(b"trace")
            except OSError:
                pass
            if poll.poll(2000):
                ancillary = s.recvmsg(100, 1000, 0x2000)[1][0][2]  # MSG_ERRQUEUE
                return socket.inet_ntoa(ancillary[20:24])  # behind sock_extended_err, a sockaddr_in

    def answer(word, *rest):
        global echoed
        if word == "echo":
            echoed += 1
            tcp.sendall(b"%d\\n" % echoed)
            return lines.readline() == b"%d\\n" % echoed
        if word == "fresh":
            fresh.append(socket.create_connection((SERVER, 7), 30))
        if word in ("fresh", "again"):
            fresh[0].settimeout(30)
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
        if word == "refused":
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
            s.connect((SERVER, 4))
            s.send(b"x")
            return s.recv(10)
        if word == "trace":  # who answers to each TTL, until the server does
            hops = []
            while not hops or (hops[-1] != SERVER and len(hops) < 12):
                hops.append(refuser(33434 + len(hops), len(hops) + 1))
            return hops
        if word == "hop":
            return refuser(33500, 64)
        if word == "mtu":
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.3)
            s.setsockopt(socket.IPPROTO_IP, 10, 2); s.connect((SERVER, 7))
            for _ in range(200):
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


def clat(node, ipv4):
    """`CLAT::ipv4` of a clatnode, as 16 bytes."""
    return IPv6Address(f"fddd:1337:1337:200:0:{NUMBERS[node]}::").packed[:12] + IPv4Address(ipv4).packed


def plat(node):
    return IPv6Address(f"fddd:1337:1338:200:0:{NUMBERS[node]}::").packed


class Hand:
    """ClatRules or PlatRules on a node; a method called here is called there, by the interpreter that it is on."""

    def __init__(self, node, role, *arguments, interpreter=sys.executable):
        self.node = node
        wanted = node.rules
        variables = [f"{name}={value}" for name, value in node.variables.items()]
        self.process = subprocess.Popen(
            node.machine.words(
                [
                    "env",
                    *variables,
                    *([interpreter] if interpreter == sys.executable else [interpreter, "-X", "heapsize=8m"]),
                    "-c",
                    textwrap.dedent(HAND),
                    repr((role, wanted, *arguments)),
                ]
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "MICROPYPATH": f"{REPOSITORY}:.frozen"},
        )
        self.pid = int(self.process.stdout.readline())

    def __getattr__(self, name):
        return lambda *arguments: self.call(name, arguments, waits=True)

    def unmap_client(self, home, was):
        assert self.map_clients([Mapping(home, home, was, 0, 0)]) == [None]

    def now(self, name, *arguments):
        """Call a method, and do not wait for what it has begun."""
        return self.call(name, arguments, waits=False)

    def call(self, name, arguments, waits):
        print(repr((name, arguments, waits)), file=self.process.stdin, flush=True)
        names = {"Mapping": Mapping, "Arrival": Arrival, "RulesError": RulesError}
        answer = eval(self.process.stdout.readline(), names)
        if isinstance(answer, RulesError):
            raise answer
        return answer

    def kill(self):
        """SIGKILL: it has no time for anything."""
        self.node.machine.run(f"kill -9 {self.pid}")
        self.close()

    def close(self):
        self.process.stdin.close()
        self.process.wait(60 * TIMEOUT_SCALE)
        self.process.stdout.close()


class Client(Asked):
    """A machine that is attached to one of the nodes, with connections that stay open."""

    def __init__(self, mesh, number):
        self.mesh, self.number, self.ipv4 = mesh, number, f"10.126.0.{number}"
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
        wait_until(lambda: self.is_attached(node), f"way from {self.ipv4} to {node}")

    def is_attached(self, node):
        """The kernel opens ports of bridges a moment after their links are up; what is sent before is lost."""
        ports = (self.machine, f"to-{node}"), (self.mesh.machine[node], f"lan{self.number}")
        states = (machine.output(f"bridge -json link show dev {port}") for machine, port in ports)
        is_up = '"operstate":"UP"' in self.machine.output("ip -json link show dev eth0")
        return is_up and all('"state":"forwarding"' in state for state in states)

    def connect(self):
        self.begin(self.machine, CLIENT_PROGRAM)


class RoamingMesh:
    """on: by which interpreter the hands are, by their nodes' names; CPython if it says nothing. options: of roles."""

    def __init__(self, make, firewall, on=None, options=""):
        self.make, self.firewall, self.on, self.options = make, firewall, on or {}, options
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
        wait_until(lambda: machine.run(socket, check=False).returncode == 0, f"siit on {name}")
        mac = f"02:00:00:00:00:0{NUMBERS[name]}"
        common = f"{RANGES} --mesh-mtu {MESH_MTU} --client-range 10.126.0.0/16 --mac {mac} {self.options}"
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
        wait_until(lambda: count() >= wanted, f"{number} packets from the CLAT of {name}")

    def hand(self, name, *hosts):
        """The daemon on a node, set up. hosts: pref64 and the PLATs' range."""
        arguments = (CLAT_RULES, "br-client", "clat") if name in "ab" else (PLAT_RULES, "plat", plat(name))
        self.hands[name] = hand = Hand(
            self.node[name], *arguments, interpreter=self.on.get(name, sys.executable)
        )
        if hosts:
            hand.set_hosts(*hosts)
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

    def hear_with_errors(self, name, client):
        """What a client says, while the daemon of a node does what it has to for errors."""
        while not select.select([client.process.stdout], [], [], 0.02)[0]:
            self.hands[name].read_arrivals()
        return client.hear()

    def await_arrival(self, name, client):
        """Wait until the gate of a node holds packets of a client."""

        def has_arrived():
            return any(
                (arrival.mac, arrival.address) == client.key for arrival in self.hands[name].read_arrivals()
            )

        wait_until(has_arrived, f"packet of {client.ipv4} at the gate of {name}")

    def walk(self, client, to, serial=1, says="echo"):
        """Have a client walk and send something there at once. It waits at the gate and is answered when that opens."""
        client.attach(to)
        client.say(says)
        self.await_arrival(to, client)
        if to == "b":
            self.roam_to_b(client, serial=serial)
        else:
            self.roam_to_a(client)
        self.hands[to].open_gate(*client.key)
        assert client.hear() is True

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
def mesh_of(machines):
    """A function that makes a mesh of a firewall. on: node -> its interpreter, where it is not this one."""
    meshes = []

    def make(firewall, on=None, options=""):
        meshes.append(RoamingMesh(machines, firewall, on, options))
        return meshes[-1]

    yield make
    for mesh in meshes:
        mesh.close()


def walk_and_return(mesh):
    client = mesh.start()
    assert client.do("tick") is True
    assert client.do("udp one") is True
    longest_s = 0.0  # that a packet may have waited at b's gate
    for turn in range(2):
        begun_s = time.monotonic()
        mesh.walk(client, "b", serial=turn + 1)
        longest_s = max(longest_s, time.monotonic() - begun_s)
        assert client.do("udp two") is True
        assert client.do("udp " + 3000 * "f") is True  # in fragments
        assert client.do("ticks 30") is True
        assert client.do("echo") is True
        mesh.walk(client, "a", says="bulk")
        assert client.do("udp three") is True
        assert client.do("ticks 30") is True
    counters = mesh.hands["b"].counters()
    assert counters["waiting"] == 0
    assert counters["queued"] == counters["released"] + counters["dropped"] >= 2
    assert counters["dropped"] == 0 or longest_s > QUEUED_S
