# SPDX-License-Identifier: ISC
"""The control socket's language: a line in, a command out; and the answers in the C l3roamd's shape. No I/O.

A connection carries one command, ended by a line feed or by the end of what is sent. Then comes the answer, and the
connection ends. The C daemon's commands answer as it does, in the spacing of its JSON too, so that the scripts of its
users go on working:

    get_clients get_prefixes get_meshifs add_prefix P del_prefix P add_meshif DEV del_meshif DEV
    probe ADDR MAC   add_address ADDR MAC   del_address ADDR MAC   has_route ADDR   verbosity none|verbose|debug

and ours:

    set_platprefix P/96 [P/96]                         the PLAT of new leases, and the one before if that is lost
    del_platprefix P/96                                one that is lost
    plats P/96 ... lost P/96 ... end                   all that can be used, and those that cannot although there is a
                                                       route; of any other the route tells
    lease add|old|del MAC IPV4 [SECONDS]               what the DHCP server did
    get_roams   get_status                             JSON
"""

from collections import OrderedDict

from runtime.command_line import one_of
from runtime.record import record
from runtime.server import Refused
from xlat464.address import (
    format_ipv6,
    parse_decimal,
    parse_ipv4,
    parse_ipv6,
    parse_mac,
    parse_prefix4,
    parse_prefix6,
    parse_prefix6_of,
    quote,
)
from xlat464.device import parse_device
from xlat464.node import NODE_LENGTH, need_unicast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

LINE_BYTES = 1024  # of a command; the C daemon's limit
PLATS, PLATS_MAX = "plats", 1024  # prefixes in such a line
PLATS_BYTES = PLATS_MAX * 44
LEASE_MAX_S = 0xFFFFFFFF
MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, IPv4 among IPv6 (RFC 4291 section 2.5.5.2)
LINK_LOCAL = bytes.fromhex("fe80") + bytes(14)
VERBOSITIES = ("none", "verbose", "debug")
LEASE_ACTIONS = ("add", "old", "del")


class CommandError(Refused):
    """A line is no command; one sentence says what would be one."""


@record("name values words")
class Command:
    """A command with its values: what the command's row in COMMANDS parses, in that order."""

    name: str
    values: tuple = ()
    words: tuple[str, ...] = ()


def _address(text: str) -> bytes:
    """16 bytes of an IPv6 address, or of an IPv4 address as ::ffff:a.b.c.d."""
    return parse_ipv6(text) if ":" in text else MAPPED + parse_ipv4(text)


def _prefix(text: str) -> tuple[bytes, int]:
    if ":" in text:
        prefix, length = parse_prefix6(text)
        return prefix, length
    prefix4, length = parse_prefix4(text)
    return MAPPED + prefix4, 96 + length


def _plat(text: str) -> bytes:
    prefix: bytes = parse_prefix6_of(NODE_LENGTH, text)
    return prefix


def _mac(text: str) -> bytes:
    return need_unicast(parse_mac(text))


def _seconds(text: str) -> int:
    number: int | None = parse_decimal(text, LEASE_MAX_S)
    if number is None:
        raise ValueError(f"{quote(text)} is no number of seconds from 0 to {LEASE_MAX_S}")
    return number


@record("names parsers optional")
class _Form:
    """The words behind a command: what each is called and what parses it; the last ones may be missing."""

    names: str
    parsers: "tuple[Callable, ...]"
    optional: int = 0


COMMANDS = {
    "get_clients": _Form("", ()),
    "get_prefixes": _Form("", ()),
    "get_meshifs": _Form("", ()),
    "add_prefix": _Form("PREFIX", (_prefix,)),
    "del_prefix": _Form("PREFIX", (_prefix,)),
    "add_meshif": _Form("DEVICE", (parse_device,)),
    "del_meshif": _Form("DEVICE", (parse_device,)),
    "probe": _Form("ADDRESS MAC", (_address, _mac)),
    "add_address": _Form("ADDRESS MAC", (_address, _mac)),
    "del_address": _Form("ADDRESS MAC", (_address, _mac)),
    "has_route": _Form("ADDRESS", (parse_ipv6,)),
    "verbosity": _Form("none|verbose|debug", (one_of(*VERBOSITIES),)),
    "set_platprefix": _Form("P/96 [P/96]", (_plat, _plat), optional=1),
    "del_platprefix": _Form("P/96", (_plat,)),
    "lease": _Form(
        "add|old|del MAC IPV4 [SECONDS]", (one_of(*LEASE_ACTIONS), _mac, parse_ipv4, _seconds), optional=1
    ),
    "get_roams": _Form("", ()),
    "get_status": _Form("", ()),
}


