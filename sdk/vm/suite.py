# SPDX-License-Identifier: ISC
"""`make test-vm`: the tests that need a kernel of their own, in two machines side by side.

    python -m sdk.vm.suite [--kernel VERSION] [--nat46 FILE] [-k WORD] [--only SUITE]…

In its machine each suite is a pytest of its own with a time limit, one after the other. What they say is in the
machine's folder of build/vm/out, the result of each in result.json there. Python takes seconds to start in a machine.
So suites are forked from one process that has imported everything, and bytecode is compiled outside.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from runtime.usage import Parser
from sdk.interrupt import INTERRUPTED, REQUESTS, handle_requests, run_program
from sdk.lab.machine import REPOSITORY, die_with_parent
from sdk.vm.kernels import VmError, find, tell
from sdk.vm.machine import LOST, MachineOptions, run

OUT = REPOSITORY / "build/vm/out"
LIMIT_S = 3600  # of a machine, its boot included: seven times what it takes on an idle machine
NO_NFTABLES = Path("/etc/modprobe.d/no-nftables.conf")  # the machine's own
TIMEOUT_SCALE = 8  # an emulated processor is so much slower
# a kernel does not load these for a network namespace
MODULES = ("veth", "bridge", "tun", "sch_ingress", "cls_bpf")
LATE = 124
TELL_S = 60  # for a suite that is ended
SLIM = ("--confcutdir=tests/vm", "-p", "no:hypothesispytest")  # these tests know nothing of Hypothesis
PACKAGES = ("l3roamd_py", "nat46", "prefixd", "reach", "sdk", "runtime", "siit", "xlat464")
LINKS = ("tests/lab/test_reach_links.py", "tests/lab/test_reach_on_link.py")
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Suite:
    """What pytest is given, and for how long (s); the machine's number; what its kernel is to have, or not."""

    name: str
    words: tuple[str, ...]
    limit_s: int
    machine: int
    needs_nat46: bool = False
    without_nftables: bool = False  # comes first in its machine: a module that is loaded cannot be forbidden


SUITES = (
    Suite("xtables", ("tests/vm/test_vm_xtables.py",), 600, 1, without_nftables=True),
    Suite("wifi", ("tests/vm/test_vm_wifi.py",), 1000, 1),
    Suite("fast", ("tests/fuzz/test_fuzz_siit_fast.py",), 600, 1),
    Suite("limit", ("tests/lab/test_plat_limit.py", "-k", "stays_up or took_away"), 600, 1),
    Suite("links", (*LINKS, "-k", "not finds"), 2400, 2),
    Suite("diamond", ("tests/vm/test_vm_diamond.py", "-k", "[siit]"), 1200, 2),
    Suite("conformance", ("tests/lab/test_conformance.py", "-k", "[jool or [nat46"), 900, 2),
    Suite("nat46-diamond", ("tests/vm/test_vm_diamond.py", "-k", "[nat46]"), 1200, 2, needs_nat46=True),
    Suite("nat46", ("tests/lab/test_nat46_targets.py", "-k", "[nat46]"), 900, 2, needs_nat46=True),
    Suite("nat46-pairs", ("tests/vm/test_vm_pairs.py",), 600, 2, needs_nat46=True),
    # last, for it takes the module away
    Suite("nat46-storms", ("tests/vm/test_vm_nat46.py",), 900, 2, needs_nat46=True),
)


def inside(names: list[str], more: list[str]) -> int:
    """Run suites in the machine; return 1 if one fails."""
    subprocess.run(["modprobe", "-a", *MODULES], check=True)
    preload()
    results: dict[str, dict] = {}
    for suite in SUITES:
        if names and suite.name not in names:
            continue
        if suite.needs_nat46 and not os.environ.get("NAT46_KO"):
            say(f"{suite.name}: skipped, NAT46_KO=/path/nat46.ko names no module")
            continue
        if suite.without_nftables:
            NO_NFTABLES.write_text("install nf_tables /bin/false\ninstall nft_compat /bin/false\n")
        results[suite.name] = run_suite(suite, more)
        NO_NFTABLES.unlink(missing_ok=True)
    Path(os.environ["OUT"], "result.json").write_text(json.dumps(results, indent=1) + "\n")
    for name, result in results.items():
        say(f"{name}: {'ok' if result['status'] == 0 else 'failed'} after {result['s']} s")
    return int(any(result["status"] for result in results.values()))


def run_suite(suite: Suite, more: list[str]) -> dict:
    """Run a suite; what it says is told when it is over, in one piece, and kept."""
    begun = time.monotonic()
    say(f"{suite.name}: {' '.join(suite.words)}")
    file = Path(os.environ["OUT"], f"{suite.name}.log")
    limit_s = suite.limit_s * int(os.environ.get("WIFI_TURNS", "1"))
    late_s = limit_s * 3 // 4  # a test that lasts so long tells where it is
    words = ["-p", "no:cacheprovider", "-v", "--durations=12", "-o", f"faulthandler_timeout={late_s}"]
    process = FORK.Process(target=run_pytest, args=([*words, *SLIM, *suite.words, *more], file))
    process.start()
    process.join(limit_s)
    late = ""
    if process.exitcode is None:
        os.kill(process.pid or 0, signal.SIGINT)  # pytest tells what has failed so far
        process.join(TELL_S)
        process.kill()
        process.join()
        late = f"vm: {suite.name}: not over after {limit_s} s\n"
    os.write(1, (file.read_text() + late).encode())
    status = LATE if late else process.exitcode
    return {"status": status, "s": round(time.monotonic() - begun)}


