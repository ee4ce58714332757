# SPDX-License-Identifier: ISC
"""The options of every command but `lease`, and what the commands do with them."""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from l3roamd_py.cli import ABOUT, COMMANDS, HELPS, Failure, UsageError, ask
from l3roamd_py.core.options import ROAMS_MOST, Options
from l3roamd_py.settings import BACKENDS, SOCKET, STATE, Settings
from usage import Parser
from xlat464.address import parse_mac, parse_prefix6
from xlat464.device import parse_device
from xlat464.node import CLIENT_LENGTH, check_ranges, need_unicast, node_prefix, parse_range

LEASE_MAX_S = 30 * 86400
PORT_CLIENTS_LEAST, PORT_CLIENTS_MOST = 16, 4096
ROAMS_LEAST = 1024


def checked(parse: Callable) -> Callable:
    """An argparse type that keeps the sentence of a ValueError."""

    def parsed(text: str) -> object:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def client_prefix(text: str) -> bytes:
    prefix, length = parse_prefix6(text)
    if length != CLIENT_LENGTH:
        raise ValueError(f"{text!r} is a /{length}, expected a /{CLIENT_LENGTH} like fddd:1337:1339::/64")
    return prefix


def lease_s(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 60 <= int(text[:10]) <= LEASE_MAX_S:
        raise ValueError(f"{text!r}, expected a number of seconds from 60 to {LEASE_MAX_S}")
    return int(text)


def port_clients(text: str) -> int:
    if (
        not text.isascii()
        or not text.isdigit()
        or not PORT_CLIENTS_LEAST <= int(text[:10]) <= PORT_CLIENTS_MOST
    ):
        raise ValueError(f"{text!r}, expected a number from {PORT_CLIENTS_LEAST} to {PORT_CLIENTS_MOST}")
    return int(text)


def mac(text: str) -> bytes:
    return need_unicast(parse_mac(text))


def roams_that_fit(meminfo: Path = Path("/proc/meminfo")) -> int:
    """How many roamed homes a platnode remembers: a sixteenth of the memory, with 1 KiB for a home and its mapping."""
    try:
        total_kib = int(meminfo.read_text("ascii").split("MemTotal:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return ROAMS_LEAST
    return max(ROAMS_LEAST, min(total_kib // 16, ROAMS_MOST))


def make_settings(given: argparse.Namespace) -> Settings:
    """Raises UsageError for options that do not fit together."""
    if not given.clat and not given.plat:
        raise UsageError("this node has no role: expected --clat, --plat or both")
    try:
        check_ranges(given.clat_range, given.plat_range)
        options = Options(
            clat_range=given.clat_range,
            plat_range=given.plat_range,
            node_client_prefix=given.node_client_prefix,
            clat=node_prefix(given.clat_range, given.mac) if given.clat else None,
            plat=node_prefix(given.plat_range, given.mac) if given.plat else None,
            prefixes=tuple(given.prefix),
            is_roam_auth_required=given.roam_auth == "required",
            max_lease_s=given.max_lease,
            max_port_clients=given.max_port_clients,
            max_roams=roams_that_fit(),
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Settings(
        options=options,
        client_device=given.client_device,
        clat_device=given.clat_device,
        plat_device=given.plat_device,
        mesh_devices=tuple(dict.fromkeys(given.mesh)),
        lease_file=given.lease_file,
        socket=given.socket,
        state=given.state,
        rules=given.rules,
        is_verbose=given.verbose,
    )


def run_daemon(given: argparse.Namespace) -> None:
    settings = make_settings(given)
    level = logging.DEBUG if settings.is_verbose else logging.INFO
    told, wrong = logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)
    told.addFilter(lambda record: record.levelno < logging.WARNING)  # procd logs stderr as errors
    wrong.setLevel(logging.WARNING)
    logging.basicConfig(handlers=[told, wrong], level=level, format="l3roamd_py: %(message)s")
    from l3roamd_py import daemon

    try:
        daemon.run(settings)
    except daemon.DaemonError as error:
        raise Failure(str(error)) from None


def run_status(given: argparse.Namespace) -> None:
    from l3roamd_py import table

    answer = ask(str(given.socket), "get_status")
    try:
        status = json.loads(answer)
        text = answer.strip() if given.json else "\n".join(table.render(status))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Failure(f"what answers at {given.socket} is no l3roamd_py") from None
    print(text)


def run_ctl(given: argparse.Namespace) -> None:
    answer = ask(str(given.socket), " ".join(given.command))
    if answer:
        print(answer.rstrip("\n"))


def run_flush(given: argparse.Namespace) -> None:
    from l3roamd_py import upkeep

    try:
        upkeep.flush(given.socket, given.state, given.client_device, given.node_client_prefix)
    except upkeep.FlushError as error:
        raise Failure(str(error)) from None


def make_parser() -> Parser:
    shape = argparse.RawDescriptionHelpFormatter
    parser = Parser(
        "l3roamd_py",
        description=ABOUT,
        epilog=COMMANDS,
        formatter_class=shape,
        usage="l3roamd_py COMMAND [OPTION...]",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", help=argparse.SUPPRESS)

    def add(name: str, does: Callable[[argparse.Namespace], None], about: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, prog=f"l3roamd_py {name}", description=about, epilog=HELPS[name], formatter_class=shape
        )
        command.set_defaults(does=does)
        command.add_argument(
            "--socket", type=Path, default=SOCKET, metavar="PATH", help="the daemon's (%(default)s)"
        )
        return command

    add_daemon_options(add("daemon", run_daemon, "Serve the clients of this node, in the foreground."))
    status = add("status", run_status, "Print what the daemon knows.")
    status.add_argument("--json", action="store_true", help="as one line of JSON")
    ctl = add("ctl", run_ctl, "Send one command to the daemon and print its answer.")
    ctl.add_argument("command", nargs="+", metavar="WORD")
    flush = add("flush", run_flush, "Remove everything that a daemon left in the kernel, and its state file.")
    add_places(flush)
    flush.add_argument(
        "--node-client-prefix",
        type=checked(client_prefix),
        metavar="P/64",
        help="older kernels (before 5.18) tell our addresses on lo by it alone",
    )
    return parser


def add_places(command: argparse.ArgumentParser) -> None:
    command.add_argument("--state", type=Path, default=STATE, metavar="PATH", help="state file (%(default)s)")
    command.add_argument(
        "--client-device",
        type=checked(parse_device),
        default="br-client",
        metavar="DEV",
        help="the bridge that the clients are on (%(default)s)",
    )


def add_daemon_options(command: argparse.ArgumentParser) -> None:
    add_identity(command.add_argument_group("who this node is"))
    where = command.add_argument_group("where clients are")
    add_places(command)
    add_devices(where)
    add_ways(command.add_argument_group("how"))


def add_identity(who: argparse._ArgumentGroup) -> None:
    who.add_argument("--clat", action="store_true", help="a clatnode: it has clients")
    who.add_argument("--plat", action="store_true", help="a platnode: clients use its exit")
    for name in ("clat", "plat"):
        who.add_argument(
            f"--{name}-range", type=checked(parse_range), required=True, metavar="P/48", help="the domain's"
        )
    who.add_argument(
        "--mac", type=checked(mac), required=True, help="the node's, of which its prefixes are made"
    )
    who.add_argument(
        "--node-client-prefix",
        type=checked(client_prefix),
        required=True,
        metavar="P/64",
        help="the domain's; an address in it leads to whoever serves a client",
    )


def add_devices(where: argparse._ArgumentGroup) -> None:
    where.add_argument(
        "--clat-device", type=checked(parse_device), default="clat", metavar="DEV", help="(%(default)s)"
    )
    where.add_argument(
        "--plat-device", type=checked(parse_device), default="plat", metavar="DEV", help="(%(default)s)"
    )
    where.add_argument(
        "--mesh",
        type=checked(parse_device),
        action="append",
        default=[],
        metavar="DEV",
        help="may be repeated",
    )
    where.add_argument(
        "--prefix",
        type=checked(parse_prefix6),
        action="append",
        default=[],
        metavar="P",
        help="IPv6 prefix of clients, whose addresses move with them; may be repeated",
    )
    where.add_argument(
        "--lease-file", type=Path, metavar="FILE", help="dnsmasq's, read once at the start (/tmp/dhcp.leases)"
    )


def add_ways(how: argparse._ArgumentGroup) -> None:
    how.add_argument("--rules", choices=BACKENDS, default="auto", help="netfilter's language (%(default)s)")
    how.add_argument(
        "--roam-auth",
        choices=("required", "off"),
        default="required",
        help="off: a platnode believes every ROAM; for a mesh whose nodes are all trusted (%(default)s)",
    )
    how.add_argument(
        "--max-lease",
        type=checked(lease_s),
        default=86400,
        metavar="S",
        help="seconds; what a roam may last without being renewed (%(default)s)",
    )
    how.add_argument(
        "--max-port-clients",
        type=checked(port_clients),
        default=512,
        metavar="N",
        help="clients at one port of the bridge; those above wait until others leave (%(default)s)",
    )
    how.add_argument("--verbose", action="store_true", help="log more; `ctl verbosity` changes it later")


def run(words: list[str]) -> None:
    """Carry out a command line. Raises UsageError, Failure."""
    if words[:1] == ["--flush"]:
        words = ["flush", *words[1:]]
    given = make_parser().parse_args(words)
    given.does(given)
