# SPDX-License-Identifier: ISC
"""More MACs on a real bridge than a node can follow; and leases whose clients the bridge does not show."""

import json
import signal
import sys
import textwrap

import micropython
import pytest
from node_lab import NEEDS, REPOSITORY, address, link
from waiting import wait_until

from sdk.timeouts import TIMEOUT_SCALE

pytestmark = NEEDS

PYTHONS = {"cpython": sys.executable, **dict(list(micropython.find().items())[:1])}
DAEMON = (
    "daemon --clat --clat-range fddd:1337:1337::/48 --plat-range fddd:1338:1338::/48 --mac 02:00:00:00:00:aa"
    " --node-client-prefix fddd:1337:1339::/64 --mesh mesh0"
)
FORGED, PACKETS = 70_000, 50_000
AWAY_S = 1.5  # that the daemon may be away; it was a minute
QUIET_MAC = "02:aa:00:00:00:09"

# a frame of each of so many MACs
SEND = """
    import socket, sys
    door = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    door.bind(("eth0", 0))
    first, count = bytes.fromhex(sys.argv[1]), int(sys.argv[2])
    begin = int.from_bytes(first[2:])
    for number in range(begin, begin + count):
        mac = first[:2] + number.to_bytes(4, "big")
        door.send(b"\\xff" * 6 + mac + b"\\x88\\xb5" + bytes(46))
"""
# so many packets to the internet, from as many addresses as a client can make up
KNOCK = """
    import socket, struct, sys
    door = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    door.bind(("eth0", 0))
    for number in range(int(sys.argv[1])):
        source = bytes((10, 46, 1 + number // 250 % 200, 1 + number % 250))
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 46, 0, 0, 64, 17, 0, source, bytes((198, 51, 100, 1)))
        total = sum(struct.unpack("!10H", header))
        total = (total & 0xFFFF) + (total >> 16)
        header = header[:10] + struct.pack("!H", ~total & 0xFFFF) + header[12:]
        packet = header + struct.pack("!HHHH", 5000, 53, 26, 0) + bytes(18)
        door.send(bytes.fromhex("0200000000aa02bb00000001") + b"\\x08\\0" + packet)
"""
# the longest that the daemon takes for an answer, until there is a file that says stop
ASK = """
    import os, time
    from runtime.sockets import ask
    longest = 0.0
    while not os.path.exists("/run/stop"):
        begun = time.monotonic()
        assert ask("/run/l3roamd.sock", b"get_prefixes", 120)
        longest = max(longest, time.monotonic() - begun)
        time.sleep(0.005)
    print(longest)
"""


