# SPDX-License-Identifier: ISC
"""The command line: what each command does; how they are called is in cli_words.

Exit codes: 0 ok; 1 the machine refuses, or is not as asked; 2 the command line, the description or the keys are wrong,
and nothing was touched.
"""

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

from reach import check, host, keys, measure, plan_publish, reader, session, status
from reach.apply import Ledger, alone, bring_up, down
from reach.cli_words import CONFIRM_S, make_parser
from reach.description import Description, DescriptionError
from reach.kernel import Kernel, KernelError
from reach.kernel_machine import read_machine
from reach.keys import Keys
from reach.pending import Pending
from reach.plan import Plan
from reach.reading import Finding, guess, plain
from reach.render import TARGETS, File, Place, RenderError, wgquick
from reach.steps import from_plan

EXAMPLES = Path(__file__).resolve().parent / "examples"
INSTALLED = Path("/etc/reach/reach.toml")
DESCRIPTION_BYTES = 1 << 20  # a larger file is something else


class Failure(Exception):
    """One sentence for the user; exit code 1."""

    status = 1


class Wrong(Failure):
    """The command line or what it names is wrong; exit code 2."""

    status = 2


def load(options: argparse.Namespace) -> Description:
    """The description, right in form. Raises Wrong, or DescriptionError with all mistakes."""
    try:
        with file_of(options).open("rb") as file:
            content = file.read(DESCRIPTION_BYTES + 1)
        if len(content) > DESCRIPTION_BYTES:
            raise Wrong(
                f"{file_of(options)} is larger than a description can be; expected a text of some lines"
            )
        return reader.read(content.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        raise Wrong(f"{file_of(options)} is no UTF-8 text, from byte {error.start} on") from None
    except FileNotFoundError:
        raise Wrong(f"there is no {file_of(options)}; `reach example` shows how to begin one") from None
    except OSError as error:
        raise Wrong(f"{file_of(options)} cannot be read: {error.strerror}") from None


def file_of(options: argparse.Namespace) -> Path:
    """The file that was asked for, or reach.toml of this folder, or the installed one."""
    if options.file:
        return options.file
    here = Path("reach.toml")
    return INSTALLED if INSTALLED.exists() and not here.exists() else here


def end_of(options: argparse.Namespace, whole: Description) -> str:
    if options.end not in whole.ends:
        raise Wrong(plain(f'no end "{options.end}" in {file_of(options)}; there is {", ".join(whole.ends)}'))
    return options.end


def key_folder(options: argparse.Namespace) -> Path:
    return options.keys or file_of(options).parent / "keys"


def run_example(options: argparse.Namespace) -> int:
    """Print an example, or what each one is for."""
    known = {path.stem: path for path in sorted(EXAMPLES.glob("*.toml"))}
    if options.name is None:
        for name, path in known.items():
            lines = path.read_text("utf-8").partition("\n\n")[0].splitlines()[1:]
            about = " ".join(line.removeprefix("# ") for line in lines)
            print(f"{name:16} {about.partition('. ')[0].removesuffix('.')}")
        return 0
    if options.name not in known:
        raise Wrong(plain(f'no example "{options.name}"; {guess(options.name, known)}'))
    print(known[options.name].read_text("utf-8"), end="")
    return 0


def run_check(options: argparse.Namespace) -> int:
    try:
        whole = load(options)
        findings = check.check(whole)
        findings += keys.read(key_folder(options), whole.ends)[1]
    except DescriptionError as error:
        findings = error.findings
    text = "\n".join(map(str, findings)) or f"{file_of(options)}: nothing to complain about"
    print(json.dumps([asdict(finding) for finding in findings]) if options.json else text)
    return 2 if any(finding.is_error for finding in findings) else 0


def sound(options: argparse.Namespace) -> tuple[Description, Keys]:
    """The description and the keys, when nothing is wrong with either; warnings go to stderr."""
    whole = load(options)
    known, of_keys = keys.read(key_folder(options), whole.ends)
    findings = check.check(whole) + of_keys
    refuse(findings)
    show_findings(findings)
    return whole, known


def sensible(options: argparse.Namespace) -> Description:
    """The description, for who only looks: right in form and sense, whatever the keys are, and without warnings."""
    whole = load(options)
    refuse(check.check(whole))
    return whole


def refuse(findings: list[Finding]) -> None:
    if errors := [finding for finding in findings if finding.is_error]:
        raise DescriptionError(errors)


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
        raise Wrong(str(error)) from None
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
    ssh = session.ssh_connection()
    if cut := host.cut_off(plan, ssh):
        raise Failure(cut)
    within_s = options.confirm_within
    if within_s is None:
        within_s = CONFIRM_S if ssh else 0
    try:
        wanted = from_plan(plan, known, str(key_folder(options).resolve()))
        show_findings(host.advice(plan, read_machine()))
        changed = bring_up(options.state, plan.end, wanted, within_s)
    except RenderError as error:
        raise Wrong(f"{error}; nothing was changed") from None
    except KernelError as error:
        raise Failure(f"{error}; nothing was changed") from None
    gone = f", {changed.gone} taken back" if changed.gone else ""
    print(f"{plan.end} is up, {changed.new} of {len(wanted)} steps were new{gone}")
    if (left_s := Pending(options.state, plan.end).left_s()) is not None:
        print(f"it is taken back in {left_s} s unless you say: reach confirm {plan.end}")
    return 0


def run_confirm(options: argparse.Namespace) -> int:
    if Pending(options.state, options.end).left_s() is None:
        end_of_what_is_described(options)
    with alone(options.state):
        if not Pending(options.state, options.end).confirm():
            raise Failure(f"nothing at {options.end} waits to be confirmed")
    print(f"{options.end} stays as it is")
    return 0


def end_of_what_is_described(options: argparse.Namespace) -> None:
    """Nothing is done there: then the name may be wrong, or the file, if there is one."""
    if file_of(options).exists():
        end_of(options, sensible(options))


def run_down(options: argparse.Namespace) -> int:
    """Needs no description: what was done is in the ledger."""
    if not Ledger(options.state, options.end).path.exists():
        end_of_what_is_described(options)
    with alone(options.state):
        Pending(options.state, options.end).confirm()
        ledger = Ledger(options.state, options.end)
        with Kernel(options.state) as kernel:
            count = down(kernel, ledger)
    print(f"{options.end} is down, {count} steps taken back")
    return int(bool(ledger.read()))


def run_status(options: argparse.Namespace) -> int:
    whole = sensible(options)
    known, _ = keys.read(key_folder(options), whole.ends)
    plan = plan_publish.make(whole, end_of(options, whole))
    with Kernel(options.state) as kernel:
        found = status.read(whole, plan, known.public, kernel, read_machine())
    found["unconfirmed_s"] = Pending(options.state, plan.end).left_s()
    found["problems"] = status.problems(found)
    print(json.dumps(found) if options.json else status.text(found))
    return 1 if found["problems"] else 0


def run_test(options: argparse.Namespace) -> int:
    whole = sensible(options)
    end = end_of(options, whole)
    if options.serve:
        print(f"answering on port {measure.PORT} until interrupted", flush=True)
        try:
            measure.serve()
        except OSError as error:
            raise Failure(f"port {measure.PORT}: {error.strerror}") from None
    others = sorted({other for link in whole.links_of(end) for other in link.ends} - {end})
    everything = {
        other: [measure.measure(way) for way in measure.ways(whole, end, other)] for other in others
    }
    if options.json:
        results = {other: [asdict(result) for result in found] for other, found in everything.items()}
        print(json.dumps(results, default=str))
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
    whole = sensible(options)
    try:
        print(keys.write(key_folder(options), end_of(options, whole)))
    except OSError as error:
        raise Failure(f"the keys of {options.end} cannot be written: {error.strerror}") from None
    except (UnicodeDecodeError, keys.KeyProblem):
        raise Wrong(f"the keys of {options.end}: {keys.NO_KEY}") from None
    return 0


COMMANDS = {
    "example": run_example,
    "check": run_check,
    "keys": run_keys,
    "render": run_render,
    "up": run_up,
    "confirm": run_confirm,
    "down": run_down,
    "status": run_status,
    "test": run_test,
}


def show_findings(findings: list[Finding]) -> None:
    for finding in findings:
        print(f"reach: {finding}", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    logging.basicConfig(stream=sys.stderr, format="reach: %(message)s")
    options = make_parser(COMMANDS).parse_args(arguments)
    try:
        return options.does(options)
    except DescriptionError as error:
        show_findings(error.findings)
        return 2
    except (Failure, KernelError) as error:
        print(f"reach: {error}", file=sys.stderr)
        return getattr(error, "status", 1)
    except BrokenPipeError:
        raise  # of `reach render server | head`: see runtime.command
    except OSError as error:
        hint = "; run it as root, or with sudo" if isinstance(error, PermissionError) else ""
        print(f"reach: {error.filename or 'the machine'}: {error.strerror}{hint}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1
