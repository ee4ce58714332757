# SPDX-License-Identifier: ISC
"""The command line: `reach check`, `keys`, `render`, `up`, `confirm`, `down`, `status`,
`test`.

Exit codes: 0 ok, 1 refused or failed, 2 usage.
"""

import argparse
import json
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path

from reach import check, host, keys, measure, plan_publish, reader, status
from reach.apply import Ledger, Pending, alone, down, up
from reach.description import Description, DescriptionError
from reach.kernel import Kernel, KernelError
from reach.keys import Keys
from reach.plan import Plan
from reach.reading import Finding
from reach.render import TARGETS, File, Place, RenderError, wgquick
from reach.steps import from_plan

ABOUT = "IPv4 in and out through a rented server: one file for both ends."
EXAMPLES = """\
from nothing:
  cp examples/4in6.toml reach.toml, edit it     four examples, one for each kind of set-up
  reach check                                   explains every mistake
  reach keys attic                              on each end; then exchange the .pub files
An END is `server`, or a name behind home. or client. in the file."""


CONFIRM_S = 60
STATE = Path("/run/reach")


class Failure(Exception):
    """One sentence for the user; exit code 1."""


def load(options: argparse.Namespace) -> Description:
    """The description, right in form. Raises Failure, or DescriptionError with all mistakes."""
    try:
        return reader.read(options.file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{options.file} cannot be read: {error}") from None


def end_of(options: argparse.Namespace, whole: Description) -> str:
    if options.end not in whole.ends:
        raise Failure(f'no end "{options.end}" in {options.file}; there is {", ".join(whole.ends)}')
    return options.end


def key_folder(options: argparse.Namespace) -> Path:
    return options.keys or options.file.parent / "keys"


def run_check(options: argparse.Namespace) -> int:
    try:
        whole = load(options)
        findings = check.check(whole)
        findings += keys.read(key_folder(options), whole.ends)[1]
    except DescriptionError as error:
        findings = error.findings
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        print("\n".join(map(str, findings)) if findings else f"{options.file}: nothing to complain about")
    return int(any(finding.is_error for finding in findings))


def sound(options: argparse.Namespace) -> tuple[Description, Keys]:
    """The description and the keys, when nothing is wrong with either; warnings go to stderr."""
    whole = load(options)
    known, of_keys = keys.read(key_folder(options), whole.ends)
    findings = check.check(whole) + of_keys
    if any(finding.is_error for finding in findings):
        raise DescriptionError([finding for finding in findings if finding.is_error])
    show_findings(findings)
    return whole, known


def plan_of(options: argparse.Namespace) -> tuple[Plan, Keys]:
    whole, known = sound(options)
    return plan_publish.make(whole, end_of(options, whole)), known


def run_render(options: argparse.Namespace) -> int:
    plan, known = plan_of(options)
    place = Place(known)
    try:
        if options.with_private_key:
            if options.target != "wg-quick":
                raise RenderError("only files for wg-quick can have the private key inside")
            files = wgquick.render_for_app(plan, place)
        else:
            files = TARGETS[options.target](plan, place)
    except RenderError as error:
        raise Failure(str(error)) from None
    if options.json:
        print(json.dumps([asdict(file) for file in files]))
    elif options.out:
        write_files(options.out, files)
    else:
        for file in files:
            print(f"### {file.path} (mode {file.mode:o})\n{file.text}")
    return 0


def run_up(options: argparse.Namespace) -> int:
    whole, known = sound(options)
    plan = plan_publish.make(whole, end_of(options, whole))
    refuse_to_cut_off(plan, os.environ.get("SSH_CONNECTION", ""))
    within_s = options.confirm_within
    if within_s is None:
        within_s = CONFIRM_S if "SSH_CONNECTION" in os.environ else 0
    pending = Pending(options.state, plan.end)
    try:
        wanted = from_plan(plan, known, str(key_folder(options).resolve()))
        with alone(options.state):
            kernel, ledger = Kernel(options.state), Ledger(options.state, plan.end)
            show_findings(host.advice(plan, kernel.chains()))
            before = ledger.read()
            changed = up(kernel, ledger, wanted)
    except RenderError as error:
        raise Failure(str(error)) from None
    except KernelError as error:
        raise Failure(f"{error}; nothing was changed") from None
    print(f"{plan.end} is up, {changed} of {len(wanted)} steps were new")
    if within_s and changed:
        pending.confirm()
        pending.begin(options.state, plan.end, before, within_s)
        print(f"it is taken back in {within_s} s unless you say: reach confirm {plan.end}")
    return 0


def refuse_to_cut_off(plan: Plan, ssh: str) -> None:
    """Raises Failure when a publication would take the SSH connection that this is told through."""
    words = ssh.split()
    if len(words) != 4:
        return
    address, port = words[2], int(words[3])
    for dnat in plan.firewall.dnats:
        match = dnat.match
        ports = match.ports or ((1, 65535),)
        takes_port = match.protocol in (None, "tcp") and any(first <= port <= last for first, last in ports)
        if str(match.destination) == address and takes_port and ("tcp", port) not in dnat.excepted:
            raise Failure(
                f"you are connected by SSH to {address} port {port}, which would lead to {dnat.to}: connect over IPv6,"
                f' or leave the port out (except = ["tcp/{port}"]); nothing was changed'
            )


def run_confirm(options: argparse.Namespace) -> int:
    if not Pending(options.state, options.end).confirm():
        raise Failure(f"nothing at {options.end} waits to be confirmed")
    print(f"{options.end} stays as it is")
    return 0


def run_down(options: argparse.Namespace) -> int:
    """Needs no description: what was done is in the ledger."""
    with alone(options.state):
        Pending(options.state, options.end).confirm()
        ledger = Ledger(options.state, options.end)
        count = down(Kernel(options.state), ledger)
    print(f"{options.end} is down, {count} steps taken back")
    return int(bool(ledger.read()))


def run_status(options: argparse.Namespace) -> int:
    whole = load(options)
    known, _ = keys.read(key_folder(options), whole.ends)
    plan = plan_publish.make(whole, end_of(options, whole))
    found = status.read(whole, plan, known.public, Kernel(options.state))
    print(json.dumps(found) if options.json else status.text(found))
    return 0 if found["is_up"] else 1


def run_test(options: argparse.Namespace) -> int:
    whole = load(options)
    end = end_of(options, whole)
    if options.serve:
        print(f"answering on port {measure.PORT} until interrupted", flush=True)
        try:
            measure.serve()
        except OSError as error:
            raise Failure(f"port {measure.PORT}: {error.strerror}") from None
    others = {other for link in whole.links_of(end) for other in link.ends} - {end}
    everything = {
        other: [measure.measure(way) for way in measure.ways(whole, end, other)] for other in sorted(others)
    }
    if options.json:
        print(
            json.dumps(
                {other: [asdict(r) for r in found] for other, found in everything.items()}, default=str
            )
        )
    else:
        print("\n".join(measure.text(other, found) for other, found in everything.items()))
    return 0 if any(r.trip_ms is not None for found in everything.values() for r in found) else 1


def write_files(folder: Path, files: list[File]) -> None:
    for file in files:
        path = folder / file.path.lstrip("/")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.text)
            path.chmod(file.mode)
        except OSError as error:
            raise Failure(f"{path} cannot be written: {error.strerror}") from None
        print(path)


