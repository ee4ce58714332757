# SPDX-License-Identifier: ISC
"""The oldest MicroPython that we support, built from Debian 13's source with that release's features.

    python -m sdk.debian.micropython     build it, into build/oldest-micropython; `make oldest-micropython` when needed

OpenWrt 24.10 and 25.12 have 1.23.0, in two variants; the smaller, `micropython-nossl`, has no TLS and no library but
asyncio. Debian 13 has the source of 1.25.0. Later features that have a build switch are left out. The others are in the
table of sdk/micropython_lint, which checks the text. MICROPYTHON=PROGRAM in the environment takes another interpreter:
a real 1.23.0, for instance, or a router's own build.
"""

import sys
from pathlib import Path

from sdk.debian import source
from sdk.debian.apt import AptError, run
from sdk.interrupt import run_program

HOME = Path(__file__).resolve().parents[2] / "build" / "oldest-micropython"
PROGRAM = HOME / "micropython"
LOG = HOME / "build.log"
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


def make(folder: Path) -> None:
    """Fetch, build and keep it. Raises AptError."""
    tree = source.fetch(folder, "micropython")
    (tree / "lib/micropython-lib").mkdir(exist_ok=True)
    (tree / "lib/micropython-lib/README.md").touch()  # its makefile looks for it, and for nothing else of it
    left_out = " ".join(f"-D{name}=0" for name in WITHOUT)
    port = tree / "ports/unix"
    source.compile_in(port, LOG, "MicroPython", *SETTINGS, f"CFLAGS_EXTRA={left_out}")
    built = port / "build-standard/micropython"
    if not run([str(built), "-c", CHECK]).strip():
        raise AptError("the MicroPython that was built has features that it was to be built without")
    source.install(built, PROGRAM)


def main() -> int:
    return source.build(HOME, "oldest MicroPython", make)


if __name__ == "__main__":
    sys.exit(run_program("setup", main))
