# SPDX-License-Identifier: ISC
"""Take values out of TOML tables, and say of every wrong one where it stands and what would be right.

A Table hands out each key once, checked and converted. A mistake becomes a Finding and the value None, so that one
run finds all mistakes; whoever reads looks at the findings before it uses the values. What nobody asked for is an
unknown key, and that is a mistake too.
"""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
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

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Ports = tuple[int, int]  # first and last, both included

DEVICE_BYTES = 15  # IFNAMSIZ less its zero byte
MISSING = object()


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about one key; an error keeps `up` from starting, a warning does not."""

    key: str
    sentence: str
    is_error: bool = True

    def __str__(self) -> str:
        return f"{'error' if self.is_error else 'warning'}: {self.key}: {self.sentence}"


def warning(key: str, sentence: str) -> Finding:
    return Finding(key, sentence, is_error=False)


def guess(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about a wrong word: what it might have been, or what there is."""
    known = list(known)
    near = difflib.get_close_matches(word, known, 1)
    if near:
        return f'did you mean "{near[0]}"?'
    return f"there is {', '.join(known)}" if known else "there is none"


@dataclass
class Table:
    """A TOML table at a place in the file (`path`), with the findings that all tables share."""

    path: str
    values: dict[str, Any]
    findings: list[Finding]
    asked: list[str] = field(default_factory=list)

    def key(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def wrong(self, name: str, sentence: str) -> None:
        self.findings.append(Finding(self.key(name), sentence))

    def take(
        self, name: str, convert: Callable[[Any], Any], default: Any = MISSING, example: str = ""
    ) -> Any:
        """The key's value by `convert`, which raises ValueError with what was expected; else the default."""
        self.asked.append(name)
        if name not in self.values:
            if default is MISSING:
                self.wrong(name, f"is missing; for example {name} = {example}")
                return None
            return default
        try:
            return convert(self.values[name])
        except ValueError as error:
            self.wrong(name, f"{show(self.values[name])}: {error}")
            return None if default is MISSING else default

    def tables(self, name: str) -> dict[str, "Table"]:
        """The named tables below a key: [home.attic] is tables("home")["attic"]."""
        self.asked.append(name)
        found = self.values.get(name, {})
        if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
            self.wrong(name, f"each {name} is a table with a name: [{name}.NAME]")
            return {}
        return {each: Table(self.key(f"{name}.{each}"), found[each], self.findings) for each in found}

    def table(self, name: str) -> "Table | None":
        self.asked.append(name)
        found = self.values.get(name)
        if isinstance(found, dict):
            return Table(self.key(name), found, self.findings)
        self.wrong(name, f"is missing, or is no table; it begins with the line [{name}]")
        return None

    def list(self, name: str) -> "list[Table]":
        self.asked.append(name)
        found = self.values.get(name, [])
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            self.wrong(name, f"each one begins with the line [[{name}]]")
            return []
        return [Table(f"{name}[{i}]", each, self.findings) for i, each in enumerate(found, 1)]

    def finish(self) -> None:
        """Complain about every key that nobody asked for."""
        for name in self.values:
            if name not in self.asked:
                self.wrong(name, f"no such key here; {guess(name, self.asked)}")


def show(value: Any) -> str:
    """A value as it stands in the file, near enough to find it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def host(value: Any) -> str:
    """A host name or address, with a port or without; it becomes part of commands, so it is plain."""
    if not isinstance(value, str) or not value or not value.isascii():
        raise ValueError(
            'expected a name or an address in quotes, such as "vpn.example.org" or "[2001:db8::1]:51820"'
        )
    if not all(c.isalnum() or c in ".-:[]" for c in value) or value.startswith("-"):
        raise ValueError("a name or an address is letters, digits, dots, hyphens, colons and brackets")
    return value


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("expected true or false, without quotes")
    return value


def name(value: Any) -> str:
    """The name of an end: it becomes part of file names, so it is plain."""
    if not isinstance(value, str) or not value.isascii() or not value.replace("-", "").isalnum():
        raise ValueError("a name is letters, digits and hyphens")
    return value


def device(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value.encode()) <= DEVICE_BYTES:
        raise ValueError(
            f"the name of a network device, 1 to {DEVICE_BYTES} characters, as `ip link` shows it"
        )
    if not value.isascii() or not all(c.isalnum() or c in ".-_@" for c in value) or value in (".", ".."):
        raise ValueError("a device name is letters, digits, dots, hyphens and underscores")
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


def address(value: Any) -> Address:
    try:
        return ip_address(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError("expected an IPv4 or IPv6 address in quotes, without a prefix length") from None


def address4(value: Any) -> IPv4Address:
    try:
        return IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError('expected an IPv4 address in quotes, such as "203.0.113.7"') from None


def interface6(value: Any) -> IPv6Interface:
    """An IPv6 address with the length of its network: both ends derive tunnel addresses from it."""
    if not isinstance(value, str) or "/" not in value:
        raise ValueError('expected an IPv6 address with its prefix length, such as "2001:db8:1:2::1/64"')
    try:
        return IPv6Interface(value)
    except ValueError:
        raise ValueError('no IPv6 address; expected one such as "2001:db8:1:2::1/64"') from None


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
    return str(value).lower()


def numbered(convert: Callable[[Any], Any]) -> Callable[[Any], tuple[tuple[str, Any], ...]]:
    """A small table from the names of ends to values: { laptop = 2, phone = 3 }."""

    def convert_all(value: Any) -> tuple[tuple[str, Any], ...]:
        if not isinstance(value, dict):
            raise ValueError("expected names with values, such as { laptop = 2, phone = 3 }")
        return tuple((one, convert(value[one])) for one in value)

    return convert_all
