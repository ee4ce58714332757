# SPDX-License-Identifier: ISC
"""`--version` of every command: one version, told by all, and by a package's commands the package's own."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import packages
import pytest

from runtime.usage import Parser, find_commit, version
from runtime.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    "siit": "siit",
    "nat46": "nat46ctl",
    "l3roamd_py": "l3roamd_py",
    "reach": "reach",
    "sdk.lab": "lab",
    "sdk.demo": "python -m sdk.demo",
    "sdk.ipk": "sdk.ipk",
    "sdk.router": "test-openwrt",
    "sdk.sizes": "sdk.sizes",
    "sdk.storm": "make storm",
    "sdk.vm": "sdk/vm/run",
    "sdk.vm.suite": "sdk.vm.suite",
    "sdk.debian.root": "test-debian",
    "bench": "make bench",
}


def said(*words, cwd=ROOT, **environment):
    done = subprocess.run(
        [*map(str, words), "--version"],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), words
    return done.stdout


@pytest.mark.parametrize(("module", "name"), MODULES.items(), ids=MODULES)
def test_every_command_tells_the_version_and_in_a_checkout_the_commit(module, name):
    line = said(sys.executable, "-m", module)
    assert line == version(name) + "\n"
    assert re.fullmatch(rf"{re.escape(name)} {re.escape(VERSION)}( \([0-9a-f]{{7,}}(-dirty)?\))?\n", line)
    assert ("(" in line) == ((ROOT / ".git").exists() and shutil.which("git") is not None)


def test_commands_of_micropython_and_sh_tell_it_on_both_pythons(micropython):
    for python in (sys.executable, micropython.program):
        tell = version if python == sys.executable else f"{{}} {VERSION}".format  # which cannot ask git
        assert said(ROOT / "bin/prefixd", PREFIXD_PYTHON=python) == tell("prefixd") + "\n"
        place = {"XLAT464": f"{python} -m xlat464", "MICROPYPATH": f"{ROOT}:.frozen"}
        assert said("sh", ROOT / "files/464xlat/usr/sbin/464xlat", **place) == tell("464xlat") + "\n"
    assert micropython.run("-m", "xlat464", "--version").stdout == f"xlat464 {VERSION}\n"


def test_the_relay_tells_it_and_how_it_is_called(tmp_path):
    program = tmp_path / "relay"
    subprocess.run([sys.executable, "-m", "reach.relay.build", program], cwd=ROOT, check=True)
    assert said(program) == version("reach-relay") + "\n"
    done = subprocess.run([program, "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stdout[:25], done.stderr) == (0, "usage: reach-relay [--sta", "")


def test_a_subcommand_has_no_version_of_its_own(capsys):
    parser = Parser("many")
    parser.add_subparsers().add_parser("one")
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["one", "--version"])
    assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"many {VERSION}")


def version_of(package):
    """What the package's entry in an index says."""
    return re.search(r"^Version: (\S+)$", package.entry, re.MULTILINE)[1]


def test_the_project_has_no_other_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "runtime.version.VERSION"}
    for package in packages.built().values():
        assert version_of(package) == f"{VERSION}-r1", package.name


def test_a_packages_commands_tell_the_packages_version(tmp_path, micropython):
    names = [
        "464xlat-common",
        "464xlat-nft",
        "prefixd",
        "python3-xlat464",
        "python3-nat46",
        "reach-relay",
        "siit",
    ]
    packages.unpack([*names, "l3roamd-py", "reach"], tmp_path)
    version = version_of(packages.built()["prefixd"])
    if commit := find_commit():
        version += f" ({commit})"
    (site,) = tmp_path.glob("usr/lib/python3*/site-packages")
    for module, name in (
        ("nat46", "nat46ctl"),
        ("siit", "siit"),
        ("l3roamd_py", "l3roamd_py"),
        ("reach", "reach"),
    ):
        script = f"import sys; sys.argv[0] = '{name}'; import runpy; runpy.run_module('{module}', run_name='__main__')"
        environment = {"PYTHONPATH": str(site)}
        done = subprocess.run(
            [sys.executable, "-P", "-c", script, "--version"],
            env={**os.environ, **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert (done.stdout, done.stderr) == (f"{name} {version}\n", "")
    path = {"MICROPYPATH": f".frozen:{tmp_path}/usr/lib/micropython"}
    assert (
        micropython.run("-m", "prefixd", "--version", cwd=tmp_path, env=path).stdout == f"prefixd {version}\n"
    )
    environment = {"XLAT464": f"{micropython.program} -m xlat464", **path}
    assert said("sh", tmp_path / "usr/sbin/464xlat", cwd=tmp_path, **environment) == f"464xlat {version}\n"
    assert said(tmp_path / "usr/bin/reach-relay") == f"reach-relay {version}\n"
