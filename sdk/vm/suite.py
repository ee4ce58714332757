# SPDX-License-Identifier: ISC
"""`make test-vm`: the tests that need a kernel of their own, all in one boot.

    python -m sdk.vm.suite [--kernel VERSION] [--nat46 FILE] [-k WORD] [--only SUITE]…

In the machine each suite is a pytest of its own with a time limit. Those for a kernel without nftables come first, as
long as the module is not loaded. What they say is in build/vm/out, the result of each in its result.json.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sdk.lab.machine import REPOSITORY
from sdk.vm.kernels import VmError, find
from sdk.vm.machine import Wishes, run

OUT = REPOSITORY / "build/vm/out"
LIMIT_S = 1500  # of all suites together, the boot included
NO_NFTABLES = Path("/etc/modprobe.d/no-nftables.conf")  # the machine's own
SLOWER = 8  # than a processor of its own
MODULES = ("veth", "bridge", "tun")  # which no kernel loads by itself in a namespace
LATE = 124


@dataclass(frozen=True, slots=True)
class Suite:
    """What pytest is given, and for how long (s). The first ones see a kernel that has no nftables."""

    name: str
    words: tuple[str, ...]
    limit_s: int
    has_nftables: bool = True


SUITES = (
    Suite("xtables", ("tests/vm/test_vm_xtables.py",), 300, has_nftables=False),
    Suite("wifi", ("tests/vm/test_vm_wifi.py",), 300),
    Suite("links", ("tests/lab/test_reach_links.py",), 300),
    Suite("diamond", ("tests/vm/test_vm_diamond.py",), 420),
    Suite("jool", ("tests/vm/test_vm_jool.py",), 240),
    Suite("conformance", ("tests/lab/test_conformance.py", "-k", "[jool or [nat46"), 400),
    Suite("nat46", ("tests/lab/test_nat46_targets.py", "-k", "[nat46]"), 300),
)


def inside(names: list[str], more: list[str]) -> int:
    """Run suites one after the other in the machine; return 1 if one fails."""
    results = {}
    variables = {**os.environ, "CONFORMANCE_OUT": f"{os.environ['OUT']}/conformance"}
    subprocess.run(["modprobe", "-a", *MODULES], check=True)
    for suite in SUITES:
        if names and suite.name not in names:
            continue
        if suite.name == "nat46" and not os.environ.get("NAT46_KO"):
            print("vm: nat46: skipped, NAT46_KO=/path/nat46.ko names no module", flush=True)
            continue
        forbid_nftables(not suite.has_nftables)
        begun = time.monotonic()
        print(f"vm: {suite.name}: {' '.join(suite.words)}", flush=True)
        words = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-v",
            "--durations=12",
            *suite.words,
            *more,
        ]
        try:
            status = subprocess.run(words, cwd=REPOSITORY, env=variables, timeout=suite.limit_s).returncode
        except subprocess.TimeoutExpired:
            status = LATE
            print(f"vm: {suite.name}: not over after {suite.limit_s} s", flush=True)
        results[suite.name] = {"status": status, "s": round(time.monotonic() - begun)}
        Path(os.environ["OUT"], "result.json").write_text(json.dumps(results, indent=1) + "\n")
    for name, result in results.items():
        print(f"vm: {name}: {'ok' if result['status'] == 0 else 'failed'} after {result['s']} s", flush=True)
    return int(any(result["status"] for result in results.values()))


def forbid_nftables(is_forbidden: bool) -> None:
    if is_forbidden:
        NO_NFTABLES.write_text("install nf_tables /bin/false\ninstall nft_compat /bin/false\n")
    else:
        NO_NFTABLES.unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="sdk.vm.suite", description=__doc__)
    parser.add_argument("--kernel")
    parser.add_argument("--nat46", default="")
    parser.add_argument("--only", action="append", default=[], choices=[suite.name for suite in SUITES])
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    said, more = parser.parse_known_args()  # the rest is pytest's
    if said.inside:
        return inside(said.only, more)
    try:
        if said.nat46 and not Path(said.nat46).is_file():
            raise VmError(f"NAT46_KO={said.nat46}: there is no such file")
        variables = [f"NAT46_KO={Path(said.nat46).resolve()}"] if said.nat46 else []
        only = [f"--only={name}" for name in said.only]
        words = [sys.executable, "-m", "sdk.vm.suite", "--inside", *only, *more]
        wishes = Wishes(find(said.kernel), limit_s=LIMIT_S, out=OUT)
        variables += [f"PYTHONPATH={REPOSITORY}", "PYTHONUNBUFFERED=1", f"SLOWER={SLOWER}"]
        return run(wishes, ["env", *variables, *words])
    except VmError as error:
        print(f"vm: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
