# SPDX-License-Identifier: ISC
"""`make test-big-endian`: siit's fast path on a kernel of the other byte order, Debian's for s390x, emulated.

Its only process is tests/vm/siit_fast.c, which sends packets through the BPF program and compares what comes out with
the translator, compiled for that machine too. That kernel has no TCX and no JIT: the clsact filter and the interpreter
are tried with it. All is fetched into build/vm/big-endian; nothing there is installed.
"""

import re
import subprocess
import sys
from pathlib import Path

from sdk.debian.apt import RELEASE, Apt, AptError
from sdk.interrupt import run_program
from sdk.lab.machine import REPOSITORY
from sdk.vm.kernels import VmError, run, tell

ARCHITECTURE = "s390x"
COMPILER, EMULATOR = "s390x-linux-gnu-gcc", "qemu-system-s390x"
FOLDER = REPOSITORY / "build/vm/big-endian"
SOURCES = REPOSITORY / "siit/src"
TRANSLATOR = ("translate", "headers", "addresses", "icmp", "errors")
LOADER = ("load", "attach")
MODULES = ("tun", "sch_ingress", "cls_bpf")
LIMIT_S = 600  # fifty times what it takes
RESULT = re.compile(r"^RESULT same (\d+) wrong 0 left 0 counted \1 detached 1\s*$", re.MULTILINE)


def fetch_kernel() -> Path:
    """Return the folder of Debian's newest kernel for the machine; download it if none is there."""
    folder = FOLDER / "kernel"
    if folder.is_dir():
        return folder
    print("vm: fetching Debian's kernel for s390x", flush=True)
    codename = re.search(r"^VERSION_CODENAME=(\S+)", RELEASE.read_text(), re.MULTILINE)
    if codename is None:
        raise VmError("/etc/os-release has no VERSION_CODENAME: this is no Debian release")
    apt = Apt(FOLDER / "apt", codename[1])
    for name in ("Architecture", "Architectures"):
        apt.flags += ["-o", f"APT::{name}={ARCHITECTURE}"]
    apt.get("update")
    found = re.search(r"Depends: (linux-image-\S+)", apt.cache("depends", f"linux-image-{ARCHITECTURE}"))
    if found is None:
        raise VmError(f"Debian's package linux-image-{ARCHITECTURE} names no kernel")
    apt.get("download", found[1], cwd=FOLDER)
    (package,) = FOLDER.glob(f"{found[1]}_*.deb")
    run("dpkg-deb", "-x", str(package), str(folder))
    package.unlink()
    return folder


def make_first_files(kernel: Path) -> Path:
    """The machine's only file system: our program as its first process, and the modules that it loads."""
    root = FOLDER / "root"
    (root / "m").mkdir(parents=True, exist_ok=True)
    bpf = REPOSITORY / "siit/bpf"
    sources = [REPOSITORY / "tests/vm/siit_fast.c"]
    sources += [SOURCES / f"{name}.c" for name in TRANSLATOR] + [bpf / f"{name}.c" for name in LOADER]
    flags = ["-static", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{SOURCES}", f"-I{bpf}"]
    run(COMPILER, *flags, *map(str, sources), "-o", str(root / "init"))
    for name in MODULES:
        (module,) = kernel.rglob(f"{name}.ko")
        (root / "m" / module.name).write_bytes(module.read_bytes())
    archive = FOLDER / "initrd"
    with archive.open("wb") as file:
        names = "\n".join(["init", "m", *(f"m/{name}.ko" for name in MODULES)])
        command = ["busybox", "cpio", "-o", "-H", "newc"]
        subprocess.run(
            command, cwd=root, input=names.encode(), stdout=file, stderr=subprocess.DEVNULL, check=True
        )
    return archive


def boot(kernel: Path, first_files: Path) -> str:
    """What the machine says."""
    (image,) = (kernel / "boot").glob("vmlinuz-*")
    machine = ["-m", "512", "-smp", "2", "-nographic", "-no-reboot"]
    command = [EMULATOR, *machine, "-kernel", str(image), "-initrd", str(first_files)]
    try:
        done = subprocess.run(
            [*command, "-append", "console=ttysclp0 panic=-1 loglevel=4"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT_S,
        )
    except FileNotFoundError:
        raise VmError(f"{EMULATOR} is not installed: `make test-big-endian` installs it") from None
    except subprocess.TimeoutExpired:
        raise VmError(f"the machine had not ended after {LIMIT_S} s") from None
    return done.stdout + done.stderr


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        kernel = fetch_kernel()
        said = boot(kernel, make_first_files(kernel))
    except (VmError, AptError, OSError) as error:
        tell(error if isinstance(error, OSError) else VmError(str(error)))
        return 1
    print(said, end="")
    return 0 if RESULT.search(said) else 1


if __name__ == "__main__":
    sys.exit(run_program("vm", main))
