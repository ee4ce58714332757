# SPDX-License-Identifier: ISC
"""This feed's packages for tests: built once a session, unpacked into root folders."""

import atexit
import io
import os
import shutil
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from unittest import mock

from sdk.ipk import __main__ as ipk
from sdk.openwrt import node

os.environ.setdefault("SOURCE_DATE_EPOCH", "1700000000")  # a commit in the meantime is no other input
FOLDER = Path(tempfile.mkdtemp(prefix="ipk-test-"))  # of this process alone
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


@cache
def built() -> dict[str, ipk.Package]:
    """Every package of the feed, by name."""
    return {package.name: package for package in ipk.build(FOLDER, [], [ipk.IPV6])}


@cache
def trees(firewall: str) -> dict[str, Path]:
    """The folder of each package as make leaves it, of packages for nft, for iptables (xtables), and for iptables on a
    kernel without nf_tables (xtables-alone)."""
    folder = FOLDER
    if firewall != "xtables":
        folder = Path(tempfile.mkdtemp(prefix="ipk-test-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        variable = {"XLAT464_ROAM_RULES": "nft" if firewall == "nft" else "xtables"}
        with mock.patch.dict(os.environ, variable):
            ipk.build(folder, [], [ipk.IPV6, *([ipk.FIREWALL4] if firewall == "nft" else [])])
    else:
        built()
    return {path.name: path for path in (folder / "tree").iterdir()}


def members(package: ipk.Package, part: str) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """What is in the data or control archive of a package, by path."""
    with tarfile.open(package.file) as outer:
        inner = outer.extractfile(f"./{part}.tar.gz")
        assert inner is not None
        content = inner.read()
    found = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            found[member.name.removeprefix(".").lstrip("/")] = member, file.read() if file else b""
    return found


def unpack(names: list[str], root: Path) -> None:
    """Unpack the named packages' files into a root folder, as an image has them."""
    node.unpack([built()[name].file for name in names], root)
