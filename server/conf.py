# SPDX-License-Identifier: ISC
"""/etc/464xlat.conf: text in, values out, one sentence for each mistake. No I/O.

# a comment
[plat]
enabled = 1
wan = eth0          a list: again for each value, or with commas
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.keys import KEYS, Key, switch
from xlat464.address import parse_prefix4, parse_prefix6, quote
from xlat464.node import (
    check_client_range,
    check_pool,
    check_ranges,
    need_host_range,
    parse_pref64,
    parse_range,
)

BYTES = 64 * 1024  # a larger file is something else


@dataclass(frozen=True, slots=True)
class Mistake:
    """line: its number, 0 where something is missing."""

    line: int
    sentence: str


@dataclass(slots=True)
class Conf:
    """What a file says, with defaults where it says nothing. given: (section, option) -> line and values."""

    given: dict[tuple[str, str], tuple[int, list[str]]] = field(default_factory=dict)

    def value(self, section: str, option: str) -> str:
        """Return the text of an option; of a list, its values with commas between them."""
        if (section, option) in self.given:
            return ",".join(self.given[section, option][1])
        return KEYS[section][option].default

    def values(self, section: str, option: str) -> list[str]:
        return self.given.get((section, option), (0, []))[1]

    def is_on(self, role: str) -> bool:
        return switch(self.value(role, "enabled"))

    def line(self, section: str, option: str) -> int:
        return self.given.get((section, option), (0, []))[0]


def read(text: str) -> tuple[Conf, list[Mistake]]:
    """Return what the text says, and what is wrong with it. What is wrong is left out."""
    conf, mistakes = Conf(), []
    name: str | None = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        try:
            if line.startswith("["):
                name = None  # below a wrong head nothing can be told
                name = _section(line)
            elif line and not line.startswith(("#", ";")) and name is not None:
                if not name:
                    name = None
                    raise ValueError(f"{quote(line)} is in no section, expected a line like [node] above it")
                _option(conf, name, KEYS[name], line, number)
        except ValueError as error:
            mistakes.append(Mistake(number, str(error)))
    if not mistakes:
        mistakes = _check_together(conf)
    return conf, mistakes


def _section(line: str) -> str:
    name = line[1:-1].strip()
    if not line.endswith("]") or name not in KEYS:
        raise ValueError(
            f"{quote(line)} begins no section, expected one of {' '.join(f'[{each}]' for each in KEYS)}"
        )
    return name


def _option(conf: Conf, name: str, section: Mapping[str, Key], line: str, number: int) -> None:
    option, equals, text = (part.strip() for part in line.partition("="))
    if not equals:
        raise ValueError(f"{quote(line)} is no option, expected NAME = VALUE")
    if option not in section:
        raise ValueError(f"{quote(option)} is no option of [{name}], expected one of {' '.join(section)}")
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    key = section[option]
    values = text.replace(",", " ").split() if key.is_list else [text] if text else []
    for value in values:
        try:
            key.check(value)
        except ValueError as error:
            raise ValueError(f"{name}.{option}: {error}") from None
    if not key.is_list and (name, option) in conf.given:
        raise ValueError(f"{name}.{option} is given twice, first in line {conf.given[name, option][0]}")
    if values:
        first, before = conf.given.get((name, option), (number, []))
        conf.given[name, option] = first, before + values


def _check_together(conf: Conf) -> list[Mistake]:
    """What options say against each other, and what is missing for the roles that are on."""
    mistakes = []
    roles = [role for role in ("clat", "plat") if conf.is_on(role)]
    needed = [("node", "clat_range", "fddd:1337:1337::/48"), ("node", "plat_range", "fddd:1337:1338::/48")]
    if "clat" in roles:
        needed.append(("node", "client_range", "10.126.0.0/16"))
    if "plat" in roles and conf.value("plat", "uplink") == "wan":
        needed.append(("plat", "wan", "eth0"))
    if conf.value("roaming", "node_client_prefix"):
        needed.append(("roaming", "mesh", "wg-mesh"))
    for section, option, example in needed if roles else ():
        if not conf.value(section, option):
            mistakes.append(
                Mistake(0, f"{section}.{option} is missing, expected one like {option} = {example}")
            )
    for section, option, check in (
        ("node", "plat_range", _ranges),
        ("node", "client_range", _clients),
        ("node", "pref64", _pref64),
        ("plat", "pool", _pool),
        ("plat", "wan", _wan),
        ("plat", "engine", _engine),
        ("clat", "table", _table),
    ):
        try:
            check(conf)
        except ValueError as error:
            mistakes.append(Mistake(conf.line(section, option), f"{section}.{option}: {error}"))
    return mistakes


def _ranges(conf: Conf) -> None:
    both = conf.value("node", "clat_range"), conf.value("node", "plat_range")
    if all(both):
        check_ranges(*map(parse_range, both))


def _pref64(conf: Conf) -> None:
    clat_range, plat_range = conf.value("node", "clat_range"), conf.value("node", "plat_range")
    if clat_range and plat_range:
        used = [parse_prefix6(each) for each in conf.values("roaming", "prefix")]
        text = conf.value("node", "pref64")
        try:
            parse_pref64(text, parse_range(clat_range), parse_range(plat_range), used)
        except ValueError as error:
            raise ValueError(str(error).removeprefix("pref64: ")) from None


def _clients(conf: Conf) -> None:
    if text := conf.value("node", "client_range"):
        check_client_range(parse_prefix4(text))


def _pool(conf: Conf) -> None:
    pool, clients = parse_prefix4(conf.value("plat", "pool")), conf.value("node", "client_range")
    if clients:
        check_pool(pool, parse_prefix4(clients))
    else:
        need_host_range("pool", pool)


def _wan(conf: Conf) -> None:
    wans = conf.values("plat", "wan")
    if wans and conf.value("plat", "uplink") == "reach":
        raise ValueError("there is one beside uplink = reach, whose link is the WAN; expected one of the two")
    if conf.value("plat", "device") in wans:
        raise ValueError("it names the PLAT's own device, expected the one that leads to the internet")


def _engine(conf: Conf) -> None:
    if conf.is_on("plat") and conf.value("plat", "engine") == "jool":
        raise ValueError(
            "jool needs a network namespace, which the unit's sandbox does not allow; expected siit or auto"
        )


def _table(conf: Conf) -> None:
    if conf.value("clat", "table") in ("253", "254", "255"):
        raise ValueError(f"{conf.value('clat', 'table')} is the kernel's own, expected another number")
