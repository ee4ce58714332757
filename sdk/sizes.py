# SPDX-License-Identifier: ISC
"""`python -m sdk.sizes INDEX...`: what this feed's packages take of a router's flash, with all that they bring along.

An INDEX is a list of packages of an OpenWrt release: `Packages` (or Packages.gz) of opkg's feeds, `packages.adb` of
apk's, or what `apk adbdump` makes of one. Four have all that is needed: base, packages, routing and those of the
target's kernel modules. Without an INDEX only our own packages are listed. A size is that of the compressed package,
which is about what a squashfs needs for it.

parts()                what each folder of a package takes, with `--parts PACKAGE`
parse(), parse_apk()   a list becomes packages    pure
walk()                 what a package brings along    pure
table()                the table of docs/package/gluon-464xlat-clat.rst    pure
"""

import gzip
import lzma
import re
import subprocess
import sys
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.text import table as aligned
from runtime.usage import Parser
from sdk.ipk import __main__ as ipk
from sdk.ipk import apk

PAGE = ipk.ROOT / "docs/package/gluon-464xlat-clat.rst"
BEGIN, END = ".. sizes: `make sizes` writes what follows\n", ".. sizes end\n"
NO_ROUTER = ("reach", "reach-relay")  # not of the roles
# packages that OpenWrt and Gluon images have already
THERE = re.compile(
    r"(kernel|libc|libgcc\d*|libpthread|librt|busybox|base-files|libubox\d*|libubus\d*|ubusd?|libjson-c\d*|ca-bundle"
    r"|gluon-(?!464xlat).*|firewall|dnsmasq-full)$"
)


class SizesError(Exception):
    """A list that cannot be read, or lacks a package: one sentence."""


@dataclass(frozen=True, slots=True)
class Sized:
    """A package: what it is compressed and installed (bytes; 0 if not told), needs (names), and provides."""

    name: str
    size: int
    installed: int
    needs: tuple[str, ...]
    provides: tuple[str, ...]


def names(words: str) -> tuple[str, ...]:
    """The names of a field, without versions and conflicts."""
    found = (re.split(r"[\s(<>=~]", word.strip())[0] for word in words.split(","))
    return tuple(name for name in found if name and not name.startswith("!"))


def parse(text: str) -> list[Sized]:
    """Return the packages of opkg's list. Raises SizesError."""
    found = []
    for paragraph in text.strip().split("\n\n"):
        fields = dict(re.findall(r"^([\w-]+): (.*)$", paragraph, re.M))
        if "Package" not in fields or not fields.get("Size", "").isdigit():
            raise SizesError(f"{paragraph[:40]!r}: no package with its Size, expected opkg's file Packages")
        installed = int(fields.get("Installed-Size", "0"))
        needs, provides = names(fields.get("Depends", "")), names(fields.get("Provides", ""))
        found.append(Sized(fields["Package"], int(fields["Size"]), installed, needs, provides))
    return found


def parse_apk(text: str) -> list[Sized]:
    """Return the packages of apk's list, as `apk adbdump` tells it. Raises SizesError."""
    found = []
    for entry in re.split(r"^  - (?=name: )", text, flags=re.M)[1:]:
        fields = dict(re.findall(r"^(?:    )?([\w-]+): ([^#\n]+)$", entry, re.M))
        lists = {
            key: ",".join(re.findall(r"^      - '?([^'\n]+)", block, re.M))
            for key, block in re.findall(r"^    (depends|provides): #.*\n((?:      .*\n)+)", entry, re.M)
        }
        if not fields.get("file-size", "").isdigit():
            raise SizesError(
                f"{fields.get('name')}: no file-size, expected what `apk adbdump` makes of a packages.adb"
            )
        needs, provides = names(lists.get("depends", "")), names(lists.get("provides", ""))
        size, installed = int(fields["file-size"]), int(fields.get("installed-size", "0"))
        found.append(Sized(fields["name"], size, installed, needs, provides))
    return found


