# SPDX-License-Identifier: ISC
"""The domain's values, from a Gluon site.conf or domain file: a Lua table, read by Debian's Lua.

The file is not trusted: it gets an empty environment, an instruction limit (site_reader.lua), and limits of time and
memory. What a lab needs of it is checked here, in one sentence that says what, where and what would be right.
"""

import json
import resource
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from xlat464.address import format_prefix6, parse_mac, parse_prefix6
from xlat464.node import (
    CLIENT_LENGTH,
    NODE_LENGTH,
    check_client_range,
    check_ranges,
    need_unicast,
    parse_pref64,
    parse_range,
)

EXAMPLE = Path(__file__).parent / "site.conf"
READER = Path(__file__).parent / "site_reader.lua"
LUA = "lua5.1"
LUA_CPU_S, LUA_MEMORY_BYTES = 5, 256 << 20
FILE_BYTES = 1 << 20
# Gluon's docs give 1280..1406 as usual; less than 1280 is no IPv6
MTU_MIN, MTU_MAX = 1280, 9000
NEXT_NODE_MAC = "16:41:95:40:f7:dc"  # Gluon's default
NODE_CLIENT_PREFIX6 = "fd46:4646:4646:2::/64"  # for a domain that names none
PREFIX6 = "fd46:4646:4646::/64"  # the same
INTERNET = tuple(IPv4Network(text) for text in ("198.51.100.0/24", "203.0.113.0/24"))  # the lab's
POOLS = ("10.23.0.8/30", "192.168.223.8/30", "172.23.0.8/30")  # the first that is not the clients'


class SiteError(Exception):
    """The site file is wrong: one sentence saying where, what, and what would be right."""


@dataclass(frozen=True, slots=True)
class Site:
    """What a lab takes from a domain."""

    clat_range: IPv6Network  # a /48
    plat_range: IPv6Network  # a /48
    prefix4: IPv4Network  # the clients'
    next_node_ip4: IPv4Address
    next_node_mac: bytes
    mesh_mtu: int  # bytes
    pool: IPv4Network  # between a platnode's translator and its masquerade; outside prefix4
    prefix6: IPv6Network  # a /64: the clients make themselves addresses in it
    node_client_prefix6: IPv6Network  # a /64: one address for each client, at the node that serves it
    pref64: IPv6Network | None  # a /96: for hosts that translate themselves


def load_site(path: str | Path = EXAMPLE, pool: IPv4Network | None = None) -> Site:
    """Return the values in a site.conf or domain file, with the topology's pool or one that fits.

    Raises SiteError, the file's fault, also when it cannot be read.
    """
    return site_of(read_table(Path(path)), str(path), pool)