def run_pytest(words: list[str], file: Path) -> None:
    """End as pytest does, having said everything to a file."""
    log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout = sys.stderr = os.fdopen(log, "w", buffering=1)
    os.environ["CONFORMANCE_OUT"] = str(file.parent / "conformance")
    import pytest

    sys.exit(int(pytest.main(words)))


def preload() -> None:
    """Import what every suite does. Each import is a second there."""
    importlib.import_module("sdk.lab")
    for plugin in importlib.import_module("_pytest.config").default_plugins:
        importlib.import_module(f"_pytest.{plugin}")


def compile_outside(suites: list[Suite]) -> None:
    """Leave what Python makes of modules and tests where the machine finds it."""
    run_quiet("compileall", "-q", *PACKAGES)
    files = {word for suite in suites for word in suite.words if word.endswith(".py")}
    for folder in {Path(file).parent for file in files}:  # each has a conftest of its own
        there = [file for file in sorted(files) if Path(file).parent == folder]
        run_quiet("pytest", "-p", "no:cacheprovider", "--collect-only", *SLIM, *there)


def run_quiet(*words: str) -> None:
    null = subprocess.DEVNULL
    subprocess.run([sys.executable, "-m", *words], cwd=REPOSITORY, stdin=null, stdout=null, stderr=null)


def say(sentence: str) -> None:
    print(f"vm: {sentence}", flush=True)


def main() -> int:
    parser = Parser(prog="sdk.vm.suite", description=__doc__)
    parser.add_argument("--kernel")
    parser.add_argument("--nat46", default="")
    parser.add_argument("--only", action="append", default=[], choices=[suite.name for suite in SUITES])
    parser.add_argument("--turns", type=int, default=1, help="how often to try what Wi-Fi does")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    said, more = parser.parse_known_args()  # the rest is pytest's
    if said.inside:
        return inside(said.only, more)
    return run_program("vm", lambda: outside(said, more))


def outside(said: argparse.Namespace, more: list[str]) -> int:
    try:
        if said.nat46 and not Path(said.nat46).is_file():
            raise VmError(f"NAT46_KO={said.nat46}: there is no such file")
        chosen = [suite for suite in SUITES if not said.only or suite.name in said.only]
        compile_outside(chosen)
        variables = [f"NAT46_KO={Path(said.nat46).resolve()}"] if said.nat46 else []
        variables += [f"PYTHONPATH={REPOSITORY}", "PYTHONUNBUFFERED=1", f"TIMEOUT_SCALE={TIMEOUT_SCALE}"]
        variables.append(f"WIFI_TURNS={said.turns}")
        wanted = []
        for number in sorted({suite.machine for suite in chosen}):
            only = [f"--only={suite.name}" for suite in chosen if suite.machine == number]
            words = ["env", *variables, sys.executable, "-m", "sdk.vm.suite", "--inside", *only, *more]
            machine = MachineOptions(find(said.kernel), limit_s=LIMIT_S * said.turns, out=OUT / str(number))
            wanted.append((machine, words))
        shutil.rmtree(OUT, ignore_errors=True)  # now that nothing is to be refused any more
        return run_side_by_side(wanted)
    except (VmError, OSError) as error:
        tell(error)
        return 2


def run_side_by_side(wanted: list[tuple[MachineOptions, list[str]]]) -> int:
    """Run commands, each in a machine of its own; return the largest of their exit statuses, LOST for one without."""
    children = [FORK.Process(target=run_machine, args=(os.getpid(), *each)) for each in wanted]
    signal.pthread_sigmask(signal.SIG_BLOCK, REQUESTS)  # until the children handle them
    try:
        for child in children:
            child.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, REQUESTS)
        for child in children:
            child.join()
    finally:
        for child in children:
            if child.pid:
                child.terminate()  # it takes its QEMU along
                child.join()
    statuses = [child.exitcode for child in children]
    return max(
        LOST if status is None or status < 0 else status for status in statuses
    )  # < 0: somebody killed it


def run_machine(parent: int, options: MachineOptions, words: list[str]) -> None:
    """End as a machine's command does, and take the machine along when the parent ends."""
    try:
        os.setsid()  # Ctrl-C is for the parent, which ends us
        die_with_parent(parent)()
        handle_requests()
        status = run(options, words)
    except KeyboardInterrupt:
        status = INTERRUPTED  # which the parent says
    except (VmError, OSError) as error:
        tell(error)
        status = 2
    sys.exit(status)


if __name__ == "__main__":
    sys.exit(main())
