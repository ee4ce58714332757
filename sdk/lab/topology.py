# SPDX-License-Identifier: ISC
"""The shape of a lab: which nodes, links and clients there are. Pure: frozen dataclasses that check themselves.

How it is written in a file: topology_reader.py.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network

from xlat464.address import format_mac
from xlat464.node import need_unicast

INTERNET = "internet"  # the machine that every topology has besides those it names
NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
NAME_CHARS = 15  # as many as a network device's name may have
LINK_NAME_CHARS = 2 * NAME_CHARS + 1
MACHINES_MAX = 200
PLATNODES_MAX = 64  # a /30 of 203.0.113.0/24 each


class Role(StrEnum):
    CLAT = "clat"
    PLAT = "plat"
    BOTH = "both"
    PLAIN = "plain"

    @property
    def is_clat(self) -> bool:
        return self in (Role.CLAT, Role.BOTH)

    @property
    def is_plat(self) -> bool:
        return self in (Role.PLAT, Role.BOTH)


def need_name(name: str, limit: int = NAME_CHARS) -> str:
    if not NAME.fullmatch(name) or len(name) > limit:
        raise ValueError(
            f"the name {name!r} is not made of a-z, 0-9 and inner hyphens, {limit} characters at most"
        )
    return name


def need_machine(name: str, mac: bytes) -> None:
    need_name(name)
    if name == INTERNET:
        raise ValueError(f"the name {INTERNET!r} is taken by the machine behind the platnodes")
    need_unicast(mac)


def need_between(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{key} is {value:g}, expected {low:g} to {high:g}")


def mac_of(name: str) -> bytes:
    """Return a node's or client's MAC (6 bytes), the same in every lab: locally administered, unicast."""
    return b"\x02" + hashlib.sha256(name.encode()).digest()[:5]


@dataclass(frozen=True, slots=True)
class Impairments:
    """What a link does to frames, in each direction. Without a wish it is a plain veth."""

    delay_ms: float = 0  # one way
    jitter_ms: float = 0  # delay varies by up to this much either way; the order of frames is kept
    loss_percent: float = 0
    reorder_percent: float = 0  # so many frames are overtaken by those behind them
    rate_mbit: float = 0  # Mbit/s; 0 = as fast as it goes
    mtu: int = 0  # bytes; 0 = the site's mesh_vpn.mtu on mesh links, 1500 elsewhere

    def __post_init__(self) -> None:
        need_between("delay_ms", self.delay_ms, 0, 10_000)
        need_between("jitter_ms", self.jitter_ms, 0, 10_000)
        need_between("loss_percent", self.loss_percent, 0, 100)
        need_between("reorder_percent", self.reorder_percent, 0, 100)
        need_between("rate_mbit", self.rate_mbit, 0, 100_000)
        if 0 < self.rate_mbit < 0.01:
            raise ValueError(f"rate_mbit is {self.rate_mbit:g}, expected 0.01 or more")
        if self.mtu:
            need_between("mtu", self.mtu, 1280, 9000)
        if self.jitter_ms > self.delay_ms:
            raise ValueError(
                f"jitter_ms {self.jitter_ms:g} is more than delay_ms {self.delay_ms:g}, expected at most as much"
            )

    @property
    def is_plain(self) -> bool:
        """Whether a veth pair is enough. The MTU does not matter: it is set at the device."""
        return not (
            self.delay_ms or self.jitter_ms or self.loss_percent or self.reorder_percent or self.rate_mbit
        )


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    role: Role
    mac: bytes
    wan: Impairments = field(default_factory=Impairments)

    def __post_init__(self) -> None:
        need_machine(self.name, self.mac)
        if self.wan != Impairments() and not self.role.is_plat:
            raise ValueError(f"wan is for the roles plat and both, the role is {self.role}")


@dataclass(frozen=True, slots=True)
class Link:
    """A mesh link. cost is babel's rxcost at both ends, 0 = babeld's own for the type."""

    name: str
    a: str
    b: str
    impairments: Impairments = field(default_factory=Impairments)
    cost: int = 0
    type: str = "wired"

    def __post_init__(self) -> None:
        need_name(self.name, LINK_NAME_CHARS)
        if self.a == self.b:
            raise ValueError(f"both ends are {self.a!r}, expected two nodes")
        if self.cost:
            need_between("cost", self.cost, 1, 0xFFFE)
        if self.type not in LINK_TYPES:
            raise ValueError(f"type is {self.type!r}, expected {one_of(LINK_TYPES)}")


LINK_TYPES = ("wired", "wireless", "tunnel")  # babeld's


@dataclass(frozen=True, slots=True)
class Client:
    name: str
    node: str
    mac: bytes
    impairments: Impairments = field(default_factory=Impairments)
    handset: bool = False  # it does without IPv4 where it may, and translates itself: sdk/handset.py

    def __post_init__(self) -> None:
        need_machine(self.name, self.mac)


@dataclass(frozen=True, slots=True)
class Settings:
    """The file's [lab] table."""

    lease_s: int = 300
    pool: IPv4Network | None = None  # None: one that does not overlap prefix4 is chosen
    hello_interval_ms: int = 4000  # babeld's own default
    prefixd: str = "python"
    interpreter: str = "python"
    links: str = "auto"
    seed: int = 1
    roaming: bool = True
    prepare: bool = False
    translator: str = "siit"
    rules: str = "nft"
    mostly: bool = False

    def __post_init__(self) -> None:
        need_between("lease_s", self.lease_s, 120, 604_800)  # dnsmasq grants no less than two minutes
        need_between("hello_interval_ms", self.hello_interval_ms, 100, 60_000)
        need_between("seed", self.seed, 0, 2**32 - 1)
        if self.prefixd not in PREFIXD_PYTHONS:
            raise ValueError(f"prefixd is {self.prefixd!r}, expected {one_of(PREFIXD_PYTHONS)}")
        if self.interpreter not in INTERPRETERS:
            raise ValueError(f"interpreter is {self.interpreter!r}, expected {one_of(INTERPRETERS)}")
        if self.links not in LINK_MAKERS:
            raise ValueError(f"links is {self.links!r}, expected {one_of(LINK_MAKERS)}")
        if self.translator not in TRANSLATORS:
            raise ValueError(f"translator is {self.translator!r}, expected {one_of(TRANSLATORS)}")
        if self.rules not in RULES:
            raise ValueError(f"rules is {self.rules!r}, expected {one_of(RULES)}")

    @property
    def firewall(self) -> str:
        """What the rules of roles are made of: nft or xtables."""
        return self.rules.partition("+")[0]

    @property
    def roam_rules(self) -> str:
        """What the rules of roams are made of."""
        return self.rules.rpartition("+")[2]


