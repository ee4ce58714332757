# SPDX-License-Identifier: ISC
"""The command line: `siit daemon`, `ctl`, `show`, `stat`, `gro-list`, `translate`.

Exit codes: 0 ok, 1 refused or failed, 2 usage. A node's set-up calls `ctl` several times, so what only the daemon and
`translate` need is imported by them: it would take three times as long as the rest.
"""

import argparse
import json
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.usage import Parser
from siit.paths import SOCKET, STATE

if TYPE_CHECKING:
    from nat46.language import Pair
    from siit.translator import Policy

ABOUT = (
    "An IPv4/IPv6 translator (RFC 7915) on TUN devices, which takes the commands of the kernel module nat46."
)
EXAMPLES = {
    "": """\
a clat, from nothing:
  siit daemon &
  siit ctl 'add clat' \\
    'config clat local.v4 192.168.0.0/16 local.v6 fd00:1::/96 local.style RFC6052' \\
    'config clat remote.v4 0.0.0.0/0 remote.v6 64:ff9b::/96 remote.style RFC6052'
  ip link set clat up mtu 1500
  ip route add default dev clat mtu 1480; ip route add fd00:1::/96 dev clat
  siit stat clat
`siit COMMAND --help` tells more.""",
    "daemon": """\
It stays in the foreground, writes to stderr, and ends on SIGTERM. Its devices, and so their routes, stay; the
next daemon finds them in the state file and goes on. `siit ctl 'del DEVICE'` takes a device away.""",
    "ctl": """\
examples:
  siit ctl 'add clat'
  siit ctl 'config clat remote.v6 64:ff9b::/96 remote.style RFC6052 remote.v4 0.0.0.0/0'
  siit ctl 'insert clat local.v4 10.0.0.1/32 local.v6 2001:db8::1/128'   one to one, before the other rules
  siit ctl 'remove clat local.v4 10.0.0.1/32 local.v6 2001:db8::1/128'
  siit ctl < commands.txt
keys: local.v4 local.v6 local.style (NONE or RFC6052), and remote. the same. From IPv4 to IPv6 local maps
the source and remote the destination, on the way back the reverse. The first refusal ends it.""",
    "show": "",
    "stat": """\
examples:
  siit stat              a table of what is not zero
  siit stat clat --json  all counters, for programs""",
    "gro-list": """\
examples:
  siit gro-list            the devices that have it on, a line each
  siit gro-list off eth0   as `ethtool -K eth0 rx-gro-list off`
A list of packets crosses a router fast, but comes out of a TUN device one by one: a translator in user space is
many times slower then. One whose fast path takes lists as they are is not: that depends on the kernel.""",
    "translate": """\
examples:
  siit translate --rule 'local.v4 192.0.2.0/24 local.v6 fd00:1::/96 local.style RFC6052
    remote.v4 0.0.0.0/0 remote.v6 64:ff9b::/96 remote.style RFC6052' 4500001c000040004011...
  siit show | siit translate --rules - --pcap in.pcap --out out.pcap
Packets are hex, one a line, or raw IP in a pcap file (link type 101). Nothing is sent anywhere.""",
}


QUEUES_MAX = 4  # by default: each takes memory, and a router has other work
ANSWER_S = 10  # the longest that the daemon may take for a command: a node's set-up must not wait for ever


class Failure(Exception):
    """One sentence for the user; exit code 1."""


