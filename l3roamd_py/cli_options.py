# SPDX-License-Identifier: ISC
"""The options of every command but `lease`, and what the commands do with them."""

import gc
import json
import sys

from l3roamd_py import c_options
from l3roamd_py.core.options import ROAMS_MOST
from l3roamd_py.help import ABOUT, COMMANDS, HELPS
from l3roamd_py.limits import limits_of
from l3roamd_py.question import SOCKET, Failure, ask
from l3roamd_py.settings import BACKENDS, MAIN_TABLE, STATE, Settings, parse_table
from runtime import IS_MICRO
from runtime.command import version_of
from runtime.command_line import Option, UsageError, describe, one_of, parse
from xlat464.address import parse_decimal, parse_ipv6, parse_mac, parse_prefix6, parse_prefix6_of, quote
from xlat464.device import parse_device
from xlat464.node import CLIENT_LENGTH, need_unicast, parse_range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Given = dict[str, Any]

LEASE_MAX_S = 30 * 86400
PORT_CLIENTS_LEAST, PORT_CLIENTS_MOST = 16, 4096
ROAMS_LEAST = 1024
MEMINFO = "/proc/meminfo"


def client_prefix(text: str) -> bytes:
    prefix: bytes = parse_prefix6_of(CLIENT_LENGTH, text, "fddd:1337:1339::/64")
    return prefix


def number(least: int, most: int, what: str) -> "Callable[[str], int]":
    def convert(text: str) -> int:
        found = parse_decimal(text, most)
        if found is None or found < least:
            raise ValueError(f"{quote(text)}, expected a number{what} from {least} to {most}")
        return found

    return convert


def mac(text: str) -> bytes:
    return need_unicast(parse_mac(text))


def limits(has_clat: bool, has_plat: bool) -> "dict[str, Any]":
    """What this machine's memory has room for, as options of the core."""
    if not IS_MICRO:
        return {"max_roams": roams_that_fit()}
    heap_bytes: int = gc.mem_alloc() + gc.mem_free()  # type: ignore[attr-defined]
    return limits_of(heap_bytes, 8 if sys.maxsize >> 32 else 4, has_clat, has_plat)


