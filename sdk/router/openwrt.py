# SPDX-License-Identifier: ISC
"""A mesh of three nodes of a root file system, in a line, with a client and an internet.

    client ── a ══ b ══ c ── internet        a: clatnode, b: has the packages and no line, c: platnode

The WAN of c has its address by DHCP. What an admin has set before our packages come is in network(), what they set then
is the documentation's.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from sdk.lab.machine import REPOSITORY, LabError, Machines
from sdk.lab.plan import DNS, ECHO, WEB
from sdk.lab.programs import UDHCPC
from sdk.lab.side_by_side import side_by_side
from sdk.router import docs, feed, wires
from sdk.router.machine import Router
from sdk.router.mesh import DNSMASQ, FIREWALL, GLUON, MANAGER, NETIFD, PROCD, REBOOT, Done, Mesh, Options
from sdk.router.rootfs import Rootfs
from sdk.router.wires import Plug

INTERNET, CLIENT = "internet", "client"
LINE = "192.0.2.1"  # of the internet at the WAN's segment, a /24
GATEWAY = "10.46.0.1"
PACKAGES = "/run/packages"  # in the lab's first process: they end with it
BUILD = REPOSITORY / "build"
BOOT_S = 120
PLUGS = {
    plug.machine + plug.device: plug
    for plug in (
        Plug(CLIENT, "eth0", "02:00:00:00:01:01", "lan-a"),
        Plug(INTERNET, "eth0", "02:00:00:00:02:01", "line"),
        *(Plug(node, "eth0", f"02:00:00:0{i}:00:01", f"lan-{node}") for i, node in enumerate("abc", 1)),
        *(
            Plug(node, "eth1", f"02:00:00:0{i}:00:02", "line" if node == "c" else f"none-{node}")
            for i, node in enumerate("abc", 1)
        ),
        Plug("a", "eth2", "02:00:00:01:00:03", "mesh-ab"),
        Plug("b", "eth2", "02:00:00:02:00:03", "mesh-ab"),
        Plug("b", "eth3", "02:00:00:02:00:04", "mesh-bc"),
        Plug("c", "eth2", "02:00:00:03:00:03", "mesh-bc"),
    )
}
SECOND_DEVICE = (
    "uci add_list firewall.mesh.network=mesh2",
    "uci add babeld interface && uci set babeld.@interface[-1].ifname=mesh2 && uci commit",
    "service babeld restart",
)
# What changes by itself, or belongs to the package manager
NOT_TRACED = ("usr/lib/opkg/", "lib/apk/db/", "etc/apk/world", "etc/resolv.conf", "root/")
COMPILED = re.compile(
    r"usr/lib/python3[^/]*/(?!site-packages/(siit|nat46|xlat464|runtime|l3roamd_py)/).*__pycache__/"
)
KERNEL = {  # what the kernel holds, a line of sh each
    "device": "ip -o link | cut -d: -f2 | cut -d@ -f1",
    "address": "ip -o addr show scope global | sed 's/ *valid_lft.*//; s/^[0-9]*: //; s/ dynamic//'",
    "rule": "ip -4 rule; ip -6 rule",
    "route": "ip -4 route show table all proto static; ip -6 route show table all proto static",
    "table": "nft list tables 2>/dev/null",
    "chain": "iptables-save 2>/dev/null | grep ^:; ip6tables-save 2>/dev/null | grep ^:",
    "setting": "cd /proc/sys/net && grep -s . ipv4/conf/*/forwarding ipv4/conf/*/rp_filter ipv4/conf/*/arp_* "
    "ipv4/icmp_* ipv6/conf/*/forwarding ipv6/conf/*/accept_ra ipv6/conf/*/proxy_ndp",
    "hook": "tc filter show dev br-lan ingress 2>/dev/null; tc qdisc show | grep -E 'clsact|ingress'",
    "process": "ps w | sed 's/^ *[0-9]* *[^ ]* *[0-9m]* *[A-Z<]* *//' | "
    "grep -E 'siit|prefixd|l3roamd|464xlat' | grep -v grep",
}


class OpenWrtMesh(Mesh):
    """`with` brings it up and takes it down."""

    def __init__(
        self,
        rootfs: Rootfs,
        packages: Path | None,
        options: Options,
        *,
        name: str,
        log: Callable[[str], None],
    ):
        self.rootfs, self.packages, self.options, self.name, self.tell = rootfs, packages, options, name, log
        self.abilities = frozenset({MANAGER, PROCD, NETIFD, DNSMASQ, REBOOT}) | (
            {FIREWALL} if rootfs.has_firewall4 or rootfs.has("sbin/fw3") else set()
        )
        if rootfs.is_gluon:  # which sets roles and networks by its site, and has its packages from its build
            self.abilities = frozenset({GLUON})
        self.routers: dict[str, Router] = {}
        self.running: Machines | None = None

    @property
    def machines(self) -> Machines:
        if self.running is None:
            raise LabError("the mesh is not up")
        return self.running

    def __enter__(self) -> "OpenWrtMesh":
        self.running = Machines.start(self.name, persistent=False)
        try:
            self.bring_up()
        except BaseException:
            self.running.end()
            raise
        return self

    def __exit__(self, *exception) -> None:
        self.machines.end()

    def bring_up(self) -> None:
        machines = self.machines
        self.tell("a switch, a client, an internet with a DHCP server")
        wires.set_up(machines, {plug.segment for plug in PLUGS.values()})
        for name in (INTERNET, CLIENT):
            machines.boot(name)
        Path(f"/proc/{machines.init_pid}/root{PACKAGES}").mkdir()
        wires.lay(machines, self.plugs(INTERNET) + self.plugs(CLIENT))
        self.start_internet()
        machines.script(CLIENT, ["ip link set eth0 up"])
        machines.daemon(CLIENT, "udhcpc", [*UDHCPC, "-t", "3", "-T", "1", "-A", "1"])
        if not self.rootfs.is_gluon:
            self.make_feed()
        self.tell(f"booting {', '.join(self.nodes)} with the procd of {self.rootfs.release}")
        for node in self.nodes:
            self.routers[node] = Router(machines, node, self.rootfs.folder, Path(PACKAGES))
        side_by_side(self.boot, self.nodes)
        if not self.rootfs.is_gluon:
            self.tell("setting the nodes' networks")
            side_by_side(self.set_network, self.nodes)

    def make_feed(self) -> None:
        self.tell("building the packages")
        BUILD.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILD, prefix="test-openwrt-") as folder:
            made = feed.make(self.packages, self.rootfs, Path(folder) / "feed")
            shutil.copytree(made.folder, f"/proc/{self.machines.init_pid}/root{PACKAGES}", dirs_exist_ok=True)

    def plugs(self, machine: str) -> list[Plug]:
        return [plug for plug in PLUGS.values() if plug.machine == machine]

    def start_internet(self) -> None:
        addresses = [f"ip addr add {address}/32 dev lo" for address in (WEB, DNS, ECHO)]
        self.machines.script(
            INTERNET,
            [
                "sysctl -qw net.ipv4.ip_forward=0",
                *addresses,
                f"ip addr add {LINE}/24 dev eth0",
                "ip link set eth0 up",
            ],
        )
        self.machines.daemon(
            INTERNET,
            "dnsmasq",
            [
                *(
                    "dnsmasq",
                    "--conf-file=/dev/null",
                    "--keep-in-foreground",
                    "--user=root",
                    "--no-resolv",
                    "--no-hosts",
                ),
                *(
                    "--pid-file=/run/dnsmasq.pid",
                    "--dhcp-leasefile=/run/leases",
                    "--dhcp-authoritative",
                    "--no-ping",
                ),
                *(
                    "--dhcp-range=192.0.2.100,192.0.2.200,255.255.255.0,120",
                    f"--dhcp-option=option:router,{LINE}",
                ),
                *(f"--dhcp-option=option:dns-server,{DNS}", f"--host-record=www.example.net,{WEB}"),
            ],
        )
        self.machines.daemon(INTERNET, "services", ["python", "-m", "sdk.lab.services", WEB, ECHO])

    # Nodes

    def boot(self, node: str) -> None:
        router = self.routers[node]
        router.boot()
        wires.lay(self.machines, self.plugs(node))
        router.start()
        self.wait_booted(node)

    def wait_booted(self, node: str) -> None:
        """Wait until procd has run everything that it starts a node with."""
        router = self.routers[node]

        def is_done() -> bool:
            if router.init is not None and router.init.poll() is not None:
                raise LabError(f"{node}: procd ended with {router.init.returncode} at its boot")
            return "- init complete -" in self.do(node, "logread 2>/dev/null").said

        self.wait(is_done, f"{node}: the end of procd's boot", BOOT_S, 1)

    def set_network(self, node: str) -> None:
        """What an admin has set before our packages come: addresses, the mesh's devices, our folder as a feed."""
        self.sh(node, "\n".join(self.network(node)))

    def network(self, node: str) -> Iterator[str]:
        number = self.nodes.index(node) + 1
        meshes = [plug.device for plug in self.plugs(node) if plug.segment.startswith("mesh")]
        yield "set -e"
        yield f"uci set system.@system[0].hostname={node}"
        yield f"uci set network.lan.ipaddr={GATEWAY}; uci set network.lan.netmask=255.255.0.0"
        yield "uci -q delete network.wan6 || true"
        for name, device in zip(("mesh", "mesh2"), meshes, strict=False):
            yield f"uci set network.{name}=interface"
            yield f"uci set network.{name}.proto=none; uci set network.{name}.device={device}"
        yield f"uci set dhcp.lan.start={number}024; uci set dhcp.lan.limit=900"
        yield "uci commit"
        if self.rootfs.manager == "opkg":
            yield "sed -i '/check_signature/d' /etc/opkg.conf; : >/etc/opkg/distfeeds.conf"
            yield "echo 'src/gz here file:///mnt' >/etc/opkg/customfeeds.conf"
        else:
            yield "mkdir -p /etc/apk/repositories.d; : >/etc/apk/repositories.d/distfeeds.list"
            yield "echo /mnt/packages.adb >/etc/apk/repositories.d/customfeeds.list"
        yield "/etc/init.d/network restart; /etc/init.d/dnsmasq restart"

    # What the documentation has people type

    def typed(self, node: str, when: str = "on") -> list[str]:
        """b is a platnode without a line, and its mesh has a second device."""
        lines = docs.commands("clatnode" if node == self.clatnode else "platnode", when)
        return [docs.for_manager(line, self.rootfs.manager) for line in lines]

    def install_lines(self, node: str) -> list[str]:
        return [line for line in self.typed(node) if docs.is_install(line)]

    def settings(self, node: str) -> list[str]:
        lines = [line for line in self.typed(node) if not docs.is_install(line)]
        at = lines.index("uci commit") if node == self.between else 0
        return [*lines[:at], *SECOND_DEVICE, *lines[at:]] if at else lines

    def remove_lines(self, node: str) -> list[str]:
        return self.typed(node, "to remove on")

    def reboot(self, node: str) -> None:
        self.do(node, "reboot")
        self.routers[node].wait_for_end(BOOT_S)
        self.boot(node)

    # What checks ask

    def do(self, node: str, line: str, timeout_s: float = 120) -> Done:
        done = self.routers[node].run(["/bin/sh", "-c", line], timeout_s)
        return Done(done.returncode, done.stdout)

    def pids(self, node: str, service: str) -> frozenset[int]:
        said = self.do(node, f'ubus call service list \'{{"name": "{service}"}}\'').said
        try:
            instances = json.loads(said).get(service, {}).get("instances", {})
        except ValueError:
            return frozenset()
        return frozenset(found["pid"] for found in instances.values() if found.get("running"))

    def log(self, node: str) -> list[str]:
        return self.do(node, "logread").said.splitlines()

    def ping(self, count: int = 1) -> bool:
        ping = ["ping", "-c", str(count), "-i", "0.2", "-W", "1", WEB]
        return self.machines.exec(CLIENT, ping, check=False).returncode == 0

    def renew(self) -> None:
        for pid in self.machines.daemons()[CLIENT].get("udhcpc", []):
            os.kill(pid, 10)  # SIGUSR1

    def pull_wan(self) -> None:
        wires.pull(self.machines, PLUGS["ceth1"])

    def plug_wan(self) -> None:
        wires.put(self.machines, PLUGS["ceth1"])

    def traces(self, node: str) -> dict[str, str]:
        found = {}
        for path, digest in digests(self.routers[node].place / "upper"):
            if not path.startswith(NOT_TRACED) and not COMPILED.match(path):
                found[f"file /{path}"] = digest
        for kind, line in KERNEL.items():
            for said in self.do(node, line).said.splitlines():
                found[f"{kind} {' '.join(said.split())}"] = ""
        return found


def digests(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield what is in a folder: paths from it, and a word that changes with the content."""
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        if stat.S_ISLNK(state.st_mode):
            digest = f"to {os.readlink(path)}"
        elif stat.S_ISREG(state.st_mode):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISCHR(state.st_mode):
            digest = "removed"  # how an overlay says that a file of the root is gone
        else:
            continue  # a folder of the root's is copied when something in it changes
        yield str(path.relative_to(folder)), digest
