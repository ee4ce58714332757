# SPDX-License-Identifier: ISC
"""reach.toml: what people write, once for all ends, as frozen dataclasses. `reader` makes them, `check` judges them.

[server] is the rented machine, each [home.NAME] a site, each [client.NAME] a machine that roams. A [link.NAME] joins
them, and NAME is the device's. Each [[publish]] is something of a home that the server's public address answers for.
Keys are not part of it: they live beside the file.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from reach.reading import Address, Finding, Network, Ports

SERVER = "server"  # the name of that end
WIREGUARD_PORT = 51820
WIREGUARD_MTU_BYTES = 1420  # 1500 less IPv6, UDP and WireGuard's 32
FOUR_IN_SIX_MTU_BYTES = 1460  # 1500 less an IPv6 header
ENCAP_LIMIT_BYTES = 8  # the destination option of RFC 2473 section 4.1.1
GUE_PORT = 5555
GRETAP_BYTES = 20 + 4 + 14  # IPv4, GRE and the inner Ethernet header
GUE_BYTES = 8 + 4  # UDP and GUE
LINK_MTU_BYTES = 1500
MIN_MTU_BYTES = 1280  # RFC 8200 section 5: less cannot carry IPv6
KEEPALIVE_S = 25
GUE_KEEPALIVE_S = 20  # the shortest that NATs are known to forget UDP in is 30
TABLE = 42
IDLE_S = {"tcp": 3600, "udp": 120}
PER_SOURCE = 256


@dataclass(frozen=True, slots=True)
class End:
    """A machine of ours: the server, a home's router or host, or a client."""

    name: str
    role: str  # server, home or client
    device: str | None  # towards the internet; a client's is found when the link comes up
    ipv4: IPv4Address | None = None
    ipv6: IPv6Interface | None = None
    listen: IPv4Address | None = None  # what the server's device has instead of ipv4, behind a provider's NAT
    lan: tuple[Network, ...] = ()
    lan_device: str | None = None
    masquerades: bool | None = None  # what it lets into its lan, in its own name; None: nobody has said

    @property
    def is_beside_gateway(self) -> bool:
        """Whether it looks like a machine in the LAN, and not like its router: one device, or none towards the LAN."""
        return self.lan_device in (None, self.device)

    @property
    def place(self) -> str:
        """Where it stands in the file."""
        return SERVER if self.role == "server" else f"{self.role}.{self.name}"

    @property
    def outside(self) -> Iterator[tuple[str, Address]]:
        """The keys and values of its addresses outside of all links."""
        found = (("ipv4", self.ipv4), ("ipv6", self.ipv6.ip if self.ipv6 else None), ("listen", self.listen))
        return ((f"{self.place}.{key}", address) for key, address in found if address is not None)


@dataclass(frozen=True, slots=True)
class FourInSix:
    """IPv4 packets in IPv6 packets between the server and one home (RFC 2473)."""

    name: str
    home: str
    server_address: IPv6Address
    home_address: IPv6Address
    mtu_bytes: int
    encap_limit: int | None
    table: int

    @property
    def ends(self) -> tuple[str, ...]:
        return (SERVER, self.home)

    def devices_at(self, end: str) -> tuple[str, ...]:
        return (self.name,)


@dataclass(frozen=True, slots=True)
class WireGuard:
    """A hub, and peers that know only the hub; the number is an end's host number in each network, the hub's is 1."""

    name: str
    hub: str
    peers: tuple[tuple[str, int], ...]
    routed: tuple[Network, ...]
    masqueraded: tuple[Network, ...]
    port: int
    mtu_bytes: int
    keepalive_s: int
    route: str  # what peers send into it: lan, all, uplink or nothing
    endpoint: str | None
    dns: tuple[Address, ...]
    domain: str | None
    dns_upstream: tuple[Address, ...]  # the hub answers names, from these
    is_userspace: bool
    pins_endpoint: bool
    table: int

    @property
    def ends(self) -> tuple[str, ...]:
        return (self.hub, *(peer for peer, _ in self.peers))

    @property
    def networks(self) -> tuple[Network, ...]:
        return self.routed + self.masqueraded

    def devices_at(self, end: str) -> tuple[str, ...]:
        return (self.name,)

    def number(self, end: str) -> int:
        return 1 if end == self.hub else dict(self.peers)[end]


@dataclass(frozen=True, slots=True)
class Bridge:
    """One Ethernet: a bridge at the server, a GRETAP to each member, over WireGuard or over GUE (GRE in UDP)."""

    name: str
    over: str | None  # the wireguard link to the members that are not in `remotes`
    members: tuple[tuple[str, int], ...]  # the number is the third octet of the member's /24
    network: IPv4Network | None
    prefix: IPv6Network | None
    provider: str  # how the prefix comes to the server: routed, bridged or proxied
    dns: tuple[IPv6Address, ...]
    port: int
    remotes: tuple[
        tuple[str, tuple[IPv4Address, int]], ...
    ]  # members over GUE, and where the server finds them
    macs: tuple[tuple[str, str], ...]
    mtu_bytes: int

    @property
    def is_bridged(self) -> bool:
        return self.provider == "bridged"

    @property
    def ends(self) -> tuple[str, ...]:
        return (SERVER, *(member for member, _ in self.members))

    def devices_at(self, end: str) -> tuple[str, ...]:
        """The bridge and a port to each member at the server, the other end of such a port at a member."""
        ports = (f"{self.name}-{number}" for _, number in self.members)
        return (self.name, *(ports if end == SERVER else ()))

    def mac(self, end: str) -> str:
        """The device's fixed MAC: given, or made from the names; with it the SLAAC address stays too."""
        digest = hashlib.sha256(f"reach {self.name} {end}".encode()).digest()
        return dict(self.macs).get(end) or ":".join(f"{b:02x}" for b in (0x02, *digest[:5]))


Link = FourInSix | WireGuard | Bridge


@dataclass(frozen=True, slots=True)
class Publication:
    """Ports of the server's public address, or all of it, that lead to a target in a home."""

    key: str  # where it stands in the file
    tcp: tuple[Ports, ...]
    udp: tuple[Ports, ...]
    is_whole: bool
    excepted: tuple[tuple[str, int], ...]  # of a whole address: what stays with the server
    to: Address
    to_port: int | None  # of the first port; None: the same as outside
    by: str  # kernel or relay
    link: str | None
    proxy: str | None  # v1 or v2, PROXY protocol
    sources: tuple[Network, ...]
    limit: int
    idle_s: int | None

    def protocols(self) -> Iterator[tuple[str, Ports]]:
        for protocol, ranges in (("tcp", self.tcp), ("udp", self.udp)):
            for ports in ranges:
                yield protocol, ports


@dataclass(frozen=True, slots=True)
class Description:
    server: End
    homes: tuple[End, ...]
    clients: tuple[End, ...]
    links: tuple[Link, ...]
    publications: tuple[Publication, ...]

    @property
    def ends(self) -> dict[str, End]:
        return {end.name: end for end in (self.server, *self.homes, *self.clients)}

    def links_of(self, end: str) -> tuple[Link, ...]:
        return tuple(link for link in self.links if end in link.ends)

    def link(self, name: str | None) -> Link | None:
        return next((link for link in self.links if link.name == name), None)


class DescriptionError(ValueError):
    """The description cannot be used: all its mistakes, each a sentence."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(map(str, findings)))
        self.findings = findings
