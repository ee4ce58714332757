# SPDX-License-Identifier: ISC
"""OpenWrt's opkg installs, upgrades and removes the packages in an empty root. OPKG=/path names the program.

What our packages need of others is there as empty packages of those names. With OPENWRT_TREE=/path/to/openwrt the root
has OpenWrt's functions.sh too, and so the scripts of the packages run.
"""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import packages
import pytest

from sdk.ipk import archive, control

OPKG = os.environ.get("OPKG") or shutil.which("opkg")
OPENWRT = os.environ.get("OPENWRT_TREE")
pytestmark = pytest.mark.skipif(
    OPKG is None, reason="no opkg: build it from OpenWrt's opkg-lede and say OPKG=/path"
)
OURS = [
    "464xlat-common",
    "464xlat-xtables",
    "prefixd",
    "siit",
    "python3-nat46",
    "python3-xlat464",
    "l3roamd-py",
]
BUILT = [
    "464xlat-common",
    "464xlat-siit",
    "prefixd",
    "python3-nat46",
    "python3-xlat464",
    "l3roamd-py",
    "l3roamd-micropython",
]  # folders that make them


GLUON = "gluon-l3roamd"  # whose init script starts /usr/sbin/l3roamd


def add(folder: Path, name: str, text: str, content: bytes) -> str:
    """Put a package into a feed, and return its entry in the index."""
    (folder / f"{name}.ipk").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    return "\n" + control.index_entry(text, f"{name}.ipk", len(content), sha256)


def add_strangers(folder: Path, more: frozenset[str] | set[str] = frozenset()) -> None:
    """Add empty packages for all that ours need and the feed lacks, and more."""
    index = (folder / "Packages").read_text()
    have = set(re.findall(r"^Package: (.*)$", index, re.M))
    wanted = {
        name for line in re.findall(r"^Depends: (.*)$", index, re.M) for name in line.split(", ")
    } - have
    empty, theirs = folder / "empty", folder / "theirs"
    empty.mkdir()
    (theirs / "usr/sbin").mkdir(parents=True)
    (theirs / "usr/sbin/l3roamd").touch()  # which ours have as well
    for name in sorted(wanted | {"l3roamd"} | more):
        text = f"Package: {name}\nVersion: 1\nArchitecture: all\nDescription: stands in\n"
        content = archive.ipk(theirs if name == "l3roamd" else empty, {"control": text}, 0)
        index += add(folder, name, text, content)
    empty_gluon = (
        f"Package: {GLUON}\nVersion: 1\nArchitecture: all\nDepends: l3roamd\nDescription: stands in\n"
    )
    index += add(folder, GLUON, empty_gluon, archive.ipk(empty, {"control": empty_gluon}, 0))
    (folder / "Packages").write_text(index)
    (folder / "Packages.gz").write_bytes(archive.gzip.compress(index.encode()))


@pytest.fixture(scope="module")
def feeds(tmp_path_factory):
    """Feeds of two releases, as folders "1" and "2" in one."""
    folder = tmp_path_factory.mktemp("feeds")
    for release in ("1", "2"):
        os.environ["PKG_RELEASE"] = release
        try:
            packages.ipk.build(folder / release, BUILT, [packages.ipk.IPV6])
        finally:
            del os.environ["PKG_RELEASE"]
        add_strangers(folder / release)
    return folder


