# SPDX-License-Identifier: ISC
"""The state of a node for people, as a dictionary ready for JSON. No I/O."""

from l3roamd_py.core.client import NOWHERE, Client, Departed, Pairing
from l3roamd_py.core.node import Node
from l3roamd_py.core.platnode import Entry, Platnode
from xlat464.address import format_ipv4, format_ipv6, format_mac

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

DESCRIBED_MAX = 1000  # roams of a hundred thousand: who asks must not hold up who roams


def describe_node(
    node: Node, platnode: Platnode | None, now_s: float, collect: "Callable[[Iterable[Any]], Any]" = list
) -> "dict[str, Any]":
    """Return the state for people: addresses as text, times as seconds left. collect: what a table becomes."""
    status: "dict[str, Any]" = {
        "address": format_ipv6(node.options.address),
        "clat": None if node.options.clat is None else format_ipv6(node.options.clat),
        "plat": None if node.options.plat is None else format_ipv6(node.options.plat),
        "current_plat": None if node.current is None else format_ipv6(node.current),
        "clients": collect(_describe_client(node, client, now_s) for client in node.clients.values()),
        "departed": collect(_describe_departed(node.departed[mac], now_s) for mac in node.departed),
        "prepared": len(node.prepared),
        "pairs": collect(_describe_pair(address, node.pairs[address]) for address in node.pairs),
        "counters": node.counters.sorted(),
    }
    if platnode is not None:
        status["roams"] = collect(_describe_roams(platnode, now_s))
        status["roams_total"] = sum([entry.at is not None for entry in platnode.entries.values()])
    return status


def _describe_roams(platnode: Platnode, now_s: float) -> "Iterator[dict[str, Any]]":
    left = DESCRIBED_MAX
    for home, entry in platnode.entries.items():
        if entry.at is not None and left:
            left -= 1
            yield _describe_roam(home, entry.at, entry, now_s)


def _describe_roam(home: bytes, at: bytes, entry: Entry, now_s: float) -> "dict[str, Any]":
    return {
        "home": format_ipv6(home),
        "at": format_ipv6(at),
        "lease_s": int(entry.until_s - now_s),
        "serial": entry.serial,
    }


def _describe_client(node: Node, client: Client, now_s: float) -> "dict[str, Any]":
    lease = client.lease
    return {
        "mac": format_mac(client.mac),
        "behind": format_mac(node.behind[client.mac]) if client.mac in node.behind else None,
        "state": client.state.name,
        "ipv4": None if client.ipv4 is None else format_ipv4(client.ipv4),
        "addresses": [format_ipv6(address) for address in client.addresses],
        "seen_s": round(now_s - client.presence.seen_s, 1),
        "home": None if lease is None else format_ipv6(lease.home),
        "plat": None if lease is None or lease.plat == NOWHERE else format_ipv6(lease.plat),
        "lease_s": None if lease is None else int(lease.until_s - now_s),
        "has_token": lease is not None and lease.token.serial > 0,
    }


def _describe_pair(address: bytes, pair: Pairing) -> "dict[str, Any]":
    return {
        "ipv4": format_ipv4(address),
        "node": format_ipv6(pair.place),
        "is_up": pair.at is not None,
        "clients": [format_ipv4(ipv4) for ipv4 in pair.parties],
    }


def _describe_departed(departed: Departed, now_s: float) -> "dict[str, Any]":
    return {
        "mac": format_mac(departed.mac),
        "place": format_ipv6(departed.place),
        "left_s": int(departed.until_s - now_s),
    }
