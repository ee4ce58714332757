# SPDX-License-Identifier: ISC
"""What roles refuse: an exit's way into its owner's networks, and clients that are not who they say."""

import re
import subprocess
import sys
import textwrap
import time

import pytest
from node_lab import EITHER_KIND, FIREWALLS, NEEDS, address, link
from setup_mesh import CLIENT, NEXT_NODE, SERVER, Mesh
from waiting import wait_until

pytestmark = NEEDS
PLAT = "fddd:1337:1338:200:0:b2:"
HOME, NEIGHBOUR = "192.168.178.1", "203.0.113.254"  # of the router that the exit is behind
OFFICE, BEHIND = "203.0.115.7", "203.0.116.7"  # on another device of the exit, and routed by somebody there
# of each private or special range the first, the last or one in between
SPECIAL = [
    *(
        "0.1.2.3",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "169.254.169.254",
    ),
    *(
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.9",
        "192.88.99.1",
        "192.168.0.1",
        "192.168.255.254",
        "198.18.0.1",
    ),
    *("198.19.255.255", "224.0.0.251", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
]


def mesh_that_carries(machines, firewall):
    mesh = Mesh(machines, firewall)
    # links that have just come up lose packets
    wait_until(lambda: "1 received" in ping(mesh.client, SERVER, "-W", "1"), "way to the server")
    wait_until(lambda: answers(mesh, SERVER) == {SERVER: "hello"}, "answer of the server")
    return mesh


@pytest.fixture(params=FIREWALLS)
def mesh(machines, request):
    return mesh_that_carries(machines, request.param)


@pytest.fixture(params=EITHER_KIND)
def either_mesh(machines, request):
    return mesh_that_carries(machines, request.param)


# tells for each IPv4 address in the PLAT what a datagram to it is answered: b"..." or the error of the network
ASK_EACH = """
    import errno, socket, sys
    for word in sys.argv[1:]:
        asking = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        asking.setsockopt(socket.IPPROTO_IPV6, 25, 1)  # IPV6_RECVERR
        asking.bind((SOURCE, 0))
        asking.settimeout(1)
        try:
            asking.connect((word, 7))
            asking.send(b"hello")
            print(word, asking.recv(100).decode())
        except OSError as error:
            print(word, errno.errorcode.get(error.errno, "silence"))
"""


def in_plat(ipv4):
    return PLAT + "{:x}:{:x}".format(
        *(256 * int(high) + int(low) for high, low in [ipv4.split(".")[i : i + 2] for i in (0, 2)])
    )


def answers(mesh, *addresses, source="fddd:1337:1337:200:0:c1:a7e:32"):
    """What a node hears that asks IPv4 addresses through the exit in the name of a client (or of another)."""
    mesh.clat.run(f"ip -6 address replace {source}/128 dev lo nodad")
    asked = {in_plat(each): each for each in addresses}
    text = f"SOURCE = {source!r}\n" + textwrap.dedent(ASK_EACH)
    said = mesh.clat.output([sys.executable, "-c", text, *asked])
    mesh.clat.run(f"ip -6 address del {source}/128 dev lo")
    return {asked[line.split()[0]]: line.split()[1] for line in said.splitlines()}


def ping(machine, ipv4, *words):
    return machine.run(["ping", "-c", "1", "-W", "5", *words, ipv4], check=False).stdout


def give_home(mesh):
    """A network behind the exit's WAN, one on another device of its, and one that is routed there."""
    mesh.net4.run(f"ip address add {HOME}/24 dev left")
    mesh.plat.run("ip link add office type veth peer name desk")
    mesh.plat.run("ip netns add desk")
    mesh.plat.run("ip link set desk netns desk")
    mesh.plat.run("ip address add 203.0.115.1/24 dev office")
    mesh.plat.run("ip link set office up")
    for words in (
        "ip link set lo up",
        "ip link set desk up",
        f"ip address add {OFFICE}/24 dev desk",
        f"ip address add {BEHIND}/24 dev lo",
        "ip route add default via 203.0.115.1",
    ):
        mesh.plat.run(f"ip netns exec desk {words}")
    mesh.plat.run("ip route add 203.0.116.0/24 via 203.0.115.7")
    mesh.plat.run("sysctl -qw net.ipv4.ip_forward=1")  # as on a router
    mesh.plat_node.xlat(f"plat up {mesh.plat_options}")  # which networks come and go it is told so on OpenWrt


def test_an_exit_leads_to_the_internet_and_nowhere_else(mesh):
    give_home(mesh)
    # an admin who has not read anything
    if mesh.plat_node.firewall != "nft":
        mesh.plat.run("iptables -I FORWARD -i plat -j ACCEPT", **mesh.plat_node.variables)
        mesh.plat.run("ip6tables -I FORWARD -j ACCEPT", **mesh.plat_node.variables)
        mesh.plat.run("iptables -I INPUT -j ACCEPT", **mesh.plat_node.variables)
    own = ["203.0.113.1", "203.0.115.1", "192.168.178.20"]
    refused = [*SPECIAL, HOME, NEIGHBOUR, OFFICE, *own]
    for i, each in enumerate(refused):  # a client each, for the kernel limits errors to one
        assert answers(mesh, each, source=f"fddd:1337:1337:200:0:c1:a7e:{256 + i:x}") == {each: "EACCES"}
    silent = (
        "EACCES" if mesh.plat_node.firewall == "nft" else "silence"
    )  # iptables cannot refuse so that it holds
    assert answers(mesh, BEHIND, "192.0.0.1") == {BEHIND: silent, "192.0.0.1": silent}
    # a client hears so as well, at once
    start = time.monotonic()
    assert "Host Prohibited" in ping(mesh.client, HOME)
    assert time.monotonic() - start < 4
    assert "1 received" in ping(mesh.client, SERVER)


def test_the_networks_of_the_wan_are_looked_at_again(either_mesh):
    mesh = either_mesh
    give_home(mesh)
    mesh.net4.run("ip address add 198.51.200.7/24 dev left")
    mesh.plat.run("ip address add 198.51.200.1/24 dev wan")
    assert "off the networks that this node is in" in mesh.plat_node.xlat("plat status", check=False).stdout
    assert "it is, with these settings" in mesh.plat_node.xlat(f"plat up {mesh.plat_options}").stdout
    assert mesh.plat_node.xlat("plat check").returncode == 0
    assert answers(mesh, "198.51.200.7", SERVER) == {"198.51.200.7": "EACCES", SERVER: "hello"}
    before = mesh.plat.output("ip -6 route")
    mesh.plat_node.xlat(f"plat up {mesh.plat_options}")
    assert mesh.plat.output("ip -6 route") == before
    mesh.plat.run("ip address del 198.51.200.1/24 dev wan")
    mesh.plat_node.xlat(f"plat up {mesh.plat_options}")
    assert "c633:c800/120" not in mesh.plat.output("ip -6 route")


def test_exceptions_are_let_through_and_the_node_itself_only_by_its_name(either_mesh):
    mesh = either_mesh
    give_home(mesh)
    mesh.plat.run("ip address add 192.168.178.20/24 dev wan")
    for machine, bound in ((mesh.net4, HOME), (mesh.plat, "192.168.178.20")):
        server = machine.start([sys.executable, "-c", textwrap.dedent(ECHO), bound])
        assert server.stdout.readline() == "ready\n"
    mesh.plat_node.xlat(f"plat up {mesh.plat_options} --allow 192.168.178.0/24")
    assert answers(mesh, HOME, "192.168.178.20", "192.168.179.1") == {
        HOME: "hello",
        "192.168.178.20": "EACCES",
        "192.168.179.1": "EACCES",
    }
    mesh.plat_node.xlat(f"plat up {mesh.plat_options} --allow 192.168.178.20/32")
    assert answers(mesh, HOME, "192.168.178.20") == {HOME: "EACCES", "192.168.178.20": "hello"}


ECHO = """
    import socket, sys
    answering = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    answering.bind((sys.argv[1], 7))
    print("ready", flush=True)
    while True:
        answering.sendto(*answering.recvfrom(100))
"""


def test_only_clients_of_the_clat_range_are_sources(mesh):
    for source, answer in (
        ("fddd:1337:1337:200:0:c1:a7e:32", "hello"),  # 10.126.0.50
        ("fddd:1337:1337:ffff::a7e:ffff", "hello"),  # a client of another node
        ("fddd:1337:1337:200:0:c1:a7f:1", "EACCES"),  # 10.127.0.1
        ("fddd:1337:1337:200:0:c1:c000:1", "EACCES"),  # a node, which only asks whether the exit works
        ("fddd:1337:1338:200:0:b2:c000:209", "EACCES"),  # the pool
        ("fd00:1::1", "EACCES"),
    ):
        mesh.mid.run(f"ip -6 route replace {source}/128 via fd00:1::1")
        mesh.plat.run(f"ip -6 route replace {source}/128 via fd00:2::2")
        assert answers(mesh, SERVER, source=source) == {SERVER: answer}, source
    mesh.clat.run("ip -6 address add fddd:1337:1337:200:0:c1:c000:1/128 dev lo nodad")
    assert "1 received" in ping(mesh.clat, in_plat(SERVER), "-I", "fddd:1337:1337:200:0:c1:c000:1")


# a reset that belongs to no connection
RESET = """
    import socket, struct, sys
    asking = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_TCP)
    asking.setsockopt(socket.IPPROTO_IPV6, 7, 16)  # IPV6_CHECKSUM
    asking.bind((sys.argv[1], 0))
    asking.sendto(struct.pack("!HHIIBBHHH", 5000, 7, 1, 0, 5 << 4, 4, 0, 0, 0), (sys.argv[2], 0))
"""
# connects, and resets its connection when told to
ABORT = """
    import socket, struct, sys
    asking = socket.create_connection((sys.argv[1], 7), 30)
    asking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    print("ready", flush=True)
    sys.stdin.readline()
    asking.close()
"""


def test_what_conntrack_cannot_place_leaves_by_no_exit_whatever_an_admin_accepts(mesh):
    """NAT does not touch it: it would leave with the pool's address, or reset the connections of others."""
    variables = mesh.plat_node.variables
    if mesh.plat_node.firewall != "nft":
        mesh.plat.run("iptables -I FORWARD -j ACCEPT", **variables)
        mesh.plat.run("ip6tables -I FORWARD -j ACCEPT", **variables)
    rules = """table ip seen {
        counter pool { }
        chain c { type filter hook prerouting priority 0; ip saddr 192.0.2.9 counter name pool; }
    }"""
    mesh.net4.run("nft -f -", input=rules)
    pool = in_plat("192.0.2.9")
    mesh.clat.run(f"ip -6 address add {pool}/128 dev lo nodad")
    mesh.clat.run([sys.executable, "-c", textwrap.dedent(RESET), pool, in_plat(SERVER)])
    mesh.clat.run(f"ip -6 address del {pool}/128 dev lo")
    abort = [sys.executable, "-c", textwrap.dedent(ABORT), SERVER]
    with subprocess.Popen(
        mesh.client.words(abort), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout.readline() == "ready\n"
        mesh.plat.run("conntrack -F -f ipv4")
        client.communicate("now\n")
    assert "1 received" in ping(mesh.client, SERVER)  # behind both on the same way
    assert "packets 0 " in mesh.net4.output("nft list counter ip seen pool")


# sends a datagram from each source to an address and port of each kind; what arrives is heard elsewhere
SEND = """
    import socket, sys
    source, to, port = sys.argv[1:]
    kind = socket.AF_INET6 if ":" in to else socket.AF_INET
    asking = socket.socket(kind, socket.SOCK_DGRAM)
    asking.setsockopt(socket.SOL_IP, 19, 1)  # IP_TRANSPARENT: any source
    if kind == socket.AF_INET6: asking.setsockopt(socket.IPPROTO_IPV6, 75, 1)
    asking.bind((source, 0))
    asking.sendto(b"hello", (to, int(port)))
"""
MINE, ROUTER, OTHER = "fd00:c::50", "fd00:c::1", "2001:db8:9::1"


@pytest.mark.parametrize("firewall", EITHER_KIND)
def test_a_client_is_nobody_else_and_no_node(machines, firewall):
    mesh = Mesh(machines, firewall)
    mesh.clat_node.xlat(f"clat up {mesh.clat_options} --client-prefixes fd00:c::/64")
    mesh.choose(mesh.clat_node)
    mesh.clat.run(f"ip -6 address add {ROUTER}/64 dev br-client nodad")
    mesh.client.run(f"ip -6 address add {MINE}/64 dev eth0 nodad")
    mesh.client.run(f"ip -6 route add default via {ROUTER}")
    mesh.mid.run("ip -6 route add fd00:c::/64 via fd00:1::1")
    watches = [
        machine.start(f"tcpdump -i {device} -nn -l --immediate-mode udp")
        for machine, device in ((mesh.clat, "mesh"), (mesh.clat, "clat"))
    ]
    for watch in watches:
        wait_until(lambda watch=watch: "listening" in watch.stdout.readline(), "tcpdump")
    heard = mesh.clat.start([sys.executable, "-c", textwrap.dedent(HEAR)])
    assert heard.stdout.readline() == "ready\n"
    victim, node = "fddd:1337:1337:200:0:c1:a7e:33", "fddd:1337:1337:200:0:c1:c000:1"
    sends = [  # source, destination, port, whether it passes
        (MINE, "fd00:1::2", 4001, True),
        (CLIENT, SERVER, 4002, True),
        (victim, in_plat(SERVER), 4003, False),
        (in_plat(SERVER), victim, 4004, False),
        (MINE, in_plat(SERVER), 4005, False),
        (MINE, victim, 4006, False),
        (OTHER, "fd00:1::2", 4007, False),
        (victim, "fd00:1::2", 4008, False),
        ("10.99.0.1", SERVER, 4009, False),
        (CLIENT, "192.0.0.1", 4010, False),
        (MINE, "fd00:1::2", 5523, False),
        (MINE, ROUTER, 5523, False),
        (MINE, node, 5523, False),
        (CLIENT, "192.0.0.1", 5523, False),
        (CLIENT, NEXT_NODE, 5523, False),
        (MINE, ROUTER, 5524, True),
        (CLIENT, NEXT_NODE, 5524, True),
        (CLIENT, SERVER, 4099, True),  # the last
    ]
    for source, to, port, _ in sends:
        mesh.client.run([sys.executable, "-c", textwrap.dedent(SEND), source, to, str(port)])
    lines = []

    def is_over():
        lines.append(watches[0].stdout.readline())
        return "4099" in lines[-1] or ".4099" in lines[-1]

    wait_until(is_over, "the last datagram")
    mesh.clat.run("pkill -INT tcpdump")
    said = "".join(lines) + "".join(watch.stdout.read() for watch in watches)
    passed = {int(port) for port in re.findall(r"> [0-9a-f:.]+\.(\d+): UDP", said)}
    local = {int(heard.stdout.readline()) for _ in range(2)}
    assert local == {5524}
    assert passed == {4001, 4002, 4099}


HEAR = """
    import select, socket
    both = []
    for kind in (socket.AF_INET6, socket.AF_INET):
        for port in (5523, 5524):
            listening = socket.socket(kind, socket.SOCK_DGRAM)
            if kind == socket.AF_INET6: listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(("", port))
            both.append(listening)
    print("ready", flush=True)
    while True:
        for each in select.select(both, [], [])[0]:
            each.recv(100)
            print(each.getsockname()[1], flush=True)
"""


def test_clients_of_gluons_bridge_are_held_at_both_of_its_devices(machines):
    """The gateway's device is a veth into the bridge, and the bridge takes packets for itself as well."""
    mesh = Mesh(machines)
    mesh.clat_node.xlat("clat down")
    link(mesh.clat, "local-node", mesh.clat, "local-port")
    mesh.clat.run("ip link set local-port up master br-client")
    address(mesh.clat, "local-node", "10.126.0.2/16")
    mesh.clat_node.xlat(f"clat up {mesh.clat_options} --client-device local-node")
    rules = mesh.clat.output("nft list table inet xlat464_clat")
    assert 'iifname { "br-client", "local-node" }' in rules


@pytest.mark.parametrize("firewall", EITHER_KIND)
def test_one_client_and_one_node_have_no_more_than_their_share(machines, firewall):
    mesh = mesh_that_carries(machines, firewall)
    mesh.plat_node.xlat(f"plat up {mesh.plat_options} --client-flows 20 --node-flows 30")
    wait_until(lambda: "1 received" in ping(mesh.client, SERVER, "-W", "1"), "way to the server")
    mesh.plat.run("conntrack -F")
    open_sockets = mesh.client.start([sys.executable, "-c", textwrap.dedent(FLOWS), SERVER])
    answered = [open_sockets.stdout.readline().strip() for _ in range(30)]
    assert answered.count("hello") == 20
    assert set(answered[:20]) == {"hello"}
    # another client of the node has what is left to it, one of another node its own
    mesh.client.run("ip address add 10.126.0.51/16 dev eth0")
    other = mesh.client.start([sys.executable, "-c", textwrap.dedent(FLOWS), SERVER, "10.126.0.51"])
    assert [other.stdout.readline().strip() for _ in range(30)].count("hello") == 10
    elsewhere = "fddd:1337:1337:ffff::a7e:1"
    mesh.mid.run(f"ip -6 route replace {elsewhere}/128 via fd00:1::1")
    mesh.plat.run(f"ip -6 route replace {elsewhere}/128 via fd00:2::2")
    assert answers(mesh, SERVER, source=elsewhere) == {SERVER: "hello"}
    # what is under way goes on, and what has ended makes room
    mesh.plat.run("conntrack -D -f ipv6 -p udp --orig-port-src 5000")
    assert mesh.client.python(ONE_FLOW, SERVER) == "hello"


@pytest.mark.parametrize("firewall", EITHER_KIND)
def test_nobody_begins_more_flows_a_second_than_its_share(machines, firewall):
    mesh = mesh_that_carries(machines, firewall)
    mesh.plat_node.xlat(f"plat up {mesh.plat_options} --client-flows-per-s 2 --node-flows-per-s 3")
    wait_until(lambda: "1 received" in ping(mesh.client, SERVER, "-W", "1"), "way to the server")
    for source in ("10.126.0.51", "10.126.0.52"):
        mesh.client.run(f"ip address add {source}/16 dev eth0")
    asked = [
        mesh.client.start([sys.executable, "-c", textwrap.dedent(FLOWS), SERVER, source])
        for source in ("10.126.0.51", "10.126.0.52")
    ]
    counts = []
    for each in asked:
        answered = [each.stdout.readline().strip() for _ in range(30)]
        counts.append(answered.count("hello"))
        assert "silence" in answered  # neither refused nor let through
    # five seconds' worth at once, and what some seconds bring: together they have the node's share
    assert max(counts) <= 10 + 2 * 8
    assert 15 <= sum(counts) <= 15 + 3 * 10
    # another node has its own, this one its probes, and what waits a little gets through
    elsewhere = "fddd:1337:1337:ffff::a7e:1"
    mesh.mid.run(f"ip -6 route replace {elsewhere}/128 via fd00:1::1")
    mesh.plat.run(f"ip -6 route replace {elsewhere}/128 via fd00:2::2")
    assert answers(mesh, SERVER, source=elsewhere) == {SERVER: "hello"}
    wait_until(lambda: mesh.client.python(ONE_FLOW, SERVER, check=False) == "hello", "its turn")


@pytest.mark.parametrize("firewall", EITHER_KIND)
def test_a_client_stays_on_one_of_the_pools_addresses(machines, firewall):
    """RFC 4787, REQ-2: servers take two connections of one client for those of one."""
    mesh = Mesh(machines, firewall, pool="192.0.2.8/29")
    wait_until(lambda: "1 received" in ping(mesh.client, SERVER, "-W", "1"), "way to the server")
    sources = [f"10.126.0.{number}" for number in range(60, 76)]
    for source in sources:
        mesh.client.run(f"ip address add {source}/16 dev eth0")
    mesh.client.python(TO_MANY, *sources)
    used = {}
    for line in mesh.plat.output("conntrack -L -f ipv6 -p udp --orig-port-dst 9").splitlines():
        client, pool = re.search(r" src=(\S+) .* dst=(\S+) sport=9 ", line).groups()
        used.setdefault(client, []).append(pool)
    assert {len(pools) for pools in used.values()} == {8}
    assert len(used) == len(sources)
    assert all(len(set(pools)) == 1 for pools in used.values())
    assert len({pools[0] for pools in used.values()}) > 1, "all clients on one address"


# a datagram from each source to each of eight servers
TO_MANY = """
    import socket, sys
    for source in sys.argv[1:]:
        for number in range(1, 9):
            asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            asking.bind((source, 0))
            asking.sendto(b"hello", ("203.0.114.%d" % number, 9))
"""


# a flow of each of 30 ports: what it is answered, "hello" or nothing in a while
FLOWS = """
    import select, socket, sys, time
    sockets = []
    for port in range(5000, 5030):
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        asking.bind((sys.argv[2] if sys.argv[2:] else "", port))
        asking.connect((sys.argv[1], 7))
        sockets.append(asking)
        asking.send(b"hello")
        answer = "silence"
        if select.select([asking], [], [], 0.2)[0]:
            try:
                answer = asking.recv(100).decode()
            except OSError:
                pass
        print(answer, flush=True)
    time.sleep(600)
"""
ONE_FLOW = """
    import socket, sys
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.settimeout(20)
    asking.connect((sys.argv[1], 7))
    asking.send(b"hello")
    print(asking.recv(100).decode())
"""


@pytest.mark.parametrize("firewall", FIREWALLS)
def test_ports_below_1024_stay_below(machines, firewall):
    """RFC 4787, REQ-3a: who speaks from 500 (IKE) is heard from there, or at least from a port of that kind."""
    mesh = mesh_that_carries(machines, firewall)
    mesh.client.run("ip address add 10.126.0.51/16 dev eth0")
    seen = []
    for source, port in ((CLIENT, 500), ("10.126.0.51", 500), (CLIENT, 1023), (CLIENT, 1024), (CLIENT, 4500)):
        seen.append(int(mesh.client.python(FROM, SERVER, source, str(port)).split()[1]))
    assert seen[0] == 500
    assert seen[1] < 1024
    assert seen[1] != 500
    assert seen[2:] == [1023, 1024, 4500]


FROM = """
    import socket, sys
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.settimeout(20)
    asking.bind((sys.argv[2], int(sys.argv[3])))
    asking.connect((sys.argv[1], 7))
    asking.send(b"who")
    print(asking.recv(100).decode())
"""
