# SPDX-License-Identifier: ISC
"""Nodes that run what the packages install, configured by the site as Gluon's upgrade scripts do it.

A node's root is made of .ipk files, laid over this machine's; its clients' side is Gluon's: a bridge with the clients'
ports, and a veth into it that has the next-node address. What starts is what the packages' init scripts start. The lab
adds what stands for the hardware: links' costs, told to babeld, and the DHCP server of OpenWrt.
"""

import os
import shlex
import shutil
import subprocess
import tempfile
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any

from sdk.lab.machine import REPOSITORY, LabError, Machines
from sdk.lab.plan import ADD_BRIDGE, DNS, NODE_PREFIX6, V6ONLY_WAIT_S, Plan
from sdk.lab.process_table import BABELD
from sdk.lab.topology import Node
from sdk.openwrt import node as openwrt
from sdk.timeouts import TIMEOUT_SCALE
from xlat464.address import format_ipv6, format_mac
from xlat464.node import node_client_address

IPK = REPOSITORY / "build/ipk"
CHOSEN = "LAB_PACKAGES"  # a folder of .ipk files for every lab of a process that says nothing else: whole test runs
ROOTS = "/run/roots"  # in the lab's first process: they end with it
# what Gluon's image would have; for the roles that a node has
COMMON = ("464xlat-common", "464xlat-nft", "464xlat-xtables", "gluon-464xlat-common", "gluon-464xlat-babel")
TRANSLATOR = ("siit", "python3-nat46", "python3-xlat464")
CLAT, PLAT = ("gluon-464xlat-clat", "prefixd"), ("gluon-464xlat-plat", "464xlat-plat", "464xlat-netlink")
ROAMING = {"python": ("l3roamd-py",), "micropython": ("l3roamd-micropython", "464xlat-netlink")}
# what their packages have only if they are built so
XTABLES = "usr/lib/*/**/l3roamd_py/netfilter/xtables"
CLIENT_DEVICE = "local-node"
LEASES = "/tmp/dhcp.leases"  # where OpenWrt's dnsmasq has them
HOSTS = "/tmp/hosts"
LEASE_SCRIPT = "/usr/lib/dnsmasq/dhcp-script.sh"
UP_S = round(40 * TIMEOUT_SCALE)  # for a role to come up; less than a script on a machine has
BABEL_PORT = 33123
# what keeps a role from coming up, by its supervisor; if none says so, what services said last
WHY = "cat /run/464xlat/*.problem >&2 2>/dev/null || tail -n 3 /run/procd.log >&2"
# of OpenWrt's /etc/sysctl.d. Without arp_ignore the bridge would answer for the next-node address too, by another MAC.
SYSCTLS = "sysctl -qw " + " ".join(
    f"net.{key}=1"
    for key in (
        "ipv4.ip_forward",
        *(f"ipv4.conf.{which}.arp_ignore" for which in ("all", "default")),
        *(f"ipv6.conf.{which}.forwarding" for which in ("all", "default")),
    )
)

# as OpenWrt has it. A packet on its way through the bridge would have its destination changed there, beside the veth.
NO_BRIDGE_NETFILTER = (
    'for file in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e "$file" ] || echo 0 >"$file"; done'
)


def chosen() -> Path | None:
    """Return the folder of packages that the environment wants in every lab, None if it wants none."""
    folder = os.environ.get(CHOSEN)
    return Path(folder).resolve() if folder else None


def check_rules(root: Path, rules: str, folder: Path) -> None:
    """Raise LabError if the roaming daemon in a root, of a folder's packages, lacks these rules."""
    if rules == "xtables" and not any(root.glob(XTABLES)):
        raise LabError(
            f"{folder} has no roams by iptables: `XLAT464_ROAM_RULES=xtables make ipk` builds packages with both"
        )


