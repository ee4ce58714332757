# SPDX-License-Identifier: ISC
"""A root file system of OpenWrt or Gluon: a tarball as it is downloaded, and its files in a folder."""

import hashlib
import lzma
import os
import re
import shutil
import struct
import subprocess
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

PROCD, RELEASE, BUSYBOX = "sbin/procd", "etc/openwrt_release", "bin/busybox"
MACHINES = {3: "i386", 8: "mips", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}  # ELF's e_machine


class RootfsError(Exception):
    """It is no root file system that can run here: one sentence."""


@dataclass(frozen=True, slots=True)
class Rootfs:
    """The unpacked files of a root file system."""

    folder: Path

    def has(self, path: str) -> bool:
        return os.path.lexists(self.folder / path)

    @property
    def release(self) -> str:
        """As OpenWrt 24.10.0."""
        said = re.search(r"^DISTRIB_DESCRIPTION=['\"]?([^'\"\n]*)", (self.folder / RELEASE).read_text(), re.M)
        return said.group(1).strip() if said else "OpenWrt"

    @property
    def manager(self) -> str:
        """Its package manager: opkg or apk, "" if it has none."""
        for manager in ("opkg", "apk"):
            if self.has(f"bin/{manager}") or self.has(f"usr/bin/{manager}"):
                return manager
        return ""

    @property
    def is_gluon(self) -> bool:
        return self.has("lib/gluon")

    @property
    def is_musl(self) -> bool:
        return any(self.folder.glob("lib/ld-musl-*"))

    @property
    def has_firewall4(self) -> bool:
        return self.has("sbin/fw4")


def machine_of(program: bytes) -> str:
    """Return the name of the machine that an ELF program is for, as uname -m says it; "" for another file."""
    if program[:4] != b"\x7fELF" or len(program) < 20:
        return ""
    order = "<" if program[5] == 1 else ">"
    (number,) = struct.unpack_from(f"{order}H", program, 18)
    return MACHINES.get(number, f"a machine of ELF's number {number}")


def check(file: Path) -> None:
    """Raise RootfsError for a file that is no root file system for this machine."""
    if not file.is_file():
        raise RootfsError(f"there is no file {file}, expected one like openwrt-24.10.0-x86-64-rootfs.tar.gz")
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(file) as tar:
            for member in tar:
                name = member.name.removeprefix("./").lstrip("/")
                if name in (PROCD, RELEASE, BUSYBOX):
                    content = tar.extractfile(member)
                    found[name] = content.read(64) if content else b""
    except (tarfile.TarError, OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise RootfsError(
            f"{file} is no tarball that can be read ({error}), expected a rootfs.tar.gz"
        ) from None
    if missing := {PROCD, RELEASE, BUSYBOX} - set(found):
        raise RootfsError(
            f"{file} has no {sorted(missing)[0]}, expected a root file system of OpenWrt: the download …-rootfs.tar.gz"
        )
    machine = machine_of(found[BUSYBOX])
    if machine != os.uname().machine:
        raise RootfsError(
            f"{file} is for {machine or 'no machine that is known'}, expected one for {os.uname().machine}, "
            "whose programs run here"
        )


def unpack(file: Path, place: Path) -> Rootfs:
    """Unpack a tarball below a folder, once for all runs. Raises RootfsError."""
    file, place = file.resolve(), place.resolve()
    check(file)
    state = file.stat()
    mark = hashlib.sha256(f"{file} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:12]
    folder = place / f"{file.name.split('.tar')[0]}-{mark}"
    if folder.exists():
        return Rootfs(folder)
    place.mkdir(parents=True, exist_ok=True)
    half = place / f".{folder.name}.{os.getpid()}"
    half.mkdir()
    try:
        # devices are the node's own to have
        words = [
            "--numeric-owner",
            "--exclude=./dev/*",
            "--exclude=dev/*",
            "-C",
            str(half),
            "-xpf",
            str(file),
        ]
        done = subprocess.run(["tar", *words], capture_output=True, text=True)
        if done.returncode:
            raise RootfsError(f"{file} could not be unpacked: {done.stderr.strip().splitlines()[-1]}")
        if not folder.exists():
            half.rename(folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return Rootfs(folder)