class Root:
    """An empty root with opkg's configuration."""

    def __init__(self, folder: Path, feeds: Path):
        self.folder, self.feeds = folder, feeds
        self.path = folder / "root"
        for sub in ("etc/opkg", "usr/lib/opkg", "tmp", "var/lock", "lib", "etc/rc.d", "etc/init.d"):
            (self.path / sub).mkdir(parents=True)
        if OPENWRT:
            shutil.copy(Path(OPENWRT) / "package/base-files/files/lib/functions.sh", self.path / "lib")
            shutil.copytree(
                Path(OPENWRT) / "package/base-files/files/lib/functions", self.path / "lib/functions"
            )
        self.use("1")
        self.before = self.files()

    def use(self, release: str) -> None:
        """Let the feed be that of a release."""
        architecture = os.uname().machine
        (self.folder / "opkg.conf").write_text(
            f"dest root /\nlists_dir ext {self.folder}/lists\narch all 1\narch noarch 1\narch {architecture} 10\n"
            f"src/gz ours file://{self.feeds / release}\n"
        )
        self("update")

    def __call__(self, *words: str, fails: bool = False) -> str:
        command = [str(OPKG), "-f", str(self.folder / "opkg.conf"), "-o", str(self.path), *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def files(self) -> set[str]:
        """What is in the root, but for opkg's own notes."""
        found = (
            path.relative_to(self.path)
            for path in self.path.rglob("*")
            if path.is_file() or path.is_symlink()
        )
        return {str(path) for path in found if not str(path).startswith(("usr/lib/opkg", "var/lock", "tmp"))}

    def remove_all(self) -> None:
        self(
            "remove",
            "l3roamd-py",
            "siit",
            "prefixd",
            "python3-nat46",
            "python3-xlat464",
            "464xlat-common",
            "464xlat-xtables",
        )


@pytest.fixture
def root(tmp_path, feeds):
    return Root(tmp_path, feeds)


def test_packages_come_with_what_they_need_and_leave_nothing(root):
    root("install", "prefixd", "siit", "l3roamd-py")
    listed = root("list-installed")
    for name in (*OURS, "micropython-nossl", "kmod-tun", "python3-light"):
        assert f"{name} - " in listed
    assert (root.path / "usr/sbin/464xlat").stat().st_mode & 0o777 == 0o755
    assert (root.path / "etc/config/464xlat").stat().st_mode & 0o777 == 0o600
    root.remove_all()
    assert root.files() == root.before


def test_an_upgrade_keeps_the_configuration_and_a_removal_what_an_admin_wrote(root):
    root("install", "prefixd")
    config = root.path / "etc/config/464xlat"
    config.write_text(config.read_text() + "# mine\n")
    root.use("2")
    said = root("upgrade", "464xlat-common", "prefixd")
    assert "0.1.0-r2" in root("list-installed")
    assert config.read_text().endswith("# mine\n"), said
    root("remove", "prefixd", "464xlat-common", "464xlat-xtables")
    left = root.files() - root.before
    assert left <= {"etc/config/464xlat", "etc/config/464xlat-opkg"}
    assert config.read_text().endswith("# mine\n")


def test_an_upgrade_renews_a_configuration_that_nobody_touched(root):
    root("install", "464xlat-common")
    root.use("2")
    root("upgrade", "464xlat-common")
    assert not list(root.path.glob("etc/config/*-opkg"))
    root("remove", "464xlat-common", "464xlat-xtables")
    assert root.files() == root.before


@pytest.mark.parametrize("name", ["l3roamd-py", "l3roamd-micropython"])
def test_the_two_roaming_daemons_do_not_go_together(root, name):
    root("install", "l3roamd")
    assert "l3roamd" in root("install", name, fails=True)


@pytest.mark.parametrize("name", ["l3roamd-py", "l3roamd-micropython"])
def test_gluons_package_takes_ours_as_its_l3roamd(root, name):
    root("install", name)
    root("install", GLUON)
    listed = root("list-installed")
    assert f"{GLUON} - " in listed
    assert "l3roamd - " not in listed.replace(GLUON, "")
    assert (root.path / "usr/sbin/l3roamd").exists()
    assert GLUON in root("remove", name, fails=True), "it is needed now"


def test_without_ours_gluons_package_has_the_l3roamd_that_it_always_had(root):
    root("install", GLUON)
    assert "l3roamd-py" not in root("list-installed")
    assert "l3roamd-micropython" not in root("list-installed")


def test_a_roaming_daemon_goes_before_the_one_on_the_other_python_comes(root):
    root("install", "l3roamd-py")
    assert "l3roamd-py" in root("install", "l3roamd-micropython", fails=True)
    root("remove", "l3roamd-py")
    root("install", "l3roamd-micropython")
    assert (root.path / "etc/init.d/l3roamd-py").exists()
    assert not list(root.path.glob("usr/lib/python3*/site-packages/l3roamd_py/*.pyc"))
    root(
        "remove",
        "l3roamd-micropython",
        "464xlat-netlink",
        "python3-xlat464",
        "464xlat-common",
        "464xlat-xtables",
    )
    assert root.files() == root.before


@pytest.mark.skipif(OPENWRT is None, reason="no OpenWrt: say OPENWRT_TREE=/path")
def test_the_build_of_an_image_enables_the_services(root):
    shutil.copy(Path(OPENWRT) / "package/base-files/files/etc/rc.common", root.path / "etc")
    root("install", "prefixd", "siit")
    # as the build of an image does it
    for script in (root.path / "usr/lib/opkg/info").glob("*.postinst"):
        environment = {**os.environ, "IPKG_INSTROOT": str(root.path)}
        subprocess.run(["bash", str(script)], env=environment, cwd=root.path, check=True)
    links = {path.name for path in (root.path / "etc/rc.d").iterdir()}
    assert {"S59siit", "S60464xlat", "S61prefixd", "K40464xlat"} <= links
