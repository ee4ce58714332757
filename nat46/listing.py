# SPDX-License-Identifier: ISC
"""What a translator's listing shows, and whether that is what was wanted. Pure: text in, values out.

A device is a line `add DEVICE`, a line `insert DEVICE KEY VALUE...` for every pair but the last, one `config DEVICE KEY
VALUE...` for the last, and an empty line. siit shows every pair whole. The kernel module prints a pair into a buffer of
NAT46_CFG_BUFLEN, 200 bytes (nat64_show_all_configs and nat46_get_ipair_config). So a pair's text ends after 199
characters, in the middle of a word. With two RFC 6052 prefixes that is somewhere in `remote.ea-len`, with longer
addresses as early as in `remote.v6`. What stands behind the cut is not known, and never taken for confirmed. A pair
that is not cut ends in `debug N`.

The module checks less than we do, so other programs may have put values there that we would refuse. They are
kept as text: reading a listing fails only where its form is not a listing's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Network

from nat46 import language
from nat46.language import Pair, Value
from xlat464 import address

LINE_CHARS = 199  # of a pair in the module's listing: NAT46_CFG_BUFLEN less the terminating zero
LISTED = tuple(key for key, _ in language.changes_of(Pair(), 0))  # every key, in the order of a listing
EMPTY: dict[str, Value] = dict(language.changes_of(Pair()))
MAP_STYLES = ("MAP", "MAP0")
Known = Mapping[str, Value]  # what is known of a pair; a key that is missing is not


class ListingError(Exception):
    """A text that is no listing."""


class Foreign(str):
    """The text of a value that the language does not have: host bits, a length out of range."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A pair as far as a listing shows it: whole values by key, and the key and text where it was cut."""

    text: str
    values: dict[str, Value]
    cut_key: str = ""
    cut_text: str = ""

    @property
    def hidden(self) -> tuple[str, ...]:
        """The keys whose values the listing does not show, or not whole."""
        return tuple(key for key in LISTED if key not in self.values)

    @property
    def pair(self) -> Pair | None:
        """The pair, or None when a part of it is hidden or nothing that we could have written."""
        if any(key in EMPTY for key in self.hidden):
            return None
        if any(isinstance(value, Foreign) for value in self.values.values()):
            return None
        return language.apply_changes(Pair(), tuple(self.values.items()))


@dataclass(frozen=True, slots=True)
class Device:
    """A device as listed. debug is None where no pair shows it."""

    name: str
    pairs: tuple[Shown, ...]

    @property
    def debug(self) -> int | None:
        for pair in self.pairs:
            if isinstance(value := pair.values.get("debug"), int):
                return value
        return None


def parse(text: str, seen: Mapping[str, Shown] | None = None) -> tuple[Device, ...]:
    """Return the devices in a listing. Raises ListingError for anything else, also for half a listing.

    seen: pairs by their text that another listing had, to be taken over: of hundreds a command changes one.
    """
    devices: list[Device] = []
    for block in text.split("\n\n")[:-1]:
        devices.append(_parse_device(block.split("\n"), seen or {}))
    if text and not text.endswith("\n\n"):
        # nat64_show_all_configs leaves out pairs and empty line when it gets no memory for its buffer
        raise ListingError("it ends in the middle of a device")
    return tuple(devices)


def _parse_device(lines: list[str], seen: Mapping[str, Shown]) -> Device:
    command, _, name = lines[0].partition(" ")
    if command != "add" or not name:
        raise ListingError(f"{address.quote(lines[0])} where a device begins")
    pairs = []
    for i, line in enumerate(lines[1:], 1):
        made = "config" if i == len(lines) - 1 else "insert"
        start = f"{made} {name} "
        if not line.startswith(start):
            raise ListingError(f"{address.quote(line)}, expected {address.quote(start)}")
        pairs.append(seen.get(text := line.removeprefix(start)) or parse_pair(text))
    return Device(name, tuple(pairs))


