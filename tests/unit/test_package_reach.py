# SPDX-License-Identifier: ISC
"""reach's packages: what OpenWrt's has and needs, and that Debian's runs as it is unpacked."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import packages
import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.name for path in (ROOT / "reach" / "examples").glob("*.toml"))
pytestmark = pytest.mark.skipif(
    not Path("/usr/include/json-c/json.h").exists() or shutil.which("make") is None,
    reason="no build tools: apt-get install make libjson-c-dev",
)


def run(*words, **options):
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, **options)


@pytest.fixture(scope="module")
def router(tmp_path_factory):
    folder = tmp_path_factory.mktemp("router")
    packages.unpack(["python3-xlat464", "reach", "reach-relay"], folder)
    return folder


def test_on_a_router_it_renders_an_example_from_its_package(router, tmp_path):
    site = next(router.glob("usr/lib/python3*/site-packages"))
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def reach(*words):
        return run(sys.executable, "-P", "-m", "reach", *words, cwd=tmp_path, env=environment)

    assert [line.split()[0] + ".toml" for line in reach("example").stdout.splitlines()] == EXAMPLES
    (tmp_path / "reach.toml").write_text(reach("example", "uplink").stdout)
    for end in ("server", "roof", "church"):
        assert reach("keys", end).returncode == 0
    done = reach("render", "roof", "--for", "openwrt", "--out", "files")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == [
        "files/etc/init.d/reach",
        "files/etc/reach/reach.nft",
        "files/etc/reach/uci.sh",
    ]
    assert not list(router.rglob("build.py*"))


def test_the_relay_of_the_package_runs(router, tmp_path):
    (tmp_path / "relay.conf").write_text("tcp 127.0.0.1 99999 ::1 80\n")
    done = run(str(router / "usr/bin/reach-relay"), str(tmp_path / "relay.conf"))
    assert done.returncode != 0
    assert "relay.conf" in done.stderr


def test_what_keeps_over_an_upgrade_is_the_description_and_the_keys():
    _, content = packages.members(packages.built()["reach"], "control")["conffiles"]
    assert content == b"/etc/reach/\n"


@pytest.fixture(scope="module")
def debian(tmp_path_factory):
    """The unpacked Debian package."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb")
    folder = tmp_path_factory.mktemp("debian")
    done = run("sh", str(ROOT / "package/reach/deb.sh"), str(folder))
    assert done.returncode == 0, done.stderr
    (package,) = folder.glob("*.deb")
    assert done.stdout == f"{package}\n"
    assert run("dpkg-deb", "-R", str(package), str(folder / "root")).returncode == 0
    return folder / "root"


def test_debians_package_has_all_modules_the_unit_and_a_folder_that_a_units_user_can_read(debian):
    modules = debian / "usr/lib/python3/dist-packages/reach"
    ours = {str(path.relative_to(ROOT / "reach")) for path in (ROOT / "reach").rglob("*.py")}
    theirs = {str(path.relative_to(modules)) for path in modules.rglob("*.py")}
    assert ours - theirs == {"relay/build.py"}
    assert (debian / "lib/systemd/system/reach@.service").exists()
    assert (debian / "etc/reach").stat().st_mode & 0o777 == 0o755
    for name in ("postinst", "prerm"):
        assert run("sh", "-n", str(debian / "DEBIAN" / name)).returncode == 0


def test_debians_package_is_what_it_says_and_runs(debian, tmp_path):
    control = (debian / "DEBIAN/control").read_text()
    assert "Depends: python3 (>= 3.11), python3-pyroute2, nftables" in control
    environment = {
        **os.environ,
        "PYTHONPATH": str(debian / "usr/lib/python3/dist-packages"),
        "PATH": f"{Path(sys.executable).parent}:{debian / 'usr/bin'}:/usr/bin:/bin",
    }
    done = run(str(debian / "usr/bin/reach"), "example", "exit", cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (ROOT / "reach/examples/exit.toml").read_text()
    assert os.access(debian / "usr/bin/reach-relay", os.X_OK)


def test_no_file_of_debians_package_names_the_machine_that_built_it(debian):
    for path in debian.rglob("*"):
        if path.is_file():
            assert str(ROOT).encode() not in path.read_bytes(), path
