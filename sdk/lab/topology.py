# SPDX-License-Identifier: ISC
"""The shape of a lab: which nodes, links and clients there are. Pure: text in, frozen dataclasses out.

A topology file is TOML:

    description = "one line for `lab list` and for whoever reads the file"

    [lab]                       # all optional
    lease_s = 300               # seconds; what dnsmasq grants
    pool = "10.23.0.0/28"       # IPv4 addresses of the platnodes' NAT66, outside the site's prefix4
    hello_interval_ms = 4000    # babeld's, on every link
    prefixd = "python"          # or "micropython"
    links = "auto"              # links with wishes by "netem" or by our own "wire"; auto: what the kernel has
    seed = 1                    # of every random choice a wire makes
    roaming = true              # whether l3roamd_py runs on clatnodes and platnodes
    translator = "siit"         # or "nat46": the kernel's module, which has to be loaded

    [nodes.a]
    role = "clat"               # clat, plat, both or plain
    mac = "02:00:00:00:00:0a"   # optional; made of the name otherwise
    wan = { delay_ms = 10 }     # plat and both only: the wishes of the link to the internet

    [[links]]
    between = ["a", "b"]
    name = "a-b"                # optional
    delay_ms = 5                # a link's wishes, see Wishes; both directions get the same

    [clients.laptop]
    node = "a"                  # clat or both
    mac = "02:00:00:00:00:0b"   # optional
    link = { delay_ms = 1 }     # optional wishes
"""

import hashlib
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from xlat464.address import format_mac, parse_mac, parse_prefix4
from xlat464.node import need_unicast

INTERNET = "internet"  # the machine that every topology has besides those it names
NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
NAME_CHARS = 15  # as many as a network device's name may have
LINK_NAME_CHARS = 2 * NAME_CHARS + 1
MACHINES_MAX = 200
TOPOLOGIES = Path(__file__).parent / "topologies"


class TopologyError(Exception):
    """The topology file is wrong: one sentence saying where, what, and what would be right."""


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


