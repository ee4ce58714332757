# SPDX-License-Identifier: ISC
"""Root file systems, packages and documentation, as far as a run on them can be refused or read without one."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from sdk.checks import CheckRun
from sdk.ipk import archive
from sdk.router import __main__ as router
from sdk.router import docs, feed, rootfs, table
from sdk.router.feed import FeedError
from sdk.router.mesh import CheckError, Done, Mesh
from sdk.router.rootfs import RootfsError

ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00"
HERE = ELF + bytes((62 if os.uname().machine == "x86_64" else 183, 0))
ROOT = {
    "sbin/procd": HERE,
    "bin/busybox": HERE,
    "bin/opkg": HERE,
    "etc/openwrt_release": b"DISTRIB_ID='OpenWrt'\nDISTRIB_DESCRIPTION='OpenWrt 24.10.0 r1'\n",
}


def tarball(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"etc/passwd": b""}, "has no bin/busybox"),
        ({**ROOT, "bin/busybox": ELF + b"\x08\x00"}, "is for mips, expected one for"),
        ({**ROOT, "bin/busybox": b"#!/bin/sh"}, "is for no machine that is known"),
    ],
)
def test_a_tarball_that_is_no_root_for_this_machine_is_refused_in_a_sentence(tmp_path, files, sentence):
    file = tarball(tmp_path / "rootfs.tar.gz", files)
    with pytest.raises(RootfsError, match=sentence):
        rootfs.unpack(file, tmp_path / "place")
    assert not (tmp_path / "place").exists()


@pytest.mark.parametrize("content", [None, b"", b"no archive at all", b"\x1f\x8b" + bytes(40)])
def test_a_file_that_is_no_tarball_is_refused_in_a_sentence(tmp_path, content, capsys):
    file = tmp_path / "rootfs.tar.gz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RootfsError, match=r"there is no file|no tarball that can be read"):
        rootfs.check(file)


def test_a_cut_download_is_refused_and_leaves_nothing(tmp_path):
    whole = tarball(tmp_path / "whole.tar.gz", {**ROOT, "big": os.urandom(100_000)}).read_bytes()
    file = tmp_path / "rootfs.tar.gz"
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RootfsError, match="no tarball that can be read"):
        rootfs.unpack(file, tmp_path / "place")


def test_a_root_is_unpacked_once_and_told(tmp_path):
    file = tarball(
        tmp_path / "openwrt-24.10.0-x86-64-rootfs.tar.gz", {**ROOT, "lib/gluon/x": b"", "dev/mem": b""}
    )
    first = rootfs.unpack(file, tmp_path / "place")
    (first.folder / "mark").touch()
    again = rootfs.unpack(file, tmp_path / "place")
    assert again.has("mark")
    assert not again.has("dev/mem")
    assert (again.release, again.manager, again.is_gluon, again.is_musl) == (
        "OpenWrt 24.10.0 r1",
        "opkg",
        True,
        False,
    )
    os.utime(file, (0, 0))
    assert not rootfs.unpack(file, tmp_path / "place").has("mark")


def root_in(folder: Path, *files: str) -> rootfs.Rootfs:
    for name, content in {**ROOT, **dict.fromkeys(files, b"")}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return rootfs.Rootfs(folder)


def test_folders_without_packages_for_a_root_are_refused_in_a_sentence(tmp_path):
    root = root_in(tmp_path / "root")
    (tmp_path / "empty").mkdir()
    for packages, sentence in (
        (tmp_path / "none", "is no folder, expected one with .ipk files"),
        (tmp_path / "empty", "has no .ipk file, and OpenWrt 24.10.0 r1 installs nothing else"),
    ):
        with pytest.raises(FeedError, match=sentence):
            feed.check(packages, root)
    feed.check(None, root)
    (tmp_path / "root/bin/opkg").unlink()
    with pytest.raises(FeedError, match="neither opkg nor apk"):
        feed.check(None, root)


def test_a_root_with_another_c_library_needs_its_siit(tmp_path):
    root = root_in(tmp_path / "root", "lib/ld-musl-x86_64.so.1")
    (tmp_path / "own").mkdir()
    (tmp_path / "own/micropython_1_all.ipk").touch()
    for packages in (None, tmp_path / "own"):
        with pytest.raises(FeedError, match="siit has to be built for"):
            feed.check(packages, root)
    (tmp_path / "own/siit_1_x86_64.ipk").touch()
    feed.check(tmp_path / "own", root)


def test_a_folders_packages_come_before_ours(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "empty").mkdir()
    for name in ("prefixd", "micropython"):
        text = f"Package: {name}\nVersion: 99\nArchitecture: all\nDescription: another\n"
        (tmp_path / f"own/{name}_99_all.ipk").write_bytes(
            archive.ipk(tmp_path / "empty", {"control": text}, 0)
        )
    made = feed.make(tmp_path / "own", root_in(tmp_path / "root"), tmp_path / "feed")
    index = (made.folder / "Packages").read_text()
    assert {"prefixd", "micropython", "464xlat-common"} <= made.names
    assert index.count("Package: prefixd\n") == 1
    assert "Filename: prefixd_99_all.ipk" in index
    (tmp_path / "own/broken_1_all.ipk").write_bytes(b"nothing")
    with pytest.raises(FeedError, match=r"broken_1_all.ipk is no package"):
        feed.make(tmp_path / "own", root_in(tmp_path / "root"), tmp_path / "feed")


def test_what_is_typed_is_read_from_the_page():
    page = """\
