# SPDX-License-Identifier: ISC
"""A lab: the machines of a topology, wired, with the programs on them that a router has.

The lab stands in for what a laptop lacks (netifd, procd, radios) and for nothing else: addresses of bridges, links,
starting programs. What a role sets up, `464xlat` does; which PLAT is used, prefixd decides.
"""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from sdk.lab.air import Air
from sdk.lab.machine import REPOSITORY, SITE, TOPOLOGY, CommandError, LabError, Machines, find_labs
from sdk.lab.packaged import CLIENT_DEVICE, Packages, chosen
from sdk.lab.plan import (
    DNS,
    ECHO,
    PREFIXD_SOCKET,
    ROAMING_SOCKET,
    WEB,
    Cable,
    Plan,
    clatnodes,
    netem,
    other_end,
    platnodes,
    text,
)
from sdk.lab.radio import in_namespace
from sdk.lab.site import EXAMPLE, Site, load_site, read_table
from sdk.lab.topology import INTERNET, Client, Node, Topology, load_topology
from sdk.patience import SLOWER
from xlat464.address import format_mac

WIRE = REPOSITORY / "build/bin/wire"
READY_S = 60.0 * SLOWER
DAEMON_S = 20.0 * SLOWER  # for a daemon's socket to appear
WORKERS = 4  # machines that are set up at the same time
Item = TypeVar("Item")


