# SPDX-License-Identifier: ISC
"""reach's packages for OpenWrt: what they have and need."""

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
