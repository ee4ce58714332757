# SPDX-License-Identifier: ISC
"""sdk.sizes: package lists become what a package brings along, with the release's name."""

import gzip
import os
import re
import shutil
from pathlib import Path

import packages
import pytest

from sdk import sizes

ROOT = Path(__file__).resolve().parents[2]
APK = os.environ.get("APK") or shutil.which("apk")
OPKG_LIST = """\
Package: libffi8
Version: 3.4.7-r1
Depends: libc
Provides: libffi
Size: 20000
Installed-Size: 40960

Package: micropython-nossl
Version: 1.23.0-r1
Depends: libc, libffi8
Provides: micropython
Size: 150000
Installed-Size: 307200
Description: MicroPython
 Depends: nothing
"""
APK_LIST = """\
#%SCHEMA: 78646E69
# ADB block, size: 2304, compat: 0, ver: 0
packages: # 2 items
  - name: one
    version: 1-r1
    description: |
      file-size: 7 is what this line says
    installed-size: 34043
    file-size: 15525
    depends: # 3 items
      - '!three>0'
      - libc
      - two>=1
    provides: # 2 items
      - one-any
      - uno=1-r1
  - name: two
    installed-size: 9
    file-size: 8
"""


def sized(name, needs=(), size=10, provides=()):
    return sizes.Sized(name, size, 20, tuple(needs), tuple(provides))


def test_opkgs_list_is_read_with_what_packages_need_and_provide():
    libffi, micropython = sizes.parse(OPKG_LIST)
    assert (libffi.provides, micropython.needs) == (("libffi",), ("libc", "libffi8"))
    assert (micropython.size, micropython.installed) == (150000, 307200)


def test_apks_list_is_read_without_versions_and_conflicts():
    one, two = sizes.parse_apk(APK_LIST)
    assert one == sizes.Sized("one", 15525, 34043, ("libc", "two"), ("one-any", "uno"))
    assert two == sizes.Sized("two", 8, 9, (), ())


@pytest.mark.skipif(APK is None, reason="no apk: build it from apk-tools 3 and say APK=/path")
def test_a_list_of_the_real_apk_is_read(tmp_path):
    files = packages.ipk.build_apk(tmp_path, ["python3-xlat464"], [])
    (read,) = sizes.read(tmp_path / "packages.adb")
    assert (read.name, read.size) == ("python3-xlat464", files[0].stat().st_size)
    assert set(read.needs) == {"libc", "python3-light"}


@pytest.mark.parametrize("text", ["Package: one\nVersion: 1\n", "<html>not found</html>"])
def test_what_is_no_list_is_refused(text, tmp_path):
    (tmp_path / "Packages").write_text(text)
    with pytest.raises(sizes.SizesError, match="expected opkg's file Packages"):
        sizes.read(tmp_path / "Packages")


def test_a_package_brings_each_other_once_and_nothing_that_is_there():
    known = sizes.by_name(
        [
            sized("a", ["b", "virtual", "libc"]),
            sized("b", ["real"]),
            sized("real", ["b"], provides=["virtual"]),
        ]
    )
    assert set(sizes.walk("a", known)) == {"a", "b", "real"}


def test_what_no_list_has_is_named():
    with pytest.raises(sizes.SizesError, match=r"^b, which a brings along, is in no list"):
        sizes.walk("a", sizes.by_name([sized("a", ["b"])]))


def test_a_table_names_the_release_and_counts_openwrts_packages():
    ours = [sized("a", ["b", "c"], 2000), sized("b", [], 1000)]
    text = sizes.table(ours, [sized("c", [], 5000)], "24.10.6 x86_64")
    assert "with what it brings, 24.10.6 x86_64" in text
    assert re.search(r"^``a`` +0 KB +2 KB +8 KB, 1 of OpenWrt's$", text, re.M)
    assert "brings" not in sizes.table(ours, [], "")


def test_lists_without_a_release_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        sizes.main([str(tmp_path / "Packages")])
    assert "expected the name of the release" in capsys.readouterr().err


def test_all_that_a_clatnode_brings_is_found_in_lists_of_a_release(tmp_path, capsys, monkeypatch):
    """With lists made of what our packages name: the whole way from files to a table."""
    depends = set()
    for package in packages.built().values():
        depends |= set(re.search(r"^Depends: (.*)$", package.entry, re.M)[1].split(", "))
    text = "\n".join(
        f"Package: {name}\nSize: 1000\nInstalled-Size: 2000\n"
        for name in sorted(depends - set(packages.built()))
    )
    (tmp_path / "Packages.gz").write_bytes(gzip.compress(text.encode()))
    assert sizes.main(["--release", "24.10.6 test", str(tmp_path / "Packages.gz")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^``prefixd`` .* of OpenWrt's$", said, re.M)
    assert "``reach``" not in said


def test_the_folders_of_a_package_are_told_with_what_they_take(tmp_path):
    for name, size in (("usr/lib/one", 3000), ("usr/lib/deep/two", 1000), ("usr/lib/three", 7000)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    told = [line.split() for line in sizes.parts(tmp_path)]
    assert [line[:4] for line in told[1:]] == [
        ["/usr/lib/deep", "1", "1.0", "KB"],
        ["/usr/lib", "2", "10.0", "KB"],
        ["all", "3", "11.0", "KB"],
    ]
    with pytest.raises(sizes.SizesError, match="expected the name of a package"):
        sizes.parts(tmp_path / "none")


def test_the_page_has_a_place_for_the_table():
    page = sizes.PAGE.read_text()
    assert sizes.fill(page, "TABLE\n").count("TABLE") == 1
    with pytest.raises(sizes.SizesError, match="no place"):
        sizes.fill("nothing\n", "TABLE\n")
