# SPDX-License-Identifier: ISC
"""The firewall that documentation tells people to make: its commands are executed, and what passes is seen.

      a ── br-mesh of b ── c      a and c reach each other through b only, whose rules are the page's

Without further ado a stand-in renders the rules; with OPENWRT_ROOT=/path/to/a root file system of OpenWrt (x86-64, with
firewall4) the real uci and fw4 do.
"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import firewall4
import pytest
import uci
from node_lab import address, link
from waiting import wait_until

from sdk.router import docs

ROOT = Path(__file__).resolve().parents[2]
OPENWRT = os.environ.get("OPENWRT_ROOT")
DEVICES = {"lan": "br-lan", "wan": "wan0", "mesh": "br-mesh"}
# as OpenWrt has it when it is new, without what it lets in from its WAN
BEFORE = """\
config defaults
	option syn_flood '1'
	option input 'REJECT'
	option output 'ACCEPT'
	option forward 'REJECT'

config zone
	option name 'lan'
	list network 'lan'
	option input 'ACCEPT'
	option output 'ACCEPT'
	option forward 'ACCEPT'

config zone
	option name 'wan'
	list network 'wan'
	option input 'REJECT'
	option output 'ACCEPT'
	option forward 'REJECT'
	option masq '1'
	option mtu_fix '1'

config forwarding
	option src 'lan'
	option dest 'wan'
"""
NETWORK = """\
config device
	option name 'br-lan'
	option type 'bridge'
	list ports 'eth0'

config interface 'lan'
	option device 'br-lan'
