# SPDX-License-Identifier: ISC
"""sdk.ipk.control and .archive: words of a Makefile become what opkg reads, the same bytes each time."""

import gzip
import io
import os
import tarfile

import pytest

from sdk.ipk import archive, control

FIELDS = control.parse_fields(
    "Package: prefixd\nVersion: 0.1.0-r1\nDepends: +464xlat-common   +micropython\nConflicts:\nProvides: a b\n"
    "SourceName: prefixd\nLicense: ISC\nSection: net\nURL:\nMaintainer: Us\nArchitecture: all\nTitle: A title\n"
)


@pytest.mark.parametrize(
    ("condition", "symbols", "holds"),
    [
        ("PACKAGE_a", ["PACKAGE_a"], True),
        ("PACKAGE_a", [], False),
        ("!PACKAGE_a", [], True),
        ("!PACKAGE_a", ["PACKAGE_a"], False),
        ("A&&!B", ["A"], True),
        ("A&&!B", ["A", "B"], False),
        ("A||B", ["B"], True),
    ],
)
def test_a_condition_holds_by_the_symbols_that_are_set(condition, symbols, holds):
    assert control.is_set(condition, symbols) is holds


@pytest.mark.parametrize(
    ("words", "symbols", "names"),
    [
        ("", [], ["libc"]),
        ("+a b +a", [], ["libc", "a", "b"]),
        ("@IPV6 +a", ["IPV6"], ["libc", "a"]),
        ("+PACKAGE_x:a +!PACKAGE_x:b", ["PACKAGE_x"], ["libc", "a"]),
        ("+PACKAGE_x:a +!PACKAGE_x:b", [], ["libc", "b"]),
    ],
)
def test_dependencies_are_those_of_the_configuration(words, symbols, names):
    assert control.depends(words, symbols) == names


def test_a_control_file_has_every_field_that_is_not_empty_and_the_description_last():
    text = control.control(FIELDS, "  One line\n  and another\n", [], 123, 7)
    assert text == (
        "Package: prefixd\nVersion: 0.1.0-r1\nDepends: libc, 464xlat-common, micropython\nProvides: prefixd-any, a, b\n"
        "SourceName: prefixd\nLicense: ISC\nSection: net\nSourceDateEpoch: 7\nMaintainer: Us\nArchitecture: all\n"
        "Installed-Size: 123\nDescription: One line\n and another\n"
    )
    assert control.control(FIELDS, "", [], 123, 7).endswith("Description: A title\n")


def test_a_makefiles_postinst_runs_inside_openwrts_own():
    files = control.scripts({"postinst": "#!/bin/sh\nmine\n", "postrm": "#!/bin/sh\n"})
    assert set(files) == {"postinst", "postinst-pkg", "prerm", "postrm"}
    assert "default_postinst" in files["postinst"]
    assert files["postinst-pkg"] == "#!/bin/sh\nmine\n"


def test_an_index_entry_names_the_file_and_keeps_the_description_last():
    entry = control.index_entry("Package: a\nDescription: b\n", "a.ipk", 9, "ab")
    assert entry == "Package: a\nFilename: a.ipk\nSize: 9\nSHA256sum: ab\nDescription: b\n\n"


def test_an_archive_does_not_depend_on_umask_time_owner_or_order(tmp_path):
    archives = []
    for umask, names in ((0o022, ("b", "a")), (0o077, ("a", "b"))):
        folder = tmp_path / str(umask)
        old = os.umask(umask)
        try:
            (folder / "sub").mkdir(parents=True)
            for name in names:
                (folder / "sub" / name).write_text(name)
                (folder / "sub" / name).chmod(0o777 & ~umask if name == "a" else 0o666 & ~umask)
            (folder / "link").symlink_to("sub/a")
        finally:
            os.umask(old)
        for path in folder.rglob("*"):
            if not path.is_symlink():
                os.utime(path, (umask, umask))
        # of an owner's own files only those that nobody else may read differ, and these were made for everybody
        for path in folder.rglob("*"):
            if path.is_file():
                path.chmod(path.stat().st_mode | 0o044)
        archives.append(archive.ipk(folder, {"control": "x\n"}, 5))
    assert archives[0] == archives[1]


def test_a_package_is_a_compressed_tar_of_three_files_of_roots(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/secret").write_text("s")
    (tmp_path / "etc/secret").chmod(0o600)
    content = archive.ipk(tmp_path, {"control": "x\n", "postinst": "y\n"}, 5)
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as outer:
        assert outer.getnames() == ["./debian-binary", "./data.tar.gz", "./control.tar.gz"]
        data, inside = (outer.extractfile(name).read() for name in outer.getnames()[1:])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        modes = {member.name: (member.mode, member.uid, member.mtime) for member in tar}
    assert modes == {".": (0o755, 0, 5), "./etc": (0o755, 0, 5), "./etc/secret": (0o600, 0, 5)}
    with tarfile.open(fileobj=io.BytesIO(inside)) as tar:
        assert {member.name: member.mode for member in tar if member.isfile()} == {
            "./control": 0o644,
            "./postinst": 0o755,
        }
