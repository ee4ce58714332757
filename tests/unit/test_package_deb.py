# SPDX-License-Identifier: ISC
"""Debian's packages as files: what is in which, that nothing collides, and that programs run unpacked.

`make test-deb` installs them by apt.
"""

import gzip
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import deb_packages
import pytest
from test_siit_cli import PACKET, RULE, checksummed

from runtime.usage import find_commit
from runtime.version import VERSION
from sdk.deb import __main__ as deb
from sdk.deb import manual
from sdk.deb.compiled import own_architecture
from sdk.deb.recipes import HOME, RECIPES

ROOT = Path(__file__).resolve().parents[2]
NAMES = [recipe.name for recipe in RECIPES]
ROOMS = ("runtime", "xlat464", "nat46", "siit", "prefixd", "l3roamd_py", "reach", "server")
BUILD_ONLY = {"siit/_build.py", "nat46/_build.py", "reach/relay/build.py"}
pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb on this machine")


def files(name):
    root = deb_packages.unpacked(name)
    return {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and "DEBIAN" not in path.parts
    }


def fields(name):
    text = (deb_packages.unpacked(name) / "DEBIAN/control").read_text()
    return dict(re.findall(r"^([A-Z][\w-]+): (.*)$", text, re.MULTILINE))


def run(*words, **environment):
    """As a server would run it, but for where the files are."""
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment},
    )


def test_no_two_packages_have_one_file():
    counted = Counter(path for name in NAMES for path in files(name))
    assert [path for path, count in counted.items() if count > 1] == []


