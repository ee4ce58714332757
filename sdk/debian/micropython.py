# SPDX-License-Identifier: ISC
"""The oldest MicroPython that we support, built from Debian 13's source with that release's features.

    python -m sdk.debian.micropython     build it, into build/oldest-micropython; `make oldest-micropython` when needed

OpenWrt 24.10 and 25.12 have 1.23.0, in two variants; the smaller, `micropython-nossl`, has no TLS and no library but
asyncio. Debian 13 has the source of 1.25.0. What came between that can be left out at build time is left out; what
cannot is in the table of sdk/micropython_lint, and checked in the text. MICROPYTHON=PROGRAM in the environment takes
another interpreter: a real 1.23.0, for instance, or a router's own build.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sdk.debian.apt import SUITE, Apt, AptError, run
from sdk.interrupt import run_program

HOME = Path(__file__).resolve().parents[2] / "build" / "oldest-micropython"
PROGRAM = HOME / "micropython"
LOG = HOME / "build.log"
BUILD_S = 600
# what 1.24 and 1.25 added, of what has a switch: py/mpconfig.h of both, and the unix port's own
WITHOUT = ("MICROPY_PY_BUILTINS_NEXT2", "MICROPY_PY_MICROPYTHON_RINGIO")
# OpenWrt's -nossl, and no libffi and no frozen library either, which nothing of ours may need
SETTINGS = ("MICROPY_PY_SSL=0", "MICROPY_PY_BTREE=0", "MICROPY_PY_FFI=0", "FROZEN_MANIFEST=", "COPT=-O1")
# what tells it from Debian's own
CHECK = """
import sys
try:
    next(iter(()), None)
except TypeError:
    print(sys.version.split("MicroPython ")[1].split()[0])
"""


def fetch(folder: Path) -> Path:
    """Return the folder with the source, which apt has checked against Debian's signature."""
    apt = Apt(folder, kind="deb-src")
    apt.get("update")
    apt.get("source", "--download-only", "micropython", cwd=folder)
    archives = sorted(folder.glob("micropython_*.orig.tar.*"))
    if not archives:
        raise AptError(f"the suite {SUITE} of this machine's mirror has no source of micropython")
    tree = folder / "tree"
    tree.mkdir()
    run(["tar", "-xf", str(archives[0]), "-C", str(tree), "--strip-components=1"])
    (tree / "lib/micropython-lib").mkdir(exist_ok=True)
    (tree / "lib/micropython-lib/README.md").touch()  # its makefile looks for it, and for nothing else of it
    return tree


def build(tree: Path) -> None:
    """Build the source; what it says is in LOG."""
    left_out = " ".join(f"-D{name}=0" for name in WITHOUT)
    jobs = str(len(os.sched_getaffinity(0)))
    words = ["make", "-C", str(tree / "ports/unix"), f"-j{jobs}", *SETTINGS, f"CFLAGS_EXTRA={left_out}"]
    # a make above us has its own ideas of how many run at a time, and of what is silent
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    with LOG.open("wb") as log:
        done = subprocess.run(words, stdout=log, stderr=subprocess.STDOUT, env=environment, timeout=BUILD_S)
    built = tree / "ports/unix/build-standard/micropython"
    if done.returncode or not built.exists():
        raise AptError(f"MicroPython did not compile: see {os.path.relpath(LOG)}")
    if not run([str(built), "-c", CHECK]).strip():
        raise AptError("the MicroPython that was built has features that it was to be built without")
    shutil.copy2(built, HOME / ".micropython")
    (HOME / ".micropython").rename(PROGRAM)  # whole or not at all


def main() -> int:
    HOME.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=HOME, prefix=".new-") as folder:
            build(fetch(Path(folder)))
    except AptError as error:
        print(f"setup: no oldest MicroPython: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run_program("setup", main))
