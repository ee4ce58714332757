# SPDX-License-Identifier: ISC
"""What a value in reach.toml may be: converters, each of which takes what TOML has and returns what we work with.

Each raises ValueError with what was expected, and nothing else. Values become part of commands and of file names, so
what a shell would care about is let through nowhere.
"""

import contextlib
from collections.abc import Callable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any

from reach.reading import Address, Network, Ports
from xlat464.device import parse_device

LABEL_CHARACTERS = 63  # RFC 1035 section 2.3.4
LEAST_PREFIX_BITS = 16


def domain(value: Any) -> str:
    """A domain name (RFC 1123 section 2.1); it becomes part of commands."""
    labels = value.removesuffix(".").split(".") if isinstance(value, str) and value.isascii() else [""]
    for label in labels:
        plain = label.replace("-", "").replace("_", "").isalnum()
        if not plain or len(label) > LABEL_CHARACTERS or label.startswith("-") or label.endswith("-"):
            raise ValueError('expected a domain name in quotes, such as "fritz.box"')
    return value


def endpoint(value: Any) -> str:
    """A name or an address, and maybe a port behind a colon; an IPv6 address comes out in brackets."""
    expected = 'expected a name or an address in quotes, such as "vpn.example.org" or "[2001:db8::1]:51820"'
    text = value if isinstance(value, str) else ""
    with contextlib.suppress(ValueError):
        return f"[{IPv6Address(unscoped(text))}]"
    name, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    name, colon, port = (name, colon, port) if colon else (text, "", "")
    try:
        if name.startswith("[") and name.endswith("]"):
            name = f"[{IPv6Address(unscoped(name[1:-1]))}]"
        elif name.replace(".", "").isdecimal():
            IPv4Address(name)
        else:
            domain(name)
        return name + (f":{ports(int(port))[0]}" if colon else "")
    except ValueError:
        raise ValueError(expected) from None


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("expected true or false, without quotes")
    return value


def name(value: Any) -> str:
    """The name of an end: it becomes part of file names and of commands, so it is plain."""
    if not isinstance(value, str) or not value.isascii() or not value.replace("-", "").isalnum():
        raise ValueError("a name is letters, digits and hyphens")
    if value.startswith("-") or len(value) > LABEL_CHARACTERS:
        raise ValueError(
            f"a name begins with a letter or digit, and has at most {LABEL_CHARACTERS} characters"
        )
    return value


def device(value: Any) -> str:
    try:
        parse_device(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(
            "expected the name of a network device in quotes, at most 15 of A-Z a-z 0-9 . _ -"
        ) from None
    if value == "lo":
        raise ValueError("nothing comes from outside by lo")
    return value


def whole(least: int, most: int, what: str) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"expected {what}, a number from {least} to {most} without quotes")
        return value

    return convert


def choice(*words: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if value not in words:
            raise ValueError(f"expected one of {', '.join(words)}")
        return value

    return convert


def each(convert: Callable[[Any], Any]) -> Callable[[Any], tuple]:
    """A list of values; a single value is a list of one."""

    def convert_all(value: Any) -> tuple:
        return tuple(convert(one) for one in (value if isinstance(value, list) else [value]))

    return convert_all


def unscoped(value: Any) -> str:
    """Text without a zone ("%eth0"), which only one machine would know."""
    return value if isinstance(value, str) and "%" not in value else ""


def address(value: Any) -> Address:
    try:
        found = ip_address(unscoped(value))
    except ValueError:
        raise ValueError("expected an IPv4 or IPv6 address in quotes, without a prefix length") from None
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        raise ValueError(f'that is an IPv4 address; write "{found.ipv4_mapped}"')
    return found


def address4(value: Any) -> IPv4Address:
    try:
        return IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError('expected an IPv4 address in quotes, such as "203.0.113.7"') from None


def address6(value: Any) -> IPv6Address:
    try:
        return IPv6Address(unscoped(value))
    except ValueError:
        raise ValueError('expected an IPv6 address in quotes, such as "2001:db8:1:2::1"') from None


def interface6(value: Any) -> IPv6Interface:
    """An IPv6 address with the length of its network: both ends derive tunnel addresses from it."""
    if not isinstance(value, str) or "/" not in value:
        raise ValueError('expected an IPv6 address with its prefix length, such as "2001:db8:1:2::1/64"')
    try:
        found = IPv6Interface(unscoped(value))
    except ValueError:
        raise ValueError('no IPv6 address; expected one such as "2001:db8:1:2::1/64"') from None
    if found.network.prefixlen < LEAST_PREFIX_BITS:
        raise ValueError(f"nobody has a whole /{found.network.prefixlen}; expected its link's, mostly /64")
    if found.network.prefixlen < 127 and found.ip == found.network.network_address:
        raise ValueError(
            f'that is the network; expected an address in it, such as "{found.ip + 1}/{found.network.prefixlen}"'
        )
    return found


def network(value: Any) -> Network:
    try:
        return ip_network(value if isinstance(value, str) else "")
    except ValueError:
        pass
    try:
        meant = ip_network(value, strict=False) if isinstance(value, str) else None
    except ValueError:
        meant = None
    if meant is None:
        raise ValueError('expected a network, such as "192.168.1.0/24" or "fd00:1::/64"')
    raise ValueError(f'that is an address within a network; the network is "{meant}"')


def network4(value: Any) -> IPv4Network:
    found = network(value)
    if not isinstance(found, IPv4Network):
        raise ValueError('expected an IPv4 network, such as "192.168.0.0/16"')
    return found


def network6(value: Any) -> IPv6Network:
    found = network(value)
    if not isinstance(found, IPv6Network):
        raise ValueError('expected an IPv6 network, such as "2001:db8:1:2::/64"')
    return found


def ports(value: Any) -> Ports:
    """A port, or a range "8000-8010"."""
    words = str(value).split("-") if isinstance(value, str) else [str(value)]
    if isinstance(value, bool) or len(words) > 2 or not all(w.isascii() and w.isdigit() for w in words):
        raise ValueError('expected a port such as 443 or a range such as "8000-8010"')
    first, last = int(words[0]), int(words[-1])
    if not 1 <= first <= 65535 or not 1 <= last <= 65535:
        raise ValueError("ports go from 1 to 65535")
    if last < first:
        raise ValueError(f'the range ends before it begins; meant "{last}-{first}"?')
    return first, last


def socket_address(value: Any) -> tuple[IPv4Address, int]:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    try:
        return IPv4Address(host), ports(port)[0]
    except ValueError:
        raise ValueError('expected an IPv4 address and a port, such as "203.0.113.7:5555"') from None


def mac(value: Any) -> str:
    octets = value.split(":") if isinstance(value, str) else []
    try:
        numbers = [int(octet, 16) for octet in octets if len(octet) == 2]
    except ValueError:
        numbers = []
    if len(octets) != 6 or len(numbers) != 6:
        raise ValueError('expected a MAC address such as "12:34:56:78:9a:bc"')
    if numbers[0] & 1:
        raise ValueError("that is a group address (its first octet is odd); a device needs an even one")
    if not any(numbers):
        raise ValueError("no device can have a MAC address of zeros")
    return str(value).lower()


def numbered(convert: Callable[[Any], Any]) -> Callable[[Any], tuple[tuple[str, Any], ...]]:
    """A small table from the names of ends to values: { laptop = 2, phone = 3 }."""

    def convert_all(value: Any) -> tuple[tuple[str, Any], ...]:
        if not isinstance(value, dict):
            raise ValueError("expected names with values, such as { laptop = 2, phone = 3 }")
        return tuple((one, convert(value[one])) for one in value)

    return convert_all
