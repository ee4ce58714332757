# SPDX-License-Identifier: ISC
"""The command line: `nat46ctl add`, `config`, `insert`, `remove`, `del`, `show`, `stat`, `diff`, `check`.

Exit codes: 0 ok, 1 refused, failed or different, 2 usage: words that no translator could carry out.
"""

import argparse
import io
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from nat46 import expect, language, report
from nat46.errors import Nat46Error, NoDevice, NotApplied, Refused
from nat46.language import Command, Config, ControlError
from nat46.listing import Device
from nat46.translator import Translator
from runtime.usage import Parser

RAW = argparse.RawDescriptionHelpFormatter
ABOUT = """\
Tell a translator what to translate, and see that it did: the kernel module nat46, or siit. What a command asks for
is read back; the module answers "success" to everything."""
RULES = """\
--local and --remote take IPV4=IPV6[,STYLE]: a prefix that IPv4 addresses are embedded in (STYLE RFC6052), or one
address for one (NONE); the style is found by the lengths. From IPv4 to IPv6 the local rule maps the source and the
remote rule the destination, on the way back the reverse. Everything else is KEY VALUE, as in the control file:
local.v4 local.v6 local.style (NONE, MAP, MAP0, RFC6052) local.ea-len local.psid-offset, remote. the same, debug."""
EXAMPLES = {
    "": """\
a clat, from nothing:
  nat46ctl add clat --local 10.126.0.0/16=fd00:1::/96 --remote 0.0.0.0/0=64:ff9b::/96
  ip link set clat up mtu 1280
  ip route add default dev clat mtu lock 1252; ip route add fd00:1::/96 dev clat
  nat46ctl show; nat46ctl stat; nat46ctl check
`nat46ctl COMMAND --help` tells more. docs/nat46.md says how the kernel module differs from what one would expect.""",
    "add": f"""\
{RULES}

examples:
  nat46ctl add clat --local 10.126.0.0/16=fd00:1::/96
  nat46ctl add eam --local 192.0.2.1=2001:db8::1 --remote 0.0.0.0/0=64:ff9b::/96 --dry-run""",
    "config": f"""\
It changes what is named, in the device's last pair, and no more.
{RULES}

examples:
  nat46ctl config clat --remote 0.0.0.0/0=64:ff9b::/96
  nat46ctl config clat debug 1""",
    "insert": f"""\
The pair goes before all others.
{RULES}

example:
  nat46ctl insert clat --local 192.0.2.1=2001:db8::1""",
    "remove": f"""\
The words are those of the insert that made the pair.
{RULES}

example:
  nat46ctl remove clat --local 192.0.2.1=2001:db8::1""",
    "del": "Its routes and addresses go with it.\n\nexample:\n  nat46ctl del clat",
    "show": "examples:\n  nat46ctl show          a table\n  nat46ctl show --json   for programs",
    "stat": "examples:\n  nat46ctl stat clat\n  nat46ctl stat --json",
    "diff": """\
FILE has commands that make devices, one a line, or a listing as `siit show` or the control file prints it; - is stdin.
A line with - is wanted and not there, one with + is there and not wanted. Exit code 1 says that there is one.

examples:
  nat46ctl diff /etc/nat46.rules
  cat /proc/net/nat46/control >before; ...; nat46ctl diff before""",
    "check": """\
With FILE (- is stdin) it checks commands, and needs no translator; else the devices that there are: rules that
nothing can be translated by, and the MTU that the module leaves behind. Exit code 1 says that something was found.

examples:
  nat46ctl check
  nat46ctl check /etc/nat46.rules""",
}


def translator(options: argparse.Namespace) -> Translator:
    return Translator(options.target, options.netns)


