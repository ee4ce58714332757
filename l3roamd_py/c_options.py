# SPDX-License-Identifier: ISC
"""The command line of the C l3roamd, for who starts it so: a node that serves IPv6, without CLAT and PLAT.

The order of options does not matter, letters may be written together, and of an option that comes twice the last counts
(of -i the first), as there. What has no meaning here is taken and said so at the start. docs/l3roamd.md has the table.
"""

from l3roamd_py.question import SOCKET
from l3roamd_py.settings import MAIN_TABLE, parse_table
from runtime.command_line import UsageError
from xlat464.address import parse_ipv6, parse_prefix4, parse_prefix6, parse_prefix6_of, quote
from xlat464.device import parse_device
from xlat464.node import CLIENT_LENGTH, NODE_LENGTH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FLAGS = "dvhV"
VALUES = "abceimnpPstD4"
SWITCHES = {"--no-netlink": "netlink", "--no-ndp": "ndp", "--no-nl80211": "nl80211"}
NO_RANGE, NO_DEVICE = bytes(16), "l3roamd-none"  # nobody has it, so the gate leaves IPv4 alone
NODE_CLIENTS = "fec0::/64"  # the C daemon's default
IGNORED = {
    "-p": "IPv4 is a matter of `l3roamd_py daemon --clat`",
    "-c": "there is no configuration file",
    "-n": "a node with a CLAT is started by `l3roamd_py daemon --clat`",
    "-4": "IPv4 is a matter of `l3roamd_py daemon --clat`",
    "-D": "there is no device for packets to unknown clients",
}


def is_meant(words: list[str]) -> bool:
    """Return whether a command line is one of the C daemon's."""
    return (
        bool(words)
        and words[0][:1] in ("-", " ")
        and words[0] not in ("-h", "--help", "--version", "--flush")
    )


def _split(words: list[str]) -> "list[tuple[str, str]]":
    """Return options with their values. A word with spaces is several: Gluon's init script writes ` -P P/64` as one."""
    waiting = [part for word in words for part in word.split()]
    found: "list[tuple[str, str]]" = []
    while waiting:
        word = waiting.pop(0)
        if word in SWITCHES:
            found.append((word, ""))
            continue
        if len(word) < 2 or word[0] != "-" or word[1] not in FLAGS + VALUES:
            raise UsageError(
                quote(word) + " is no option, expected those of l3roamd: -a ADDRESS -p PREFIX ..."
                " (l3roamd_py --help tells more)"
            )
        name, rest = word[:2], word[2:]
        if name[1] in FLAGS:
            waiting[:0] = ["-" + rest] if rest else []
            found.append((name, ""))
        elif not rest and not waiting:
            raise UsageError(f"{name}: a value is missing")
        else:
            found.append((name, rest or waiting.pop(0)))
    return found


def _client_prefix(text: str) -> "tuple[bytes, int] | None":
    """None: one of IPv4."""
    if ":" not in text:
        parse_prefix4(text)
        return None
    return parse_prefix6(text)


CONVERTERS: "dict[str, Callable[[str], Any]]" = {
    "-a": parse_ipv6,
    "-P": lambda text: parse_prefix6_of(CLIENT_LENGTH, text),
    "-e": lambda text: parse_prefix6_of(NODE_LENGTH, text),
    "-4": parse_prefix6,
    "-t": parse_table,
    "-p": _client_prefix,
    "-b": parse_device,
    "-i": parse_device,
    "-m": parse_device,
}


def parse(words: list[str]) -> "tuple[dict[str, Any], list[str]]":
    """Return what a command line means, as options of `daemon`, and what of it is ignored. Raises UsageError."""
    given: "dict[str, list[Any]]" = {}
    ignored = []
    for name, text in _split(words):
        try:
            value = CONVERTERS[name](text) if name in CONVERTERS else text
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from None
        if name in given and name == "-a":
            raise UsageError("-a must not be specified more than once")
        if value is None or (name != "-p" and name in IGNORED):
            ignored.append(f"{name} {text} is ignored: {IGNORED[name]}".replace("  ", " "))
        given.setdefault(name, []).append(value)
    for name in ("-a", "-p"):
        if name not in given:
            raise UsageError(f"specifying {name} is mandatory")
    prefixes = tuple([each for each in given["-p"] if each is not None])
    node_clients = given.get("-P", [CONVERTERS["-P"](NODE_CLIENTS)])[-1]
    meant = {
        "--clat": False,
        "--plat": False,
        "--clat-range": NO_RANGE,
        "--plat-range": NO_RANGE,
        "--own": given["-a"][0],
        "--prefix": prefixes,
        "--node-client-prefix": node_clients,
        "--table": given.get("-t", [MAIN_TABLE])[-1],
        "--told-plat": given.get("-e", [None])[-1],
        "--without": tuple([SWITCHES[each] for each in SWITCHES if each in given]),
        "--client-device": (given.get("-i") or given.get("-b", ["br-client"])[-1:])[0],
        "--clat-device": NO_DEVICE,
        "--mesh": given.get("-m", []),
        "--socket": given.get("-s", [SOCKET])[-1],
        "--verbose": "-v" in given or "-d" in given,
    }
    return meant, ignored
