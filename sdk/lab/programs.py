# SPDX-License-Identifier: ISC
"""The programs on a lab's machines: started as a router's boot starts them, and waited for.

The plan says which programs a node has, with their command lines. On nodes that run packages these say it.
"""

import socket
import time
from collections.abc import Callable, Sequence

from sdk.debian.micropython import PROGRAM as OLDEST
from sdk.lab.machine import DAEMON_S, REPOSITORY, LabError, Machines
from sdk.lab.packaged import CLIENT_DEVICE, Packages
from sdk.lab.packaged import HOSTS as PACKAGED_HOSTS
from sdk.lab.plan import DNS, ECHO, HOSTS, PREFIXD_SOCKET, ROAMING_SOCKET, WEB, Plan
from sdk.lab.radio import in_namespace
from sdk.lab.topology import INTERNET, Client, Node


def micropython() -> str:
    """The interpreter for daemons: the oldest that there is, or .venv's."""
    return str(OLDEST if OLDEST.exists() else REPOSITORY / ".venv/bin/micropython")


UDHCPC = ["busybox", "udhcpc", "-f", "-i", "eth0", "-s", str(REPOSITORY / "sdk/lab/udhcpc.sh")]


class Programs:
    """The daemons of one lab. packages: what the nodes run instead of this repository's files, or None."""

    def __init__(self, machines: Machines, plan: Plan, packages: Packages | None):
        self.machines, self.plan, self.packages = machines, plan, packages

    def alive(self) -> dict[str, bool]:
        """Return for every node whether it is powered on: a node that ought to run something runs something."""
        found = self.machines.daemons()
        return {
            node.name: bool(found.get(node.name)) or not self.plan.programs(node)
            for node in self.plan.topology.nodes
        }

    # Nodes

    def start_node(self, node: Node) -> None:
        machines, plan = self.machines, self.plan
        if self.packages:
            self.start_packages(node, self.packages)
            return
        machines.script(node.name, plan.node_lines(node))
        if "siit" in plan.programs(node):
            machines.daemon(node.name, "siit", ["siit", "daemon"])
            self.wait_for(node.name, "siit", lambda: "ready" in machines.read(node.name, "/run/log/siit.log"))
        if node.role.is_plat:
            machines.exec(
                node.name, ["464xlat", "plat", "up", *plan.role_options(node), *plan.plat_options()]
            )
        if node.role.is_clat:
            machines.exec(node.name, ["464xlat", "clat", "up", *plan.role_options(node)])
        if plan.babeld_devices(node):
            roles = machines.exec(node.name, ["464xlat", "babel-config", *plan.babel_options()]).stdout
            machines.exec(node.name, ["tee", "/run/babeld.conf"], stdin=plan.babeld_conf(node, roles))
            machines.daemon(node.name, "babeld", plan.babeld(node))
        if plan.is_roaming(node):
            self.start_l3roamd(node)
        if node.role.is_clat:
            self.start_prefixd(node)
            machines.daemon(node.name, "dnsmasq", plan.dnsmasq())
            self.start_radvd(node, "br-client")

    def start_packages(self, node: Node, packages: Packages) -> None:
        """Start a node's services by their init scripts, and the DHCP server that OpenWrt has."""
        self.machines.script(node.name, packages.node_lines(node))
        self.machines.script(node.name, [packages.boot_script(node)])
        if self.plan.is_roaming(node):
            self.wait_for_l3roamd(node)
        if node.role.is_clat:
            self.machines.daemon(node.name, "dnsmasq", packages.dnsmasq())
            self.start_radvd(node, CLIENT_DEVICE)

    def start_radvd(self, node: Node, device: str) -> None:
        """Send router advertisements to clients, where a roaming daemon makes routes of what they do with them."""
        if self.plan.is_roaming(node):
            self.machines.exec(node.name, ["tee", "/run/radvd.conf"], stdin=self.plan.radvd_conf(device))
            self.machines.daemon(node.name, "radvd", self.plan.radvd())

    def start_l3roamd(self, node: Node, command: Sequence[str] = ()) -> None:
        """Start the roaming daemon, or another command that is one; returns when its socket answers."""
        if self.packages and not command:
            self.machines.exec(node.name, ["/etc/init.d/l3roamd-py", "start"])
        else:
            python = {} if self.plan.interpreter(node) == "python" else {"L3ROAMD_PYTHON": micropython()}
            self.machines.daemon(node.name, "l3roamd", command or self.plan.l3roamd(node), **python)
        self.wait_for_l3roamd(node)

    def start_prefixd(self, node: Node) -> None:
        if self.packages:
            self.machines.exec(node.name, ["/etc/init.d/prefixd", "start"])
            return
        python = f"{REPOSITORY}/.venv/bin/{self.plan.topology.settings.prefixd}"
        self.machines.daemon(node.name, "prefixd", self.plan.prefixd(node), PREFIXD_PYTHON=python)

    # Clients and the internet

    def start_client(self, client: Client) -> None:
        if client.handset:
            if self.plan.is_mostly():  # as one that comes later, or it would have a lease
                self.wait_for(client.node, "prefixd", lambda: self.is_telling(client.node))
            self.machines.daemon(client.name, "handset", ["python", "-m", "sdk.handset"])
        else:
            self.machines.daemon(client.name, "udhcpc", [*UDHCPC, "-t", "20", "-T", "1", "-A", "1"])

    def start_internet(self) -> None:
        asked = self.packages.asked_addresses() if self.packages else []
        services = [f"ip addr replace {address}/32 dev lo" for address in (WEB, DNS, ECHO, *asked)]
        self.machines.script(INTERNET, ["sysctl -qw net.ipv4.ip_forward=0", *services])
        self.machines.daemon(INTERNET, "dnsmasq", self.plan.internet_dnsmasq())
        self.machines.daemon(INTERNET, "services", ["python", "-m", "sdk.lab.services", ECHO, WEB])
        self.wait_for(INTERNET, "services", self.has_internet)

    # Waiting

    def is_telling(self, node: str) -> bool:
        """Whether a node has told hosts that they can do without IPv4, by DHCP too."""
        hosts = self.machines.ask(node, PREFIXD_SOCKET, "status").get("hosts") or {}
        folder = PACKAGED_HOSTS if self.packages else HOSTS
        return bool(hosts.get("told")) and bool(
            self.machines.read(node, f"{folder}/.464xlat-options").strip()
        )

    def roaming_status(self, node: str) -> dict:
        """Return what the roaming daemon on a node says of itself, or {} while it does not answer."""
        return self.machines.ask(node, ROAMING_SOCKET, "get_status")

    def has_internet(self) -> bool:
        """Whether the services listen: the echo does after HTTP."""
        try:
            in_namespace(self.machines.pids[INTERNET], lambda: socket.create_connection((ECHO, 7))).close()
        except OSError:
            return False
        return True

    def wait_for_l3roamd(self, node: Node) -> None:
        self.wait_for(node.name, "l3roamd", lambda: bool(self.roaming_status(node.name)))

    def wait_for(self, machine: str, daemon: str, is_there: Callable[[], bool]) -> None:
        """Wait until a daemon is there. To ask over and over must not start programs: they take the daemon its time."""
        deadline = time.monotonic() + DAEMON_S
        while not is_there():
            if time.monotonic() > deadline:
                said = self.machines.log(machine, daemon).strip()
                raise LabError(f"{machine}: {daemon} did not start: {said}")
            time.sleep(0.02)
