# SPDX-License-Identifier: ISC
"""Debian's kernels for the virtual machine, in build/vm/kernels/VERSION: unpacked, never installed.

    python -m sdk.vm.kernels [VERSION]     fetch one; without a VERSION linux-image-amd64's, the default from then on

A kernel is a folder as its package has it: boot/vmlinuz-VERSION and lib/modules/VERSION.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sdk.interrupt import run_program
from sdk.lab.machine import REPOSITORY

KERNELS = REPOSITORY / "build/vm/kernels"
BUSYBOX = REPOSITORY / "build/vm/busybox/bin/busybox"  # static: for the first files, where no library is yet
DEFAULT = KERNELS / "default"  # a link to the kernel that is booted where none is named
META = "linux-image-amd64"  # the package that depends on the newest kernel
VERSION = re.compile(r"[0-9][A-Za-z0-9.+~-]*")


class VmError(RuntimeError):
    """The virtual machine could not do what it was asked to: one sentence for people."""


def tell(error: VmError | OSError) -> None:
    """Say what went wrong in one sentence."""
    if isinstance(error, OSError) and error.filename is not None:
        print(f"vm: {error.filename}: {error.strerror}", file=sys.stderr)
    else:
        print(f"vm: {error}", file=sys.stderr)


def find(version: str | None) -> Path:
    """Return the folder of a kernel that is there. Raises VmError if it is not."""
    if version is None:
        if not DEFAULT.exists():
            raise VmError("there is no kernel yet: `make vm` fetches one from Debian")
        return DEFAULT.resolve()
    folder = KERNELS / need_version(version)
    if not folder.is_dir() or version == DEFAULT.name:
        there = ", ".join(sorted(each.name for each in KERNELS.glob("[0-9]*"))) or "none"
        raise VmError(
            f"there is no kernel {version} (there is: {there}): `make vm KERNEL={version}` fetches it from Debian"
        )
    return folder


def need_version(version: str) -> str:
    if not VERSION.fullmatch(version):
        raise VmError(
            f"{version!r} is no version of a kernel: expected one like 6.1.0-44-amd64, as `uname -r` says"
        )
    return version


def newest() -> str:
    """Return the version of the kernel that Debian's meta package stands for."""
    said = apt("apt-cache", "depends", "--important", META)
    found = re.search(r"Depends: linux-image-(\S+)", said)
    if not found:
        raise VmError(f"Debian's package {META} names no kernel: apt-get update, or give a version")
    return found[1]


def fetch(version: str) -> Path:
    """Return the folder of a kernel; download it if it is not there. Raises VmError."""
    folder = KERNELS / need_version(version)
    if folder.is_dir():
        return folder
    KERNELS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KERNELS, prefix=".new-") as temporary:
        unpack(f"linux-image-{version}", Path(temporary), folder := Path(temporary, version))
        if not (folder / f"boot/vmlinuz-{version}").exists():
            raise VmError(f"the package linux-image-{version} holds no kernel of that version")
        if (folder / "usr/lib/modules").exists() and not (folder / "lib").exists():
            (folder / "lib").symlink_to("usr/lib")
        shutil.rmtree(folder / "usr/share", ignore_errors=True)
        run("depmod", "-b", str(folder), version)
        return folder.rename(KERNELS / version)


def unpack(package: str, downloads: Path, folder: Path) -> None:
    """Download one of Debian's packages and unpack it into a folder, without installing it."""
    apt("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package, cwd=downloads)
    (file,) = downloads.glob(f"{package}_*.deb")
    folder.mkdir(parents=True, exist_ok=True)
    run("dpkg-deb", "-x", str(file), str(folder))
    file.unlink()


def apt(*words: str, cwd: Path | None = None) -> str:
    """Return what an apt program says; the package lists of a fresh image are empty, so try with new ones too."""
    try:
        return run(*words, cwd=cwd)
    except VmError:
        run("apt-get", "-q", "update")
        return run(*words, cwd=cwd)


def run(*words: str, cwd: Path | None = None) -> str:
    """Return what a program says. Raises VmError with the last line of what it says against it."""
    try:
        done = subprocess.run(words, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except FileNotFoundError:
        raise VmError(f"{words[0]} is not installed: `make vm` installs it") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
        raise VmError(f"`{' '.join(words)}` failed ({done.returncode}): {said[-1]}")
    return done.stdout


def main() -> int:
    try:
        if not BUSYBOX.exists():
            BUSYBOX.parents[2].mkdir(parents=True, exist_ok=True)
            unpack("busybox-static", BUSYBOX.parents[2], BUSYBOX.parents[1])
        version = next(iter(sys.argv[1:]), "")
        if (KERNELS / (need_version(version) if version else DEFAULT.name)).exists():
            return 0
        wanted = version or newest()
        print(f"vm: fetching Debian's kernel {wanted}", flush=True)
        folder = fetch(wanted)
        if not version:
            DEFAULT.unlink(missing_ok=True)  # of a kernel that somebody has removed
            DEFAULT.symlink_to(folder.name)
    except (VmError, OSError) as error:
        tell(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run_program("vm", main))
