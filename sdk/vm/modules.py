# SPDX-License-Identifier: ISC
"""Modules that Debian has as source only, built for a kernel of build/vm/kernels and put into its extra/.

    python -m sdk.vm.modules jool [VERSION]            Debian's jool-dkms
    python -m sdk.vm.modules FOLDER [VERSION]          the source of a module, with a Kbuild or Makefile of its own

Nothing is installed: headers and sources are unpacked beside the kernel. What was built is named on standard output.
"""

import re
import shutil
import sys
from pathlib import Path

from sdk.interrupt import run_program
from sdk.lab.machine import REPOSITORY
from sdk.vm.kernels import VmError, apt, find, run, tell, unpack

BUILD = REPOSITORY / "build/vm"
JOOL_PARTS = ("common", "nat64", "siit")  # in the order in which they need each other


def headers(version: str) -> Path:
    """Return the folder to build a kernel's modules in: what Debian's header packages install to /usr/src."""
    tree = BUILD / "headers" / version
    own = tree / f"usr/src/linux-headers-{version}"
    if (tree / "whole").exists():
        return own
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    package = f"linux-headers-{version}"
    needed = re.findall(r"Depends: (linux-(?:headers|kbuild)-\S+)", apt("apt-cache", "depends", package))
    for each in (package, *needed):
        unpack(each, BUILD, tree)
    makefile = own / "Makefile"
    makefile.write_text(makefile.read_text().replace("/usr/src/", f"{tree}/usr/src/"))
    (tree / "whole").touch()
    return own


def make(version: str, source: Path, *options: str) -> list[Path]:
    """Build the module in a folder; return its files."""
    run("make", "-C", str(headers(version)), f"M={source}", *options, "modules")
    return sorted(source.glob("*.ko"))


def install(kernel: Path, built: list[Path]) -> list[Path]:
    """Put modules where the kernel's modprobe finds them; return their places."""
    extra = kernel / "lib/modules" / kernel.name / "extra"
    extra.mkdir(exist_ok=True)
    places = [Path(shutil.copy(file, extra / file.name)) for file in built]
    run("depmod", "-b", str(kernel), kernel.name)
    return places


def build_jool(kernel: Path) -> list[Path]:
    extra = kernel / "lib/modules" / kernel.name / "extra"
    there = [extra / name for name in ("jool_common.ko", "jool.ko", "jool_siit.ko")]
    if all(file.exists() for file in there):
        return there
    tree = BUILD / "modules" / kernel.name / "jool"
    shutil.rmtree(tree, ignore_errors=True)
    unpack("jool-dkms", BUILD, tree)
    (source,) = tree.glob("usr/src/jool-dkms-*/src/mod")
    built, symbols = [], ""
    for part in JOOL_PARTS:
        built += make(kernel.name, source / part, f"KBUILD_EXTRA_SYMBOLS={symbols}")
        symbols = f"{symbols} {source / part / 'Module.symvers'}".strip()
    return install(kernel, built)


def build_folder(kernel: Path, source: Path) -> list[Path]:
    if not source.is_dir():
        raise VmError(f"{source} is no folder with the source of a module")
    tree = BUILD / "modules" / kernel.name / source.resolve().name
    shutil.copytree(source, tree, dirs_exist_ok=True)
    return make(kernel.name, tree)


def main() -> int:
    words = sys.argv[1:]
    if not 1 <= len(words) <= 2:
        print("usage: python -m sdk.vm.modules jool|FOLDER [VERSION]", file=sys.stderr)
        return 2
    try:
        kernel = find(words[1] if len(words) > 1 else None)
        built = build_jool(kernel) if words[0] == "jool" else build_folder(kernel, Path(words[0]))
    except (VmError, OSError) as error:
        tell(error)
        return 1
    print("\n".join(map(str, built)))
    return 0


if __name__ == "__main__":
    sys.exit(run_program("vm", main))