def parse(line: bytes) -> Command:
    """Return the command in a line (without its line feed). Raises CommandError and nothing else."""
    try:
        words = ascii_text(line).split()
    except UnicodeError:
        raise CommandError("the line has bytes that are not ASCII, expected a command") from None
    if not words:
        raise CommandError("the line is empty, expected one of " + ", ".join(COMMANDS))
    name, words = words[0], words[1:]
    if name == PLATS:
        return _parse_plats(words)
    form = COMMANDS.get(name)
    if form is None:
        raise CommandError(f"{quote(name)} is no command, expected one of " + ", ".join(COMMANDS))
    if not len(form.parsers) - form.optional <= len(words) <= len(form.parsers):
        expected = f"{name} {form.names}".strip()
        raise CommandError(f"expected `{expected}`, not {len(words)} words behind {name}")
    try:
        values = tuple([parser(word) for parser, word in zip(form.parsers, words)])
    except ValueError as error:
        raise CommandError(f"{name}: {error}") from None
    return Command(name, values, tuple(words))


def _parse_plats(words: list[str]) -> Command:
    """A line that was cut off must not make the PLATs behind its end lost ones: hence its last word."""
    expected = "expected `plats P/96 ... lost P/96 ... end`"
    if words.count("lost") != 1 or words.count("end") != 1 or words[-1] != "end":
        raise CommandError(f"the line is not whole, {expected}")
    if len(words) > PLATS_MAX:
        raise CommandError(f"plats: {len(words) - 2} PLATs, expected at most {PLATS_MAX - 2}")
    at = words.index("lost")
    try:
        usable, lost = [frozenset(map(_plat, part)) for part in (words[:at], words[at + 1 : -1])]
    except ValueError as error:
        raise CommandError(f"plats: {error}") from None
    return Command(PLATS, (usable, lost))


def line_bytes(data: bytes) -> int:
    """How long the line may be that begins so."""
    return PLATS_BYTES if data.startswith(PLATS.encode() + b" ") else LINE_BYTES


def ascii_text(line: bytes) -> str:
    """Raises UnicodeError for bytes that are none."""
    text = line.decode()
    if any(c > "\x7f" for c in text):
        raise UnicodeError("not ASCII")
    return text


# Answers in the C daemon's shape


def spaced(value: object) -> str:
    """JSON as json-c spaces it: `{ "a": [ "b" ] }`. Text, whole numbers, lists and dicts with text keys."""
    if isinstance(value, dict):
        inside = ", ".join([spaced(key) + ": " + spaced(each) for key, each in value.items()])
        return "{ " + inside + " }" if inside else "{ }"
    if isinstance(value, list):
        return "[ " + ", ".join(map(spaced, value)) + " ]" if value else "[ ]"
    if isinstance(value, int):
        return str(value)
    return '"' + "".join(map(_escaped, str(value))) + '"'


def _escaped(c: str) -> str:
    return c if " " <= c <= "~" and c not in '"\\' else "\\u%04x" % ord(c)


def text_of(address: bytes) -> str:
    """An address as inet_ntop writes it: IPv4 among IPv6 as ::ffff:a.b.c.d."""
    if address[:12] == MAPPED:
        return "::ffff:" + ".".join(map(str, address[12:]))
    return format_ipv6(address)


def clients_answer(clients: "Iterable[tuple[str, str, Mapping[bytes, int]]]") -> str:
    """get_clients: (MAC, device, address of 16 bytes -> state), where state is 0 inactive, 1 active, 2 tentative."""
    listed: dict[str, object] = {}
    for mac, device, addresses in clients:
        about: dict[str, object] = OrderedDict()
        listed[mac] = about
        about["interface"] = device
        if addresses:
            about["addresses"] = {text_of(address): {"state": state} for address, state in addresses.items()}
    answer: dict[str, object] = OrderedDict()
    answer["clients"] = len(listed)
    if listed:
        answer["clientlist"] = listed
    return spaced(answer)


def prefixes_answer(prefixes: "Iterable[tuple[bytes, int]]") -> str:
    """get_prefixes: IPv4's and the link-local one always come first."""
    return spaced(
        {"prefixes": [text_of(each) for each in (MAPPED + bytes(4), LINK_LOCAL)] + _texts(prefixes)}
    )


def _texts(prefixes: "Iterable[tuple[bytes, int]]") -> list[str]:
    return [text_of(prefix) for prefix, _ in prefixes]


def meshifs_answer(devices: "Iterable[str]") -> str:
    return spaced({"mesh_interfaces": list(devices)})


def has_route_answer(word: str, has_route: bool) -> str:
    return f"found route {word}/128: " + ("YES\n" if has_route else "NO\n")
