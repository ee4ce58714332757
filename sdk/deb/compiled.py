# SPDX-License-Identifier: ISC
"""What a compiler makes of ours for Debian: the translator for Python, the relay.

For another architecture with Debian's cross compiler, and with that architecture's header of Python, which apt fetches.
"""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

from sdk.debian import apt

ROOT = Path(__file__).resolve().parents[2]
TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
HARDENED = ("-O2", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-Wl,-z,relro", "-Wl,-z,now", "-s")
EMIT = "from siit._build import make; make().emit_c_code({!r})"


class CompileError(RuntimeError):
    """It does not compile: one sentence."""


def run(words: list[str]) -> str:
    """Return what a command says. Raises CompileError with its last line."""
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600)
    except OSError as error:
        raise CompileError(f"{words[0]}: {error.strerror}") from None
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise CompileError(f"{words[0]}: {last[0]}")
    return done.stdout


def own_architecture() -> str:
    return run(["dpkg", "--print-architecture"]).strip()


class Compiler:
    """For an architecture of Debian. work: a folder for what lies in between. Raises CompileError."""

    def __init__(self, architecture: str, work: Path) -> None:
        if architecture not in TRIPLETS:
            raise CompileError(
                f"{architecture!r} is no architecture that there is a recipe for, expected amd64 or arm64"
            )
        self.architecture, self.work, self.triplet = architecture, work, TRIPLETS[architecture]
        self.is_own = architecture == own_architecture()
        default = os.environ.get("CC", "cc") if self.is_own else f"{self.triplet}-gcc"
        self.command = [default, *HARDENED, f"-ffile-prefix-map={ROOT}=.", f"-ffile-prefix-map={work}=."]
        self.command.append("-Wl,--build-id=sha1")

    def headers(self) -> list[str]:
        """Return where Python's headers are."""
        own = sysconfig.get_path("include")
        if self.is_own:
            return [f"-I{own}"]
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        package = f"libpython{version}-dev:{self.architecture}"
        release = re.search(r"^VERSION_CODENAME=(\S+)", apt.RELEASE.read_text(), re.MULTILINE)
        fetched = ROOT / "build/deb/headers" / self.architecture
        try:
            if not (fetched / "usr").exists():
                fetcher = apt.Apt(fetched, release[1] if release else apt.SUITE)
                fetcher.flags += [
                    "-o",
                    f"APT::Architectures::={self.architecture}",
                    "-o",
                    "APT::Architectures::=amd64",
                ]
                fetcher.get("update")
                fetcher.get("download", package, cwd=fetched)
                (file,) = fetched.glob("*.deb")
                apt.run(["dpkg-deb", "-x", str(file), str(fetched)])
        except apt.AptError as error:
            raise CompileError(str(error)) from None
        return [f"-I{own}", f"-I{fetched}/usr/include"]

    def siit(self, output: Path) -> None:
        """Compile the translator's module, as cffi writes it."""
        source = self.work / "_siit.c"
        run([sys.executable, "-c", EMIT.format(str(source))])
        folders = [ROOT / "siit/src", ROOT / "siit/bpf"]
        files = sorted(
            file for folder in folders for file in folder.glob("*.c") if not file.name.endswith(".bpf.c")
        )
        where = [f"-I{folder}" for folder in folders]
        flags = ["-std=gnu11", "-O3", "-fvisibility=hidden", "-fPIC", "-shared"]
        run(
            [*self.command, *flags, *where, *self.headers(), "-o", str(output), str(source), *map(str, files)]
        )

    def relay(self, output: Path, version: str) -> None:
        files = sorted(map(str, (ROOT / "reach/relay/src").glob("*.c")))
        told = f'-DVERSION="reach-relay {version}"'
        flags = ["-std=gnu11", "-D_GNU_SOURCE", "-fPIE", "-pie"]
        run([*self.command, *flags, told, "-o", str(output), *files])

    def libc(self, files: list[Path]) -> str:
        """Return what files need of the C library, as a dependency."""
        program = "objdump" if self.is_own else f"{self.triplet}-objdump"
        symbols = "".join(run([program, "-T", str(file)]) for file in files)
        versions = [tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_(\d+\.\d+)", symbols)]
        return "libc6 (>= {}.{})".format(*max(versions))