def need_between(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{key} is {value:g}, expected {low:g} to {high:g}")


def mac_of(name: str) -> bytes:
    """Return a node's or client's MAC (6 bytes), the same in every lab: locally administered, unicast."""
    return b"\x02" + hashlib.sha256(name.encode()).digest()[:5]


@dataclass(frozen=True, slots=True)
class Wishes:
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
        """Whether a veth pair does: MTU is the device's business."""
        return not (
            self.delay_ms or self.jitter_ms or self.loss_percent or self.reorder_percent or self.rate_mbit
        )


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    role: Role
    mac: bytes
    wan: Wishes = field(default_factory=Wishes)

    def __post_init__(self) -> None:
        need_name(self.name)
        if self.name == INTERNET:
            raise ValueError(f"the name {INTERNET!r} is taken by the machine behind the platnodes")
        need_unicast(self.mac)
        if self.wan != Wishes() and not self.role.is_plat:
            raise ValueError(f"wan is for the roles plat and both, the role is {self.role}")


@dataclass(frozen=True, slots=True)
class Link:
    """A mesh link. cost is babel's rxcost at both ends, 0 = babeld's own for the type."""

    name: str
    a: str
    b: str
    wishes: Wishes = field(default_factory=Wishes)
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
    wishes: Wishes = field(default_factory=Wishes)

    def __post_init__(self) -> None:
        need_name(self.name)
        if self.name == INTERNET:
            raise ValueError(f"the name {INTERNET!r} is taken by the machine behind the platnodes")
        need_unicast(self.mac)


@dataclass(frozen=True, slots=True)
class Settings:
    """The file's [lab] table."""

    lease_s: int = 300
    pool: IPv4Network | None = None  # None: one that does not overlap prefix4 is chosen
    hello_interval_ms: int = 4000  # babeld's own default
    prefixd: str = "python"
    links: str = "auto"
    seed: int = 1
    roaming: bool = True
    translator: str = "siit"

    def __post_init__(self) -> None:
        need_between("lease_s", self.lease_s, 120, 604_800)  # dnsmasq grants no less than two minutes
        need_between("hello_interval_ms", self.hello_interval_ms, 100, 60_000)
        need_between("seed", self.seed, 0, 2**32 - 1)
        if self.prefixd not in PREFIXD_PYTHONS:
            raise ValueError(f"prefixd is {self.prefixd!r}, expected {one_of(PREFIXD_PYTHONS)}")
        if self.links not in LINK_MAKERS:
            raise ValueError(f"links is {self.links!r}, expected {one_of(LINK_MAKERS)}")
        if self.translator not in TRANSLATORS:
            raise ValueError(f"translator is {self.translator!r}, expected {one_of(TRANSLATORS)}")


PREFIXD_PYTHONS = ("python", "micropython")
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
        lab_own = [f"wan-{node.name}" for node in self.nodes if node.role.is_plat]
        lab_own += [f"client-{client.name}" for client in self.clients]
        for link in self.links:
            if link.name in lab_own:
                raise ValueError(f"the link name {link.name!r} is the lab's own, expected another")
        need_unique("link name", [link.name for link in self.links])
        names = {node.name: node for node in self.nodes}
        for link in self.links:
            for name in (link.a, link.b):
                if name not in names:
                    raise ValueError(f"link {link.name}: there is no node {name!r}, known are {known(names)}")
        for client in self.clients:
            if client.node not in names:
                raise ValueError(
                    f"client {client.name}: there is no node {client.node!r}, known are {known(names)}"
                )
            if not names[client.node].role.is_clat:
                raise ValueError(
                    f"client {client.name}: node {client.node!r} has the role {names[client.node].role}, "
                    "expected clat or both"
                )
        if len(self.nodes) + len(self.clients) > MACHINES_MAX:
            raise ValueError(
                f"{len(self.nodes) + len(self.clients)} nodes and clients are too many, expected at most {MACHINES_MAX}"
            )
        if len([node for node in self.nodes if node.role.is_plat]) > 64:
            raise ValueError("more than 64 platnodes do not fit 203.0.113.0/24, expected at most 64")

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

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


# --- reading ---------------------------------------------------------------------------------------------------


def topology_file(path: str | Path) -> Path:
    """Return the path of a topology that may be given by the name of one that ships."""
    path = Path(path)
    shipped = TOPOLOGIES / f"{path}.toml"
    return shipped if not path.exists() and path.name == str(path) and shipped.exists() else path


def load_topology(path: str | Path) -> Topology:
    """Return the topology in a file. The name of one that ships (line, diamond, mesh12) does for a path.

    Raises TopologyError, the file's fault, also when it cannot be read.
    """
    path = topology_file(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        shipping = known(item.stem for item in TOPOLOGIES.glob("*.toml"))
        raise TopologyError(f"{path}: cannot read the topology: {reason}; these ship: {shipping}") from None
    return parse_topology(text, str(path))


def parse_topology(text: str, file: str) -> Topology:
    """Return the topology in TOML text; file is what messages call it. Raises TopologyError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TopologyError(f"{file}: this is not TOML: {error}") from None
    try:
        return build(Table(table, ""))
    except ValueError as error:
        raise TopologyError(f"{file}: {error}") from None


class Table:
    """A TOML table being read: knows where it stands, checks types, and refuses what nobody asked for."""

    def __init__(self, values: Any, where: str):
        if not isinstance(values, dict):
            raise ValueError(f"{where} is {toml_type(values)}, expected a table")
        self.values = values
        self.where = where

    def need_known(self, *keys: str) -> None:
        for key in self.values:
            if key not in keys:
                place = f" in {self.where}" if self.where else ""
                raise ValueError(f"unknown key {key!r}{place}, known are {known(keys)}")

    def name_of(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def get(self, key: str, kind: type, default: Any = None, required: bool = False) -> Any:
        """Return the value, checked to be of the kind (an int passes for a float), or the default."""
        if key not in self.values:
            if required:
                raise ValueError(f"{self.name_of(key)} is missing, expected {KINDS[kind]}")
            return default
        value = self.values[key]
        accepted = (int, float) if kind is float else (kind,)
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{self.name_of(key)} is {toml_type(value)}, expected {KINDS[kind]}")
        return value

    def table(self, key: str) -> "Table":
        return Table(self.values.get(key, {}), self.name_of(key))

    def tables(self, key: str) -> "dict[str, Table]":
        inner = self.table(key)
        return {name: Table(value, inner.name_of(name)) for name, value in inner.values.items()}


KINDS: dict[type, str] = {
    str: "a text in quotes",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


def toml_type(value: Any) -> str:
    return {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "a table",
    }.get(type(value), "a date")


WISHES = tuple(item.name for item in fields(Wishes))


def build(table: Table) -> Topology:
    table.need_known("description", "lab", "nodes", "links", "clients")
    links = table.get("links", list, [])
    return Topology(
        description=table.get("description", str, ""),
        settings=read_settings(table.table("lab")),
        nodes=tuple(read_node(name, node) for name, node in table.tables("nodes").items()),
        links=tuple(read_link(Table(value, f"links[{i}]")) for i, value in enumerate(links)),
        clients=tuple(read_client(name, client) for name, client in table.tables("clients").items()),
    )


def read_settings(table: Table) -> Settings:
    table.need_known(*(item.name for item in fields(Settings)))
    default = Settings()
    pool = table.get("pool", str)
    return said_at(
        table.where,
        lambda: Settings(
            lease_s=table.get("lease_s", int, default.lease_s),
            pool=None if pool is None else said_at("lab.pool", lambda: read_prefix4(pool)),
            hello_interval_ms=table.get("hello_interval_ms", int, default.hello_interval_ms),
            prefixd=table.get("prefixd", str, default.prefixd),
            links=table.get("links", str, default.links),
            seed=table.get("seed", int, default.seed),
            roaming=table.get("roaming", bool, default.roaming),
            translator=table.get("translator", str, default.translator),
        ),
    )


def read_prefix4(text: str) -> IPv4Network:
    address, length = parse_prefix4(text)
    return IPv4Network((address, length))


def read_node(name: str, table: Table) -> Node:
    table.need_known("role", "mac", "wan")
    role = table.get("role", str, required=True)
    if role not in tuple(Role):
        raise ValueError(f"{table.name_of('role')} is {role!r}, expected {one_of(Role)}")
    wan = read_wishes(table.table("wan"))
    return said_at(table.where, lambda: Node(name, Role(role), read_mac(name, table), wan))


def read_mac(name: str, table: Table) -> bytes:
    text = table.get("mac", str)
    return mac_of(name) if text is None else parse_mac(text)


def read_link(table: Table) -> Link:
    table.need_known("between", "name", "cost", "type", *WISHES)
    ends = table.get("between", list, required=True)
    if len(ends) != 2 or not all(isinstance(end, str) for end in ends):
        raise ValueError(f'{table.name_of("between")} is not two names of nodes like ["a", "b"]')
    wishes = read_wishes(table, also=("between", "name", "cost", "type"))
    a, b = ends
    return said_at(
        table.where,
        lambda: Link(
            name=table.get("name", str, f"{a}-{b}"),
            a=a,
            b=b,
            wishes=wishes,
            cost=table.get("cost", int, 0),
            type=table.get("type", str, "wired"),
        ),
    )


def read_client(name: str, table: Table) -> Client:
    table.need_known("node", "mac", "link")
    node = table.get("node", str, required=True)
    wishes = read_wishes(table.table("link"))
    return said_at(table.where, lambda: Client(name, node, read_mac(name, table), wishes))


def read_wishes(table: Table, also: tuple[str, ...] = ()) -> Wishes:
    table.need_known(*WISHES, *also)
    return said_at(
        table.where,
        lambda: Wishes(
            delay_ms=table.get("delay_ms", float, 0),
            jitter_ms=table.get("jitter_ms", float, 0),
            loss_percent=table.get("loss_percent", float, 0),
            reorder_percent=table.get("reorder_percent", float, 0),
            rate_mbit=table.get("rate_mbit", float, 0),
            mtu=table.get("mtu", int, 0),
        ),
    )


def said_at(where: str, make: Any) -> Any:
    """Return make(); put the table's name before what a dataclass says of its values."""
    try:
        return make()
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(where) else f"{where}: {text}") from None
