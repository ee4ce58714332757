# SPDX-License-Identifier: ISC
"""A topology file: TOML in, the shape of a lab out.

description = "one line for `lab list` and for whoever reads the file"

[lab]                       # all optional
lease_s = 300               # seconds; what dnsmasq grants
pool = "10.23.0.0/28"       # IPv4 addresses of the platnodes' NAT66, outside the site's prefix4
hello_interval_ms = 4000    # babeld's, on every link
prefixd = "python"          # or "micropython"
interpreter = "python"      # of the roaming daemons; or "micropython"; or "mixed": on every other node
links = "auto"              # links with impairments by "netem" or by our own "wire"; auto: what the kernel has
seed = 1                    # of every random choice a wire makes
roaming = true              # whether l3roamd_py runs on clatnodes and platnodes
prepare = false             # whether clatnodes prepare for one another's clients
rules = "nft"               # or "xtables": roles and roams by iptables; or "xtables+nft": only the roles
mostly = false              # whether nodes tell hosts that they can do without IPv4 (docs/ipv6-mostly.md)
translator = "siit"         # or "nat46": the kernel's module, which has to be loaded

[nodes.a]
role = "clat"               # clat, plat, both or plain
mac = "02:00:00:00:00:0a"   # optional; made of the name otherwise
wan = { delay_ms = 10 }     # plat and both only: the impairments of the link to the internet

[[links]]
between = ["a", "b"]
name = "a-b"                # optional
delay_ms = 5                # a link's impairments, see Impairments; both directions get the same
cost = 96                   # optional; babel's rxcost at both ends
type = "wired"              # or "wireless" or "tunnel"; optional

[clients.laptop]
node = "a"                  # clat or both
mac = "02:00:00:00:00:0b"   # optional
link = { delay_ms = 1 }     # optional impairments
handset = false             # whether it has a CLAT of its own (sdk/handset.py)
"""

import tomllib
from collections.abc import Callable
from dataclasses import fields
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, TypeVar

from sdk.lab.topology import Client, Impairments, Link, Node, Role, Settings, Topology, known, mac_of, one_of
from xlat464.address import parse_mac, parse_prefix4

TOPOLOGIES = Path(__file__).parent / "topologies"
IMPAIRMENTS = tuple(item.name for item in fields(Impairments))
Made = TypeVar("Made")


class TopologyError(Exception):
    """The topology file is wrong: one sentence saying where, what, and what would be right."""


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
    """A TOML table being read: it knows its position, checks types, and refuses unknown keys."""

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
            interpreter=table.get("interpreter", str, default.interpreter),
            links=table.get("links", str, default.links),
            seed=table.get("seed", int, default.seed),
            roaming=table.get("roaming", bool, default.roaming),
            prepare=table.get("prepare", bool, default.prepare),
            translator=table.get("translator", str, default.translator),
            rules=table.get("rules", str, default.rules),
            mostly=table.get("mostly", bool, default.mostly),
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
    wan = read_impairments(table.table("wan"))
    return said_at(table.where, lambda: Node(name, Role(role), read_mac(name, table), wan))


def read_mac(name: str, table: Table) -> bytes:
    text = table.get("mac", str)
    return mac_of(name) if text is None else parse_mac(text)


def read_link(table: Table) -> Link:
    table.need_known("between", "name", "cost", "type", *IMPAIRMENTS)
    ends = table.get("between", list, required=True)
    if len(ends) != 2 or not all(isinstance(end, str) for end in ends):
        raise ValueError(f'{table.name_of("between")} is not two names of nodes like ["a", "b"]')
    impairments = read_impairments(table, also=("between", "name", "cost", "type"))
    a, b = ends
    return said_at(
        table.where,
        lambda: Link(
            name=table.get("name", str, f"{a}-{b}"),
            a=a,
            b=b,
            impairments=impairments,
            cost=table.get("cost", int, 0),
            type=table.get("type", str, "wired"),
        ),
    )


def read_client(name: str, table: Table) -> Client:
    table.need_known("node", "mac", "link", "handset")
    node = table.get("node", str, required=True)
    impairments = read_impairments(table.table("link"))
    handset = table.get("handset", bool, False)
    return said_at(table.where, lambda: Client(name, node, read_mac(name, table), impairments, handset))


def read_impairments(table: Table, also: tuple[str, ...] = ()) -> Impairments:
    table.need_known(*IMPAIRMENTS, *also)
    return said_at(
        table.where,
        lambda: Impairments(
            delay_ms=table.get("delay_ms", float, 0),
            jitter_ms=table.get("jitter_ms", float, 0),
            loss_percent=table.get("loss_percent", float, 0),
            reorder_percent=table.get("reorder_percent", float, 0),
            rate_mbit=table.get("rate_mbit", float, 0),
            mtu=table.get("mtu", int, 0),
        ),
    )


def said_at(where: str, make: Callable[[], Made]) -> Made:
    """Return make(); put the table's name before what a dataclass says of its values."""
    try:
        return make()
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(where) else f"{where}: {text}") from None