"""
OTHERS = {"babeld": "config general\n", "dhcp": "config dnsmasq\n", "network": NETWORK}
NOT_OURS = "service() { :; }; opkg() { :; }; apk() { :; }\n"
FORMERLY = [  # what the page said once
    "uci set firewall.mesh=zone; uci set firewall.mesh.name=mesh; uci add_list firewall.mesh.network=mesh",
    "uci set firewall.mesh.input=REJECT; uci set firewall.mesh.output=ACCEPT; uci set firewall.mesh.forward=REJECT",
]
# a dummy of fw4's view of netifd
STATE = {
    "networks": {name: {"up": True, "device": device, "physdev": device} for name, device in DEVICES.items()},
    "ubus_rules": [],
}


def stand_in(lines: list[str], folder: Path) -> str:
    """Carry commands out by the stand-in of uci; return the rules by that of firewall4."""
    config = folder / "config"
    config.mkdir()
    for name, text in OTHERS.items():
        (config / name).write_text(text)
    (config / "464xlat").write_text((ROOT / "files/464xlat/etc/config/464xlat").read_text())
    (config / "firewall").write_text(BEFORE)
    typed = uci.shell(config) + NOT_OURS + "\n".join(lines)
    done = subprocess.run(["sh", "-e", "-c", typed], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return firewall4.render(uci.load(config, "firewall"), DEVICES)


def real(lines: list[str], folder: Path) -> str:
    """Carry commands out in a root of OpenWrt's; return what its firewall4 renders."""
    assert OPENWRT
    for name in ("upper", "work", "root"):
        (folder / name).mkdir()
    config = folder / "upper/etc/config"
    config.mkdir(parents=True)
    (config / "firewall").write_text(BEFORE)
    (config / "464xlat").write_text((ROOT / "files/464xlat/etc/config/464xlat").read_text())
    for name, text in OTHERS.items():
        (config / name).write_text(text)
    (folder / "upper/typed").write_text(NOT_OURS + "\n".join(lines))
    script = f"""set -e
        mount -t overlay -o lowerdir={OPENWRT},upperdir={folder}/upper,workdir={folder}/work overlay {folder}/root
        mount -t proc proc {folder}/root/proc; mount -t tmpfs tmpfs {folder}/root/tmp; mkdir -p {folder}/root/tmp/run
        echo '{json.dumps(STATE)}' >{folder}/root/tmp/run/fw4.state
        chroot {folder}/root /bin/sh -e /typed >/dev/null
        ACTION=start chroot {folder}/root /usr/bin/utpl -S /usr/share/firewall4/main.uc"""
    done = subprocess.run(
        ["unshare", "--mount", "--net", "sh", "-c", script],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(
    params=[
        stand_in,
        pytest.param(
            real, marks=pytest.mark.skipif(not OPENWRT, reason="no OpenWrt: say OPENWRT_ROOT=/path")
        ),
    ],
    ids=["stand-in", "real"],
)
def rules(request, tmp_path):
    return lambda lines: request.param(lines, tmp_path)


HEAR = """
    import socket, sys
    heard = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    heard.bind(("::", int(sys.argv[1])))
    group = socket.inet_pton(socket.AF_INET6, "ff02::1:6") + socket.if_nametoindex("br-mesh").to_bytes(4, sys.byteorder)
    heard.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    print("ready", flush=True)
    heard.settimeout(float(sys.argv[2]))
    try:
        heard.recv(100)
        print("heard", flush=True)
    except TimeoutError:
        print("silence", flush=True)
"""
SAY = """
    import socket, sys
    told = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    index = socket.if_nametoindex("mesh0") if sys.argv[1].startswith("f") else 0
    for _ in range(3):
        told.sendto(b"hello", (sys.argv[1], int(sys.argv[2]), 0, index))
"""


class Site:
    """b with the rules, its neighbours a and c, a client behind br-lan, an internet behind wan0, and what is behind the
    translators' devices."""

    def __init__(self, machines, rules: str):
        self.a, self.b, self.c = (machines(name) for name in "abc")
        self.client, self.internet, self.inside = (
            machines(name) for name in ("client", "internet", "inside")
        )
        b = self.b
        b.run("ip link add br-mesh type bridge mcast_snooping 0")
        b.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        for number, neighbour in ((1, self.a), (3, self.c)):
            link(b, f"port{number}", neighbour, "mesh0")
            b.run(f"ip link set port{number} master br-mesh up")
            b.run(f"bridge link set dev port{number} isolated on")
            address(neighbour, "mesh0", f"fd00:46::{number}/64")
            neighbour.run(f"ip -6 route add fd00:46::{4 - number}/128 via fd00:46::2")
            neighbour.run("ip -6 route add default via fd00:46::2")
        address(b, "br-mesh", "fd00:46::2/64")
        for device, machine, inner, outer in (
            ("br-lan", self.client, "10.46.0.1/16", "10.46.1.1/16"),
            ("wan0", self.internet, "192.0.2.2/24", "192.0.2.1/24"),
        ):
            link(b, device, machine, "eth0")
            address(b, device, inner)
            address(machine, "eth0", outer)
            machine.run(f"ip route add default via {inner.partition('/')[0]}")
        for device in ("clat", "plat"):
            link(b, device, self.inside, f"in-{device}")
            # as a TUN device, which knows no neighbours
            for machine, end in ((b, device), (self.inside, f"in-{device}")):
                machine.run(f"ip link set {end} address 02:00:46:40:00:01 arp off")
            address(b, device, "fd00:46:464::1/64" if device == "clat" else "fd00:46:640::1/64")
            b.run(f"ip addr add {'192.0.0.8/24' if device == 'clat' else '192.0.1.8/24'} dev {device}")
            self.inside.run(f"ip link set in-{device} up")
        address(self.inside, "in-clat", "fd00:46:464::2/64", "192.0.0.9/24")
        address(self.inside, "in-plat", "fd00:46:640::2/64", "192.0.1.9/24")
        # addresses of links take their time, and a bridge's is final with its last port
        for machine in (self.a, b, self.c, self.inside):
            wait_until(lambda machine=machine: " tentative" not in machine.output("ip -6 addr"), "addresses")
        b.run("nft -f -", input=rules)

    def ping(self, machine, target, *words) -> bool:
        return machine.run(["ping", "-c", "1", "-W", "1", *words, target], check=False).returncode == 0

    def reaches(self, port: int, target: str, wait_s: float = 3) -> bool:
        """Whether UDP of a's comes to a program on b."""
        listener = self.b.start([sys.executable, "-c", textwrap.dedent(HEAR), str(port), str(wait_s)])
        assert listener.stdout.readline() == "ready\n"
        self.a.python(SAY, target, port)
        return listener.stdout.readline() == "heard\n"


@pytest.mark.parametrize("role", ["clatnode", "platnode"])
def test_the_documented_zone_lets_a_mesh_be_one(role, rules, machines):
    site = Site(machines, rules(docs.commands(role)))
    link_local = site.b.output("ip -6 -o addr show dev br-mesh scope link").split()[3].partition("/")[0]
    assert site.ping(site.a, f"{link_local}%mesh0"), "neighbour discovery and echoes"
    assert site.ping(site.a, "fd00:46::2"), "the echoes by which prefixd asks"
    assert site.reaches(6696, "ff02::1:6"), "babel's hellos"
    assert site.reaches(5523, "fd00:46::2"), "the roaming daemon"
    assert not site.reaches(53, "fd00:46::2", 0.5), "nothing else"
    assert site.ping(site.a, "fd00:46::3"), "transit"
    assert site.ping(site.c, "fd00:46::1"), "transit, the other way"


def test_on_a_clatnode_clients_and_the_mesh_reach_the_translator_and_it_them(rules, machines):
    site = Site(machines, rules(docs.commands("clatnode")))
    site.inside.run("ip -4 route add 10.46.0.0/16 via 192.0.0.8")
    assert site.ping(site.client, "192.0.0.9"), "lan to clat"
    site.inside.run("ip -6 route add fd00:46::/64 via fd00:46:464::1")
    assert site.ping(site.a, "fd00:46:464::2"), "mesh to clat"
    assert site.ping(site.inside, "fd00:46::3"), "clat to mesh"
    assert site.ping(site.inside, "10.46.1.1", "-I", "192.0.0.9"), "clat to lan"
    assert not site.ping(site.a, "fd00:46:640::2"), "no platnode"


def test_on_a_platnode_the_mesh_reaches_the_translator_and_that_the_wan(rules, machines):
    site = Site(machines, rules(docs.commands("platnode")))
    site.inside.run("ip -6 route add fd00:46::/64 via fd00:46:640::1")
    site.inside.run("ip -4 route add 192.0.2.0/24 via 192.0.1.8")
    assert site.ping(site.a, "fd00:46:640::2"), "mesh to plat"
    assert site.ping(site.inside, "fd00:46::3"), "plat to mesh"
    assert site.ping(site.inside, "192.0.2.1", "-I", "192.0.1.9"), "plat to wan"
    assert not site.ping(site.internet, "192.0.1.9"), "nobody comes in"


def test_a_zone_that_rejects_without_rules_is_no_mesh(rules, machines):
    """As the page had it: so these tests can fail."""
    site = Site(machines, rules(FORMERLY))
    assert not site.ping(site.a, "fd00:46::2")
    assert not site.reaches(6696, "ff02::1:6", 0.5)
    assert not site.ping(site.a, "fd00:46::3")
