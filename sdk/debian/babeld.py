# SPDX-License-Identifier: ISC
"""babeld as OpenWrt 23.05 to 25.12 have it, 1.13.1, with our patches: built from Debian 13's source.

    python -m sdk.debian.babeld     build it, into build/babeld, with one as it is shipped beside it; `make babeld`

The patches are those that `make feed` puts into an OpenWrt tree. docs/babeld.md tells what they mend.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from sdk.debian import source
from sdk.debian.apt import AptError
from sdk.interrupt import run_program

REPOSITORY = Path(__file__).resolve().parents[2]
HOME = REPOSITORY / "build" / "babeld"
PROGRAM = HOME / "babeld"  # the folder is in the PATH of a lab's machines, and has nothing else that runs
SHIPPED = HOME / "shipped" / "babeld"
LOG = HOME / "build.log"
# in the form that Gluon takes: it makes the patches in OpenWrt's feed `routing`
PATCHES = REPOSITORY / "patches/packages/routing/9464-babeld-withdraw-the-route-that-goes.patch"
LIBRARIES = "LDLIBS=-lrt -lb2"
MARK = "+retract"  # at the end of a mended one's version


def version(program: Path | str) -> str:
    """Return what a babeld says its version is, "" if it says nothing of the kind."""
    try:
        said = subprocess.run([program, "-V"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.match(r"babeld-(\S+)", said.stderr + said.stdout)
    return found[1] if found else ""


def apply(patch: Path, tree: Path) -> None:
    """Apply a patch to a tree, wherever it is. Raises AptError."""
    # git takes a folder in a checkout for a part of it
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    done = subprocess.run(
        ["git", "apply", str(patch)], cwd=tree, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise AptError(f"{patch.name} does not fit: {done.stderr.strip()}")


def unpack_patches(folder: Path) -> list[Path]:
    """Make the patches of babeld itself in a folder; return them in their order. Raises AptError."""
    apply(PATCHES, folder)
    return sorted((folder / "babeld/patches").iterdir())


def make(folder: Path) -> None:
    """Fetch, build and keep it, first as it is. Raises AptError."""
    tree = source.fetch(folder, "babeld")
    # the reference code of BLAKE2 is not in Debian's source: its library has the same functions
    reference = tree / "BLAKE2/ref"
    reference.mkdir(parents=True)
    (reference / "blake2.h").write_text("#include <blake2.h>\n")
    (reference / "blake2s-ref.c").touch()
    SHIPPED.parent.mkdir(exist_ok=True)
    source.compile_in(tree, LOG, "babeld", LIBRARIES)
    source.install(tree / "babeld", SHIPPED)
    for patch in unpack_patches(folder):
        apply(patch, tree)
    (tree / "version.h").unlink()
    source.compile_in(tree, LOG, "babeld", LIBRARIES)
    if not version(tree / "babeld").endswith(MARK):
        raise AptError(f"what was built says that it is {version(tree / 'babeld')!r}, without {MARK}")
    source.install(tree / "babeld", PROGRAM)


def main() -> int:
    return source.build(HOME, "mended babeld", make)


if __name__ == "__main__":
    sys.exit(run_program("setup", main))