PREFIXD_PYTHONS = ("python", "micropython")
INTERPRETERS = (*PREFIXD_PYTHONS, "mixed")
# the last is an image with iptables on a kernel with nf_tables, which roams use
RULES = ("nft", "xtables", "xtables+nft")
LINK_MAKERS = ("auto", "netem", "wire")
# where each is told what to do
TRANSLATORS = {"siit": "/run/siit/control.sock", "nat46": "/proc/net/nat46/control"}


@dataclass(frozen=True, slots=True)
class Topology:
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    clients: tuple[Client, ...] = ()
    settings: Settings = field(default_factory=Settings)
    description: str = ""

    def __post_init__(self) -> None:
        if not self.nodes:
            raise ValueError("there is no node, expected at least one [nodes.NAME]")
        ends: list[Node | Client] = [*self.nodes, *self.clients]
        need_unique("name", [end.name for end in ends])
        need_unique("MAC", [format_mac(end.mac) for end in ends])
        self.need_link_names()
        self.need_ends()
        if len(ends) > MACHINES_MAX:
            raise ValueError(f"{len(ends)} nodes and clients are too many, expected at most {MACHINES_MAX}")
        if sum(node.role.is_plat for node in self.nodes) > PLATNODES_MAX:
            raise ValueError(
                f"more than {PLATNODES_MAX} platnodes do not fit 203.0.113.0/24, expected at most {PLATNODES_MAX}"
            )

    def need_link_names(self) -> None:
        lab_own = [f"wan-{node.name}" for node in self.nodes if node.role.is_plat]
        lab_own += [f"client-{client.name}" for client in self.clients]
        for link in self.links:
            if link.name in lab_own:
                raise ValueError(f"the link name {link.name!r} is the lab's own, expected another")
        need_unique("link name", [link.name for link in self.links])

    def need_ends(self) -> None:
        """Every link ends at nodes that there are, every client at one that takes clients."""
        names = {node.name: node for node in self.nodes}
        ends = [(f"link {link.name}", name) for link in self.links for name in (link.a, link.b)]
        ends += [(f"client {client.name}", client.node) for client in self.clients]
        for what, name in ends:
            if name not in names:
                raise ValueError(f"{what}: there is no node {name!r}, known are {known(names)}")
        for client in self.clients:
            role = names[client.node].role
            if not role.is_clat:
                raise ValueError(
                    f"client {client.name}: node {client.node!r} has the role {role}, expected clat or both"
                )

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def exits_of(self, name: str) -> list[str]:
        """Return the platnodes that links lead to from a node, itself included."""
        reached, newest = {name}, {name}
        while newest:
            ends = [{link.a, link.b} for link in self.links if newest & {link.a, link.b}]
            newest = set().union(*ends) - reached
            reached |= newest
        return [node.name for node in self.nodes if node.role.is_plat and node.name in reached]

    def degree(self, name: str) -> int:
        return sum(name in (link.a, link.b) for link in self.links)


def need_unique(what: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"the {what} {value!r} is given twice")
        seen.add(value)


def one_of(words: Iterable[str]) -> str:
    *front, last = words
    return f"{', '.join(front)} or {last}" if front else last


def known(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