def run_keys(options: argparse.Namespace) -> int:
    whole = load(options)
    try:
        print(keys.write(key_folder(options), end_of(options, whole)))
    except (OSError, keys.KeyProblem) as error:
        raise Failure(f"the keys of {options.end}: {error}") from None
    return 0


def make_parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("reach", description=ABOUT, epilog=EXAMPLES, formatter_class=plain)
    parser.add_argument(
        "--file", type=Path, default=Path("reach.toml"), metavar="PATH", help="the description (%(default)s)"
    )
    parser.add_argument("--keys", type=Path, metavar="FOLDER", help="of the keys (keys/ beside the file)")
    parser.add_argument(
        "--state", type=Path, default=STATE, metavar="FOLDER", help="what is done (%(default)s)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, does, about: str, has_end: bool = True) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
        command.set_defaults(does=does)
        if has_end:
            command.add_argument("end", metavar="END", help="server, or the name of a home or client")
        return command

    command = add("check", run_check, "explain every mistake in the description and the keys", False)
    command.add_argument("--json", action="store_true", help="one list, for programs")
    add("keys", run_keys, "make this end's WireGuard keys where they are missing, print the public one")
    command = add("render", run_render, "print the native configuration of a system instead of setting it up")
    command.add_argument(
        "--for", dest="target", choices=TARGETS, required=True, metavar="TARGET", help=", ".join(TARGETS)
    )
    command.add_argument(
        "--out", type=Path, metavar="FOLDER", help="write the files below it, instead of to stdout"
    )
    command.add_argument("--json", action="store_true", help="the files as one list, for programs")
    command.add_argument(
        "--with-private-key", action="store_true", help="for an app on a phone: the key inside, no commands"
    )
    command = add("up", run_up, "set this end up, or bring it up to date with the description")
    command.add_argument(
        "--confirm-within",
        type=int,
        metavar="S",
        help=f"take it back after S s without `reach confirm`; 0: never (over SSH {CONFIRM_S}, else 0)",
    )
    add("confirm", run_confirm, "keep what `up` did")
    add("down", run_down, "take back everything that `up` did")
    command = add("status", run_status, "show links, handshakes, and whether what is published answers")
    command.add_argument("--json", action="store_true", help="everything, for programs")
    command = add("test", run_test, "measure round trip and throughput to the other ends, by each way")
    command.add_argument("--serve", action="store_true", help="be the one that is measured")
    command.add_argument("--json", action="store_true", help="for programs")
    return parser


def show_findings(findings: list[Finding]) -> None:
    for finding in findings:
        print(f"reach: {finding}", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    logging.basicConfig(stream=sys.stderr, format="reach: %(message)s")
    options = make_parser().parse_args(arguments)
    try:
        return options.does(options)
    except DescriptionError as error:
        show_findings(error.findings)
    except Failure as failure:
        print(f"reach: {failure}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `reach render server | head`: nobody wants more
        sys.stderr.close()
    return 1