def ask(path: Path, lines: Iterable[str]) -> Iterator[list[str]]:
    """Send commands to the daemon one by one; yield each one's reply. Raises Failure when it is refused."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_S)
        try:
            connection.connect(str(path))
        except OSError as error:
            raise Failure(
                f"no daemon answers at {path} ({error.strerror}): start `siit daemon` first, as root"
            ) from None
        replies = connection.makefile("r", encoding="ascii")
        for line in lines:
            try:
                connection.sendall(line.encode("utf-8", "surrogateescape") + b"\n")
            except OSError as error:
                raise Failure(f"the daemon at {path} has hung up: {error.strerror}") from None
            yield _one_reply(path, replies)


def _one_reply(path: Path, replies: Iterable[str]) -> list[str]:
    got: list[str] = []
    try:
        for reply in replies:
            reply = reply.removesuffix("\n")
            if reply == "ok":
                return got
            if reply.startswith("error: "):
                raise Failure(reply.removeprefix("error: "))
            got.append(reply)
    except TimeoutError:
        raise Failure(f"the daemon at {path} has not answered for {ANSWER_S} s: it hangs") from None
    raise Failure(f"the daemon at {path} has hung up before it answered")


def run_daemon(options: argparse.Namespace) -> None:
    from siit import daemon

    try:
        daemon.run(options.socket, options.state, options.queues, make_policy(options), options.fast)
    except daemon.DaemonError as error:
        raise Failure(str(error)) from None


def make_policy(options: argparse.Namespace) -> "Policy":
    from siit.translator import Policy

    return Policy(options.lowest_ipv6_mtu, options.udp_zero_checksum == "drop")


def run_ctl(options: argparse.Namespace) -> None:
    # a command with line feeds is several, and each has its reply
    lines = (line for each in options.command or sys.stdin for line in each.split("\n"))
    for reply in ask(options.socket, (line for line in lines if line.strip())):
        for each in reply:
            print(each)


def run_show(options: argparse.Namespace) -> None:
    for reply in ask(options.socket, [f"show {options.device or ''}"]):
        print("\n".join(reply))


def run_stat(options: argparse.Namespace) -> None:
    (reply,) = ask(options.socket, [f"stat {options.device or ''}"])
    if options.json:
        print(reply[0])
        return
    status = json.loads(reply[0])
    for number, device in enumerate(status["devices"]):
        print("\n" * bool(number) + "\n".join(table(device)))
    if status["unwritten"]:
        print(f"siit: {status['unwritten']}; the rules hold until the daemon ends", file=sys.stderr)


def run_gro_list(options: argparse.Namespace) -> None:
    from siit.gro_list import GroList, devices_with_lists

    try:
        if not options.state:
            is_needless = options.unless_fast and takes_lists(options.socket, options.unless_fast)
            print("".join(f"{name}\n" for name in devices_with_lists() if not is_needless), end="")
            return
        with GroList() as gro_list:
            for device in options.device:
                gro_list.set(device, options.state == "on")
    except OSError as error:
        raise Failure(f"rx-gro-list cannot be asked or set: {error.strerror}") from None


def takes_lists(path: Path, device: str) -> bool:
    (reply,) = ask(path, [f"stat {device}"])
    return all(each.get("takes_lists") for each in json.loads(reply[0])["devices"])


def table(device: dict) -> list[str]:
    """A device for the eye: what it is, then the counters that are not zero, with what they count."""
    if not device["attached"]:
        return [f"{device['name']}: not attached, {device['pairs']} rule pairs (see the daemon's messages)"]
    shape = f"MTU {device['mtu_bytes']}, {device['pairs']} rule pairs, {device['queues']} queues"
    lines = [f"{device['name']}: {shape}", f"  fast path {device['fast']}"]
    counted = [(name, value) for name, value in device["counters"].items() if value]
    from siit.device import MEANINGS

    width = max((len(name) for name, _ in counted), default=0)
    lines += [f"  {name:{width}}  {value:>14}  {MEANINGS.get(name, '')}" for name, value in counted]
    return lines if counted else [*lines, "  no packet yet"]


def read_rules(options: argparse.Namespace) -> "tuple[Pair, ...]":
    """The pairs of --rule, or of the one device that the commands in the file of --rules make."""
    from nat46 import language
    from siit import control

    try:
        if options.rule:
            commands = (language.parse(f"insert offline {' '.join(rule.split())}") for rule in options.rule)
            return tuple(language.apply((), command)[0] for command in commands)
        text = sys.stdin.read() if options.rules == "-" else Path(options.rules).read_text("ascii")
        devices = control.parse_state(text)
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{options.rules} cannot be read: {error}") from None
    except language.ControlError as error:
        raise Failure(str(error)) from None
    if len(devices) != 1:
        raise Failure(f"{options.rules} makes {len(devices)} devices, expected one")
    return next(iter(devices.values()))


def read_packets(options: argparse.Namespace) -> Iterator[tuple[bytes, bytes]]:
    """The packets to translate, each with a time for the pcap file."""
    if options.pcap:
        from siit import pcap

        try:
            yield from pcap.read(options.pcap.read_bytes())
        except (OSError, pcap.PcapError) as error:
            raise Failure(f"{options.pcap}: {error}") from None
        return
    for number, line in enumerate(options.packet or sys.stdin, 1):
        if not line.strip():
            continue
        try:
            yield bytes(8), bytes.fromhex(line)
        except ValueError:
            raise Failure(f"packet {number} is not in hex: {line.strip()[:40]!r}") from None


def run_translate(options: argparse.Namespace) -> None:
    from nat46.language import ControlError
    from siit import control, pcap
    from siit.device import MEANINGS
    from siit.translator import MAX_PACKET, Map, translate

    try:
        rules = Map(control.make_sides(read_rules(options)), options.mtu, policy=make_policy(options))
    except ControlError as error:
        raise Failure(str(error)) from None
    written: list[tuple[bytes, bytes]] = []
    for number, (time, packet) in enumerate(read_packets(options), 1):
        if len(packet) > MAX_PACKET:
            raise Failure(f"packet {number} has {len(packet)} bytes, expected at most {MAX_PACKET}")
        verdict, results = translate(rules, packet)
        written += [(time, result) for result in results]
        if options.json:
            print(json.dumps({"verdict": verdict, "packets": [result.hex() for result in results]}))
        elif not options.out:
            print(
                "\n".join([f"{number}: {verdict}: {MEANINGS[verdict]}", *(f"  {r.hex()}" for r in results)])
            )
    if options.out:
        try:
            options.out.write_bytes(pcap.write(written))
        except OSError as error:
            raise Failure(f"{options.out} cannot be written: {error.strerror}") from None


def whole(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r}, expected a number from {least} to {most}")
        return int(text)

    return number


def mtu(text: str) -> int:
    from siit.translator import MIN_MTU6

    return whole(MIN_MTU6, 65535)(text)


def device_name(text: str) -> str:
    from xlat464.device import parse_device

    try:
        return parse_device(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def make_parser() -> argparse.ArgumentParser:
    parser = Parser("siit", description=ABOUT, epilog=EXAMPLES[""])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, does: Callable, about: str, has_socket: bool = True) -> argparse.ArgumentParser:
        described = about[0].upper() + about[1:] + "."
        command = commands.add_parser(name, help=about, description=described, epilog=EXAMPLES[name])
        command.set_defaults(does=does)
        if has_socket:
            command.add_argument(
                "--socket",
                type=Path,
                default=SOCKET,
                metavar="PATH",
                help="the daemon's (%(default)s)",
            )
        return command

    command = add("daemon", run_daemon, "make and run translator devices, as told through a Unix socket")
    command.add_argument(
        "--state", type=Path, default=STATE, metavar="PATH", help="file of rules (%(default)s)"
    )
    command.add_argument(
        "--queues",
        type=whole(1, 16),
        default=min(os.cpu_count() or 1, QUEUES_MAX),
        metavar="N",
        help=f"threads per device (as many as there are processors, {QUEUES_MAX} at most: %(default)s)",
    )
    command.add_argument(
        "--fast",
        choices=("off", "on", "auto"),
        default="off",
        help="translate what is simple in the kernel, by BPF; auto tries it at the start (%(default)s)",
    )
    add_policy(command)
    command = add("ctl", run_ctl, "send commands to the daemon")
    command.add_argument("command", nargs="*", help="each a command; without any, lines from stdin")
    command = add("show", run_show, "print the configuration, as nat46's control file shows it")
    command.add_argument("device", nargs="?")
    command = add("stat", run_stat, "print devices and counters, one counter per reason for a drop")
    command.add_argument("device", nargs="?")
    command.add_argument("--json", action="store_true", help="all counters, one line")
    command = add("gro-list", run_gro_list, "show or set which devices hand on packets as lists")
    command.add_argument("--unless-fast", metavar="DEVICE", help="none, if its fast path takes lists")
    command.add_argument("state", nargs="?", choices=("on", "off"))
    command.add_argument("device", nargs="*", type=device_name)
    add_packets(add("translate", run_translate, "show what would become of packets; needs no daemon", False))
    return parser


def add_policy(command: argparse.ArgumentParser) -> None:
    """What RFC 7915 has the operator decide: sections 4 and 4.5."""
    command.add_argument(
        "--lowest-ipv6-mtu",
        type=mtu,
        default=1280,
        metavar="BYTES",
        help="the largest fragment to make, since nobody can be told of a smaller MTU (%(default)s)",
    )
    command.add_argument(
        "--udp-zero-checksum",
        choices=("compute", "drop"),
        default="compute",
        help="UDP from IPv4 that has no checksum gets one, or is dropped (%(default)s)",
    )


def add_packets(command: argparse.ArgumentParser) -> None:
    rules = command.add_mutually_exclusive_group(required=True)
    rules.add_argument("--rule", action="append", metavar="KEYS", help="one pair, as behind `insert DEVICE`")
    rules.add_argument("--rules", metavar="FILE", help="commands that make one device; - is stdin")
    command.add_argument("--mtu", type=mtu, default=1500, help="of the IPv6 side, in bytes (%(default)s)")
    add_policy(command)
    command.add_argument("--pcap", type=Path, metavar="FILE", help="packets from a capture instead")
    command.add_argument("--out", type=Path, metavar="FILE", help="results into a capture instead")
    command.add_argument("--json", action="store_true", help="one line of JSON for each packet")
    command.add_argument("packet", nargs="*", metavar="HEX", help="packets; without any, lines from stdin")


def main(arguments: list[str] | None = None) -> int:
    options = make_parser().parse_args(arguments)
    try:
        options.does(options)
    except Failure as failure:
        print(f"siit: {failure}", file=sys.stderr)
        return 1
    return 0
