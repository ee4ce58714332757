# SPDX-License-Identifier: ISC
"""Parse, format and apply the commands of nat46's control file. Pure: no device, no file, no socket.

    add DEVICE                      a device with one empty pair
    del DEVICE
    config DEVICE [KEY VALUE]...    change the keys named in the device's last pair
    insert DEVICE [KEY VALUE]...    put a new pair before all others: an empty one with these keys set
    remove DEVICE [KEY VALUE]...    take away the pair that an insert with these keys would have made

    KEY                 VALUE
    local.v4            IPv4 prefix; host bits are refused
    local.v6            IPv6 prefix
    local.style         NONE, MAP, MAP0 or RFC6052
    local.ea-len        bits, 0 to 48 (MAP)
    local.psid-offset   bits, 0 to 16 (MAP)
    remote....          the same for the other side
    debug               level of the device's messages; belongs to no pair

A pair maps by its two rules. From IPv4 to IPv6 the local rule maps the source, the remote rule the destination. On the
way back it is the reverse. RFC6052 embeds (v6's length is 32, 40, 48, 56, 64 or 96). NONE maps the address v4 to the
address v6 if they are a /32 and a /128, and nothing otherwise. So a pair with a NONE rule of 0.0.0.0/0 and ::/0 is
empty.

nat46 ignores what it does not understand, a typing error included, and says "success". We raise ControlError for an
unknown command or key, a bad value, a key given twice, a missing or impossible device name. What nat46 accepts on
purpose we accept. nat46 takes `add` without a name, too, and makes one up. We do not, for nobody could find the device.
Words are separated by blanks, as in nat46 (a tab is part of a word).
"""

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network

from xlat464 import address
from xlat464.rfc6052 import PLACES

STYLES = ("NONE", "MAP", "MAP0", "RFC6052")
RFC6052_LENGTHS = tuple(PLACES)
ANY4 = IPv4Network("0.0.0.0/0")
ANY6 = IPv6Network("::/0")
DEVICE_CHARS = 15  # IFNAMSIZ - 1
EA_LEN_BITS = 48  # RFC 7597 section 5.1
PSID_OFFSET_BITS = 16  # a port's
DEBUG_LEVELS = 2**31 - 1


class ControlError(Exception):
    """A text that is no command, or a command that cannot be carried out: one sentence for who wrote it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One side of a pair."""

    style: str = "NONE"
    v4: IPv4Network = ANY4
    v6: IPv6Network = ANY6
    ea_len: int = 0  # bits
    psid_offset: int = 0  # bits


@dataclass(frozen=True, slots=True)
class Pair:
    """What a device knows: a fresh one has one `Pair()`."""

    local: Rule = field(default_factory=Rule)
    remote: Rule = field(default_factory=Rule)


Value = str | int | IPv4Network | IPv6Network
Changes = tuple[
    tuple[str, Value], ...
]  # ("local.v4", IPv4Network(...)), ("debug", 1), ... in the order given


@dataclass(frozen=True, slots=True)
class Add:
    device: str


@dataclass(frozen=True, slots=True)
class Del:
    device: str


@dataclass(frozen=True, slots=True)
class Config:
    device: str
    changes: Changes = ()


@dataclass(frozen=True, slots=True)
class Insert:
    device: str
    changes: Changes = ()


@dataclass(frozen=True, slots=True)
class Remove:
    device: str
    changes: Changes = ()


Command = Add | Del | Config | Insert | Remove
WITHOUT_CHANGES: dict[str, type[Add] | type[Del]] = {"add": Add, "del": Del}
WITH_CHANGES: dict[str, type[Config] | type[Insert] | type[Remove]] = {
    "config": Config,
    "insert": Insert,
    "remove": Remove,
}
NAMES = {made: name for table in (WITHOUT_CHANGES, WITH_CHANGES) for name, made in table.items()}


def parse(line: str) -> Command:
    """Return the command in a line of text, with or without its line feed; ControlError and nothing else."""
    words = [word for word in line.removesuffix("\n").split(" ") if word]
    if not words:
        raise ControlError(f"an empty line is no command, expected one of {_alternatives(NAMES.values())}")
    name, *words = words
    if name not in WITHOUT_CHANGES and name not in WITH_CHANGES:
        raise ControlError(
            f"{address.quote(name)} is no command, expected one of {_alternatives(NAMES.values())}"
        )
    if not words:
        raise ControlError(f"{name} needs the name of a device behind it")
    device, *words = words
    check_device(device)
    if name in WITH_CHANGES:
        return WITH_CHANGES[name](device, _parse_changes(words))
    if words:
        raise ControlError(f"{name} takes one device name, not {address.quote(words[0])} behind it as well")
    return WITHOUT_CHANGES[name](device)


def check_device(name: str) -> None:
    """Raise ControlError unless the kernel would take the name for a device, literally."""
    if not name:  # the module would make up one, and nobody could find the device
        raise ControlError("'' is no device name, expected 1 to 15 characters")
    if len(name) > DEVICE_CHARS:
        raise ControlError(
            f"{address.quote(name)} has {len(name)} characters, "
            f"expected at most {DEVICE_CHARS} in a device name"
        )
    if name in ("all", "default"):  # of /proc/sys/net/*/conf
        raise ControlError(f"'{name}' is the kernel's word for every device, expected another name")
    # the kernel refuses / and : and takes % for a number to fill in
    if name in (".", "..") or not all("!" <= c <= "~" and c not in "/:%" for c in name):
        raise ControlError(
            f"{address.quote(name)} is no device name, expected printable ASCII characters without / : %"
        )


