# SPDX-License-Identifier: ISC
"""`464xlat check`, and what units and sh ask of the configuration.

check [FILE]         say each mistake, and what this machine lacks; exit status 2 and 1, 0 if there is none
shell                lines of sh with every option; exit status 2, and nothing, if anything is wrong
mac                  the node's MAC, chosen once where the file names none
babeld, bird         what the routing daemon has to be told of this node
words DAEMON         a daemon's command line, a word a line; nothing where it has nothing to do
wants DAEMON         exit status 1 where it has nothing to do
start DAEMON         become that daemon
metrics [FILE]       what daemons count, for Prometheus; into a file for node_exporter's textfile collector
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from runtime import sockets
from runtime.usage import Parser
from runtime.version import VERSION
from server import conf, machine, metrics, words

FILE = Path("/etc/464xlat.conf")
ROLES = Path("/run/464xlat")
ADMINS_BABELD = Path("/etc/babeld.conf")
ABOUT = (
    "What /etc/464xlat.conf says: whether it is right, and what it means for the programs of this machine."
)


class Failure(Exception):
    """One sentence, and the exit status."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def load(file: Path) -> tuple[conf.Conf, list[conf.Mistake]]:
    try:
        with file.open("rb") as opened:
            content = opened.read(conf.BYTES + 1)
        if len(content) > conf.BYTES:
            raise Failure(2, f"{file} is larger than {conf.BYTES} bytes, expected a text of some lines")
        return conf.read(content.decode())
    except UnicodeDecodeError as error:
        raise Failure(2, f"{file} is no UTF-8 text, from byte {error.start} on") from None
    except OSError as error:
        raise Failure(2, f"{file} cannot be read: {error.strerror}") from None


def load_right() -> conf.Conf:
    """Half of a configuration must not change anything. Raises Failure."""
    found, mistakes = load(FILE)
    if mistakes:
        more = f" (and {len(mistakes) - 1} more)" if mistakes[1:] else ""
        raise Failure(2, f"{place(FILE, mistakes[0])}{more}: all stays as it is")
    return found


def place(file: Path, mistake: conf.Mistake) -> str:
    return f"{file}{f', line {mistake.line}' if mistake.line else ''}: {mistake.sentence}"


def check(file: Path) -> int:
    found, mistakes = load(file)
    for mistake in mistakes:
        print(f"464xlat: {place(file, mistake)}", file=sys.stderr)
    if mistakes:
        return 2
    lacks = list(machine.lacks(found))
    for sentence in lacks:
        print(f"464xlat: {sentence}", file=sys.stderr)
    return 1 if lacks else 0


def settings(role: str) -> dict[str, str]:
    try:
        return words.settings_of((ROLES / f"{role}.settings").read_text())
    except OSError:
        return {}


def command(daemon: str) -> list[str]:
    try:
        found = load_right()
    except Failure as failure:
        if daemon != "siit":
            raise
        print(f"464xlat: {failure}", file=sys.stderr)
        return words.command(daemon, conf.Conf(), "", {}, {})  # a wrong value must not stop the translator
    return words.command(daemon, found, machine.find_mac(found), settings("clat"), settings("plat"))


def start(daemon: str) -> int:
    line = command(daemon)
    if line:
        noted = ROLES / f"{daemon}.command"
        noted.parent.mkdir(exist_ok=True)
        noted.write_text("\n".join(line) + "\n")
        os.execv(line[0], line)
    print(f"464xlat: {daemon} has nothing to do", file=sys.stderr)
    return 0


def babeld() -> list[str]:
    try:
        admins = ADMINS_BABELD.read_text(errors="replace").splitlines()
    except OSError:
        admins = []
    return words.babeld_lines(load_right(), any(line.strip().startswith("local-p") for line in admins))


def bird() -> list[str]:
    found = load_right()
    return words.bird_lines(found, machine.find_mac(found))


# where a daemon is asked, with what, and what its answer means
ASKED = (
    ("/run/prefixd.sock", b"status", metrics.of_prefixd),
    ("/run/l3roamd.sock", b"get_status", metrics.of_roaming),
)
ANSWER_S = 5
CONNTRACK = Path("/proc/sys/net/netfilter")


def samples() -> Iterator[metrics.Sample]:
    """Yield what is known now; a daemon that does not answer says nothing."""
    yield from metrics.of_version(VERSION)
    for role in ("clat", "plat"):
        yield from metrics.of_role(role, bool(settings(role)))
    with contextlib.suppress(OSError, ValueError):
        count, limit = (int((CONNTRACK / f"nf_conntrack_{name}").read_text()) for name in ("count", "max"))
        yield from metrics.of_conntrack(count, limit)
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        words = ["siit", "stat", "--json"]  # its sessions do not end with an answer
        said = subprocess.run(words, capture_output=True, check=True, timeout=ANSWER_S).stdout
        yield from metrics.of_siit(json.loads(said))
    for path, question, meaning in ASKED:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            yield from list(meaning(json.loads(sockets.ask(path, question, ANSWER_S).splitlines()[0])))


def tell_metrics(file: Path | None) -> int:
    told = metrics.text(samples())
    if file is None:
        print(told, end="")
        return 0
    try:
        new = file.with_name(f".{file.name}.new")
        new.write_text(told)
        new.chmod(0o644)
        new.replace(file)
    except OSError as error:
        raise Failure(1, f"{file} cannot be written: {error.strerror}") from None
    return 0


def make_parser() -> Parser:
    parser = Parser(prog="464xlat-conf", description=ABOUT)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    checked = commands.add_parser("check", help="say each mistake, and what this machine lacks")
    checked.add_argument("file", nargs="?", type=Path, default=FILE, metavar="FILE")
    metered = commands.add_parser("metrics", help="what daemons count, for Prometheus")
    metered.add_argument("file", nargs="?", type=Path, metavar="FILE")
    for name, about in (
        ("shell", "every option, as lines of sh"),
        ("mac", "the node's MAC"),
        ("babeld", "what babeld has to be told"),
        ("bird", "what BIRD has to include"),
    ):
        commands.add_parser(name, help=about)
    for name, about in (
        ("words", "a daemon's command line"),
        ("wants", "whether there is one"),
        ("start", "become that daemon"),
    ):
        commands.add_parser(name, help=about).add_argument("daemon", choices=words.DAEMONS)
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = make_parser().parse_args(arguments)
    try:
        if options.command == "check":
            return check(options.file)
        if options.command == "metrics":
            return tell_metrics(options.file)
        if options.command == "wants":
            return 0 if command(options.daemon) else 1
        if options.command == "start":
            return start(options.daemon)
        lines = {
            "shell": lambda: words.variables(load_right()),
            "mac": lambda: [machine.find_mac(load_right())],
            "babeld": babeld,
            "bird": bird,
            "words": lambda: command(options.daemon),
        }[options.command]()
    except Failure as failure:
        print(f"464xlat: {failure}", file=sys.stderr)
        return failure.status
    if lines:
        print("\n".join(lines))
    return 0
