# SPDX-License-Identifier: ISC
"""A mesh whose platnode has no IPv4 line: its exit is a rented server, by reach's WireGuard link (wireguard-go).

phone - a, b (clatnodes) - exit (platnode) = wan, IPv6 only = internet = eth0 - server 203.0.113.130
"""

import subprocess
import sys

import pytest
from meshes import mesh_text
from reach_lab import needs
from waiting import wait_until

from reach import keys
from sdk.lab import ECHO, WEB
from sdk.lab.machine import REPOSITORY
from sdk.lab.topology import INTERNET

pytestmark = needs("wireguard-go", "wg")
MESH = mesh_text("a=clat b=clat exit=plat", "a-exit b-exit", "phone=a")
PUBLIC = "203.0.113.130"
MTU = 1300  # of the link; what the mesh carries is larger
DESCRIPTION = f"""
[server]
device = "eth0"
ipv4 = "{PUBLIC}"
ipv6 = "2001:db8:0:1::7/64"
[home.exit]
device = "wan"
lan_device = "plat"
[link.wg0]
kind = "wireguard"
peers = {{ exit = 2 }}
masqueraded = "198.18.4.0/24"
route = "uplink"
mtu = {MTU}
keepalive_s = 1
userspace = true
"""
SERVER = [
    "ip link set eth0 up",
    f"ip addr add {PUBLIC}/30 dev eth0",
    "ip addr add 2001:db8:0:1::7/64 dev eth0 nodad",
    "ip route add default via 203.0.113.129",
    "ip -6 route add default via 2001:db8:0:1::1",
]
PROVIDER = [
    "sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv6.conf.wan0.disable_ipv6=0",
    "ip link set rented up",
    "ip addr add 203.0.113.129/30 dev rented",
    "ip addr add 2001:db8:0:1::1/64 dev rented nodad",
    "ip addr add 2001:db8:0:2::1/64 dev wan0 nodad",
    "ip addr flush dev wan0 scope global to 203.0.113.0/30",
]
PLATNODE = [
    "464xlat plat down",
    "ip -4 addr flush dev wan",
    "sysctl -qw net.ipv6.conf.wan.disable_ipv6=0",
    # reverse path filtering on all devices makes it hard
    "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1",
    "ip addr add 2001:db8:0:2::2/64 dev wan nodad",
    "ip -6 route add 2001:db8::/48 via 2001:db8:0:2::1",
]
# one connection, a line there and back at a time
TALK = f"""
import socket, sys
connection = socket.create_connection(("{ECHO}", 7), 60)
for line in sys.stdin:
    connection.sendall(line.encode())
    print(connection.recv(100).decode(), end="", flush=True)
"""
# what just fits the mesh, until an error says that the path is narrower
PROBE = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
s.settimeout(0.3)
s.connect(("{ECHO}", 7))
for _ in range(200):
    try:
        s.send(bytes(1354 - 28))
        s.recv(2000)
    except TimeoutError:
        continue
    except OSError:
        print(s.getsockopt(socket.IPPROTO_IP, 14))  # IP_MTU
        break
"""


class Uplink:
    """The lab, with a rented server, and `reach` on both ends of the link."""

    def __init__(self, lab, folder):
        self.lab, self.folder = lab, folder
        for end in ("server", "exit"):
            keys.write(folder / "keys", end)
        (folder / "reach.toml").write_text(DESCRIPTION)
        lab.running.boot("server")
        ends = (lab.running.pids[INTERNET], lab.running.pids["server"])
        pair = f"ip link add rented netns {ends[0]} type veth peer name eth0 netns {ends[1]}"
        subprocess.run(pair.split(), check=True)
        lab.script("server", SERVER)
        lab.script(INTERNET, PROVIDER)
        lab.script("exit", PLATNODE)

    def reach(self, machine, *words, check=True):
        command = [str(REPOSITORY / "bin/reach"), "--file", str(self.folder / "reach.toml"), *words]
        return self.lab.exec(machine, command, check=check)

    def plat_up(self, check=True):
        plan, node = self.lab.plan, self.lab.node("exit")
        uplink = ["--pool", str(self.lab.site.pool), "--uplink", "reach"]
        return self.lab.exec(
            "exit", ["464xlat", "plat", "up", *plan.role_options(node), *uplink], check=check
        )


@pytest.fixture(scope="module")
def uplink(lab_of, tmp_path_factory):
    return Uplink(lab_of(MESH), tmp_path_factory.mktemp("reach"))


@pytest.fixture
def mesh(uplink):
    """The lab, with the exit in use."""
    uplink.reach("server", "up", "server")
    uplink.reach("exit", "up", "exit")
    uplink.plat_up()
    uplink.lab.wait_ready()
    return uplink.lab


def test_the_role_waits_for_the_link_with_a_sentence_that_tells_how_to_make_it(uplink):
    done = uplink.plat_up(check=False)
    assert done.returncode == 1
    assert "no link of reach takes what comes from plat yet" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not uplink.lab.is_answered("phone")


def test_a_client_reaches_the_ipv4_internet_through_the_server(mesh):
    assert "out of wg0" in mesh.exec("exit", ["464xlat", "plat", "status"]).stdout
    assert mesh.exec("exit", ["ip", "-4", "route", "show", "default"]).stdout == ""
    with talking(mesh) as phone:
        say(phone, "hello")
        assert f" {PUBLIC}:" in mesh.exec(INTERNET, ["ss", "-Htn", "src", ECHO]).stdout
    got = mesh.exec(
        "phone", ["curl", "-sf", "-o", "/dev/null", "-w", "%{size_download}", f"http://{WEB}/bytes/3000000"]
    )
    assert got.stdout == "3000000"


def test_the_clients_own_traffic_is_all_that_takes_the_link(mesh):
    done = mesh.exec("exit", ["ping", "-c1", "-W1", WEB], check=False)
    assert done.returncode != 0


def test_a_client_learns_the_links_mtu_and_larger_packets_pass_in_fragments(mesh):
    assert mesh.exec("phone", [sys.executable, "-c", PROBE]).stdout == f"{MTU}\n"
    for size in (MTU - 28, MTU - 27, 1354 - 28, 3000, 20_000):
        assert (
            '"same": true'
            in mesh.exec(
                "phone", [sys.executable, "-m", "sdk.client", "udp-echo", ECHO, "7", str(size)]
            ).stdout
        )


def test_an_open_connection_lives_while_the_client_roams(mesh):
    with talking(mesh) as phone:
        say(phone, "at a")
        for node in ("b", "a"):
            mesh.roam("phone", node)
            say(phone, f"at {node}")


def test_without_the_link_clients_hear_so_at_once_and_one_that_comes_back_is_used(uplink, mesh):
    uplink.reach("exit", "down", "exit")
    # quickly: without a route the kernel says so once a second to one address, which is the pool's, so everybody's
    ping = ["ping", "-c25", "-i0.05", "-n", "-W2", WEB]
    wait_until(lambda: "Unreachable" in mesh.exec("phone", ping, check=False).stdout, what="Unreachable")
    uplink.reach("exit", "up", "exit")
    wait_until(lambda: mesh.is_answered("phone"), "an answer through the new link")


def talking(lab):
    return lab.popen(
        "phone", [sys.executable, "-c", TALK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def say(phone, word):
    phone.stdin.write(f"{word}\n")
    phone.stdin.flush()
    assert phone.stdout.readline() == f"{word}\n"