def side_words(side: str, text: str) -> list[str]:
    """KEY VALUE words for IPV4=IPV6[,STYLE]. Raises ControlError."""
    both, _, style = text.partition(",")
    v4, separator, v6 = both.partition("=")
    if not separator:
        raise ControlError(f"--{side}: {text!r} is no rule, expected IPV4=IPV6 like 10.0.0.0/8=64:ff9b::/96")
    v4, v6 = v4 if "/" in v4 else f"{v4}/32", v6 if "/" in v6 else f"{v6}/128"
    style = style or ("NONE" if v4.endswith("/32") and v6.endswith("/128") else "RFC6052")
    return [f"{side}.v4", v4, f"{side}.v6", v6, f"{side}.style", style]


def words_of(options: argparse.Namespace) -> str:
    words = list(options.words)
    for side in language.SIDES:
        if getattr(options, side) is not None:
            words += side_words(side, getattr(options, side))
    return " ".join(words)


def run_add(options: argparse.Namespace) -> None:
    words = words_of(options)
    if options.dry_run:
        print("\n".join(language.format(command) for command in expect.to_make(options.device, words)))
    else:
        translator(options).create(options.device, words)


def run_change(options: argparse.Namespace) -> None:
    command = language.parse(f"{options.name} {options.device} {words_of(options)}")
    carry_out(options, command)


def run_del(options: argparse.Namespace) -> None:
    carry_out(options, language.parse(f"del {options.device}"))


def carry_out(options: argparse.Namespace, command: Command) -> None:
    if options.dry_run:
        print(language.format(expect.hidden_first(command)))
        return
    device = translator(options).apply(command, getattr(options, "although_cut", False))
    if isinstance(command, Config) and device and (keys := unconfirmed(command, device)):
        print(
            f"nat46ctl: sent, and not confirmed: the listing of {device.name} is cut before {', '.join(keys)}",
            file=sys.stderr,
        )


def unconfirmed(command: Config, device: Device) -> list[str]:
    """The keys of a change of which the listing shows nothing at all."""
    keys = [key for key, _ in command.changes]
    return keys if set(keys) <= set(device.pairs[-1].hidden) else []


def chosen(ours: Translator, name: str | None) -> list[Device]:
    """The device of the command line, or all. Raises NoDevice."""
    devices = ours.list()
    if name is not None and all(device.name != name for device in devices):
        raise NoDevice(name, tuple(device.name for device in devices))
    return [device for device in devices if name in (None, device.name)]


def run_show(options: argparse.Namespace) -> None:
    ours = translator(options)
    devices = chosen(ours, options.device)
    if options.json:
        target = ours.target.name
        print(json.dumps({"target": target, "devices": [report.as_json(device) for device in devices]}))
    else:
        say(report.show(devices, ours.target.name))


def run_stat(options: argparse.Namespace) -> None:
    ours = translator(options)
    counted = {device.name: ours.statistics(device.name) for device in chosen(ours, options.device)}
    if options.json:
        fields = ("in_packets", "in_bytes", "out_packets", "out_bytes", "counters")
        print(
            json.dumps(
                {name: {each: getattr(stat, each) for each in fields} for name, stat in counted.items()}
            )
        )
        return
    for name, stat in counted.items():
        say(report.statistics(name, stat))
    say([f"{'' if counted else 'no device '}at {ours.target.name}"])


def read_file(path: str) -> report.Wanted:
    """The devices that a file makes, or lists: in its names and comments any bytes may be. Raises ControlError."""
    try:
        if path != "-":
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                return report.read_devices(file.read())
        if sys.stdin is None:
            raise ControlError("standard input cannot be read: it is closed")
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
        return report.read_devices(sys.stdin.read())
    except OSError as error:
        raise ControlError(f"{path} cannot be read: {error.strerror}") from None


def run_diff(options: argparse.Namespace) -> int:
    wanted = read_file(options.file)
    lines = report.differences(wanted, translator(options).list())
    say(lines)
    return 1 if lines else 0


def run_check(options: argparse.Namespace) -> int:
    if options.file:
        faults = report.faults_of_pairs(read_file(options.file))
    else:
        ours = translator(options)
        faults = [
            fault
            for device in ours.list()
            for fault in report.faults_of_device(device, ours.mtu_bytes(device.name))
        ]
    say(faults)
    return 1 if faults else 0