def _parse_changes(words: list[str]) -> Changes:
    changes: dict[str, Value] = {}
    for i in range(0, len(words), 2):
        key = words[i]
        parser = KEYS.get(key)
        if parser is None:
            raise ControlError(f"{address.quote(key)} is no key, expected one of {_alternatives(KEYS)}")
        if key in changes:
            raise ControlError(f"{key} is given twice, expected it once")
        if i + 1 == len(words):
            raise ControlError(f"{key} needs a value behind it")
        try:
            changes[key] = parser(words[i + 1])
        except ValueError as error:
            raise ControlError(f"{key}: {error}") from None
    return tuple(changes.items())


def _parse_v4(text: str) -> IPv4Network:
    return IPv4Network(address.parse_prefix4(text))


def _parse_v6(text: str) -> IPv6Network:
    return IPv6Network(address.parse_prefix6(text))


def _parse_style(text: str) -> str:
    if text not in STYLES:
        raise ValueError(f"{address.quote(text)} is no style, expected one of {_alternatives(STYLES)}")
    return text


def _number_up_to(largest: int):
    def parse_number(text: str) -> int:
        number = address.parse_decimal(text, largest)
        if number is None:
            raise ValueError(f"{address.quote(text)} is no number, expected 0 to {largest}")
        return number

    return parse_number


RULE_KEYS = {
    "v4": _parse_v4,
    "v6": _parse_v6,
    "style": _parse_style,
    "ea-len": _number_up_to(EA_LEN_BITS),
    "psid-offset": _number_up_to(PSID_OFFSET_BITS),
}
SIDES = ("local", "remote")
KEYS = {
    **{f"{side}.{name}": parser for side in SIDES for name, parser in RULE_KEYS.items()},
    "debug": _number_up_to(DEBUG_LEVELS),
}


def _alternatives(names) -> str:
    return ", ".join(names)


def format(command: Command) -> str:
    """Return the line of text of a command, without a line feed: parse's inverse."""
    words = [NAMES[type(command)], command.device]
    for key, value in getattr(command, "changes", ()):
        words += [key, format_value(value)]
    return " ".join(words)


def format_value(value: Value) -> str:
    """Return the text of a key's value."""
    if isinstance(value, IPv4Network):
        return address.format_prefix4(value.network_address.packed, value.prefixlen)
    if isinstance(value, IPv6Network):
        return address.format_prefix6(value.network_address.packed, value.prefixlen)
    return str(value)


def changes_of(pair: Pair, debug: int | None = None) -> Changes:
    """Return the changes that make this pair of an empty one: all keys, in the order of nat46's file."""
    changes: list[tuple[str, Value]] = []
    for side in SIDES:
        rule = getattr(pair, side)
        changes += [(f"{side}.{key}", getattr(rule, key.replace("-", "_"))) for key in RULE_KEYS]
    if debug is not None:
        changes.append(("debug", debug))
    return tuple(changes)


def show(device: str, pairs: tuple[Pair, ...], debug: int = 0) -> list[str]:
    """Return the lines that nat46's file shows for a device: `add`, an `insert` for each pair, `config`.

    Run as commands, they give more than two pairs in another order, since each insert goes before the earlier ones.
    `commands_for` returns commands that rebuild the device.
    """
    lines = [format(Add(device))]
    for i, pair in enumerate(pairs):
        made = Config if i == len(pairs) - 1 else Insert
        lines.append(format(made(device, changes_of(pair, debug))))
    return lines


def commands_for(device: str, pairs: tuple[Pair, ...]) -> list[Command]:
    """Return the commands that make a device with exactly these pairs, in this order."""
    commands: list[Command] = [Add(device)]
    if not pairs:
        return [*commands, Remove(device)]
    commands.append(Config(device, changes_of(pairs[-1])))
    return commands + [Insert(device, changes_of(pair)) for pair in reversed(pairs[:-1])]


def apply_changes(pair: Pair, changes: Changes) -> Pair:
    """Return the pair with the changes made; `debug` changes no pair."""
    for key, value in changes:
        side, _, name = key.partition(".")
        if side in SIDES:
            rule = replace(getattr(pair, side), **{name.replace("-", "_"): value})
            pair = replace(pair, **{side: rule})
    return pair


def apply(pairs: tuple[Pair, ...], command: Command) -> tuple[Pair, ...]:
    """Return a device's pairs after `config`, `insert` or `remove`; ControlError if there is no such pair."""
    if isinstance(command, Insert):
        return (apply_changes(Pair(), command.changes), *pairs)
    if isinstance(command, Config):
        if not pairs:
            raise ControlError(f"{command.device} has no pair left to configure, expected an insert first")
        return (*pairs[:-1], apply_changes(pairs[-1], command.changes))
    if isinstance(command, Remove):
        wanted = apply_changes(Pair(), command.changes)
        if wanted not in pairs:
            raise ControlError(f"{command.device} has no pair that is exactly this one")
        i = pairs.index(wanted)
        return pairs[:i] + pairs[i + 1 :]
    raise ControlError(f"{NAMES[type(command)]} changes a device, not its pairs")
