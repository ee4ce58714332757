# SPDX-License-Identifier: ISC
"""`python -m sdk.deb`: build the Debian packages into build/deb, with the newest commit's time or SOURCE_DATE_EPOCH."""

import subprocess
import sys
import tempfile
from pathlib import Path

from runtime.usage import Parser, find_commit
from runtime.version import VERSION
from sdk.deb import tree
from sdk.deb.compiled import CompileError, Compiler, own_architecture
from sdk.deb.recipes import RECIPES
from sdk.ipk.__main__ import source_date_epoch

OUT = tree.ROOT / "build/deb"


def build(names: list[str], out: Path, architecture: str, version: str = VERSION) -> list[Path]:
    """Build packages, all if none is named; return the files. Raises CompileError."""
    known = {recipe.name: recipe for recipe in RECIPES}
    if strangers := set(names) - set(known):
        raise CompileError(f"{sorted(strangers)[0]} is no package, expected one of {', '.join(known)}")
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for name in names or known:
        with tempfile.TemporaryDirectory(prefix="deb-") as folder:
            work = Path(folder)
            (work / "root").mkdir()
            about = tree.Build(version, find_commit(), source_date_epoch(), Compiler(architecture, work))
            kind = tree.make(known[name], about, work / "root")
            file = out / f"{name}_{version}_{kind}.deb"
            words = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(work / "root"), str(file)]
            subprocess.run(words, env=environment(about.epoch), check=True, stdout=subprocess.DEVNULL)
            files.append(file)
    return files


def environment(epoch: int) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": str(epoch), "LC_ALL": "C.UTF-8"}


def main() -> int:
    parser = Parser(prog="sdk.deb", description="Build the Debian packages of this checkout.")
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help="which; without any, all")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="where to (build/deb)")
    parser.add_argument("--arch", help="amd64 or arm64; default: this machine's")
    parser.add_argument(
        "--set-version", default=VERSION, metavar="VERSION", help="another one, to try an upgrade"
    )
    options = parser.parse_args()
    try:
        files = build(options.packages, options.out, options.arch or own_architecture(), options.set_version)
        for file in files:
            print(file)
    except CompileError as error:
        print(f"sdk.deb: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
