# SPDX-License-Identifier: ISC
"""A lab: the machines of a topology, wired, with the programs on them that a router has.

The lab stands in for what a laptop lacks (netifd, procd, radios) and for nothing else: addresses of bridges, links,
starting programs. What a role sets up, `464xlat` does; which PLAT is used, prefixd decides.
"""

import contextlib
import hashlib
import json
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import TypeVar

from sdk.lab.machine import REPOSITORY, SITE, TOPOLOGY, CommandError, LabError, Machines, find_labs
from sdk.lab.site import EXAMPLE, Site, load_site
from sdk.lab.topology import INTERNET, Client, Node, Topology, Wishes, load_topology
from xlat464.address import format_ipv6, format_mac
from xlat464.node import management_address, node_client_address, node_prefix

WEB, DNS, ECHO = "198.51.100.80", "198.51.100.53", "198.51.100.7"  # of the IPv4-only internet
WAN_NETWORK = IPv4Network("203.0.113.0/24")  # a /30 for each platnode
NODE_PREFIX6 = (
    "fd46:4646:4646:1::"  # each node's own address, the source of its ICMP errors; babel carries the /128s
)
WIRE = REPOSITORY / "build/bin/wire"
# two links of one node may be laid at the same time
ADD_BRIDGE = "ip link add br-client type bridge 2>/dev/null || ip link show dev br-client >/dev/null"
READY_S = 60.0
DAEMON_S = 20.0  # for a daemon's socket to appear
WORKERS = 4  # machines that are set up at the same time
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class End:
    """One end of a link: a device on a machine."""

    machine: str
    device: str


@dataclass(frozen=True, slots=True)
class Cable:
    """A link as built: two ends, what is to happen in between, and the devices' MTU (bytes)."""

    name: str
    a: End
    b: End
    wishes: Wishes
    mtu: int

    def has_end_at(self, machine: str) -> bool:
        return machine in (self.a.machine, self.b.machine)

    def end_at(self, machine: str) -> End:
        return self.a if self.a.machine == machine else self.b


def plan_cables(topology: Topology, site: Site) -> tuple[Cable, ...]:
    """Return every link of a lab: the mesh's, the platnodes' to the internet, the clients' to their nodes."""
    cables, mesh_devices = [], {node.name: 0 for node in topology.nodes}

    def mesh_end(node: str) -> End:
        mesh_devices[node] += 1
        return End(node, f"mesh{mesh_devices[node] - 1}")

    for link in topology.links:
        mtu = link.wishes.mtu or site.mesh_mtu
        cables.append(Cable(link.name, mesh_end(link.a), mesh_end(link.b), link.wishes, mtu))
    for i, node in enumerate(platnodes(topology)):
        ends = End(node.name, "wan"), End(INTERNET, f"wan{i}")
        cables.append(Cable(f"wan-{node.name}", *ends, node.wan, node.wan.mtu or 1500))
    for client in topology.clients:
        # the bridge's port bears a name made of the client's, which may be as long as a device's name already
        port = f"c{hashlib.sha256(client.name.encode()).hexdigest()[:8]}"
        ends = End(client.name, "eth0"), End(client.node, port)
        cables.append(Cable(f"client-{client.name}", *ends, client.wishes, client.wishes.mtu or 1500))
    return tuple(cables)


def other_end(cable: Cable, machine: str) -> End:
    return cable.b if cable.a.machine == machine else cable.a