def make_parser() -> argparse.ArgumentParser:
    parser = Parser("nat46ctl", description=ABOUT, epilog=EXAMPLES[""], formatter_class=RAW)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, does, about in (
        ("add", run_add, "make a device, with one pair of rules"),
        ("config", run_change, "change keys of a device's last pair"),
        ("insert", run_change, "put a pair before a device's others"),
        ("remove", run_change, "take a pair away"),
        ("del", run_del, "take a device away"),
    ):
        add_change(add(commands, name, does, about), has_rules=name != "del", takes_away=name == "remove")
    for name, does, about in (
        ("show", run_show, "print devices and pairs"),
        ("stat", run_stat, "print packets and bytes that went in and came out translated"),
    ):
        command = add(commands, name, does, about)
        command.add_argument("device", nargs="?")
        command.add_argument("--json", action="store_true", help="one line, for programs")
    command = add(commands, "diff", run_diff, "compare devices with a file of commands")
    command.add_argument("file", metavar="FILE")
    command = add(commands, "check", run_check, "look for rules and settings that cannot work")
    command.add_argument("file", nargs="?", metavar="FILE")
    return parser


def add(commands: Any, name: str, does: Callable, about: str) -> argparse.ArgumentParser:
    """A command, with what all have."""
    whole = about[0].upper() + about[1:] + "."
    command = commands.add_parser(
        name, help=about, description=whole, epilog=EXAMPLES[name], formatter_class=RAW
    )
    command.set_defaults(does=does, name=name)
    command.add_argument("--target", metavar="PATH", help="control file or siit's socket (what is there)")
    command.add_argument("--netns", metavar="NAME", help="the module's devices in this network namespace")
    return command


def add_change(command: argparse.ArgumentParser, has_rules: bool, takes_away: bool) -> None:
    command.add_argument("--dry-run", action="store_true", help="print what would be written")
    command.add_argument("device")
    if has_rules:
        command.add_argument("--local", metavar="RULE", help="IPV4=IPV6[,STYLE]")
        command.add_argument("--remote", metavar="RULE", help="IPV4=IPV6[,STYLE]")
        command.add_argument("words", nargs="*", metavar="KEY VALUE", help="as in the control file")
    if takes_away:
        help_ = "also a pair of which the module's listing shows too little"
        command.add_argument("--although-cut", action="store_true", help=help_)


def read_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line; KEY VALUE may stand before, between and behind options, where argparse stops looking."""
    parser = make_parser()
    options, more = parser.parse_known_args(arguments)
    if more and (not hasattr(options, "words") or more[0].startswith("-")):
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    if more:
        options.words = [*options.words, *more]
    return options


def main(arguments: list[str] | None = None) -> int:
    options = read_arguments(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # where it has no letters for what say leaves
    try:
        code = options.does(options) or 0
        if sys.stdout:  # None if it is closed
            sys.stdout.flush()
        return code
    except (ControlError, Nat46Error) as error:
        print(f"nat46ctl: {printable(one_line(error))}", file=sys.stderr)
        # a command that is wrong everywhere is wrong usage; one that does not fit this translator is a failure
        return 2 if isinstance(error, ControlError) or type(error) is Refused else 1
    except BrokenPipeError:
        raise  # of `nat46ctl show | head`: see runtime.command
    except OSError as error:  # the work is done, but its output cannot be written
        print(f"nat46ctl: standard output: {error.strerror}", file=sys.stderr)
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or Python tries to flush it again at exit
        return 1
    except KeyboardInterrupt:
        return 130


def say(lines: list[str]) -> None:
    for line in lines:
        print(printable(line))


def printable(line: str) -> str:
    """The line with control characters escaped: names of devices may be any bytes."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)


def one_line(error: Exception) -> str:
    if isinstance(error, NotApplied):
        return f"{error}; nothing of it can be relied on: see `nat46ctl show`"
    return str(error)
