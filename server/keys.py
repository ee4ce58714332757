# SPDX-License-Identifier: ISC
"""The keys of /etc/464xlat.conf: sections and options of UCI's /etc/config/464xlat, what each may be, and its default.

tests/unit/test_server_conf.py compares the two files. A value stays the text that it was, for it goes into command
lines; what it may be is said by functions that raise ValueError.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from xlat464.address import (
    parse_decimal,
    parse_ipv6,
    parse_mac,
    parse_prefix4,
    parse_prefix6,
    parse_prefix6_of,
    quote,
)
from xlat464.device import parse_device
from xlat464.endpoint import parse_endpoint, parse_probe
from xlat464.node import CLIENT_LENGTH, NODE_LENGTH, need_unicast, parse_range

Check = Callable[[str], Any]
YES, NO = ("1", "on", "true", "yes", "enabled"), ("0", "off", "false", "no", "disabled")


@dataclass(frozen=True, slots=True)
class Key:
    """check raises ValueError for a value that cannot be. A list may be given several times, or with commas."""

    check: Check
    default: str = ""
    is_list: bool = False


def one_of(*words: str) -> Check:
    def check(text: str) -> str:
        if text not in words:
            raise ValueError(f"{quote(text)} is no choice, expected one of {' '.join(words)}")
        return text

    return check


def number(least: int, most: int, *others: str) -> Check:
    def check(text: str) -> str:
        found = parse_decimal(text, most)
        if text not in others and (found is None or found < least):
            wanted = " or ".join([f"{least} to {most}", *others])
            raise ValueError(f"{quote(text)} is no number that fits, expected {wanted}")
        return text

    return check


def switch(text: str) -> bool:
    if text not in YES + NO:
        raise ValueError(f"{quote(text)} is neither on nor off, expected 1 or 0")
    return text in YES


def path(text: str) -> str:
    is_plain = text.startswith("/") and text.isascii() and all(c.isalnum() or c in "._-/" for c in text)
    if not is_plain and text != "auto":
        raise ValueError(f"{quote(text)} is no path, expected a full one of A-Z a-z 0-9 . _ - /, or auto")
    return text


def ports(text: str) -> str:
    first, _, last = text.partition("-")
    low, high = parse_decimal(first, 65535), parse_decimal(last, 65535)
    if not low or not high or low > high:
        raise ValueError(f"{quote(text)} is no range of ports, expected one like 1024-65535")
    return text


def node_client_prefix(text: str) -> Any:
    return parse_prefix6_of(CLIENT_LENGTH, text, "fd46:4646:4646:2::/64")


def pref64(text: str) -> str:
    if text not in ("auto", "off"):
        parse_prefix6_of(NODE_LENGTH, text, "64:ff9b::/96, or auto or off")
    return text


def mac(text: str) -> Any:
    return need_unicast(parse_mac(text))


OF_ROLES = ("auto", "nat46", "siit")
KBIT = number(64, 10000000, "0")
FLOWS = number(0, 4294967, "auto")
PER_S = number(0, 10000)
KEYS: Mapping[str, Mapping[str, Key]] = {
    "node": {
        "clat_range": Key(parse_range),
        "plat_range": Key(parse_range),
        "client_range": Key(parse_prefix4),
        "pref64": Key(pref64, "auto"),
        "mac": Key(mac),
        "mesh_mtu": Key(number(1280, 65535), "1280"),
        "firewall": Key(one_of("auto", "nft", "xtables"), "auto"),
        "target": Key(path, "auto"),
    },
    "clat": {
        "enabled": Key(switch, "0"),
        "device": Key(parse_device, "clat"),
        "engine": Key(one_of(*OF_ROLES), "auto"),
        "client_device": Key(parse_device, "br-client"),
        "table": Key(number(1, 4294967295), "464"),
        "priority": Key(number(1, 32000), "464"),
    },
    "plat": {
        "enabled": Key(switch, "0"),
        "limit_up_kbit": Key(KBIT, "0"),
        "limit_down_kbit": Key(KBIT, "0"),
        "device": Key(parse_device, "plat"),
        "engine": Key(one_of(*OF_ROLES, "jool"), "auto"),
        "pool": Key(parse_prefix4, "192.168.223.8/30"),
        "ports": Key(ports, "1024-65535"),
        "wan": Key(parse_device, is_list=True),
        "allow": Key(parse_prefix4, is_list=True),
        "client_flows": Key(FLOWS, "auto"),
        "node_flows": Key(FLOWS, "auto"),
        "client_flows_per_s": Key(PER_S, "100"),
        "node_flows_per_s": Key(PER_S, "1000"),
        "uplink": Key(one_of("wan", "reach"), "wan"),
    },
    "prefixd": {
        "babel": Key(parse_endpoint, "[::1]:33123"),
        "margin": Key(number(0, 65535), "64"),
        "hold_s": Key(number(0, 86400), "10"),
        "probe_ipv4": Key(parse_probe, is_list=True),
        "probe_interval_ms": Key(number(100, 60000), "500"),
    },
    "siit": {
        "lowest_ipv6_mtu": Key(number(1280, 65535), "1280"),
        "udp_zero_checksum": Key(one_of("compute", "drop"), "compute"),
        "fast": Key(one_of("off", "on", "auto"), "off"),
    },
    "roaming": {
        "node_client_prefix": Key(node_client_prefix),
        "prefix": Key(parse_prefix6, is_list=True),
        "roam_auth": Key(one_of("required", "off"), "required"),
        "send_on": Key(one_of("on", "off"), "off"),
        "max_lease_s": Key(number(60, 30 * 86400), "86400"),
        "prepare": Key(parse_ipv6, is_list=True),
        "rules": Key(one_of("auto", "nft", "xtables"), "auto"),
        "mesh": Key(parse_device, is_list=True),
    },
}
