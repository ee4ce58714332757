# SPDX-License-Identifier: ISC
"""From a description to what one end has to have: devices, addresses, routes, rules, firewall, listeners. Pure.

`make` draws up the whole; `apply` carries it out and `render` writes it down, and neither decides anything. The parts
of the links are in plan_links, plan_wireguard and plan_bridge, those of the publications in plan_publish.
"""

from dataclasses import dataclass, field, fields
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any

from reach.firewall import Dnat, Firewall, Match, Reply, Snat
from reach.reading import Address, Network, Ports

Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class Tunnel:
    """An ipip6 device."""

    name: str
    local: IPv6Address
    remote: IPv6Address
    mtu_bytes: int
    encap_limit: int | None


@dataclass(frozen=True, slots=True)
class Peer:
    end: str
    allowed: tuple[Network, ...]
    endpoint: str | None
    keepalive_s: int


@dataclass(frozen=True, slots=True)
class Wg:
    """A WireGuard device; port 0 lets the kernel choose. Its keys are not part of a plan."""

    name: str
    port: int
    mtu_bytes: int
    mark: int  # of its own outer packets, 0 for none
    is_userspace: bool
    peers: tuple[Peer, ...]


@dataclass(frozen=True, slots=True)
class Br:
    """A bridge, or one that is there already (is_ours False) and gets devices of ours."""

    name: str
    is_ours: bool
    mac: str | None = None
    uplink: str | None = None  # the server's own device, put in: its addresses and routes become the bridge's


@dataclass(frozen=True, slots=True)
class Gretap:
    name: str
    local: IPv4Address | None  # None: the address that the device has
    remote: IPv4Address
    mtu_bytes: int
    mac: str | None
    bridge: str | None
    gue_ports: tuple[int, int] | None  # from, to; None: plain GRE


Device = Tunnel | Wg | Br | Gretap


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    device: str
    interface: Interface
    is_deprecated: bool = False  # never the source of other connections


@dataclass(frozen=True, slots=True)
class Route:
    to: Network
    device: str
    table: int | None = None  # None: main


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy routing rule; a smaller priority is asked first."""

    family: int  # 4 or 6
    priority: int
    table: int
    source: Network | None = None
    mark: int | None = None
    is_mark_inverted: bool = False
    suppresses_default: bool = False  # the main table, but not its default route
    in_device: str | None = None  # which need not exist yet; lo: what this machine sends itself
    destination: Network | None = None


@dataclass(frozen=True, slots=True)
class Sysctl:
    path: str  # below /proc/sys
    value: str


@dataclass(frozen=True, slots=True)
class Pin:
    """A host route to an address by the way it takes now, so that no link's route takes it over."""

    address: Address


@dataclass(frozen=True, slots=True)
class Listener:
    """Ports that the relay listens on, and where they lead; the target's ports count on from target_port."""

    protocol: str
    listen: Address
    ports: Ports
    target: Address
    target_port: int
    proxy: str | None
    idle_s: int
    limit: int
    sources: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class Dns:
    """Who answers names at this end while the link is up."""

    device: str
    servers: tuple[Address, ...]
    domain: str | None
    answers_all: bool  # not only names in the domain


@dataclass(frozen=True, slots=True)
class Service:
    """A program that others wrote, with its configuration file; {config} in the command is that file's path."""

    name: str
    command: tuple[str, ...]
    config: str


@dataclass(frozen=True, slots=True)
class Plan:
    end: str
    role: str
    wan: str | None
    lan: str | None
    public: Address | None  # at which this machine itself is asked for what is published
    families: tuple[int, ...]  # of its addresses outside of the links
    devices: tuple[Device, ...]
    addresses: tuple[DeviceAddress, ...]
    routes: tuple[Route, ...]
    rules: tuple[Rule, ...]
    sysctls: tuple[Sysctl, ...]
    pins: tuple[Pin, ...]
    firewall: Firewall
    listeners: tuple[Listener, ...]
    dns: tuple[Dns, ...]
    services: tuple[Service, ...]
    leaving: tuple[str, ...]  # links whose packets go on to the internet here
    untouched_offloads: tuple[str, ...]  # devices whose checksums must be made in software


@dataclass
class Draft:
    """A plan while it is being drawn up; each list keeps its order and takes nothing twice."""

    wan: str | None = None  # the device towards the internet, also when it is a bridge's port
    public: Address | None = None
    families: tuple[int, ...] = (4, 6)
    devices: list[Device] = field(default_factory=list)
    addresses: list[DeviceAddress] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    sysctls: list[Sysctl] = field(default_factory=list)
    pins: list[Pin] = field(default_factory=list)
    dnats: list[Dnat] = field(default_factory=list)
    snats: list[Snat] = field(default_factory=list)
    accepts: list[Match] = field(default_factory=list)
    inputs: list[Match] = field(default_factory=list)
    forwards: list[Match] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    clamps: list[str] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    bridge_ports: list[tuple[str, int]] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    dns: list[Dns] = field(default_factory=list)
    services: list[Service] = field(default_factory=list)
    leaving: list[str] = field(default_factory=list)
    untouched_offloads: list[str] = field(default_factory=list)

    def forward_family(self, version: int, device: str | None) -> None:
        """Let this machine forward; an IPv6 router goes on learning its own default route only with accept_ra=2."""
        if version == 4:
            self.sysctls.append(Sysctl("net/ipv4/ip_forward", "1"))
            return
        self.sysctls.append(Sysctl("net/ipv6/conf/all/forwarding", "1"))
        if device:
            self.sysctls.append(Sysctl(f"net/ipv6/conf/{device}/accept_ra", "2"))

    def any_source(self, device: str) -> None:
        """Let in callers of all the internet by a link, though the main table may have no way back to them."""
        self.sysctls.append(Sysctl(f"net/ipv4/conf/{device}/rp_filter", "0"))
        self.sysctls.append(Sysctl(f"net/ipv4/conf/{device}/src_valid_mark", "1"))

    def finish(self, end: str, role: str, lan: str | None) -> Plan:
        """Lists of the same name become tuples, in which nothing is twice."""

        def filled(kind: type) -> dict[str, Any]:
            own = vars(self)
            return {
                each.name: tuple(dict.fromkeys(own[each.name]))
                for each in fields(kind)
                if isinstance(own.get(each.name), list)
            }

        firewall = Firewall(**filled(Firewall))
        return Plan(
            end=end,
            role=role,
            wan=self.wan,
            lan=lan,
            public=self.public,
            families=self.families,
            firewall=firewall,
            **filled(Plan),
        )