def test_every_module_is_in_a_package_and_none_where_others_would_find_it():
    ours = {str(path.relative_to(ROOT)) for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    ours = {path for path in ours if not path.startswith("siit/bpf/")} - BUILD_ONLY
    theirs = {path for name in NAMES for path in files(name) if path.endswith(".py")}
    assert {path.removeprefix(f"{HOME}/") for path in theirs} == ours | {"__main__.py"}
    assert all(path.startswith(f"{HOME}/") for path in theirs)


def test_what_is_compiled_and_nothing_else_is_of_an_architecture():
    kinds = {name: fields(name)["Architecture"] for name in NAMES}
    own = own_architecture()
    assert kinds == {name: own if name in ("464xlat-siit", "464xlat-reach") else "all" for name in NAMES}
    for name in NAMES:
        assert deb_packages.built()[name].name == f"{name}_{VERSION}_{kinds[name]}.deb"
        assert ("libc6 (>= 2." in fields(name)["Depends"]) == (kinds[name] == own)


def test_who_had_reach_gets_its_successor():
    assert (fields("464xlat-reach")["Replaces"], fields("464xlat-reach")["Conflicts"]) == ("reach", "reach")
    (etc,) = (deb_packages.unpacked("464xlat-reach") / "etc").iterdir()
    assert (etc.name, etc.stat().st_mode & 0o777) == ("reach", 0o755)


@pytest.mark.parametrize("name", NAMES)
def test_scripts_and_programs_are_sound_and_name_no_build_machine(name):
    root = deb_packages.unpacked(name)
    for path in root.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(ROOT).encode() not in content, path
            assert b"/tmp/deb-" not in content, path
            if content.startswith(b"#!/bin/sh"):
                assert path.stat().st_mode & 0o100, path
                assert run("sh", "-n", path).stderr == ""
    assert (root / "DEBIAN/md5sums").read_text().count("\n") == len(files(name))
    assert {"postinst", "prerm"} <= {path.name for path in (root / "DEBIAN").iterdir()}


def test_every_command_runs_with_its_version_and_has_a_manual():
    root, commit = deb_packages.server(), find_commit()
    told = f"{VERSION} ({commit})" if commit else VERSION
    (root / "bin").mkdir(exist_ok=True)
    for recipe in RECIPES:
        for path, module in recipe.commands.items():
            wrapper = (root / path).read_text()
            assert wrapper.endswith(f'exec /usr/bin/python3 -I /{HOME} {module} "$@"\n')
            if path.startswith("usr/lib"):
                continue
            name = path.rpartition("/")[2]
            done = run(sys.executable, "-I", root / HOME, module, "--version")
            assert (done.stdout, done.stderr) == (f"{name} {told}\n", ""), path
            (page,) = root.glob(f"usr/share/man/man?/{name}.?.gz")
            assert b"\n.SH DESCRIPTION\n.nf\n" in gzip.decompress(page.read_bytes())
    assert run(root / "usr/bin/reach-relay", "--version").stdout == f"reach-relay {told}\n"
    done = run(
        "sh", root / "usr/sbin/464xlat", "--version", XLAT464=f"{sys.executable} -I {root / HOME} xlat464"
    )
    assert (done.stdout, done.stderr) == (f"464xlat {told}\n", "")


def test_a_module_beside_the_admin_or_in_his_environment_is_not_ours(tmp_path):
    (tmp_path / "runtime.py").write_text("raise SystemExit('not ours')\n")
    words = [sys.executable, "-I", str(deb_packages.server() / HOME), "prefixd", "--version"]
    done = subprocess.run(
        words, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_reach_renders_an_example_from_its_package(tmp_path):
    done = run(sys.executable, "-I", deb_packages.server() / HOME, "reach", "example", "exit")
    assert (done.stdout, done.stderr) == ((ROOT / "reach/examples/exit.toml").read_text(), "")


def test_the_translator_translates_from_its_package():
    words = ["translate", "--json", "--rule", RULE, checksummed(PACKET).hex()]
    done = run(sys.executable, "-I", deb_packages.server() / HOME, "siit", *words)
    assert (done.returncode, done.stderr) == (0, "")
    (answer,) = map(json.loads, done.stdout.splitlines())
    assert (answer["verdict"], answer["packets"][0][16:48]) == (
        "translated",
        "fd0000010000000000000000" + "0a000001",
    )


def test_units_are_sound():
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: apt-get install systemd")
    root = deb_packages.server()
    units = sorted(path.name for path in (root / "usr/lib/systemd/system").glob("*.service"))
    assert units == [
        "464xlat-metrics.service",
        "464xlat.service",
        "464xlat@.service",
        "l3roamd-py.service",
        "prefixd.service",
        "reach@.service",
        "siit.service",
    ]
    for name in units:
        text = (root / "usr/lib/systemd/system" / name).read_text()
        for program in re.findall(r"^Exec\w+=[-+!]*(/\S+)", text, re.MULTILINE):
            assert (root / program[1:]).exists() or Path(program).exists(), (name, program)
        assert "\nRestart=" in text or "Type=oneshot" in text
        assert "NoNewPrivileges=yes" in text or name in ("464xlat.service", "reach@.service")


def test_the_same_sources_make_the_same_package(tmp_path):
    (again,) = deb.build(["464xlat"], tmp_path, own_architecture())
    assert again.read_bytes() == deb_packages.built()["464xlat"].read_bytes()


def test_a_manual_page_shows_each_line_as_it_is():
    if shutil.which("nroff") is None:
        lines = manual.page("x", "8", "y", [".so", "'it", "a -b \\c"], "1", "2026-01-01").splitlines()[-4:]
        assert lines == ["\\&.so", "\\&'it", "a \\-b \\ec", ".fi"]
        return
    page = manual.page("x", "8", "y", [".so", "'it", "a -b \\c"], "1", "2026-01-01")
    said = subprocess.run(
        ["nroff", "-man", "-Tascii"], input=page, capture_output=True, text=True, check=True
    ).stdout
    assert {".so", "'it", "a -b \\c"} <= {line.strip() for line in said.splitlines()}


def test_networkmanager_keeps_what_the_admin_told_it_to_leave_alone():
    text = (deb_packages.unpacked("464xlat") / "usr/lib/NetworkManager/conf.d/464xlat.conf").read_text()
    assert "\nunmanaged-devices+=interface-name:plat;interface-name:clat\n" in text


def test_metrics_come_when_node_exporter_is_installed_later_and_go_with_the_package():
    root = deb_packages.unpacked("464xlat")
    units = root / "usr/lib/systemd/system"
    assert "Condition" not in (units / "464xlat-metrics.timer").read_text()
    assert "ConditionPathIsDirectory=" in (units / "464xlat-metrics.service").read_text()
    script = (root / "DEBIAN/postrm").read_text()
    removed = re.search(r'if \[ "\$1" = remove \]; then\n(.*?)^fi', script, re.MULTILINE | re.DOTALL)
    assert removed is not None
    assert "rm -f /var/lib/prometheus/node-exporter/464xlat.prom" in removed[1]


def test_the_documented_purge_takes_nothing_that_reach_needs():
    (line,) = re.findall(r"`apt purge (.*?)`", (ROOT / "docs/gateway.md").read_text())
    needed = re.findall(r"[a-z0-9][a-z0-9.+-]+", fields("464xlat-reach")["Depends"])
    assert set(line.split()) <= set(NAMES) - {"464xlat-reach", *needed}


def test_firewalld_is_told_one_thing_at_a_time():
    lines = re.findall(r"^firewall-cmd (.*)$", (ROOT / "docs/gateway.md").read_text(), re.MULTILINE)
    assert len(lines) > 5
    for line in lines:
        does = [word for word in line.split() if not re.match(r"--(permanent|zone=|policy=)", word)]
        assert len(does) == 1, line
