# SPDX-License-Identifier: ISC
"""Packages for apk: what is said to apk's program; and, with APK=/path to one of apk-tools 3, what it makes of them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import packages
import pytest

from sdk.ipk import apk

APK = os.environ.get("APK") or shutil.which("apk")
needs_apk = pytest.mark.skipif(APK is None, reason="no apk: build it from apk-tools 3 and say APK=/path")
GLUON = "gluon-l3roamd"
FIELDS = {
    "Package": "one",
    "Version": "1.2-r1",
    "Depends": "+libc @IPV6 +two +PACKAGE_x:three",
    "Conflicts": "four five",
    "Extra-Depends": "!four (>0), eight (=2-r1)",
    "Provides": "six @seven",
    "SourceName": "source",
    "License": "ISC",
    "Section": "net",
    "Maintainer": "somebody",
    "Architecture": "all",
    "Title": "The first",
}


def test_a_conflict_is_the_makefiles_dependency_on_absence_and_all_is_noarch():
    said = apk.info(FIELDS, "  Two\n  lines.\n", ["IPV6"])
    assert said["depends"] == "!four>0 eight=2-r1 libc two"
    assert said["provides"] == "one-any six=1.2-r1 seven"
    assert (said["arch"], said["description"]) == ("noarch", "Two lines.")


def test_a_makefiles_scripts_run_behind_openwrts_own():
    said = apk.scripts("one", {"prerm": "\n#!/bin/sh\necho bye\n", "postrm": "#!/bin/sh\necho gone\n"})
    assert set(said) == {"post-install", "post-upgrade", "pre-deinstall", "post-deinstall"}
    assert said["pre-deinstall"].endswith("default_prerm\necho bye\n")
    assert said["post-deinstall"] == "#!/bin/sh\necho gone\n"
    assert "PKG_UPGRADE=1" in said["post-upgrade"]
    assert "PKG_UPGRADE" not in said["post-install"]
    for text in said.values():
        assert subprocess.run(["sh", "-n"], input=text, text=True).returncode == 0


def test_without_apk_one_sentence_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("APK", raising=False)
    assert packages.ipk.main(["--apk", "--out", str(tmp_path / "out")]) == 1
    assert re.fullmatch(r"apk: there is no program apk, expected .*\n", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def strangers(files: list[Path], out: Path, more: set[str], provides: dict[str, str]) -> list[Path]:
    """Make empty packages for all that the given ones need and are not, and more; some provide another."""
    have = {re.sub(r"-[\d.]+-r\d+$", "", file.stem) for file in files}
    wanted = set()
    for file in files:
        dump = subprocess.run([APK, "adbdump", str(file)], capture_output=True, text=True, check=True).stdout
        depends = re.search(r"^  depends:.*\n((?:    - .*\n)*)", dump, re.M)
        wanted |= set(re.findall(r"^    - ([\w.-]+)", depends[1], re.M)) if depends else set()
    empty, made = out / "empty", []
    empty.mkdir()
    provided = {word.partition("=")[0] for word in provides.values()}
    for name in sorted(wanted - have - provided | more | set(provides)):
        file = out / f"{name}-1-r1.apk"
        words = [f"--info={key}" for key in (f"name:{name}", "version:1-r1", "arch:noarch")]
        words += [f"--info=provides:{provides[name]}"] if name in provides else []
        apk.run("mkpkg", *words, "--files", str(empty), "--output", str(file), epoch=0)
        made.append(file)
    return made


def gluon(out: Path) -> Path:
    """Make Gluon's package, whose init script starts /usr/sbin/l3roamd."""
    file = out / f"{GLUON}-1-r1.apk"
    fields = (f"name:{GLUON}", "version:1-r1", "arch:noarch", "depends:l3roamd")
    words = [f"--info={each}" for each in fields]
    apk.run("mkpkg", *words, "--files", str(out / "empty"), "--output", str(file), epoch=0)
    return file