Text
.. typed on: clatnode platnode

On both, says the page::

  uci set a.b=c
  for way in x y; do
    echo $way
  done
  uci commit

::

  not marked

.. typed to remove on: clatnode

::

  opkg remove x
"""
    assert docs.blocks(page) == [
        (
            "on",
            {"clatnode", "platnode"},
            ["uci set a.b=c", "for way in x y; do", "  echo $way", "done", "uci commit"],
        ),
        ("to remove on", {"clatnode"}, ["opkg remove x"]),
    ]
    assert docs.entries(docs.blocks(page)[0][2])[1] == "for way in x y; do\n  echo $way\ndone"


@pytest.mark.parametrize("role", ["clatnode", "platnode"])
def test_the_documentation_says_for_either_role_what_to_type(role):
    typed = docs.commands(role)
    assert any(docs.is_install(line) for line in typed)
    assert any(line == f"uci set 464xlat.{role.removesuffix('node')}.enabled=1" for line in typed)
    assert docs.commands(role, "to remove on")
    assert docs.for_manager(typed[1], "apk").startswith("apk add ")


class NoMesh(Mesh):
    """Nodes that answer the same to everything."""

    services = {"a": (), "b": (), "c": ()}  # noqa: RUF012

    def do(self, node, line, timeout_s=120):
        return Done(0, "")

    def pids(self, node, service):
        return frozenset()

    def log(self, node):
        return []

    def ping(self, count=1):
        return True

    def renew(self):
        pass


def test_a_check_that_fails_ends_what_builds_on_it_and_nothing_else(monkeypatch, capsys):
    def fails(mesh):
        raise CheckError("no")

    done = []
    rows = (
        table.Check("first", fails),
        table.Check("elsewhere", lambda mesh: done.append("elsewhere") or "", ["wings"]),
        table.Check("ground", lambda mesh: [][0], is_ground=True),
        table.Check("last", lambda mesh: done.append("last") or ""),
    )
    monkeypatch.setattr(table, "CHECKS", rows)
    checks = CheckRun(colour=False)
    assert table.run(NoMesh(), checks) == ["last"]
    assert [(check.name, check.ok) for check in checks.checks] == [("first", False), ("ground", False)]
    assert "IndexError" in checks.checks[1].detail
    assert done == []


def test_a_gluon_root_has_checks_of_its_own(tmp_path):
    mesh = NoMesh()
    mesh.abilities = frozenset({table.GLUON})
    assert [check.name for check in table.CHECKS if table.is_for(check, mesh)] == ["gluon-reconfigure"]
    root = root_in(tmp_path / "root", "lib/gluon/site.json")
    feed.check(None, root)
    with pytest.raises(FeedError, match="expected no PACKAGES with a root file system of Gluon"):
        feed.check(tmp_path, root)


def test_a_chosen_check_brings_those_that_it_builds_on():
    assert [check.name for check in table.chosen(["quiet"])] == [
        "boot",
        "install",
        "settings",
        "roles",
        "quiet",
    ]
    assert table.chosen([]) == list(table.CHECKS)


def test_the_command_refuses_in_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(router, "check_machine", lambda: None)
    assert router.main(["--rootfs", str(tmp_path / "none.tar.gz")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("test-openwrt: there is no file")
    assert said.count("\n") == 1