def read(path: Path) -> list[Sized]:
    """Return the packages of a list. Raises SizesError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SizesError(f"{path}: {error.strerror}") from None
    if content.startswith(b"ADB"):
        done = subprocess.run([apk.program(), "adbdump", str(path)], capture_output=True, text=True)
        return parse_apk(done.stdout)
    text = (gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content).decode(errors="replace")
    return parse_apk(text) if text.startswith("#%SCHEMA") else parse(text)


def walk(name: str, known: Mapping[str, Sized]) -> dict[str, Sized]:
    """What comes with a package, itself included, but for what is there. Raises SizesError for what no list has."""
    found: dict[str, Sized] = {}
    waiting = [name]
    while waiting:
        needed = waiting.pop()
        if THERE.match(needed) or needed in found:
            continue
        if needed not in known:
            raise SizesError(
                f"{needed}, which {name} brings along, is in no list, "
                "expected those of base, packages, routing and of kernel modules"
            )
        package = known[needed]
        if package.name not in found:
            found[package.name] = package
            waiting += package.needs
    return found


def by_name(packages: Iterable[Sized]) -> dict[str, Sized]:
    """The packages by their names, and by what they provide if no package has that name."""
    listed = list(packages)
    known = {word: package for package in reversed(listed) for word in package.provides}
    return known | {package.name: package for package in listed}


def kilobytes(size: int) -> str:
    return f"{round(size / 1000)} KB"


def table(ours: list[Sized], others: list[Sized], release: str) -> str:
    """Return the table as reStructuredText. Raises SizesError."""
    known = by_name([*others, *ours])
    own = {package.name for package in ours}
    rows = [("package", "installed", "compressed", f"with what it brings, {release}")[: 4 if others else 3]]
    for package in sorted(ours, key=lambda package: package.installed):
        row = [f"``{package.name}``", kilobytes(package.installed), kilobytes(package.size)]
        if others:
            brought = walk(package.name, known)
            foreign = len(brought.keys() - own)
            row.append(f"{kilobytes(sum(each.size for each in brought.values()))}, {foreign} of OpenWrt's")
        rows.append(tuple(row))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = "  ".join("=" * width for width in widths)
    lines = aligned(rows)
    return "\n".join([rule, lines[0], rule, *lines[1:], rule]) + "\n"


def parts(root: Path) -> list[str]:
    """What each folder of a package takes, and all of it, as lines. Raises SizesError: there is no such package."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    if not files:
        raise SizesError(f"{root}: no package's files, expected the name of a package of ours")
    folders: dict[str, list[Path]] = {}
    for path in files:
        folders.setdefault(f"/{path.parent.relative_to(root)}", []).append(path)
    rows: list[tuple[str, ...]] = [("folder", "files", "installed", "gzip", "xz")]
    for name, inside in [*folders.items(), ("all", files)]:
        content = b"".join(path.read_bytes() for path in inside)
        packed = (len(zlib.compress(content, 9)), len(lzma.compress(content)))
        rows.append((name, str(len(inside)), *(f"{size / 1000:.1f} KB" for size in (len(content), *packed))))
    return aligned(rows)


def fill(page: str, text: str) -> str:
    """Return a page with a table in its place."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SizesError(f"{PAGE.name} has no place for sizes, expected it between {BEGIN!r} and {END!r}")
    return f"{head}{BEGIN}\n{text}\n{END}{tail}"


def main(arguments: list[str] | None = None) -> int:
    parser = Parser("sdk.sizes", description=(__doc__ or "").partition("\n\n")[0].partition(": ")[2])
    parser.add_argument("index", type=Path, nargs="*", metavar="INDEX", help="lists of packages of a release")
    parser.add_argument("--release", default="", help="of OpenWrt, as 24.10.6 mips_24kc; needed with lists")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}, instead of printing")
    parser.add_argument(
        "--parts", metavar="PACKAGE", help="instead: what each folder of a package of ours takes"
    )
    options = parser.parse_args(arguments)
    if options.index and not options.release:
        parser.error("lists without --release, expected the name of the release that they are of")
    try:
        ipk.build(ipk.ROOT / "build/sizes", [], [ipk.IPV6])
        if options.parts:
            print("\n".join(parts(ipk.ROOT / f"build/sizes/tree/{options.parts}/data")))
            return 0
        ours = [
            package
            for package in parse((ipk.ROOT / "build/sizes/Packages").read_text())
            if package.name not in NO_ROUTER
        ]
        text = table(ours, [package for path in options.index for package in read(path)], options.release)
        if not options.write:
            sys.stdout.write(text)
            return 0
        PAGE.write_text(fill(PAGE.read_text(), text))
    except (SizesError, ipk.BuildError, apk.ApkError) as error:
        print(f"sizes: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