@pytest.fixture(scope="module")
def feeds(tmp_path_factory):
    """Feeds of two releases, as folders "1" and "2" in one; what ours need of others is there as empty packages."""
    folder = tmp_path_factory.mktemp("feeds")
    for release in ("1", "2"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PKG_RELEASE", release)
            out = folder / release
            files = packages.ipk.build_apk(
                out, ["464xlat-common", "prefixd", "l3roamd-py", "python3-xlat464"], []
            )
        files += [*strangers(files, out, {"l3roamd"}, {}), gluon(out)]
        apk.index(files, out, 0)
    return folder


class Root:
    """An empty root with a database of apk's."""

    def __init__(self, path: Path, feeds: Path):
        self.path, self.feeds, self.release = path, feeds, "1"
        path.mkdir()
        self("add", "--initdb")
        self.before = self.files()

    def __call__(self, *words: str, fails: bool = False) -> str:
        # its scripts would run in the root, which has no shell
        options = [
            "--root",
            str(self.path),
            "--arch",
            os.uname().machine,
            "--allow-untrusted",
        ]
        if words[0] != "list":
            options.append("--no-scripts")
        options += ["--repositories-file", "/dev/null", "--no-cache"]
        options += ["--repository", str(self.feeds / self.release / "packages.adb")]
        done = subprocess.run([APK, *options, *words], capture_output=True, text=True)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def files(self) -> set[str]:
        """What is in the root, but for apk's own notes."""
        found = (path.relative_to(self.path) for path in self.path.rglob("*") if not path.is_dir())
        return {
            str(path)
            for path in found
            if not str(path).startswith(("lib/apk/db", "etc/apk", "var", "usr/lib/apk"))
        }


@pytest.fixture
def root(tmp_path, feeds):
    return Root(tmp_path / "root", feeds)


@needs_apk
def test_packages_come_with_what_they_need_and_leave_nothing(root):
    root("add", "prefixd", "l3roamd-py")
    listed = root("list", "--installed")
    for name in (
        "464xlat-common",
        "464xlat-xtables",
        "python3-xlat464",
        "micropython-nossl",
        "python3-light",
    ):
        assert f"{name}-" in listed
    assert (root.path / "usr/sbin/464xlat").stat().st_mode & 0o777 == 0o755
    assert (root.path / "etc/config/464xlat").stat().st_mode & 0o777 == 0o600
    notes = root.path / "lib/apk/packages"
    assert (notes / "464xlat-common.conffiles").read_text() == "/etc/config/464xlat\n"
    listing = (notes / "prefixd.list").read_text().splitlines()
    assert "/usr/sbin/prefixd" in listing
    assert all((root.path / name[1:]).exists() for name in listing)
    root("del", "prefixd", "l3roamd-py")
    assert root.files() == root.before


@needs_apk
def test_an_upgrade_keeps_the_configuration(root):
    root("add", "prefixd")
    config = root.path / "etc/config/464xlat"
    config.write_text(config.read_text() + "# mine\n")
    root.release = "2"
    root("upgrade")
    assert "prefixd-0.1.0-r2" in root("list", "--installed")
    assert config.read_text().endswith("# mine\n")


@needs_apk
def test_the_two_roaming_daemons_do_not_go_together(root):
    root("add", "l3roamd")
    root("add", "l3roamd-py")
    listed = root("list", "--installed")
    assert "l3roamd-py-" in listed
    assert "l3roamd-1-" not in listed, "ours is one as well"


@needs_apk
def test_gluons_package_takes_ours_as_its_l3roamd(root):
    root("add", "l3roamd-py", GLUON)
    listed = root("list", "--installed")
    assert f"{GLUON}-" in listed
    assert "l3roamd-1-" not in listed.replace(GLUON, "")
    assert (root.path / "usr/sbin/l3roamd").exists()


@needs_apk
def test_without_ours_gluons_package_has_the_l3roamd_that_it_always_had(root):
    root("add", GLUON)
    assert "l3roamd-py" not in root("list", "--installed")


@needs_apk
def test_the_same_input_gives_the_same_bytes(tmp_path):
    made = [packages.ipk.build_apk(tmp_path / out, ["464xlat-common"], []) for out in ("one", "two")]
    assert [file.read_bytes() for file in made[0]] == [file.read_bytes() for file in made[1]]