def status(node):
    done = node.run(["bin/l3roamd_py", "status", "--json", "--socket", "/run/l3roamd.sock"], check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


@pytest.fixture(params=PYTHONS)
def node(machines, request):
    """A node with a bridge of two ports, someone at each, and the daemon."""
    node = machines("node")
    node.run("ip link add br-client type bridge")
    node.run("ip link set br-client address 02:00:00:00:00:aa up")
    for name in ("crowd", "quiet"):
        machine = machines(name)
        link(node, name, machine, "eth0")
        node.run(f"ip link set {name} master br-client up")
        setattr(node, name, machine)
    node.crowd.run("ip link set eth0 up")
    node.quiet.run(f"ip link set eth0 address {QUIET_MAC} up")
    node.run("ip link add clat type veth peer name clat-end")
    node.run("ip link add mesh0 type bridge")
    for device in ("clat", "mesh0"):
        node.run(f"ip link set {device} up")
    address(node, "mesh0", "fe80::1/64")
    address(node, "br-client", "10.46.0.1/16")
    node.daemon = node.start(
        ["bin/l3roamd_py", *DAEMON.split(), "--socket", "/run/l3roamd.sock", "--state", "/run/l3roamd.state"],
        L3ROAMD_PYTHON=str(PYTHONS[request.param]),
    )
    wait_until(lambda: status(node) or node.daemon.poll() is not None, "answer of the daemon, or its end")
    assert node.daemon.poll() is None, node.daemon.stdout.read()
    return node


def send(machine, first, count=1):
    """Have frames sent from so many MACs."""
    machine.python(SEND, first.replace(":", ""), str(count))


def lease(node, *words):
    node.run(["bin/l3roamd_py", "ctl", "--socket", "/run/l3roamd.sock", "lease", *words])


def served(node):
    return {each["mac"]: each["ipv4"] for each in status(node)["clients"] if each["state"] == "served"}


def test_the_daemon_is_there_while_macs_are_forged_and_knows_all_in_the_end(node):
    asking = node.start([sys.executable, "-c", textwrap.dedent(ASK)], PYTHONPATH=str(REPOSITORY))
    flood = node.crowd.start([sys.executable, "-c", textwrap.dedent(SEND), "02bb00000000", str(FORGED)])
    wait_until(lambda: status(node)["counters"]["kernel_overruns"], "messages that were lost")
    send(node.quiet, QUIET_MAC)
    assert flood.wait(60 * TIMEOUT_SCALE) == 0, flood.stdout.read()
    assert len(node.output("bridge fdb show br br-client").splitlines()) > FORGED
    wait_until(lambda: QUIET_MAC in {each["mac"] for each in status(node)["clients"]}, "who spoke meanwhile")
    node.run("touch /run/stop")
    assert float(asking.stdout.read()) < AWAY_S * TIMEOUT_SCALE
    assert status(node)["counters"]["bugs"] == 0


def test_a_lease_makes_a_client_of_whom_the_kernel_could_not_tell(node):
    """The daemon comes late, and most of what it would have been told is lost."""
    node.run("pkill -STOP -f l3roamd_py.daemon")
    send(node.crowd, "02:bb:00:00:00:00", 20_000)
    send(node.quiet, QUIET_MAC)
    late = node.start(
        [
            "bin/l3roamd_py",
            "ctl",
            "--socket",
            "/run/l3roamd.sock",
            "lease",
            "add",
            QUIET_MAC,
            "10.46.3.4",
            "600",
        ]
    )
    node.run("pkill -CONT -f l3roamd_py.daemon")
    node.daemon.send_signal(signal.SIGCONT)  # nsenter stops with its child
    wait_until(lambda: late.poll() is not None, "answer")
    assert wait_until(lambda: served(node).get(QUIET_MAC), "client") == "10.46.3.4"
    assert status(node)["counters"]["kernel_overruns"]


def test_who_left_is_not_taken_to_be_here_by_what_is_left_of_it(node):
    """A lease that is renewed in its name is no sign of it, also if the daemon did not know its port."""
    program = """
        import sys
        from l3roamd_py.kernel.finder import Finder
        from l3roamd_py.kernel.network import Network
        network = Network("br-client", None)
        finder, mac = Finder(network), bytes.fromhex(sys.argv[1])
        finder.dump()
        finder.ports.pop(mac)  # forgotten in a flood
        assert finder.has_seen(mac)
        network.bridge_entries.forget(mac, finder.forget_port(mac))
        assert not finder.has_seen(mac)
        print("forgotten")
    """
    send(node.quiet, QUIET_MAC)
    forgotten = node.python(program, QUIET_MAC.replace(":", ""), PYTHONPATH=str(REPOSITORY))
    assert forgotten == "forgotten"


def test_a_client_whose_mac_its_bridge_does_not_learn_is_served_with_its_lease(node):
    node.run("bridge link set dev quiet learning off")
    node.run(f"bridge fdb del {QUIET_MAC} dev quiet master", check=False)
    address(node.quiet, "eth0", "10.46.3.4/16")
    lease(node, "add", QUIET_MAC, "10.46.3.4", "600")
    assert QUIET_MAC not in node.output("bridge fdb show br br-client dynamic")
    node.quiet.run("ping -c 1 -W 1 10.46.0.1", check=False)
    assert wait_until(lambda: served(node).get(QUIET_MAC), "client") == "10.46.3.4"


def test_what_a_bridge_knew_before_it_was_ours_is_known(node):
    """On Gluon the client device is a veth, whose other end becomes a port of the bridge when that is made."""
    node.run("ip link del br-client")
    node.run("ip link add br0 type bridge")
    node.run("ip link set br0 up")
    node.run("ip link set quiet master br0")
    send(node.quiet, QUIET_MAC)
    node.run("ip link add br-client type veth peer name end")
    for device in ("br-client", "end"):
        node.run(f"ip link set {device} up")
    node.run("ip link set end master br0")

    def place():
        return node.output(["bin/l3roamd_py", "ctl", "--socket", "/run/l3roamd.sock", "get_clients"])

    wait_until(lambda: f'"{QUIET_MAC}": {{ "interface": "quiet"' in place(), "the port of who speaks no more")


def test_nobody_is_probed_through_a_device_that_is_down(node):
    probe = ["bin/l3roamd_py", "ctl", "--socket", "/run/l3roamd.sock", "probe", "10.46.3.4", QUIET_MAC]
    assert node.run(probe).stdout == ""
    node.run("ip link set br-client down")
    done = node.run(probe, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "down" in done.stderr


def test_the_daemon_is_there_while_packets_of_made_up_addresses_wait_at_the_gate(node):
    node.run("sysctl -qw net.ipv4.ip_forward=1")
    node.run("ip link set clat-end up")
    node.run("ip route add default dev clat")
    node.run("ip neigh replace 198.51.100.1 dev clat lladdr 02:00:00:00:00:99 nud permanent")
    asking = node.start([sys.executable, "-c", textwrap.dedent(ASK)], PYTHONPATH=str(REPOSITORY))
    node.crowd.python(KNOCK, str(PACKETS))
    wait_until(lambda: status(node)["counters"]["gate_dropped"] > PACKETS / 50, "packets that waited in vain")
    node.run("touch /run/stop")
    assert float(asking.stdout.read()) < AWAY_S * TIMEOUT_SCALE
    assert status(node)["counters"]["bugs"] == 0