class Packages:
    """The packages that a lab's nodes have, and the site that configures them."""

    def __init__(self, plan: Plan, site_text: str, table: dict[str, Any], folder: Path):
        """table is what the text of the site says. Raises LabError if there are no packages."""
        self.plan, self.site_text, self.table, self.folder = plan, site_text, table, folder
        self.files = {path.name.partition("_")[0]: path for path in sorted(folder.glob("*.ipk"))}
        names = {name for node in plan.topology.nodes for name in self.names(node)}
        if missing := names - set(self.files):
            raise LabError(f"{folder} lacks {', '.join(sorted(missing))}: `make ipk` builds the packages")
        if not openwrt.has_micropython():
            raise LabError("the packages' programs run on MicroPython: `make oldest-micropython` builds it")

    def names(self, node: Node) -> tuple[str, ...]:
        """Return the packages that the image of a node would have."""
        role = node.role
        return (
            *COMMON,
            *(TRANSLATOR if role.is_clat or role.is_plat else ()),
            *(CLAT if role.is_clat else ()),
            *(("prefixd-hosts",) if role.is_clat and self.plan.is_mostly() else ()),
            *(PLAT if role.is_plat else ()),
            *(ROAMING[self.plan.interpreter(node)] if self.plan.is_roaming(node) else ()),
        )

    def mount(self, node: Node, machines: Machines) -> str:
        """Make a node's root in the /run of the lab's first process; return the lines of sh that mount it."""
        place = Path(ROOTS, node.name)
        layers = Path(f"/proc/{machines.init_pid}/root{place}")
        shutil.rmtree(
            layers, ignore_errors=True
        )  # of a node that was off; what is mounted stays until it is not
        with tempfile.TemporaryDirectory(prefix="lab-root-") as folder:
            root = Path(folder) / "root"
            openwrt.unpack([self.files[name] for name in self.names(node)], root)
            (root / "etc/config").mkdir(parents=True, exist_ok=True)
            (root / "etc/config/dhcp").write_text("config dnsmasq\n\toption domainneeded '1'\n")
            extra = {"NODE_CLIENT_PREFIX": str(self.plan.site.node_client_prefix6)}
            try:
                openwrt.configure(root, self.site_text, format_mac(node.mac), extra)
            except subprocess.CalledProcessError as error:
                script = Path(error.cmd[-1]).name
                raise LabError(f"{node.name}: the upgrade script {script} does not take the site") from None
            if node.role.is_plat:
                openwrt.share(root)
            settings = self.plan.topology.settings
            if self.plan.is_roaming(node):
                check_rules(root, settings.roam_rules, self.folder)
            openwrt.change(root, "node", "firewall", settings.firewall)
            openwrt.change(root, "roaming", "rules", settings.roam_rules)
            if self.plan.is_mostly():
                openwrt.change(root, "hosts", "announce", "on")
                openwrt.change(root, "hosts", "v6only_wait_s", str(V6ONLY_WAIT_S))
                openwrt.change(root, "hosts", "dns", DNS, is_list=True)
            if (BABELD / "babeld").exists():  # as the image's is patched
                (root / "usr/sbin").mkdir(parents=True, exist_ok=True)
                shutil.copy2(BABELD / "babeld", root / "usr/sbin/babeld")
            openwrt.layers(root, layers)
        return openwrt.mount(place, REPOSITORY)

    def node_lines(self, node: Node) -> list[str]:
        """Return the lines of sh that make a machine a node as netifd makes it."""
        site, prefix = self.plan.site, IPv6Network(self.table.get("node_prefix6", f"{NODE_PREFIX6}/64"))
        address = format_ipv6(node_client_address(prefix.network_address.packed, node.mac))
        lines = [
            *self.plan.iptables_lines(),
            SYSCTLS,
            NO_BRIDGE_NETFILTER,
            f"ip -6 addr replace {address}/128 dev lo",
        ]
        if node.role.is_clat:
            lines += [
                ADD_BRIDGE,
                f"ip link set br-client address {format_mac(node.mac)}",
                "ip link set br-client up",
                f"ip link add {CLIENT_DEVICE} type veth peer name local-port",
                f"ip link set {CLIENT_DEVICE} address {format_mac(site.next_node_mac)}",
                f"ip addr replace {site.next_node_ip4}/{site.prefix4.prefixlen} dev {CLIENT_DEVICE}",
                "ip link set local-port master br-client up",
                f"ip link set {CLIENT_DEVICE} up",
            ]
        return lines

    def babel_lines(self, node: Node) -> list[str]:
        """Return the lines of babel's configuration that tell what the topology says of a node's links."""
        lines = []
        for line in self.plan.babeld_conf(node, "").splitlines():
            if line.startswith("interface"):
                lines += [f"flush interface {line.split()[1]}", line]
        return lines

    def boot_script(self, node: Node) -> str:
        """Return the script that starts a node's services, and ends when babeld and the roles are up."""
        roles = [role for role, is_on in (("clat", node.role.is_clat), ("plat", node.role.is_plat)) if is_on]
        told = "".join(f"{line}\n" for line in self.babel_lines(node))
        return "\n".join(
            [
                openwrt.BOOT,
                f"end=$(($(date +%s) + {UP_S}))",
                'wait_for() { until "$@" >/dev/null 2>&1; do',
                f'	[ "$(date +%s)" -lt "$end" ] || {{ {WHY}; exit 1; }}',
                "	sleep 0.1",
                "done; }",
                f"tell() {{ printf '%s' {shlex.quote(told)} quit | nc ::1 {BABEL_PORT} | grep -c '^ok' |",
                f"	grep -qx {len(told.splitlines()) + 1}; }}",  # its greeting ends so too
                *(["wait_for tell"] if told else []),
                *(f"wait_for test -e /run/464xlat/{role}.settings" for role in roles),
            ]
        )

    def dnsmasq(self) -> list[str]:
        return self.plan.dnsmasq(CLIENT_DEVICE, LEASES, LEASE_SCRIPT, HOSTS)

    def asked_addresses(self) -> list[str]:
        """Return the IPv4 addresses that the site has nodes ask through each PLAT: the lab's internet has them too."""
        clat = self.table.get("clat")
        asked = clat.get("probe_ipv4", []) if isinstance(clat, dict) else []
        return [address for address in asked if isinstance(address, str)]