def limit_reader() -> None:
    """In the Lua process, before it starts: a file that wants the machine gets none of it."""
    resource.setrlimit(resource.RLIMIT_CPU, (LUA_CPU_S, LUA_CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (LUA_MEMORY_BYTES, LUA_MEMORY_BYTES))


def read_table(path: Path) -> dict[str, Any]:
    """Return the file's Lua table. Raises SiteError."""
    done = run_reader(path, read_text(path))
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise SiteError(f"{path}: {reason[0] if reason else 'it is too large for Lua, expected a site file'}")
    try:
        table = json.loads(done.stdout)
    except ValueError:
        raise SiteError(f"{path}: its texts are not UTF-8, expected a site.conf or domain file") from None
    return table if isinstance(table, dict) else {}


def read_text(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise SiteError(f"{path}: cannot read the site file: {error.strerror}") from None
    if len(text) > FILE_BYTES:
        raise SiteError(
            f"{path}: this is larger than {FILE_BYTES} bytes, expected a site.conf or domain file"
        )
    return text


def run_reader(path: Path, text: bytes) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            [LUA, str(READER)],
            input=text,
            capture_output=True,
            timeout=3 * LUA_CPU_S,
            preexec_fn=limit_reader,
        )
    except FileNotFoundError:
        raise SiteError(f"{LUA} is not installed, and a site file is Lua: apt-get install lua5.1") from None
    except subprocess.TimeoutExpired:
        raise SiteError(
            f"{path}: Lua did not come to an end with it, expected a table and no program"
        ) from None


def site_of(table: dict[str, Any], file: str, pool: IPv4Network | None = None) -> Site:
    """Return the Site in a domain's table; file is what messages call it. Raises SiteError."""
    try:
        clat, plat = need_range(table, "clat_range"), need_range(table, "plat_range")
        check_ranges(clat, plat)
        prefix4 = need_prefix4(table)
        next_node = table.get("next_node", {})
        if not isinstance(next_node, dict):
            raise ValueError("next_node is no table, expected one with ip4 and mac, or none")
        ip4 = need_next_node_ip4(next_node, prefix4)
        next_node_mac = said_of("next_node.mac", lambda: need_next_node_mac(next_node))
        prefix6 = need_prefix6(table, "prefix6", PREFIX6)
        node_client_prefix6 = need_prefix6(table, "node_client_prefix6", NODE_CLIENT_PREFIX6)
        return Site(
            clat_range=IPv6Network(format_prefix6(clat, 48)),
            plat_range=IPv6Network(format_prefix6(plat, 48)),
            prefix4=prefix4,
            next_node_ip4=ip4,
            next_node_mac=next_node_mac,
            mesh_mtu=need_mtu(table),
            pool=need_pool(pool, prefix4),
            prefix6=prefix6,
            node_client_prefix6=node_client_prefix6,
            pref64=need_pref64(table, clat, plat, prefix6, node_client_prefix6),
        )
    except ValueError as error:
        raise SiteError(f"{file}: {error}") from None


def said_of(key: str, make: Any) -> Any:
    try:
        return make()
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def need_text(table: dict[str, Any], key: str, name: str, expected: str) -> str:
    value = table.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{name} is {'missing' if value is None else 'no text'}, expected {expected}")
    return value


def need_range(table: dict[str, Any], key: str) -> bytes:
    text = need_text(table, key, key, "a /48 like 'fddd:1337:1337::/48' for the domain's 464XLAT")
    return said_of(key, lambda: parse_range(text))


def need_prefix6(table: dict[str, Any], key: str, default: str) -> IPv6Network:
    text = need_text(table, key, key, f"a /64 like '{default}'") if key in table else default
    prefix, length = said_of(key, lambda: parse_prefix6(text))
    if length != CLIENT_LENGTH or prefix[0] == 0xFF:
        raise ValueError(f"{key}: {text} is no /64 of unicast addresses, expected one like {default}")
    return IPv6Network(format_prefix6(prefix, length))


def need_pref64(table: dict[str, Any], clat: bytes, plat: bytes, *used: IPv6Network) -> IPv6Network | None:
    value = table.get("pref64", format_prefix6(plat, NODE_LENGTH))
    if value is not False and not (isinstance(value, str) and "/" in value):
        raise ValueError("pref64 is neither false nor a /96, expected one like '64:ff9b::/96'")
    others = [(each.network_address.packed, each.prefixlen) for each in used]
    prefix = parse_pref64(value or "off", clat, plat, others)
    return None if prefix is None else IPv6Network(format_prefix6(prefix, NODE_LENGTH))


def need_prefix4(table: dict[str, Any]) -> IPv4Network:
    """The clients' range. Gluon takes one with host bits (its manual shows one), so they are dropped here too."""
    text = need_text(table, "prefix4", "prefix4", "the clients' IPv4 range like '10.46.0.0/16'")
    prefix = said_of("prefix4", lambda: IPv4Network(text, strict=False))
    if not 8 <= prefix.prefixlen <= 28:
        raise ValueError(f"prefix4: {text} is a /{prefix.prefixlen}, expected a /8 to /28")
    said_of("prefix4", lambda: check_client_range((prefix.network_address.packed, prefix.prefixlen)))
    for network in INTERNET:
        if prefix.overlaps(network):
            raise ValueError(
                f"prefix4: {text} overlaps {network}, which is the lab's internet, expected another range"
            )
    return prefix


def need_next_node_ip4(next_node: dict[str, Any], prefix4: IPv4Network) -> IPv4Address:
    """The nodes' address towards clients; the range's first where the domain has none, which Gluon allows."""
    if "ip4" not in next_node:
        return prefix4[1]
    text = need_text(next_node, "ip4", "next_node.ip4", f"an address in {prefix4}")
    address = said_of("next_node.ip4", lambda: IPv4Address(text))
    if address not in prefix4 or address in (prefix4.network_address, prefix4.broadcast_address):
        raise ValueError(f"next_node.ip4: {text} is no host address in prefix4 {prefix4}, expected one")
    return address


def need_next_node_mac(next_node: dict[str, Any]) -> bytes:
    if "mac" not in next_node:
        return parse_mac(NEXT_NODE_MAC)
    return need_unicast(parse_mac(need_text(next_node, "mac", "it", f"a MAC like '{NEXT_NODE_MAC}'")))


def need_mtu(table: dict[str, Any]) -> int:
    """The mesh's MTU: mesh_vpn's, which is its narrowest kind of link; IPv6's least where the domain has no VPN."""
    mesh_vpn = table.get("mesh_vpn", {})
    value = mesh_vpn.get("mtu", MTU_MIN) if isinstance(mesh_vpn, dict) else None
    if not isinstance(value, int | float) or isinstance(value, bool) or value != int(value):
        raise ValueError("mesh_vpn.mtu is no whole number, expected bytes like 1374")
    if not MTU_MIN <= value <= MTU_MAX:
        raise ValueError(f"mesh_vpn.mtu is {value:g}, expected {MTU_MIN} to {MTU_MAX}")
    return int(value)


def need_pool(pool: IPv4Network | None, prefix4: IPv4Network) -> IPv4Network:
    if pool is None:
        return next(IPv4Network(text) for text in POOLS if not IPv4Network(text).overlaps(prefix4))
    if pool.overlaps(prefix4):
        raise ValueError(f"the pool {pool} overlaps the clients' prefix4 {prefix4}, expected one outside it")
    return pool