def side_by_side(
    work: Callable[[Item], object], items: Iterable[Item], log: Callable[[str], None] = lambda sentence: None
) -> None:
    """Do the work for every item, several at a time; most of it is waiting for a program to start.

    log is told every two seconds how many are done.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            begun = [pool.submit(work, item) for item in items]
            told = time.monotonic()
            for i, done in enumerate(as_completed(begun), 1):
                done.result()
                if time.monotonic() > told + 2 and i < len(begun):
                    log(f"{i} of {len(begun)} done")
                    told = time.monotonic()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


class Lab:
    """A lab that is up, or that `with` brings up and takes down.

    log takes a sentence at each step that may last. from_packages: a folder of .ipk files for the nodes to run, instead
    of this repository's; without it the environment decides (packaged.CHOSEN). Raises LabError from every method that
    asks the kernel.
    """

    def __init__(
        self,
        topology: Topology,
        site: Site | None = None,
        *,
        name: str = "lab",
        log: Callable[[str], None] = lambda sentence: None,
        files: tuple[str, str] = ("", ""),
        from_packages: Path | None = None,
    ):
        self.topology = topology
        self.site = site or load_site(EXAMPLE, topology.settings.pool)
        self.name, self.log = name, log
        self.files = files  # topology and site file, for whoever takes over a persistent lab
        self.plan = Plan(topology, self.site)
        self.from_packages = from_packages or chosen()
        self.machines: Machines | None = None
        self.air: Air | None = None
        self.wire_turn = threading.Lock()

    @classmethod
    def find(cls, name: str) -> "Lab":
        """Take over a persistent lab. Raises LabError if none of that name is up."""
        machines = Machines.find(name)
        environ = find_labs()[name].environ
        files = environ.get(TOPOLOGY, ""), environ.get(SITE, "")
        if not all(files):
            raise LabError(f"the lab {name!r} belongs to a program that runs it, and takes it down itself")
        kept = machines.kept_files()
        topology = load_topology(kept[0])
        site = load_site(kept[1], topology.settings.pool)
        packages = next((Path(folder) for folder in machines.packaged.values()), None)
        lab = cls(topology, site, name=name, files=files)
        lab.from_packages = packages
        lab.take(machines)
        return lab

    def take(self, machines: Machines) -> None:
        self.machines, self.air = machines, Air(machines, self.plan, self.lay_to_living)

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
        machines = Machines.start(self.name, persistent=persistent, topology=files[0], site=files[1])
        self.take(machines)
        try:
            self.keep_files()
            names = self.machine_names()
            self.log(f"booting {len(names)} machines: {' '.join(names)}")
            side_by_side(self.boot, names)
            self.log(f"wiring {len(self.plan.cables)} links")
            self.start_wires()
            side_by_side(lambda c: self.script(c.name, self.plan.client_lines(c)), self.topology.clients)
            self.lay(*self.plan.cables.values())
            for client in self.topology.clients:
                self.associations.join(client, client.node)
            self.start_internet()
            self.log(f"starting {self.plan.program_names()} on the nodes")
            side_by_side(self.start_node, self.topology.nodes, self.log)
            side_by_side(self.start_client, self.topology.clients)
        except BaseException:
            self.down()
            raise

    def boot(self, name: str) -> None:
        node = next((node for node in self.topology.nodes if node.name == name), None)
        if self.packages and node:
            self.running.boot(name, self.packages.mount(node, self.running), str(self.packages.folder))
        else:
            self.running.boot(name)

    @cached_property
    def packages(self) -> Packages | None:
        """What the nodes run where it is packages."""
        if self.from_packages is None:
            return None
        kept = self.running.kept_files()[1]
        file = kept if kept.exists() else EXAMPLE
        return Packages(self.plan, file.read_text(), read_table(file), self.from_packages)

    def keep_files(self) -> None:
        """Keep topology and site as they are now: editing the files does not change a lab that is up."""
        for file, kept in zip(self.files, self.running.kept_files(), strict=True):
            if file:
                kept.write_bytes(Path(file).read_bytes())

    def down(self) -> None:
        if self.air:
            self.air.close()
            self.air = None
        if self.machines:
            self.machines.end()
            self.machines = None

    @property
    def running(self) -> Machines:
        if self.machines is None:
            raise LabError(f"the lab {self.name!r} is not up")
        return self.machines

    @property
    def associations(self) -> Air:
        if self.air is None:
            raise LabError(f"the lab {self.name!r} is not up")
        return self.air

    @property
    def gateway_device(self) -> str:
        """A clatnode's device that has the next-node address."""
        return CLIENT_DEVICE if self.from_packages else "br-client"

    @property
    def cables(self) -> dict[str, Cable]:
        """The links as they are now, by name: clients walk."""
        return self.air.cables() if self.air else self.plan.cables

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
        if not any(self.is_wire(cable) for cable in self.plan.cables.values()):
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

    def lay(self, *cables: Cable) -> None:
        """Make the two devices of each link, up and with MACs and addresses: one script for all of a machine's."""
        lines: dict[str, list[str]] = {}
        for cable in cables:
            self.connect(cable)
            for end in (cable.a, cable.b):
                more = lines.setdefault(end.machine, [])
                if self.is_wire(cable):
                    more.append(f"ip link set {end.device} address {self.plan.mac_of(end)} mtu {cable.mtu}")
                elif not cable.wishes.is_plain:
                    more.append(f"tc qdisc add dev {end.device} root netem {netem(cable.wishes)}")
                more += self.plan.dress(end)
        side_by_side(lambda machine: self.script(machine, lines[machine]), lines)

    def connect(self, cable: Cable) -> None:
        """Make a link's two devices; a wire's as they come."""
        a, b, w = cable.a, cable.b, cable.wishes
        pid_a, pid_b = self.running.pids[a.machine], self.running.pids[b.machine]
        if self.is_wire(cable):
            self.tell_wire(
                f"wire {cable.name}@{b.machine} {pid_a} {a.device} {pid_b} {b.device} {round(w.delay_ms * 1000)} "
                f"{round(w.jitter_ms * 1000)} {round(w.loss_percent * 10_000)} {round(w.reorder_percent * 10_000)} "
                f"{round(w.rate_mbit * 1_000_000)}"
            )
            return
        one, other = (
            f"name {end.device} netns {pid} address {self.plan.mac_of(end)} mtu {cable.mtu}"
            for end, pid in ((a, pid_a), (b, pid_b))
        )
        command = ["ip", "link", "add", *one.split(), "type", "veth", "peer", *other.split()]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise LabError(f"link {cable.name}: {done.stderr.strip()}")

    def lay_to_living(self, cable: Cable) -> None:
        """Make a client's cable to a node that it was not at before. Raises LabError if the node is off."""
        if not self.alive()[cable.b.machine]:
            raise LabError(f"the node {cable.b.machine!r} is off: `lab start {cable.b.machine}` powers it on")
        self.lay(cable)

    def cut(self, name: str) -> None:
        """Drop every frame of a link, both ways and without loss of carrier: how a radio link dies."""
        self.cut_cable(self.cable(name))

    def cut_cable(self, cable: Cable) -> None:
        for end in (cable.a, cable.b):
            rule = f"type filter hook ingress device {end.device} priority -500; drop"
            self.exec(
                end.machine,
                ["nft", "-f", "-"],
                stdin=f"table netdev cut-{end.device} {{\n chain c {{\n {rule}\n }}\n}}\n",
            )

    def heal(self, name: str) -> None:
        """Carry frames again. A link that is not cut stays as it is."""
        cable = self.cable(name)
        for end in (cable.a, cable.b):
            table = f"cut-{end.device}"
            with contextlib.suppress(CommandError):  # it is not cut
                self.exec(end.machine, ["nft", "delete", "table", "netdev", table])

    def is_cut(self, cable: Cable) -> bool:
        tables = self.exec(cable.a.machine, ["nft", "list", "tables"], check=False).stdout
        return f"netdev cut-{cable.a.device}" in tables.replace('"', "")

    def cable(self, name: str) -> Cable:
        """Return a link by its name, or by its ends in any order with a hyphen between."""
        cables = self.cables
        if name in cables:
            return cables[name]
        for cable in cables.values():
            ends = cable.a.machine, cable.b.machine
            if name in ("-".join(ends), "-".join(reversed(ends))):
                return cable
        raise LabError(f"there is no link {name!r}, known are {', '.join(sorted(cables))}")

    # Nodes

    def node(self, name: str) -> Node:
        for node in self.topology.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.topology.nodes)
        raise LabError(f"there is no node {name!r}, known are {known}")

    def cables_at(self, node: str) -> list[Cable]:
        """Return every link that ends at a node, those that clients have left there as well."""
        cables = {(cable.a, cable.b): cable for cable in self.cables.values() if cable.has_end_at(node)}
        for client in self.plan.clients:
            cable = self.associations.cable(client, node)
            if cable.a.device in self.associations.kernel(client).devices():
                cables[cable.a, cable.b] = cable
        return list(cables.values())

    def kill(self, name: str) -> None:
        """Power a node off: its links go dead without a goodbye, and every process on it ends."""
        node = self.node(name)
        for cable in self.cables_at(name):
            self.cut_cable(cable)
        self.running.halt(node.name, and_holder=False)

    def start(self, name: str) -> None:
        """Power a node on, or off and on: it boots with nothing, is wired anew, and its programs start.

        Links that were cut come back whole, but for those to a node that is off.
        """
        node = self.node(name)
        cables, left = (
            [cable for cable in self.cables.values() if cable.has_end_at(name)],
            self.cables_at(name),
        )
        clients = [client for client in self.topology.clients if self.node_of(client.name) == name]
        self.running.halt(name, and_holder=True)
        for cable in left:
            other = other_end(cable, name)
            with contextlib.suppress(CommandError):  # it is not cut
                self.exec(other.machine, ["nft", "delete", "table", "netdev", f"cut-{other.device}"])
            # its device may outlive the node by a moment, and its name must be free
            self.exec(other.machine, ["ip", "link", "del", other.device], check=False)
        self.boot(name)
        self.lay(*cables)
        alive = self.alive()
        for cable in cables:
            if alive.get(other_end(cable, name).machine) is False:
                self.cut(cable.name)  # nobody is there, but its kernel would answer and forward
        for client in clients:
            self.associations.join(client, name)
        self.start_node(node)
        for client in clients:
            self.running.stop(client.name, "udhcpc")  # it asks anew, as after every loss of its access point
            self.start_client(client)

    def alive(self) -> dict[str, bool]:
        """Return for every node whether it is powered on: a node that ought to run something runs something."""
        found = self.running.daemons()
        return {
            node.name: bool(found.get(node.name)) or not self.plan.programs(node)
            for node in self.topology.nodes
        }

    def start_node(self, node: Node) -> None:
        machines, plan = self.running, self.plan
        if self.packages:
            self.start_packages(node, self.packages)
            return
        self.script(node.name, plan.node_lines(node))
        if "siit" in plan.programs(node):
            machines.daemon(node.name, "siit", ["siit", "daemon"])
            self.wait_for(node.name, "siit", lambda: "ready" in machines.read(node.name, "/run/log/siit.log"))
        if node.role.is_plat:
            self.exec(node.name, ["464xlat", "plat", "up", *plan.role_options(node), *plan.plat_options()])
        if node.role.is_clat:
            self.exec(node.name, ["464xlat", "clat", "up", *plan.role_options(node)])
        if plan.babeld_devices(node):
            roles = self.exec(node.name, ["464xlat", "babel-config", *plan.babel_options()]).stdout
            self.exec(node.name, ["tee", "/run/babeld.conf"], stdin=plan.babeld_conf(node, roles))
            machines.daemon(node.name, "babeld", plan.babeld(node))
        if plan.is_roaming(node):
            self.start_l3roamd(node)
        if node.role.is_clat:
            self.start_prefixd(node)
            machines.daemon(node.name, "dnsmasq", plan.dnsmasq())

    def start_packages(self, node: Node, packages: Packages) -> None:
        """Start a node's services by their init scripts, and the DHCP server that OpenWrt has."""
        self.script(node.name, packages.node_lines(node))
        self.script(node.name, [packages.boot_script(node)])
        if self.plan.is_roaming(node):
            self.wait_for_l3roamd(node)
        if node.role.is_clat:
            self.running.daemon(node.name, "dnsmasq", packages.dnsmasq())

    def start_l3roamd(self, node: Node, command: Sequence[str] = ()) -> None:
        """Start the roaming daemon, or another command that is one; returns when its socket answers."""
        if self.packages and not command:
            self.exec(node.name, ["/etc/init.d/l3roamd-py", "start"])
        else:
            self.running.daemon(node.name, "l3roamd", command or self.plan.l3roamd(node))
        self.wait_for_l3roamd(node)

    def wait_for_l3roamd(self, node: Node) -> None:
        deadline = time.monotonic() + DAEMON_S
        while not self.roaming_status(node.name):
            if time.monotonic() > deadline:
                raise LabError(
                    f"{node.name}: l3roamd did not start: {self.running.log(node.name, 'l3roamd').strip()}"
                )
            time.sleep(0.02)

    def roaming_status(self, node: str) -> dict:
        """Return what the roaming daemon on a node says of itself, or {} while it does not answer."""
        return self.running.ask(node, ROAMING_SOCKET, "get_status")

    def start_prefixd(self, node: Node) -> None:
        if self.packages:
            self.exec(node.name, ["/etc/init.d/prefixd", "start"])
            return
        python = f"{REPOSITORY}/.venv/bin/{self.topology.settings.prefixd}"
        self.running.daemon(node.name, "prefixd", self.plan.prefixd(node), PREFIXD_PYTHON=python)

    def wait_for(self, machine: str, daemon: str, is_there: Callable[[], bool]) -> None:
        """Wait until a daemon is there. To ask over and over must not start programs: they take the daemon its time."""
        deadline = time.monotonic() + DAEMON_S
        while not is_there():
            if time.monotonic() > deadline:
                raise LabError(
                    f"{machine}: {daemon} did not start: {self.running.log(machine, daemon).strip()}"
                )
            time.sleep(0.02)

    def start_client(self, client: Client) -> None:
        script = REPOSITORY / "sdk/lab/udhcpc.sh"
        options = ["-f", "-i", "eth0", "-s", str(script), "-t", "20", "-T", "1", "-A", "1"]
        self.running.daemon(client.name, "udhcpc", ["busybox", "udhcpc", *options])

    # Clients

    def client(self, name: str) -> Client:
        if name not in self.plan.clients:
            raise LabError(
                f"there is no client {name!r}, known are {', '.join(sorted(self.plan.clients)) or 'none'}"
            )
        return self.plan.clients[name]

    def node_of(self, client: str) -> str | None:
        """Return the node that a client is associated with now, None while it is with none."""
        return self.associations.node_of(self.client(client).name)

    def roam(self, client: str, node: str, *, hard: bool = False, renew: bool = False) -> float:
        """Walk a client to another node; return when it was associated there (monotonic clock, seconds).

        hard: the old node hears of nothing. renew: the client asks for its lease again, as phones do after
        a new association.
        """
        walker, target = self.client(client), self.node(node)
        if not target.role.is_clat:
            raise LabError(
                f"the node {node!r} has the role {target.role}, expected clat or both: it takes no clients"
            )
        at_s = self.associations.roam(walker, node, hard=hard)
        if renew:
            for pid in self.running.daemons()[client].get("udhcpc", []):
                os.kill(pid, signal.SIGUSR1)
        return at_s

    def start_internet(self) -> None:
        asked = self.packages.asked_addresses() if self.packages else []
        services = [f"ip addr replace {address}/32 dev lo" for address in (WEB, DNS, ECHO, *asked)]
        self.script(INTERNET, ["sysctl -qw net.ipv4.ip_forward=0", *services])
        self.running.daemon(INTERNET, "dnsmasq", self.plan.internet_dnsmasq())
        self.running.daemon(INTERNET, "services", ["python", "-m", "sdk.lab.services", WEB, ECHO])
        self.wait_for(INTERNET, "services", self.has_internet)

    def has_internet(self) -> bool:
        """Whether the services listen: the echo does after HTTP."""
        try:
            in_namespace(self.running.pids[INTERNET], lambda: socket.create_connection((ECHO, 7))).close()
        except OSError:
            return False
        return True

    # Looking

    def leases(self) -> dict[str, str]:
        """Return each client's IPv4 address, "" where it has none yet."""
        return {client.name: self.lease(client.name) for client in self.topology.clients}

    def lease(self, client: str) -> str:
        return self.associations.kernel(client).ipv4_address("eth0")

    def prefixd_status(self, node: str) -> dict:
        """Return what prefixd on a node says of itself, or {} while it does not answer."""
        return self.running.ask(node, PREFIXD_SOCKET, "status")

    def plat_of(self, node: str) -> str | None:
        """Return the name of the platnode that a clatnode uses, None if it uses none."""
        return self.plat_name(self.prefixd_status(node).get("chosen"))

    def plat_of_client(self, client: str) -> str | None:
        """Return the name of the platnode that a client uses, None if no roaming daemon serves it.

        Its node may have changed to another by now: a client keeps the one of its lease.
        """
        served = self.serving(client)
        return self.plat_name(f"{served['plat']}/96") if served and served.get("plat") else None

    def serving(self, client: str) -> dict | None:
        """Return what the roaming daemon says of a client at the node where it is; None until it serves it."""
        node, mac = self.node_of(client), format_mac(self.client(client).mac)
        for served in self.roaming_status(node).get("clients", []) if node else []:
            if served["mac"] == mac and served["state"] == "served":
                return served
        return None

    def plat_name(self, chosen: str | None) -> str | None:
        """Return the name of the platnode that has a /96, the /96 itself if that is none of ours."""
        names = {text(self.plan.plat_prefix(plat)): plat.name for plat in platnodes(self.topology)}
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
            ("a way back to {}", [node.name for node in clatnodes(self.topology)], self.has_way_back),
            ("an answer from the internet for {}", clients, self.is_answered),
        ):
            wanted = {sentence.format(name): name for name in names}
            seen |= {what for what, name in wanted.items() if what not in seen and has(name)}
            if lacking := [what for what in wanted if what not in seen]:
                return lacking
        return []

    def has_way_back(self, node: str) -> bool:
        """Whether the platnode that a clatnode uses has babel's route to it: the last one to come."""
        platnode, prefix = self.plat_of(node), self.plan.clat_prefix(self.node(node))
        if platnode is None or platnode == node or platnode not in self.running.pids:
            return platnode is not None
        routes = Path(f"/proc/{self.running.pids[platnode]}/net/ipv6_route").read_text()
        return f"{prefix.hex()} 60 " in routes  # a /96

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
                    "missing": [name for name in self.plan.programs(node) if name not in found[node.name]],
                    "clat_prefix": text(self.plan.clat_prefix(node)) if node.role.is_clat else None,
                    "plat_prefix": text(self.plan.plat_prefix(node)) if node.role.is_plat else None,
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
                {
                    "name": c.name,
                    "node": self.node_of(c.name),
                    "home": c.node,
                    "mac": format_mac(c.mac),
                    "address": leases[c.name] or None,
                }
                for c in self.topology.clients
            ],
            "init_pid": self.running.init_pid,
        }
