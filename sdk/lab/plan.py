# SPDX-License-Identifier: ISC
"""What a lab consists of, in the words of the programs that make it. Pure: topology and site in, text out.

Which device stands at which end of a link, what brings it up, and the command lines of what runs on a node.
"""

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

from sdk.lab.process_table import IPTABLES
from sdk.lab.site import Site
from sdk.lab.topology import INTERNET, PREFIXD_PYTHONS, TRANSLATORS, Client, Impairments, Node, Topology
from xlat464.address import format_ipv6, format_mac
from xlat464.node import management_address, node_client_address, node_prefix

WEB, DNS, ECHO = "198.51.100.80", "198.51.100.53", "198.51.100.7"  # of the IPv4-only internet
WAN_NETWORK = IPv4Network("203.0.113.0/24")  # a /30 for each platnode
NODE_PREFIX6 = (
    "fd46:4646:4646:1::"  # each node's own address, the source of its ICMP errors; babel carries the /128s
)
REORDER_MIN_DELAY_MS = (
    2  # what netem delays on a link with reordering and no delay of its own; wire.c has the same
)
LEASES = "/run/dhcp.leases"
# the daemons' defaults: /var/run is /run
PREFIXD_SOCKET, ROAMING_SOCKET = "/run/prefixd.sock", "/run/l3roamd.sock"
FILES = Path(__file__).resolve().parents[2] / "files"
LEASE_SCRIPT = FILES / "l3roamd-py/usr/lib/l3roamd-py/dhcp-script"
TELL_HOSTS, HOSTS = FILES / "prefixd/lib/464xlat/tell-hosts", "/run/hosts"
V6ONLY_WAIT_S = 300  # the least that hosts take
ORDERLY_RATE_MBIT = 100_000  # Mbit/s; more than a link carries
# two links of one node may be laid at the same time
# a phone's: addresses by router advertisements, of them one for privacy (RFC 8981), and nothing said unasked
PHONE_S_IPV6 = [
    f"echo {value} >/proc/sys/net/ipv6/conf/eth0/{key}"
    for key, value in (("accept_ra", 1), ("autoconf", 1), ("use_tempaddr", 2), ("ndisc_notify", 0))
]
ADD_BRIDGE = "ip link add br-client type bridge 2>/dev/null || ip link show dev br-client >/dev/null"


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
    impairments: Impairments
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
        mtu = link.impairments.mtu or site.mesh_mtu
        cables.append(Cable(link.name, mesh_end(link.a), mesh_end(link.b), link.impairments, mtu))
    for i, node in enumerate(platnodes(topology)):
        ends = End(node.name, "wan"), End(INTERNET, f"wan{i}")
        cables.append(Cable(f"wan-{node.name}", *ends, node.wan, node.wan.mtu or 1500))
    for client in topology.clients:
        cables.append(client_cable(client, client.node))
    return tuple(cables)


def client_cable(client: Client, node: str) -> Cable:
    """Return the cable between a client and the node that it is associated with.

    Both devices bear a name made of the other machine's, which may be as long as a device's name already.
    """
    ends = End(client.name, short_name("r", node)), End(node, short_name("c", client.name))
    return Cable(f"client-{client.name}", *ends, client.impairments, client.impairments.mtu or 1500)


def short_name(kind: str, machine: str) -> str:
    return kind + hashlib.sha256(machine.encode()).hexdigest()[:8]


def other_end(cable: Cable, machine: str) -> End:
    return cable.b if cable.a.machine == machine else cable.a


def platnodes(topology: Topology) -> list[Node]:
    return [node for node in topology.nodes if node.role.is_plat]


def clatnodes(topology: Topology) -> list[Node]:
    return [node for node in topology.nodes if node.role.is_clat]


def wan_addresses(i: int) -> tuple[IPv4Address, IPv4Address]:
    """Return the internet's and the platnode's address on the i-th WAN link."""
    return WAN_NETWORK[4 * i + 1], WAN_NETWORK[4 * i + 2]


def text(prefix: bytes) -> str:
    return f"{format_ipv6(prefix)}/96"


