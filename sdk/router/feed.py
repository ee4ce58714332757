# SPDX-License-Identifier: ISC
"""The packages that nodes install: this repository's, and those of a folder, which come first.

A folder's packages are what an image lacks (interpreters), and ours as an SDK has built them for it.
"""

import gzip
import hashlib
import io
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from sdk.ipk import __main__ as ipk
from sdk.ipk import apk, control
from sdk.router.rootfs import Rootfs

ENDING = {"opkg": ".ipk", "apk": ".apk"}
CONTROL = "./control.tar.gz"


class FeedError(Exception):
    """There are no packages that a node could install: one sentence."""


@dataclass(frozen=True, slots=True)
class Feed:
    """A folder of packages with an index, and their names."""

    folder: Path
    names: frozenset[str]


def check(packages: Path | None, rootfs: Rootfs) -> None:
    """Raise FeedError for a folder without packages for this root, and for a root that needs what no folder has."""
    if rootfs.is_gluon:
        if packages is not None:
            raise FeedError(
                "Gluon's packages are its image's, expected no PACKAGES with a root file system of Gluon"
            )
        return
    if not rootfs.manager:
        raise FeedError("the root file system has neither opkg nor apk, expected one that installs packages")
    ending = ENDING[rootfs.manager]
    if packages is not None and not packages.is_dir():
        raise FeedError(f"PACKAGES={packages} is no folder, expected one with {ending} files")
    found = sorted(packages.glob(f"*{ending}")) if packages else []
    if packages is not None and not found:
        raise FeedError(f"{packages} has no {ending} file, and {rootfs.release} installs nothing else")
    # what an SDK builds is for a root's C library; ours is for this machine's
    if rootfs.is_musl and not any(file.name.startswith(("siit_", "siit-")) for file in found):
        raise FeedError(
            f"siit has to be built for {rootfs.release}, whose C library is not this machine's, expected its "
            f"{ending} file in PACKAGES: `make feed SDK=DIR` makes it"
        )


def make(packages: Path | None, rootfs: Rootfs, out: Path) -> Feed:
    """Build this repository's packages as the root wants them, lay the folder's over them, and make the index.

    Raises FeedError.
    """
    check(packages, rootfs)
    symbols = ["PACKAGE_firewall4"] if rootfs.has_firewall4 else []
    try:
        if rootfs.manager == "apk":
            return make_apk(packages, out, symbols)
        ipk.build(out, [], symbols)
    except (ipk.BuildError, apk.ApkError) as error:
        raise FeedError(str(error)) from None
    clear(out)
    given = {name_of(file): file for file in sorted(packages.glob("*.ipk"))} if packages else {}
    entries = {name_of(file): file for file in sorted(out.glob("*.ipk"))}
    for name, file in given.items():
        if name in entries:
            entries[name].unlink()
        entries[name] = Path(shutil.copy(file, out))
    index = "\n".join(entry_of(file) for _, file in sorted(entries.items()))
    (out / "Packages").write_text(index)
    (out / "Packages.gz").write_bytes(gzip.compress(index.encode(), mtime=0))
    return Feed(out, frozenset(entries))


def make_apk(packages: Path | None, out: Path, symbols: list[str]) -> Feed:
    """As make(); a file's name is the package's, and its version behind a hyphen."""
    ours = {file.name.rsplit("-", 2)[0]: file for file in ipk.build_apk(out, [], symbols)}
    clear(out)
    for file in sorted(packages.glob("*.apk")) if packages else []:
        name = file.name.rsplit("-", 2)[0]
        if name in ours:
            ours[name].unlink()
        ours[name] = Path(shutil.copy(file, out))
    apk.index(ours.values(), out, 0)
    return Feed(out, frozenset(ours))


def clear(out: Path) -> None:
    """Leave packages only of what a build leaves."""
    for path in out.iterdir():
        if path.is_dir():
            shutil.rmtree(path)


def control_of(file: Path) -> str:
    """Return the control file of an .ipk. Raises FeedError."""
    try:
        with tarfile.open(file) as outer:
            inner = outer.extractfile(CONTROL)
            assert inner is not None
            with tarfile.open(fileobj=io.BytesIO(inner.read())) as tar:
                text = tar.extractfile("./control")
                assert text is not None
                return text.read().decode()
    except (tarfile.TarError, KeyError, OSError, EOFError, UnicodeDecodeError, AssertionError) as error:
        raise FeedError(f"{file} is no package of opkg's that can be read ({error})") from None


def name_of(file: Path) -> str:
    return control.parse_fields(control_of(file)).get("Package", file.stem)


def entry_of(file: Path) -> str:
    content = file.read_bytes()
    return control.index_entry(control_of(file), file.name, len(content), hashlib.sha256(content).hexdigest())
