# SPDX-License-Identifier: ISC
"""How `reach` is called, and what it says of itself: the parser, with a text for each command."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from reach import values
from reach.render import TARGETS
from runtime.usage import Parser

CONFIRM_S = 60
STATE = Path("/run/reach")
ABOUT = "IPv4 in and out through a rented server: one file for both ends."
BEGIN = """\
from nothing:
  reach example                      which examples there are, one for each kind of set-up
  reach example 4in6 >reach.toml     then put in your addresses and devices
  reach check                        explains every mistake, and warns of what will surprise
  reach keys attic                   for WireGuard: on each end, then exchange the .pub files
  reach up server                    on the server, and `reach up attic` at home
  reach status server

END is `server`, or the name behind home. or client. in the file. All ends use the same file.
Exit status: 0 it is so; 1 the machine refuses, or something is not as it should be; 2 the command line, the file or
the keys are wrong, and nothing was touched."""
# of each command: whether it takes an END, its line in the list, and what its own help tells besides
WORDS: dict[str, tuple[bool, str, str]] = {
    "example": (
        False,
        "print an example of a description; without NAME, which there are",
        "An example is complete: addresses, devices and names are to be replaced, `reach check` tells what is left.",
    ),
    "check": (
        False,
        "explain every mistake in the description and the keys",
        "It looks at the file and the keys beside it, not at this machine. An error keeps `up` and `render`\n"
        "from doing anything, a warning is what will surprise: SSH that leads elsewhere, a network that every\n"
        "hotel has.",
    ),
    "keys": (
        True,
        "make this end's WireGuard keys where they are missing, print the public one",
        "keys/END.key is private and stays on this machine, mode 600; copy keys/END.pub to the keys/ of the other\n"
        "ends. Keys that are there already stay.",
    ),
    "render": (
        True,
        "print the native configuration of a system instead of setting it up",
        "For machines without reach, and for those who want no program of ours to run. The files come from the same\n"
        "plan as what `up` does.\n\n"
        "  reach render attic --for openwrt --out files     then copy them to the router, run /etc/reach/uci.sh there\n"
        "  reach render phone --for wg-quick --with-private-key | tail -n +2 | qrencode -t ansiutf8",
    ),
    "up": (
        True,
        "set this end up, or bring it up to date with the description",
        "All or nothing: a step that fails takes back what this run did. What is so already stays, connections\n"
        "through it too. Over SSH it is taken back after a minute unless `reach confirm END` says that you are\n"
        "still there.",
    ),
    "confirm": (
        True,
        "keep what `up` did",
        "`up` over SSH waits for this, from the same connection or a new one.",
    ),
    "down": (
        True,
        "take back everything that `up` did",
        "It needs no description: what was done is in the state folder. What somebody else has changed meanwhile is\n"
        "left alone, what cannot be taken back is said and kept for the next `down`.",
    ),
    "status": (
        True,
        "show links, handshakes, and whether what is published answers",
        "Exit status 1 when anything is not as it should be: the end is down; something of it is lost, such as the\n"
        "table by another's `flush ruleset` (`reach up END` makes it again); a TCP port does not answer; a firewall\n"
        "here holds up what is needed; the hub, or a home with keepalives, is not heard of. --json lists them\n"
        "as `problems`. The first line says whether an `up` waits for `reach confirm END`.\n"
        "A link that is up and never heard of its peer: wrong keys, or a firewall between; the port is UDP.",
    ),
    "test": (
        True,
        "measure round trip and throughput to the other ends, by each way",
        "Each link beside plain IPv6. The other end has to answer meanwhile:\n\n"
        "  there: reach test attic --serve        here: reach test server",
    ),
}


def make_parser(does: Mapping[str, Callable[[argparse.Namespace], int]]) -> argparse.ArgumentParser:
    """The parser; what each command does is in its namespace as `does`."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = Parser("reach", description=ABOUT, epilog=BEGIN, formatter_class=kind)
    parser.add_argument(
        "--file",
        type=Path,
        metavar="PATH",
        help="the description (reach.toml of this folder, else /etc/reach/reach.toml)",
    )
    parser.add_argument("--keys", type=Path, metavar="FOLDER", help="of the keys (keys/ beside the file)")
    parser.add_argument(
        "--state", type=Path, default=STATE, metavar="FOLDER", help="what is done (%(default)s)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    made = {}
    for name, (has_end, about, more) in WORDS.items():
        sentence = f"{about[0].upper()}{about[1:]}."
        made[name] = command = commands.add_parser(
            name, help=about, description=sentence, epilog=more, formatter_class=kind
        )
        command.set_defaults(does=does[name])
        if has_end:
            command.add_argument(
                "end", type=end_name, metavar="END", help="server, or the name of a home or client"
            )
    add_options(made)
    return parser


def add_options(of: Mapping[str, argparse.ArgumentParser]) -> None:
    """The options and arguments of single commands."""
    of["example"].add_argument("name", nargs="?", metavar="NAME", help="of the example")
    of["render"].add_argument(
        "--for", dest="target", choices=TARGETS, required=True, metavar="TARGET", help=", ".join(TARGETS)
    )
    of["render"].add_argument(
        "--out", type=Path, metavar="FOLDER", help="write the files below it, instead of to stdout"
    )
    of["render"].add_argument(
        "--with-private-key", action="store_true", help="for an app on a phone: the key inside, no commands"
    )
    of["up"].add_argument(
        "--confirm-within",
        type=seconds,
        metavar="S",
        help=f"take it back after S s without `reach confirm`; 0: never (over SSH {CONFIRM_S}, else 0)",
    )
    of["test"].add_argument("--serve", action="store_true", help="be the one that is measured")
    for name in ("check", "render", "status", "test"):
        of[name].add_argument("--json", action="store_true", help="for programs")


def end_name(text: str) -> str:
    """It becomes part of file names."""
    try:
        return values.name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no END: {error}") from None


def seconds(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no time to wait, expected 0 to 86400 seconds")
    return int(text)
