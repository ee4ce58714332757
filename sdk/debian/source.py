# SPDX-License-Identifier: ISC
"""What we build from Debian's sources: fetched, unpacked and compiled in a folder that goes afterwards."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from sdk.debian.apt import SUITE, Apt, AptError, run

BUILD_S = 600


def fetch(folder: Path, package: str) -> Path:
    """Return the folder with a package's upstream source, which apt has checked against Debian's signature.

    Without Debian's changes, which are no part of what OpenWrt builds either. Raises AptError.
    """
    apt = Apt(folder, kind="deb-src")
    apt.get("update")
    apt.get("source", "--download-only", "--tar-only", package, cwd=folder)
    archives = sorted(folder.glob(f"{package}_*.orig.tar.*"))
    if not archives:
        raise AptError(f"the suite {SUITE} of this machine's mirror has no source of {package}")
    tree = folder / "tree"
    tree.mkdir()
    run(["tar", "-xf", str(archives[0]), "-C", str(tree), "--strip-components=1"])
    return tree


def compile_in(folder: Path, log: Path, name: str, *words: str) -> None:
    """Run make in a folder; what it says is in the log. Raises AptError."""
    jobs = str(len(os.sched_getaffinity(0)))
    # a make above us has its own ideas of how many run at a time, and of what is silent
    environment = {key: text for key, text in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    with log.open("wb") as file:
        command = ["make", "-C", str(folder), f"-j{jobs}", *words]
        try:
            done = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, env=environment, timeout=BUILD_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise AptError(f"{name} did not compile: {error}") from error
    if done.returncode:
        raise AptError(f"{name} did not compile: see {os.path.relpath(log)}")


def install(built: Path, program: Path) -> None:
    """Put what was built in its place: whole or not at all."""
    waiting = program.parent / f".{program.name}"
    shutil.copy2(built, waiting)
    waiting.rename(program)


def build(home: Path, what: str, make: Callable[[Path], None]) -> int:
    """Call make with an empty folder in home; return the exit status, 1 after a sentence that says why not."""
    home.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=home, prefix=".new-") as folder:
            make(Path(folder))
    except AptError as error:
        print(f"setup: no {what}: {error}", file=sys.stderr)
        return 1
    return 0