class Plan:
    """A topology with a site's values."""

    def __init__(self, topology: Topology, site: Site):
        self.topology, self.site = topology, site
        self.cables = {cable.name: cable for cable in plan_cables(topology, site)}
        self.clients = {client.name: client for client in topology.clients}

    def mac_of(self, end: End) -> str:
        """A device's MAC, made of the machine's and the device's names; a client's eth0 has the client's."""
        return format_mac(b"\x06" + hashlib.sha256(f"{end.machine}/{end.device}".encode()).digest()[:5])

    def end_lines(self, end: End) -> list[str]:
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
        if end.machine in self.clients:
            # it sends nothing itself: it becomes a port of eth0, which the client uses
            return [no_ipv6(device), f"ip link set {device} arp off", up]
        if device.startswith("mesh"):
            return [f"echo 0 >/proc/sys/net/ipv6/conf/{device}/accept_dad", up]
        return [ADD_BRIDGE, f"ip link set {device} master br-client", up]

    def client_lines(self, client: Client) -> list[str]:
        """Return the lines of sh that make a client's eth0: a bridge, see radio.py."""
        mtu = self.cables[f"client-{client.name}"].mtu
        return [
            "ip link add eth0 type bridge mcast_snooping 0",
            f"ip link set eth0 address {format_mac(client.mac)} mtu {mtu}",
            *(PHONE_S_IPV6 if self.topology.settings.roaming else [no_ipv6("eth0")]),
            "ip link set eth0 up",
        ]

    def clat_prefix(self, node: Node) -> bytes:
        return node_prefix(self.site.clat_range.network_address.packed, node.mac)

    def plat_prefix(self, node: Node) -> bytes:
        return node_prefix(self.site.plat_range.network_address.packed, node.mac)

    def node_address(self, node: Node) -> str:
        return format_ipv6(node_client_address(IPv6Address(NODE_PREFIX6).packed, node.mac))

    def programs(self, node: Node) -> list[str]:
        """Return the daemons that a node runs when all is well."""
        on = {
            "siit": self.topology.settings.translator == "siit" and (node.role.is_clat or node.role.is_plat),
            "babeld": self.topology.degree(node.name) > 0,
            "prefixd": node.role.is_clat,
            "dnsmasq": node.role.is_clat,
            "l3roamd": self.is_roaming(node),
            "radvd": node.role.is_clat and self.is_roaming(node),
        }
        return [program for program, is_on in on.items() if is_on]

    # What runs on a node

    def node_lines(self, node: Node) -> list[str]:
        """Return the lines of sh that make a machine a node of the mesh, before any role."""
        lines = [
            *self.iptables_lines(),
            "sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.forwarding=1",
            f"ip -6 addr replace {self.node_address(node)}/128 dev lo nodad",
        ]
        if node.role.is_clat:
            site = self.site
            lines += [
                ADD_BRIDGE,
                f"ip link set br-client address {format_mac(site.next_node_mac)}",
                f"ip addr replace {site.next_node_ip4}/{site.prefix4.prefixlen} dev br-client",
                "ip link set br-client up",
                f"mkdir -p {HOSTS}",
            ]
        return lines

    def iptables_lines(self) -> list[str]:
        """Return the lines of sh that make iptables the one that Gluon's images have, whatever this machine's is."""
        if self.topology.settings.firewall != "xtables":
            return []
        programs = [
            f"{name} {end}" for name in ("iptables", "ip6tables") for end in ("-", "-save", "-restore")
        ]
        links = (each.replace(" ", "-legacy").removesuffix("-") for each in programs)
        names = (each.replace(" ", "").removesuffix("-") for each in programs)
        return [
            f"mkdir -p {IPTABLES}",
            *(
                f'ln -sf "$(command -v {link})" {IPTABLES}/{name}'
                for link, name in zip(links, names, strict=True)
            ),
        ]

    def program_names(self) -> str:
        roaming = ["l3roamd_py"] if self.topology.settings.roaming else []
        translator = self.topology.settings.translator
        return ", ".join(["babeld", translator, "464xlat", "prefixd", *roaming]) + " and dnsmasq"

    def is_roaming(self, node: Node) -> bool:
        return self.topology.settings.roaming and (node.role.is_clat or node.role.is_plat)

    def ranges(self) -> list[str]:
        return ["--clat-range", str(self.site.clat_range), "--plat-range", str(self.site.plat_range)]

    def babel_options(self) -> list[str]:
        """Return what `464xlat babel-config` takes."""
        return [*self.ranges(), *(self.node_client_prefix() if self.topology.settings.roaming else [])]

    def role_options(self, node: Node) -> list[str]:
        """Return what `464xlat clat up` and `464xlat plat up` both take."""
        mtu = ["--mesh-mtu", str(self.site.mesh_mtu)]
        firewall = ["--firewall", self.topology.settings.firewall]
        clients = ["--client-range", str(self.site.prefix4)]
        ipv6 = ["--client-prefixes", str(self.site.prefix6), "--pref64", str(self.site.pref64 or "off")]
        return [*self.ranges(), "--mac", format_mac(node.mac), *mtu, *clients, *ipv6, *firewall]

    def plat_options(self) -> list[str]:
        return ["--pool", str(self.site.pool), "--wan", "wan"]

    def babeld_devices(self, node: Node) -> list[str]:
        mesh = [self.cables[link.name] for link in self.topology.links]
        return [cable.end_at(node.name).device for cable in mesh if cable.has_end_at(node.name)]

    def babeld_conf(self, node: Node, roles: str) -> str:
        """Return babeld.conf; roles is what `464xlat babel-config` prints."""
        hello_s = self.topology.settings.hello_interval_ms / 1000
        # babeld takes the first that fits, and the roles' lines end with a refusal
        lines = [f"redistribute local ip {NODE_PREFIX6}/64 eq 128 allow"]
        if self.is_roaming(node):
            lines.append(
                f"redistribute ip {self.site.prefix6} eq 128 proto 159 metric 50000"
            )  # docs/babeld.md
            lines.append(f"redistribute ip {self.site.prefix6} eq 128 proto 158 allow")
        lines.append(roles)
        for link in self.topology.links:
            cable = self.cables[link.name]
            if cable.has_end_at(node.name):
                cost = f" rxcost {link.cost}" if link.cost else ""
                device = cable.end_at(node.name).device
                lines.append(f"interface {device} type {link.type} hello-interval {hello_s:g}{cost}")
        return "\n".join(line.strip() for line in lines) + "\n"

    def babeld(self, node: Node) -> list[str]:
        # no pid file: babeld does not start where one that was killed has left its own
        files = ["-c", "/run/babeld.conf", "-S", "/run/babel-state", "-I", ""]
        return ["babeld", "-G", "33123", *files, *self.babeld_devices(node)]

    def prefixd(self, node: Node) -> list[str]:
        source = format_ipv6(management_address(self.clat_prefix(node)))
        target = TRANSLATORS[self.topology.settings.translator]
        clat = ["--clat", "clat", "--target", target, "--hook", "464xlat clat-route"]
        probes = ["--source", source, "--probe-ipv4", f"{DNS},{WEB}"]
        own = ["--own-plat", text(self.plat_prefix(node))] if node.role.is_plat else []
        roaming = ["--l3roamd", ROAMING_SOCKET] if self.is_roaming(node) else []
        words = ["prefixd", "--plat-range", str(self.site.plat_range), *clat, *probes, *own, *roaming]
        return [*words, *self.hosts_options()] if self.is_mostly() else words

    def is_mostly(self) -> bool:
        return self.topology.settings.mostly and self.site.pref64 is not None

    def hosts_options(self) -> list[str]:
        """Return what has prefixd tell hosts that they can do without IPv4; their DNS server is the internet's."""
        told = ["--pref64", str(self.site.pref64), "--client-device", "br-client"]
        hook = ["--hosts-hook", f"XLAT464_HOSTS={HOSTS} {TELL_HOSTS} br-client {V6ONLY_WAIT_S}"]
        return [*told, "--dns6", DNS, "--link-mtu", str(self.site.mesh_mtu), *hook]

    def l3roamd(self, node: Node) -> list[str]:
        """Return the roaming daemon's command line; --node-client-prefix is for babel-config as well."""
        clat = ["--clat", "--lease-file", LEASES] if node.role.is_clat else []
        plat = ["--plat"] if node.role.is_plat else []
        mesh = [word for device in self.babeld_devices(node) for word in ("--mesh", device)]
        own = [*self.ranges(), "--mac", format_mac(node.mac), *self.node_client_prefix()]
        rules = ["--rules", self.topology.settings.roam_rules, "--send-on", "on"]
        prefix = ["--prefix", str(self.site.prefix6), "--pref64", str(self.site.pref64 or "off")]
        return ["l3roamd_py", "daemon", *own, *clat, *plat, *mesh, *prefix, *rules, *self.partners(node)]

    def partners(self, node: Node) -> list[str]:
        """Return the clatnodes that a clatnode prepares with: all others, if any."""
        is_prepared = self.topology.settings.prepare and node.role.is_clat
        others = [other for other in clatnodes(self.topology) if other != node] if is_prepared else []
        return [
            word
            for other in others
            for word in ("--prepare", format_ipv6(management_address(self.clat_prefix(other))))
        ]

    def interpreter(self, node: Node) -> str:
        """What a node's roaming daemon runs on: python or micropython."""
        chosen = self.topology.settings.interpreter
        if chosen == "mixed":
            return PREFIXD_PYTHONS[self.topology.nodes.index(node) % 2]
        return chosen

    def node_client_prefix(self) -> list[str]:
        return ["--node-client-prefix", str(self.site.node_client_prefix6)]

    def dnsmasq(
        self,
        device: str = "br-client",
        leases: str = LEASES,
        script: str = str(LEASE_SCRIPT),
        hosts: str = HOSTS,
    ) -> list[str]:
        """Return a clatnode's DHCP server: it hashes MACs over all of prefix4, so that nodes rarely agree by chance."""
        prefix4 = self.site.prefix4
        return [
            *(
                "dnsmasq",
                "--conf-file=/dev/null",
                "--keep-in-foreground",
                "--user=root",
                "--no-ping",
                *(self.dnsmasq_for_hosts(hosts) if self.is_mostly() else ["--port=0"]),
            ),
            *(f"--interface={device}", "--bind-interfaces", "--except-interface=lo", "--dhcp-authoritative"),
            *("--pid-file=/run/dnsmasq.pid", f"--dhcp-leasefile={leases}", "--log-facility=-"),
            *([f"--dhcp-script={script}", "--script-on-renewal"] if self.topology.settings.roaming else []),
            f"--dhcp-range={prefix4[1]},{prefix4[-2]},{prefix4.netmask},{self.topology.settings.lease_s}",
            f"--dhcp-option=option:router,{self.site.next_node_ip4}",
            f"--dhcp-option=option:dns-server,{DNS}",
        ]

    def dnsmasq_for_hosts(self, hosts: str) -> list[str]:
        """Return what has dnsmasq read the files of tell-hosts, and answer for the names in them."""
        return [
            "--no-resolv",
            "--no-hosts",
            f"--addn-hosts={hosts}",
            f"--dhcp-optsfile={hosts}/.464xlat-options",
        ]

    def radvd_conf(self, device: str = "br-client") -> str:
        """Return the configuration of a clatnode's radvd: addresses of a prefix on no link, as Gluon's has it."""
        return f"""interface {device} {{
    AdvSendAdvert on;
    MaxRtrAdvInterval 10;
    prefix {self.site.prefix6} {{ AdvOnLink off; AdvAutonomous on; }};
}};
"""

    def radvd(self) -> list[str]:
        return ["radvd", "-n", "-C", "/run/radvd.conf", "-p", "/run/radvd.pid", "-m", "stderr"]

    def internet_dnsmasq(self) -> list[str]:
        return [
            *(
                "dnsmasq",
                "--conf-file=/dev/null",
                "--keep-in-foreground",
                "--user=root",
                "--no-resolv",
                "--no-hosts",
            ),
            *(f"--listen-address={DNS}", "--bind-interfaces", "--pid-file=/run/dnsmasq.pid"),
            *(f"--host-record=www.example.net,{WEB}", f"--host-record=echo.example.net,{ECHO}"),
        ]


def no_ipv6(device: str) -> str:
    return f"echo 1 >/proc/sys/net/ipv6/conf/{device}/disable_ipv6"


def netem(impairments: Impairments) -> str:
    """Return the words of `tc qdisc add … netem` for a link's impairments.

    netem reorders by sending some frames at once, so there must be a delay. It also lets jitter reorder frames unless
    there is a rate. A rate above that of any link keeps the order.
    """
    delay_ms = (
        max(impairments.delay_ms, REORDER_MIN_DELAY_MS)
        if impairments.reorder_percent
        else impairments.delay_ms
    )
    words = [f"limit 20000 delay {delay_ms:g}ms"]
    if impairments.jitter_ms:
        words.append(f"{impairments.jitter_ms:g}ms")
    if impairments.loss_percent:
        words.append(f"loss {impairments.loss_percent:g}%")
    if impairments.reorder_percent:
        words.append(f"reorder {impairments.reorder_percent:g}%")
    if impairments.rate_mbit:
        words.append(f"rate {impairments.rate_mbit:g}mbit")
    elif impairments.jitter_ms and not impairments.reorder_percent:
        words.append(f"rate {ORDERLY_RATE_MBIT}mbit")
    return " ".join(words)