def parse_pair(text: str) -> Shown:
    """Return a pair's text as far as it goes. ListingError for keys in another order than a listing's."""
    words = text.split(" ")
    values: dict[str, Value] = {}
    is_cut = len(text) >= LINE_CHARS or len(words) < 2 * len(LISTED) or not words[-1]
    for i, key in enumerate(LISTED):
        if 2 * i >= len(words):
            return Shown(text, values, key)
        is_last_word = len(words) <= 2 * i + 1
        if words[2 * i] != key and not (is_cut and is_last_word and key.startswith(words[2 * i])):
            raise ListingError(f"{address.quote(words[2 * i])} where {key} belongs")
        if is_last_word:
            return Shown(text, values, key)
        if is_cut and len(words) == 2 * i + 2:
            return Shown(text, values, key, words[2 * i + 1])
        values[key] = _parse_value(key, words[2 * i + 1])
    if len(words) > 2 * len(LISTED):
        raise ListingError(f"{address.quote(words[2 * len(LISTED)])} behind a pair")
    return Shown(text, values)


def _parse_value(key: str, text: str) -> Value:
    try:
        value: Value = language.KEYS[key](text)
        return value
    except ValueError:
        return Foreign(text)


def shown_value(value: Value) -> str:
    """Return a value as the module prints it: as the language does, but for two kinds of IPv6 address.

    The kernel's %pI6c writes the last 32 bits of an ISATAP address (RFC 5214, ...:0:5efe:x:x) as a dotted quad. A
    node whose MAC is ..:..:00:00:5e:fe or ..:..:02:00:5e:fe has such a /96.
    """
    if isinstance(value, IPv6Network):
        packed = value.network_address.packed
        if packed[8:12] in (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe"):
            # the kernel compresses zeros in the first six groups only, where an IPv4 address is the rest
            head = address.format_ipv6(packed[:12] + b"\xff\xff\xff\xff").removesuffix("ffff:ffff")
            return f"{head}{address.format_ipv4(packed[12:])}/{value.prefixlen}"
    return language.format_value(value)


def shown_text(known: Known) -> str:
    """Return the text of a pair as the module would print it, up to the first key that is not known."""
    words: list[str] = []
    for key in LISTED:
        if key not in known:
            break
        words += [key, shown_value(known[key])]
    return " ".join(words)


def fits(shown: Shown, known: Known) -> bool:
    """Return whether nothing that is shown contradicts what is known."""
    if any(shown.values[key] != known[key] for key in shown.values if key in known):
        return False
    if shown.cut_text and shown.cut_key in known:
        return shown_value(known[shown.cut_key]).startswith(shown.cut_text)
    return True


def indistinct(shown: Shown, known: Known) -> tuple[str, ...]:
    """Return the hidden keys by which this pair may differ, unseen, from the one that is known.

    Only those that decide how packets are translated: bits of MAP with MAP's styles. The module compares the whole
    text's length besides what it lists (nat46_remove), which is enough to tell RFC6052 from the other styles.
    """
    keys = []
    for side in language.SIDES:
        keys += [f"{side}.v4", f"{side}.v6"]
        style = str(known[f"{side}.style"])
        has_bits = style in MAP_STYLES
        if has_bits or f"{side}.v6" in shown.hidden or _length(known, side, style) in _lengths_without(style):
            keys.append(f"{side}.style")
        if has_bits:
            keys += [f"{side}.ea-len", f"{side}.psid-offset"]
    return tuple(key for key in shown.hidden if key in keys)


def _length(known: Known, side: str, style: str) -> int:
    return len(style) + len(str(known[f"{side}.ea-len"])) + len(str(known[f"{side}.psid-offset"]))


def _lengths_without(style: str) -> set[int]:
    """Characters of another style and its two numbers, which have one or two digits."""
    return {len(other) + digits for other in language.STYLES if other != style for digits in (2, 3, 4)}