def roams_that_fit(meminfo: str = MEMINFO) -> int:
    """How many roamed homes a platnode remembers: a sixteenth of the memory, with 1 KiB for a home and its mapping."""
    try:
        with open(meminfo) as file:
            total_kib = int(file.read().split("MemTotal:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return ROAMS_LEAST
    return max(ROAMS_LEAST, min(total_kib // 16, ROAMS_MOST))


AUTH, LEASE_S = one_of("required", "off"), number(60, LEASE_MAX_S, " of seconds")
PORT_CLIENTS = number(PORT_CLIENTS_LEAST, PORT_CLIENTS_MOST, "")
AT = Option("--socket", "PATH", default=SOCKET, about="the daemon's")
PLACES = (
    Option("--state", "PATH", default=STATE, about="state file"),
    Option("--client-device", "DEV", parse_device, "br-client", about="the bridge that the clients are on"),
)
IDENTITY = (
    Option("--clat", about="a clatnode: it has clients"),
    Option("--plat", about="a platnode: clients use its exit"),
    Option("--clat-range", "P/48", parse_range, is_needed=True, about="the domain's"),
    Option("--plat-range", "P/48", parse_range, is_needed=True, about="the domain's"),
    Option("--mac", "MAC", mac, is_needed=True, about="the node's, of which its prefixes are made"),
    Option("--node-client-prefix", "P/64", client_prefix, is_needed=True, about="the domain's, for clients"),
)
DEVICES = (
    Option("--clat-device", "DEV", parse_device, "clat", about="the translator's"),
    Option("--plat-device", "DEV", parse_device, "plat", about="the translator's"),
    Option(
        "--translator",
        "PATH",
        about="of the CLAT: siit's socket, or nat46's control file; found if not given",
    ),
    Option("--mesh", "DEV", parse_device, is_many=True, about="where other nodes are"),
    Option("--prefix", "P", parse_prefix6, is_many=True, about="of clients' IPv6, which moves with them"),
    Option("--pref64", "P/96", default="off", about="of clients that translate themselves; off, auto"),
    Option(
        "--table", "N", parse_table, MAIN_TABLE, about="routing table of the host routes to these addresses"
    ),
    Option("--lease-file", "FILE", about="dnsmasq's, read once at the start, /tmp/dhcp.leases for example"),
)
WAYS = (
    Option("--rules", "|".join(BACKENDS), one_of(*BACKENDS), "auto", about="netfilter's language"),
    Option("--roam-auth", "required|off", AUTH, "required", about="off: every ROAM is believed"),
    Option("--prepare", "ADDRESS", parse_ipv6, is_many=True, about="a node of the same owner, see below"),
    Option("--send-on", "on|off", one_of("on", "off"), "off", about="IPv6 of who walks: docs/babeld.md"),
    Option("--max-lease", "S", LEASE_S, 86400, about="seconds; what a roam may last without being renewed"),
    Option("--max-port-clients", "N", PORT_CLIENTS, 512, about="at one port of the bridge; those above wait"),
    Option("--verbose", about="log more; `ctl verbosity` changes it later"),
)
LEFT = Option(
    "--node-client-prefix", "P/64", client_prefix, about="needed on kernels before 5.18 to know our addresses"
)


def make_settings(given: "Given") -> Settings:
    """Raises UsageError for options that do not fit together."""
    try:
        return Settings(given, limits(given["--clat"] or not given["--plat"], given["--plat"]))
    except ValueError as error:
        raise UsageError(str(error)) from None


def run_daemon(given: "Given", _words: list[str]) -> None:
    _serve(make_settings(given))


def _run_as_l3roamd(words: list[str]) -> None:
    """Serve IPv6, for who starts the C daemon so."""
    is_version = "-V" in words or "--version" in words
    if is_version or "-h" in words or "--help" in words:
        print(
            version_of("l3roamd_py") if is_version else ABOUT + "\n" + COMMANDS,
            end="\n" if is_version else "",
        )
        return
    meant, ignored = c_options.parse(words)
    for sentence in ignored:
        print(f"l3roamd_py: {sentence}", file=sys.stderr)
    _serve(make_settings(as_daemon(meant)))


def as_daemon(meant: "Given") -> "Given":
    """Return all options of `daemon`; those that a command line of the C daemon does not have are as if not given."""
    given = {option.name: option.default for option in ALL["daemon"][1]}
    given.update(meant)
    return given


def _serve(settings: Settings) -> None:
    from l3roamd_py import daemon
    from l3roamd_py.answers import Answers

    try:
        daemon.run(settings, Answers)
    except daemon.DaemonError as error:
        raise Failure(str(error)) from None


def run_status(given: "Given", _words: list[str]) -> None:
    from l3roamd_py import status_text

    answer = ask(given["--socket"], "get_status")
    try:
        status = json.loads(answer)
        text = answer.strip() if given["--json"] else "\n".join(status_text.render(status))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Failure(f"what answers at {given['--socket']} is no l3roamd_py") from None
    print(text)


def run_ctl(given: "Given", words: list[str]) -> None:
    answer = ask(given["--socket"], " ".join(words))
    if answer:
        print(answer.rstrip("\n"))


def run_flush(given: "Given", _words: list[str]) -> None:
    from l3roamd_py import cleanup

    try:
        cleanup.flush(
            given["--socket"], given["--state"], given["--client-device"], given["--node-client-prefix"]
        )
    except cleanup.FlushError as error:
        raise Failure(str(error)) from None


# name -> what does it, its options, what its words are called, what it is for
ALL: "dict[str, tuple[Callable[[Given, list[str]], None], tuple[Option, ...], str, str]]" = {
    "daemon": (
        run_daemon,
        (AT,) + IDENTITY + PLACES + DEVICES + WAYS,
        "",
        "Serve the clients of this node, in the foreground.",
    ),
    "status": (
        run_status,
        (AT, Option("--json", about="as one line of JSON")),
        "",
        "Print what the daemon knows.",
    ),
    "ctl": (run_ctl, (AT,), "WORD...", "Send one command to the daemon and print its answer."),
    "flush": (
        run_flush,
        (AT,) + PLACES + (LEFT,),
        "",
        "Remove everything that a daemon left in the kernel, and its state file.",
    ),
}
EXPECTED = ", ".join(["daemon", "status", "lease", "ctl", "flush"])


def help_of(name: str) -> str:
    _, options, words, about = ALL[name]
    usage = f"Usage: l3roamd_py {name} [OPTION...] {words}".rstrip()
    return "\n".join([usage, "", about, "", "options:"] + describe(options) + ["", HELPS[name]])


def parse_daemon(words: list[str]) -> Settings:
    """Return what a command line of `daemon` means. Raises UsageError."""
    return make_settings(parse(words, ALL["daemon"][1])[0])


def run(words: list[str]) -> None:
    """Carry out a command line. Raises UsageError, Failure."""
    name = words[0] if words else ""
    if name == "--flush":
        name = "flush"
    if name in ("-h", "--help"):
        print("Usage: l3roamd_py COMMAND [OPTION...]\n\n" + ABOUT + "\n" + COMMANDS, end="")
    elif name == "--version":
        print(version_of("l3roamd_py"))
    elif c_options.is_meant(words):
        _run_as_l3roamd(words)
    elif name not in ALL:
        wrong = f"{quote(name)} is no command" if name else "a command is missing"
        raise UsageError(f"{wrong}, expected one of {EXPECTED} (l3roamd_py --help tells more)")
    elif "--help" in words or "-h" in words:
        print(help_of(name))
    else:
        _run_command(name, words[1:])


def _run_command(name: str, words: list[str]) -> None:
    does, options, called, _ = ALL[name]
    try:
        given, rest = parse(words, options)
        if bool(rest) != bool(called):
            raise UsageError(f"{called} is missing" if called else f"{quote(rest[0])} is too much")
        does(given, rest)
    except UsageError as error:
        raise UsageError(f"{name}: {error} (l3roamd_py {name} --help tells more)") from None
