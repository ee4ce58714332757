# SPDX-License-Identifier: ISC
"""`make dist`: the sources and the Debian packages of a commit, and SHA256SUMS: the same files whoever makes them."""

import gzip
import hashlib
import subprocess
import sys
from pathlib import Path

from runtime.usage import Parser
from runtime.version import VERSION
from sdk.deb import __main__ as deb
from sdk.deb.compiled import CompileError, own_architecture

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build/dist"
NAME = f"gluon-464xlat-{VERSION}"


class DistError(RuntimeError):
    """It cannot be made: one sentence."""


def git(*words: str) -> bytes:
    try:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise DistError(f"git {words[0]} failed: expected a checkout, and git ({error})") from None


def sources(commit: str) -> bytes:
    """Return a commit's files as a tar.gz, without a time but the commit's."""
    return gzip.compress(git("archive", "--format=tar", f"--prefix={NAME}/", commit), 9, mtime=0)


def make(out: Path) -> list[Path]:
    """Raises DistError, CompileError."""
    if changed := git("status", "--porcelain").decode().splitlines():
        raise DistError(f"{changed[0][3:]} is not committed, expected a checkout without changes")
    out.mkdir(parents=True, exist_ok=True)
    for old in out.iterdir():
        old.unlink()
    archive = out / f"{NAME}.tar.gz"
    archive.write_bytes(sources("HEAD"))
    files = [archive, *deb.build([], out, own_architecture())]
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (out / "SHA256SUMS").write_text("".join(sums))
    return [*files, out / "SHA256SUMS"]


def main() -> int:
    parser = Parser(prog="sdk.dist", description="Make the files of a release.")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="where to (build/dist)")
    options = parser.parse_args()
    try:
        for file in make(options.out):
            print(file)
    except (DistError, CompileError) as error:
        print(f"make dist: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
