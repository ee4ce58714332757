# SPDX-License-Identifier: ISC
"""`make test`: in two parts at a time, as a lab mostly waits. In the foreground is what tells how fast clients and
daemons are; at a low priority beside it what takes as long as it takes.

Tests of labs are about seconds, and a machine may be busy: a few that failed are tried once more, alone. What fails
again is broken; what passes then is named at the end, for somebody should look at it. All other tests have one try.

With arguments it is pytest and nothing else. What runs beside is shown when the others are done; it is in a file
meanwhile. Ctrl-C ends both parts, and both may clean up.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sdk.interrupt import INTERRUPTED, handle_requests

REPOSITORY = Path(__file__).resolve().parent.parent
# labs that are set up and asked what they do, and no more: the start of their names
UNHURRIED = tuple(
    f"tests/lab/test_{name}*.py" for name in ("conformance", "nat46", "node_setup", "package", "reach")
)
LABS = ("tests/lab", *(f"--ignore-glob={glob}" for glob in UNHURRIED))
BESIDE = ("tests/unit", "tests/fuzz", *UNHURRIED)
NICE = ("nice", "-n", "10")
OUTPUT = REPOSITORY / "build" / "tests-beside.log"
IN_A_LAB = "tests/lab/"  # how the name of a test begins that may have a second try
TESTS_FAILED = 1  # pytest's exit status
AGAIN_MOST = 5  # more than these are no accident
CACHES = [REPOSITORY / "build" / f"pytest-{name}" for name in ("labs", "beside")]
# only we tell a part of Ctrl-C, once: a second signal would break its clean-up. The kernel tells it when we are killed
PYTEST = ("setpriv", "--pdeathsig", "INT", sys.executable, "-m", "pytest")


def say(sentence: str) -> None:
    print(f"test: {sentence}", flush=True)


def part(cache: Path, words: Sequence[str], **options) -> subprocess.Popen:
    """Start pytest in a process group of its own, with a cache of its own: it holds the names of what failed."""
    return subprocess.Popen([*words, "-o", f"cache_dir={cache}"], cwd=REPOSITORY, process_group=0, **options)


def failed(cache: Path) -> list[str]:
    """Return the names of the tests that failed in a part."""
    try:
        return sorted(json.loads((cache / "v" / "cache" / "lastfailed").read_text()))
    except FileNotFoundError:
        return []


def run() -> int:
    """Run both parts; return the first exit status that is not zero, the labs' before the other's."""
    OUTPUT.parent.mkdir(exist_ok=True)
    begun = time.monotonic()
    say(
        f"here {LABS[0]} as far as time matters there, beside it the rest, which is told in {os.path.relpath(OUTPUT)}"
    )
    files = [str(path) for word in BESIDE for path in sorted(REPOSITORY.glob(word))]
    all_words = [(*PYTEST, *LABS), (*NICE, *PYTEST, *files)]
    with OUTPUT.open("wb") as output:
        options: list[dict] = [
            {},
            {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT},
        ]
        several = zip(CACHES, all_words, options, strict=True)
        status = wait([part(cache, (*words, "--cache-clear"), **more) for cache, words, more in several])
    say("what ran beside:")
    print(OUTPUT.read_text(errors="replace"), flush=True)
    names = [name for cache in CACHES for name in failed(cache)]
    if status == TESTS_FAILED and may_try_again(names):
        say(f"once more, alone: {', '.join(names)}")
        again = [(cache, words) for cache, words in zip(CACHES, all_words, strict=True) if failed(cache)]
        found = [wait([part(cache, (*words, "--lf"))]) for cache, words in again]
        status = next((status for status in found if status), 0)
        if not status:
            say(f"passed alone, failed beside others, look at {', '.join(names)}")
    say(f"{time.monotonic() - begun:.0f} s, " + ("all is well" if not status else f"exit status {status}"))
    return status


def may_try_again(names: Sequence[str]) -> bool:
    return 0 < len(names) <= AGAIN_MOST and all(name.startswith(IN_A_LAB) for name in names)


def wait(parts: Sequence[subprocess.Popen]) -> int:
    """Wait for both; what asks us to end is passed on, and they are still waited for."""
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
