# SPDX-License-Identifier: ISC
"""`make test-vm`: the tests that need a kernel of their own, all in one boot.

    python -m sdk.vm.suite [--kernel VERSION] [--nat46 FILE] [-k WORD] [--only SUITE]…

In the machine each suite is a pytest of its own with a time limit, two at a time: they mostly wait. The one for a
kernel without nftables comes first, as long as the module is not loaded. What they say is in build/vm/out, the result
of each in its result.json.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sdk.lab.machine import REPOSITORY
from sdk.vm.kernels import VmError, find
from sdk.vm.machine import Wishes, run

OUT = REPOSITORY / "build/vm/out"
LIMIT_S = 900  # of all suites together, the boot included
NO_NFTABLES = Path("/etc/modprobe.d/no-nftables.conf")  # the machine's own
SLOWER = 8  # than a processor of its own
MODULES = ("veth", "bridge", "tun")  # which no kernel loads by itself in a namespace
LATE = 124


@dataclass(frozen=True, slots=True)
class Suite:
    """What pytest is given, and for how long (s). Suites of different lanes run side by side."""

    name: str
    words: tuple[str, ...]
    limit_s: int
    lane: int = 0
    needs_nat46: bool = False


# what sees a kernel without nftables, and is alone; then the others
FIRST = Suite("xtables", ("tests/vm/test_vm_xtables.py",), 420)
SUITES = (
    Suite("wifi", ("tests/vm/test_vm_wifi.py",), 500, lane=1),
    Suite("links", ("tests/lab/test_reach_links.py",), 500, lane=1),
    Suite("diamond", ("tests/vm/test_vm_diamond.py", "-k", "[siit]"), 700, lane=2),
    Suite("conformance", ("tests/lab/test_conformance.py", "-k", "[jool or [nat46"), 300, lane=2),
    Suite("nat46", ("tests/lab/test_nat46_targets.py", "-k", "[nat46]"), 300, lane=1, needs_nat46=True),
    Suite("nat46-diamond", ("tests/vm/test_vm_diamond.py", "-k", "[nat46]"), 700, lane=2, needs_nat46=True),
)


def inside(names: list[str], more: list[str]) -> int:
    """Run suites in the machine; return 1 if one fails."""
    subprocess.run(["modprobe", "-a", *MODULES], check=True)
    chosen = [suite for suite in SUITES if not names or suite.name in names]
    results: dict[str, dict] = {}
    if not names or FIRST.name in names:
        NO_NFTABLES.write_text("install nf_tables /bin/false\ninstall nft_compat /bin/false\n")
        results[FIRST.name] = run_suite(FIRST, more)
        NO_NFTABLES.unlink()
    lanes = [[suite for suite in chosen if suite.lane == lane] for lane in sorted({s.lane for s in chosen})]

    def run_lane(lane: list[Suite]) -> None:
        for suite in lane:
            if suite.needs_nat46 and not os.environ.get("NAT46_KO"):
                say(f"{suite.name}: skipped, NAT46_KO=/path/nat46.ko names no module")
            else:
                results[suite.name] = run_suite(suite, more)

    with ThreadPoolExecutor() as pool:
        list(pool.map(run_lane, lanes))
    Path(os.environ["OUT"], "result.json").write_text(json.dumps(results, indent=1) + "\n")
    for name, result in results.items():
        say(f"{name}: {'ok' if result['status'] == 0 else 'failed'} after {result['s']} s")
    return int(any(result["status"] for result in results.values()))


def run_suite(suite: Suite, more: list[str]) -> dict:
    """Run a suite; what it says is told when it is over, in one piece, and kept."""
    begun = time.monotonic()
    say(f"{suite.name}: {' '.join(suite.words)}")
    out = Path(os.environ["OUT"])
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-v",
        "--durations=12",
        "-o",
        f"faulthandler_timeout={suite.limit_s * 3 // 4}",  # a test that lasts so long tells where it is
        *suite.words,
        *more,
    ]
    variables = {**os.environ, "CONFORMANCE_OUT": str(out / "conformance")}
    with (out / f"{suite.name}.log").open("w+") as log:
        process = subprocess.Popen(words, cwd=REPOSITORY, env=variables, stdout=log, stderr=log)
        try:
            status = process.wait(suite.limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            status = LATE
        log.seek(0)
        late = f"vm: {suite.name}: not over after {suite.limit_s} s\n" if status == LATE else ""
        os.write(1, (log.read() + late).encode())
    return {"status": status, "s": round(time.monotonic() - begun)}


def say(sentence: str) -> None:
    print(f"vm: {sentence}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="sdk.vm.suite", description=__doc__)
    parser.add_argument("--kernel")
    parser.add_argument("--nat46", default="")
    parser.add_argument(
        "--only", action="append", default=[], choices=[suite.name for suite in (FIRST, *SUITES)]
    )
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
