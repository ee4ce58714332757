# SPDX-License-Identifier: ISC
"""`make test`: in several parts at a time, as a lab mostly waits. Most are for what tells how fast clients and daemons
are; at a low priority beside them runs what takes as long as it takes. A part that is done helps the others with that.

Tests of labs are about seconds, and a machine may be busy: a few that failed are tried once more, alone. What fails
again is broken; what passes then is named at the end, for somebody should look at it. All other tests have one try.

With arguments it is pytest and nothing else. The first part is shown while it runs, the others when all are done; they
are in files meanwhile. Ctrl-C ends all parts, and all may clean up.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdk.interrupt import INTERRUPTED, handle_requests

REPOSITORY = Path(__file__).resolve().parent.parent
BUILD = REPOSITORY / "build"
LABS = ("tests/lab/test_*.py",)
# labs that are set up and asked what they do, and no more
UNHURRIED = tuple(
    f"tests/lab/test_{name}*.py" for name in ("conformance", "nat46", "node_setup", "package", "reach")
)
# these begin first, so that the others are not left to wait for one of them
LONGEST = tuple(f"tests/lab/test_{name}.py" for name in ("l3roamd_pairs", "roam_storm", "demo"))
OTHERS = ("tests/unit/test_*.py", "tests/fuzz/test_*.py")
LAB_PARTS = 2  # a lab takes about half of a processor
NICE = ("nice", "-n", "10")
IN_A_LAB = "tests/lab/"  # how the name of a test begins that may have a second try
TESTS_FAILED = 1  # pytest's exit status
AGAIN_MOST = 5  # more than these are no accident
# only we tell a part of Ctrl-C, once: a second signal would break its clean-up. The kernel tells it when we are killed
PYTEST = ("setpriv", "--pdeathsig", "INT", sys.executable, "-m", "pytest")
TELL_SLOW = ("--durations=10", "--durations-min=20")


@dataclass(frozen=True, slots=True)
class Part:
    """files: in their order; each is run by the first part that comes to it. before: what comes before pytest."""

    name: str
    files: tuple[str, ...]
    before: tuple[str, ...] = ()

    @property
    def cache(self) -> Path:
        """Its own, as it holds the names of what failed."""
        return BUILD / f"pytest-{self.name}"

    @property
    def output(self) -> Path:
        return BUILD / f"tests-{self.name}.log"

    def start(self, *words: str, **options) -> subprocess.Popen:
        """Start pytest in a process group of its own."""
        command = [*self.before, *PYTEST, *self.files, *words, "-o", f"cache_dir={self.cache}"]
        return subprocess.Popen(command, cwd=REPOSITORY, process_group=0, **options)

    def failed(self) -> list[str]:
        """Return the names of the tests that failed."""
        try:
            return sorted(json.loads((self.cache / "v" / "cache" / "lastfailed").read_text()))
        except FileNotFoundError:
            return []


def plan() -> list[Part]:
    unhurried = find(UNHURRIED)
    hurried = [file for file in find(LABS) if file not in unhurried]
    hurried.sort(key=lambda file: file not in LONGEST)
    labs = (*hurried, *unhurried)
    parts = [Part(f"labs-{number}", labs) for number in range(1, LAB_PARTS + 1)]
    return [*parts, Part("beside", (*find(OTHERS), *unhurried), NICE)]


def find(globs: Sequence[str]) -> list[str]:
    return [str(path.relative_to(REPOSITORY)) for glob in globs for path in sorted(REPOSITORY.glob(glob))]


def say(sentence: str) -> None:
    print(f"test: {sentence}", flush=True)


def run() -> int:
    """Run all parts; return the first exit status that is not zero."""
    first, *others = parts = plan()
    shares = BUILD / "tests-taken"
    shutil.rmtree(shares, ignore_errors=True)
    shares.mkdir(parents=True)
    begun = time.monotonic()
    files = ", ".join(os.path.relpath(part.output) for part in others)
    say(f"here labs in which time matters, as many beside them, and the rest, which are told in {files}")
    words = ("--cache-clear", "-p", "sdk.sharing", f"--share={shares}", *TELL_SLOW)
    running = [first.start(*words)]
    for part in others:
        with part.output.open("wb") as output:
            quiet = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
            running.append(part.start(*words, **quiet))
    status = wait(running)
    for part in others:
        say(f"{part.name}:")
        print(part.output.read_text(errors="replace"), flush=True)
    names = [name for part in parts for name in part.failed()]
    if status == TESTS_FAILED and may_try_again(names):
        say(f"once more, alone: {', '.join(names)}")
        found = [wait([part.start("--lf")]) for part in parts if part.failed()]
        status = next((status for status in found if status), 0)
        if not status:
            say(f"passed alone, failed beside others, look at {', '.join(names)}")
    say(f"{time.monotonic() - begun:.0f} s, " + ("all is well" if not status else f"exit status {status}"))
    return status


def may_try_again(names: Sequence[str]) -> bool:
    return 0 < len(names) <= AGAIN_MOST and all(name.startswith(IN_A_LAB) for name in names)


def wait(parts: Sequence[subprocess.Popen]) -> int:
    """Wait for all; what asks us to end is passed on, and they are still waited for."""
    was_interrupted = False
    while True:
        try:
            found = [each.wait() for each in parts]
        except KeyboardInterrupt:
            was_interrupted = True
            for each in parts:
                if each.poll() is None:
                    os.kill(each.pid, signal.SIGINT)
            continue
        return INTERRUPTED if was_interrupted else next((status for status in found if status), 0)


def main(words: Sequence[str]) -> int:
    handle_requests()  # or all that is started here ignores what we ignore
    if words:
        os.execv(sys.executable, [sys.executable, "-m", "pytest", *words])
    return run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