def side_by_side(work: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Do the work for every item, several at a time; most of it is waiting for a program to start."""
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for done in [pool.submit(work, item) for item in items]:
                done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def platnodes(topology: Topology) -> list[Node]:
    return [node for node in topology.nodes if node.role.is_plat]


def clatnodes(topology: Topology) -> list[Node]:
    return [node for node in topology.nodes if node.role.is_clat]


def wan_addresses(i: int) -> tuple[IPv4Address, IPv4Address]:
    """Return the internet's and the platnode's address on the i-th WAN link."""
    return WAN_NETWORK[4 * i + 1], WAN_NETWORK[4 * i + 2]


def text(prefix: bytes) -> str:
    return f"{format_ipv6(prefix)}/96"


class Lab:
    """A lab that is up, or that `with` brings up and takes down.

    log takes a sentence at each step that may last. Raises LabError from every method that asks the kernel.
    """

    def __init__(
        self,
        topology: Topology,
        site: Site | None = None,
        *,
        name: str = "lab",
        log: Callable[[str], None] = lambda sentence: None,
        files: tuple[str, str] = ("", ""),
    ):
        self.topology = topology
        self.site = site or load_site(EXAMPLE, topology.settings.pool)
        self.name, self.log = name, log
        self.files = files  # topology and site file, for whoever takes over a persistent lab
        self.cables = {cable.name: cable for cable in plan_cables(topology, self.site)}
        self.machines: Machines | None = None
        self.wire_turn = threading.Lock()

    @classmethod
    def find(cls, name: str) -> "Lab":
        """Take over a persistent lab. Raises LabError if none of that name is up."""
        machines = Machines.find(name)
        environ = find_labs()[name].environ
        files = environ.get(TOPOLOGY, ""), environ.get(SITE, "")
        if not all(files):
            raise LabError(f"the lab {name!r} belongs to a program that runs it, and takes it down itself")
        topology = load_topology(files[0])
        lab = cls(topology, load_site(files[1], topology.settings.pool), name=name, files=files)
        lab.machines = machines
        return lab

    def __enter__(self) -> "Lab":
        self.up()
        return self

    def __exit__(self, *exception) -> None:
        self.down()

    # Up and down

    def up(self, *, persistent: bool = False) -> None:
        """Boot, wire and set up everything; returns when the programs run. See wait_ready for the rest.

        A lab that cannot come up is taken down again. Unless persistent, it ends with this process at the latest.
        """
        files = [str(Path(file).resolve()) if file else "" for file in self.files]
        self.machines = Machines.start(self.name, persistent=persistent, topology=files[0], site=files[1])
        try:
            names = self.machine_names()
            self.log(f"booting {len(names)} machines: {' '.join(names)}")
            side_by_side(self.machines.boot, names)
            self.log(f"wiring {len(self.cables)} links")
            self.start_wires()
            side_by_side(self.lay, self.cables.values())
            self.start_internet()
            self.log("starting babeld, siit, 464xlat, prefixd and dnsmasq on the nodes")
            side_by_side(self.start_node, self.topology.nodes)
            side_by_side(self.start_client, self.topology.clients)
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        if self.machines:
            self.machines.end()
            self.machines = None

    @property
    def running(self) -> Machines:
        if self.machines is None:
            raise LabError(f"the lab {self.name!r} is not up")
        return self.machines

    def machine_names(self) -> list[str]:
        nodes, clients = self.topology.nodes, self.topology.clients
        return [INTERNET, *(node.name for node in nodes), *(client.name for client in clients)]

    # Commands on machines

    def exec(self, machine: str, argv: Sequence[str], **options) -> subprocess.CompletedProcess:
        """Run a command on a machine; options as in Machines.exec: check, stdin, timeout_s."""
        return self.running.exec(machine, argv, **options)

    def popen(self, machine: str, argv: Sequence[str], **options) -> subprocess.Popen:
        """Start a command on a machine that ends with this process; options as of subprocess.Popen."""
        return self.running.popen(machine, argv, **options)

    def script(self, machine: str, lines: Sequence[str]) -> None:
        """Run lines of sh on a machine, as one; the first that fails ends it."""
        self.exec(machine, ["sh", "-e"], stdin="\n".join(lines) + "\n")

    # Links

    def start_wires(self) -> None:
        """Start the process that carries links with wishes, if there are such and the kernel has no netem."""
        if not any(self.is_wire(cable) for cable in self.cables.values()):
            return
        if not WIRE.exists():
            raise LabError(f"{WIRE} is not built: run `make demo`, which builds it")
        # the pipes are opened for both directions, so that neither end ever sees an end of file
        command = (
            f"mkfifo /run/wire.in /run/wire.out; exec {shlex.quote(str(WIRE))} {self.topology.settings.seed}"
        )
        subprocess.run(
            self.at_init(["sh", "-c", f"{{ {command} <>/run/wire.in >/dev/null 1<>/run/wire.out; }} & "]),
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @cached_property
    def has_netem(self) -> bool:
        """Whether links with wishes are netem's business."""
        wanted = self.topology.settings.links
        if wanted != "auto":
            return wanted == "netem"
        probe = "tc qdisc add dev lo root netem delay 1ms && tc qdisc del dev lo root"
        return self.exec(INTERNET, ["sh", "-c", probe], check=False).returncode == 0

    def at_init(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs argv beside the lab's first process, with its private /run."""
        return ["nsenter", f"--target={self.running.init_pid}", "--pid", "--mount", "--", *argv]

    def tell_wire(self, command: str) -> None:
        talk = (
            "while ! [ -p /run/wire.out ]; do sleep 0.01; done; "
            'printf "%s\\n" "$0" >/run/wire.in; read -r line </run/wire.out; echo "$line"'
        )
        with self.wire_turn:  # an answer has no address
            done = subprocess.run(
                self.at_init(["timeout", str(DAEMON_S), "sh", "-c", talk, command]),
                capture_output=True,
                text=True,
            )
        if done.stdout.strip() != "ok":
            raise LabError(f"wire: {done.stdout.strip() or done.stderr.strip() or 'no answer'}")

    def is_wire(self, cable: Cable) -> bool:
        return not cable.wishes.is_plain and not self.has_netem

    def lay(self, cable: Cable) -> None:
        """Make a link's two devices, up and with MACs and addresses."""
        a, b, w = cable.a, cable.b, cable.wishes
        pid_a, pid_b = self.running.pids[a.machine], self.running.pids[b.machine]
        if self.is_wire(cable):
            self.tell_wire(
                f"wire {cable.name} {pid_a} {a.device} {pid_b} {b.device} {round(w.delay_ms * 1000)} "
                f"{round(w.jitter_ms * 1000)} {round(w.loss_percent * 10_000)} {round(w.reorder_percent * 10_000)} "
                f"{round(w.rate_mbit * 1_000_000)}"
            )
        else:
            command = [
                "ip",
                "link",
                "add",
                a.device,
                "netns",
                str(pid_a),
                "type",
                "veth",
                "peer",
                "name",
                b.device,
            ]
            done = subprocess.run([*command, "netns", str(pid_b)], capture_output=True, text=True)
            if done.returncode:
                raise LabError(f"link {cable.name}: {done.stderr.strip()}")
        for end in (a, b):
            lines = [f"ip link set {end.device} address {self.mac_of(end)} mtu {cable.mtu}"]
            if not w.is_plain and not self.is_wire(cable):
                lines.append(f"tc qdisc add dev {end.device} root netem {netem(w)}")
            self.script(end.machine, [*lines, *self.dress(end)])

    def mac_of(self, end: End) -> str:
        """A device's MAC: the client's own on its eth0; the rest made of the machine's and the device's names."""
        for client in self.topology.clients:
            if end == End(client.name, "eth0"):
                return format_mac(client.mac)
        return format_mac(b"\x06" + hashlib.sha256(f"{end.machine}/{end.device}".encode()).digest()[:5])

    def dress(self, end: End) -> list[str]:
        """Return the lines of sh that bring a link's device up as what it is: mesh, WAN, client or bridge port."""
        device, up = end.device, f"ip link set {end.device} up"
        if end.machine == INTERNET:
            here, there = wan_addresses(int(device.removeprefix("wan")))
            # no NAT on the way back: a platnode masquerades, or its clients get no answer
            return [no_ipv6(device), f"ip addr replace {here}/30 dev {device}", up]
        if device == "wan":
            i = [node.name for node in platnodes(self.topology)].index(end.machine)
            there, here = wan_addresses(i)
            address = [no_ipv6(device), f"ip addr replace {here}/30 dev wan", up]
            return [*address, f"ip route replace default via {there} dev wan"]
        if device == "eth0":
            return [no_ipv6(device), up]
        if device.startswith("mesh"):
            return [f"sysctl -qw net.ipv6.conf.{device}.accept_dad=0", up]
        return [ADD_BRIDGE, f"ip link set {device} master br-client", up]

    def cut(self, name: str) -> None:
        """Drop every frame of a link, both ways and without loss of carrier: how a radio link dies."""
        for end in (self.cable(name).a, self.cable(name).b):
            rule = f"type filter hook ingress device {end.device} priority -500; drop"
            self.exec(
                end.machine,
                ["nft", "-f", "-"],
                stdin=f"table netdev cut-{end.device} {{\n chain c {{\n {rule}\n }}\n}}\n",
            )

    def heal(self, name: str) -> None:
        """Carry frames again. A link that is not cut stays as it is."""
        for end in (self.cable(name).a, self.cable(name).b):
            table = f"cut-{end.device}"
            with contextlib.suppress(CommandError):  # it is not cut
                self.exec(end.machine, ["nft", "delete", "table", "netdev", table])

    def is_cut(self, cable: Cable) -> bool:
        tables = self.exec(cable.a.machine, ["nft", "list", "tables"], check=False).stdout
        return f"netdev cut-{cable.a.device}" in tables.replace('"', "")

    def cable(self, name: str) -> Cable:
        """Return a link by its name, or by its ends in any order with a hyphen between."""
        if name in self.cables:
            return self.cables[name]
        for cable in self.cables.values():
            ends = cable.a.machine, cable.b.machine
            if name in ("-".join(ends), "-".join(reversed(ends))):
                return cable
        raise LabError(f"there is no link {name!r}, known are {', '.join(sorted(self.cables))}")

    # Nodes

    def node(self, name: str) -> Node:
        for node in self.topology.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.topology.nodes)
        raise LabError(f"there is no node {name!r}, known are {known}")

    def clat_prefix(self, node: Node) -> bytes:
        return node_prefix(self.site.clat_range.network_address.packed, node.mac)

    def plat_prefix(self, node: Node) -> bytes:
        return node_prefix(self.site.plat_range.network_address.packed, node.mac)

    def node_address(self, node: Node) -> str:
        return format_ipv6(node_client_address(IPv6Address(NODE_PREFIX6).packed, node.mac))

    def kill(self, name: str) -> None:
        """Power a node off: its links go dead without a goodbye, and every process on it ends."""
        node = self.node(name)
        for cable in self.cables.values():
            if cable.has_end_at(name):
                self.cut(cable.name)
        self.running.halt(node.name, and_holder=False)

    def start(self, name: str) -> None:
        """Power a node on, or off and on: it boots with nothing, is wired anew, and its programs start.

        Links that were cut come back whole, but for those to a node that is off.
        """
        node = self.node(name)
        self.running.halt(name, and_holder=True)
        cables = [cable for cable in self.cables.values() if cable.has_end_at(name)]
        for cable in cables:
            other = other_end(cable, name)
            with contextlib.suppress(CommandError):  # it is not cut
                self.exec(other.machine, ["nft", "delete", "table", "netdev", f"cut-{other.device}"])
            # its device may outlive the node by a moment, and its name must be free
            self.exec(other.machine, ["ip", "link", "del", other.device], check=False)
        self.running.boot(name)
        side_by_side(self.lay, cables)
        alive = self.alive()
        for cable in cables:
            if alive.get(other_end(cable, name).machine) is False:
                self.cut(cable.name)  # nobody is there, but its kernel would answer and forward
        self.start_node(node)
        for client in self.topology.clients:
            if client.node == name:
                self.running.stop(client.name, "udhcpc")  # it listens on the device that is gone
                self.start_client(client)

    def programs(self, node: Node) -> list[str]:
        """Return the daemons that a node runs when all is well."""
        on = {
            "siit": node.role.is_clat or node.role.is_plat,
            "babeld": self.topology.degree(node.name) > 0,
            "prefixd": node.role.is_clat,
            "dnsmasq": node.role.is_clat,
        }
        return [program for program, is_on in on.items() if is_on]

    def alive(self) -> dict[str, bool]:
        """Return for every node whether it is powered on: a node that ought to run something runs something."""
        found = self.running.daemons()
        return {
            node.name: bool(found.get(node.name)) or not self.programs(node) for node in self.topology.nodes
        }

    def start_node(self, node: Node) -> None:
        address = self.node_address(node)
        lines = [
            "sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.forwarding=1",
            f"ip -6 addr replace {address}/128 dev lo",
        ]
        if node.role.is_clat:
            site = self.site
            lines += [
                ADD_BRIDGE,
                f"ip link set br-client address {format_mac(site.next_node_mac)}",
                f"ip addr replace {site.next_node_ip4}/{site.prefix4.prefixlen} dev br-client",
                "ip link set br-client up",
            ]
        self.script(node.name, lines)
        if node.role.is_clat or node.role.is_plat:
            self.running.daemon(node.name, "siit", ["siit", "daemon"])
            self.wait_for(node.name, "siit", "grep -q ready /run/log/siit.log")  # `siit show` takes a Python
            if node.role.is_plat:
                self.exec(
                    node.name, ["464xlat", "plat", "up", *self.role_options(node), *self.plat_options()]
                )
            if node.role.is_clat:
                self.exec(node.name, ["464xlat", "clat", "up", *self.role_options(node)])
        self.start_babeld(node)
        if node.role.is_clat:
            self.start_prefixd(node)
            self.start_dnsmasq(node)

    def wait_for(self, machine: str, daemon: str, command: str) -> None:
        """Wait until a command succeeds on a machine."""
        deadline = time.monotonic() + DAEMON_S
        while self.exec(machine, shlex.split(command), check=False).returncode:
            if time.monotonic() > deadline:
                raise LabError(
                    f"{machine}: {daemon} did not start: {self.running.log(machine, daemon).strip()}"
                )
            time.sleep(0.02)

    def role_options(self, node: Node) -> list[str]:
        site = self.site
        return [
            *("--clat-range", str(site.clat_range), "--plat-range", str(site.plat_range)),
            *("--mac", format_mac(node.mac), "--mesh-mtu", str(site.mesh_mtu)),
            *("--client-range", str(site.prefix4)),
        ]

    def plat_options(self) -> list[str]:
        return ["--pool", str(self.site.pool), "--wan", "wan"]

    def start_babeld(self, node: Node) -> None:
        site, settings = self.site, self.topology.settings
        roles = self.exec(
            node.name,
            [
                "464xlat",
                "babel-config",
                "--clat-range",
                str(site.clat_range),
                "--plat-range",
                str(site.plat_range),
            ],
        ).stdout
        lines = [
            f"redistribute local ip {NODE_PREFIX6}/64 eq 128 allow",
            roles.strip(),
            "redistribute local deny",
        ]
        devices = []
        for link in self.topology.links:
            cable = self.cables[link.name]
            if cable.has_end_at(node.name):
                device = cable.end_at(node.name).device
                cost = f" rxcost {link.cost}" if link.cost else ""
                devices.append(device)
                lines.append(
                    f"interface {device} type {link.type} hello-interval {settings.hello_interval_ms / 1000:g}{cost}"
                )
        self.exec(node.name, ["tee", "/run/babeld.conf"], stdin="\n".join(lines) + "\n")
        if devices:
            files = ["-c", "/run/babeld.conf", "-S", "/run/babel-state", "-I", "/run/babeld.pid"]
            self.running.daemon(node.name, "babeld", ["babeld", "-G", "33123", *files, *devices])

    def start_prefixd(self, node: Node) -> None:
        python = {
            "python": f"{REPOSITORY}/.venv/bin/python",
            "micropython": f"{REPOSITORY}/.venv/bin/micropython",
        }
        source = format_ipv6(management_address(self.clat_prefix(node)))
        options = [
            *(
                "--plat-range",
                str(self.site.plat_range),
                "--clat",
                "clat",
                "--target",
                "/run/siit/control.sock",
            ),
            *("--source", source, "--probe-ipv4", f"{DNS},{WEB}", "--hook", "464xlat clat-route"),
        ]
        if node.role.is_plat:
            options += ["--own-plat", text(self.plat_prefix(node))]
        self.running.daemon(
            node.name, "prefixd", ["prefixd", *options], PREFIXD_PYTHON=python[self.topology.settings.prefixd]
        )

    def start_dnsmasq(self, node: Node) -> None:
        prefix4 = self.site.prefix4
        first, last = prefix4[1], prefix4[-2]
        options = [
            *("--conf-file=/dev/null", "--keep-in-foreground", "--user=root", "--port=0", "--no-ping"),
            *("--interface=br-client", "--bind-interfaces", "--except-interface=lo", "--dhcp-authoritative"),
            *("--pid-file=/run/dnsmasq.pid", "--dhcp-leasefile=/run/dhcp.leases", "--log-facility=-"),
            f"--dhcp-range={first},{last},{prefix4.netmask},{self.topology.settings.lease_s}",
            f"--dhcp-option=option:router,{self.site.next_node_ip4}",
            f"--dhcp-option=option:dns-server,{DNS}",
        ]
        self.running.daemon(node.name, "dnsmasq", ["dnsmasq", *options])

    def start_client(self, client: Client) -> None:
        script = REPOSITORY / "sdk/lab/udhcpc.sh"
        options = ["-f", "-i", "eth0", "-s", str(script), "-t", "20", "-T", "1", "-A", "1"]
        self.running.daemon(client.name, "udhcpc", ["busybox", "udhcpc", *options])

    # The internet

    def start_internet(self) -> None:
        services = [f"ip addr replace {address}/32 dev lo" for address in (WEB, DNS, ECHO)]
        self.script(INTERNET, ["sysctl -qw net.ipv4.ip_forward=0", *services])
        dns = [
            *("--conf-file=/dev/null", "--keep-in-foreground", "--user=root", "--no-resolv", "--no-hosts"),
            *(f"--listen-address={DNS}", "--bind-interfaces", "--pid-file=/run/dnsmasq.pid"),
            *(f"--host-record=www.example.net,{WEB}", f"--host-record=echo.example.net,{ECHO}"),
        ]
        self.running.daemon(INTERNET, "dnsmasq", ["dnsmasq", *dns])
        self.running.daemon(INTERNET, "services", ["python", "-m", "sdk.lab.services", WEB, ECHO])
        self.wait_for(INTERNET, "services", f"curl -sf -o /dev/null http://{WEB}/bytes/1")

    # Looking

    def leases(self) -> dict[str, str]:
        """Return each client's IPv4 address, "" where it has none yet."""
        return {client.name: self.lease(client.name) for client in self.topology.clients}

    def lease(self, client: str) -> str:
        shown = self.exec(client, ["ip", "-j", "-4", "addr", "show", "dev", "eth0"], check=False).stdout
        addresses = [
            item["local"] for device in json.loads(shown or "[]") for item in device.get("addr_info", [])
        ]
        return addresses[0] if addresses else ""

    def prefixd_status(self, node: str) -> dict:
        """Return what prefixd on a node says of itself, or {} while it does not answer."""
        done = self.exec(node, ["prefixd", "--status", "--json"], check=False)
        try:
            return json.loads(done.stdout)
        except ValueError:
            return {}

    def plat_of(self, node: str) -> str | None:
        """Return the name of the platnode that a clatnode uses, None if it uses none."""
        return self.plat_name(self.prefixd_status(node).get("chosen"))

    def plat_name(self, chosen: str | None) -> str | None:
        """Return the name of the platnode that has a /96, the /96 itself if that is none of ours."""
        names = {text(self.plat_prefix(plat)): plat.name for plat in platnodes(self.topology)}
        return names.get(chosen, chosen) if chosen else None

    def missing(self, seen: set[str] | None = None) -> list[str]:
        """Return what clients and clatnodes still lack for IPv4, in words; nothing if all is ready.

        seen collects what was there, which is not asked again: where links lose frames, somebody's ping is
        always lost.
        """
        seen = set() if seen is None else seen
        clients = [client.name for client in self.topology.clients]
        for sentence, names, has in (
            ("a lease for {}", clients, self.lease),
            ("a PLAT for {}", [node.name for node in clatnodes(self.topology)], self.plat_of),
            ("an answer from the internet for {}", clients, self.is_answered),  # the way back comes last
        ):
            wanted = {sentence.format(name): name for name in names}
            seen |= {what for what, name in wanted.items() if what not in seen and has(name)}
            if lacking := [what for what in wanted if what not in seen]:
                return lacking
        return []

    def is_answered(self, client: str) -> bool:
        """Whether the internet answers a client's ping."""
        ping = ["ping", "-c", "1", "-W", "3", WEB]
        return self.exec(client, ping, check=False).returncode == 0

    def wait_ready(self, deadline_s: float = READY_S) -> float:
        """Wait until every client has a lease and an answer from the internet; return the seconds it took."""
        begun = told = time.monotonic()
        seen: set[str] = set()
        while lacking := self.missing(seen):
            now = time.monotonic()
            if now > begun + deadline_s:
                raise LabError(f"not ready after {deadline_s:g} s, still missing: {', '.join(lacking)}")
            if now > told + 2:
                self.log(f"waiting for {', '.join(lacking)}")
                told = now
            time.sleep(0.1)
        return time.monotonic() - begun

    def status(self) -> dict:
        """Return what there is, for a table or a script."""
        found, alive, nodes = self.running.daemons(), self.alive(), []
        for node in self.topology.nodes:
            status = self.prefixd_status(node.name) if node.role.is_clat else {}
            nodes.append(
                {
                    "name": node.name,
                    "role": str(node.role),
                    "alive": alive[node.name],
                    "missing": [name for name in self.programs(node) if name not in found[node.name]],
                    "clat_prefix": text(self.clat_prefix(node)) if node.role.is_clat else None,
                    "plat_prefix": text(self.plat_prefix(node)) if node.role.is_plat else None,
                    "plat": self.plat_name(status.get("chosen")),
                    "why": status.get("why"),
                }
            )
        leases = self.leases()
        return {
            "name": self.name,
            "topology": self.files[0],
            "nodes": nodes,
            "links": [
                {"name": c.name, "between": [c.a.machine, c.b.machine], "mtu": c.mtu, "cut": self.is_cut(c)}
                for c in self.cables.values()
            ],
            "clients": [
                {"name": c.name, "node": c.node, "address": leases[c.name] or None}
                for c in self.topology.clients
            ],
            "init_pid": self.running.init_pid,
        }


def no_ipv6(device: str) -> str:
    return f"sysctl -qw net.ipv6.conf.{device}.disable_ipv6=1"


def netem(wishes: Wishes) -> str:
    """Return the words of `tc qdisc add … netem` for a link's wishes."""
    words = [f"limit 20000 delay {wishes.delay_ms:g}ms"]
    if wishes.jitter_ms:
        words.append(f"{wishes.jitter_ms:g}ms")
    if wishes.loss_percent:
        words.append(f"loss {wishes.loss_percent:g}%")
    if wishes.reorder_percent:
        words.append(f"reorder {100 - wishes.reorder_percent:g}%")
    if wishes.rate_mbit:
        words.append(f"rate {wishes.rate_mbit:g}mbit")
    return " ".join(words)
