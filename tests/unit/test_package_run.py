# SPDX-License-Identifier: ISC
"""What is in the packages runs from them, on both Pythons, and finds all that it imports."""

import marshal
import os
import re
import subprocess
import sys
from pathlib import Path

import packages
import pytest
from test_package_ipk import needed


@pytest.fixture(scope="module")
def built():
    return packages.built()


@pytest.fixture(scope="module")
def root(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    packages.unpack(
        [
            "464xlat-common",
            "464xlat-nft",
            "prefixd",
            "python3-nat46",
            "python3-xlat464",
            "siit",
            "l3roamd-py",
        ],
        folder,
    )
    return folder


def test_prefixd_runs_from_its_package_on_micropython(root, micropython):
    environment = {**os.environ, "MICROPYPATH": f".frozen:{root}/usr/lib/micropython"}
    done = micropython.run("-m", "prefixd", "--help", cwd=root, env=environment)
    assert done.stdout.startswith("Usage: prefixd")
    done = micropython.run("-m", "prefixd", "--plat-range", "fddd::/47", cwd=root, env=environment)
    assert done.returncode == 2


def modules(package, folder):
    """The modules that a package has below a folder, but for those that run when they are imported."""
    found = re.findall(
        rf"^{folder}/([\w/]+)\.(?:\S+\.so|pyc?|mpy)$", "\n".join(packages.members(package, "data")), re.M
    )
    names = (path.replace("/", ".").removesuffix(".__init__") for path in found)
    return sorted(name for name in names if not name.endswith("__main__"))


@pytest.mark.parametrize(
    "name",
    [
        "464xlat-common",
        "464xlat-plat",
        "464xlat-netlink",
        "prefixd",
        "prefixd-bird",
        "prefixd-hosts",
        "l3roamd-micropython",
    ],
)
def test_each_module_finds_what_it_imports_on_micropython(name, built, tmp_path, micropython):
    packages.unpack(sorted(needed(name, built)), tmp_path)
    environment = {**os.environ, "MICROPYPATH": f".frozen:{tmp_path}/usr/lib/micropython"}
    imports = [f"import {each}\n" for each in modules(built[name], "usr/lib/micropython")]
    assert imports
    done = micropython.run("-c", "".join(imports), cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["python3-xlat464", "python3-nat46", "siit", "l3roamd-py", "reach"])
def test_each_module_finds_what_it_imports_on_python(name, built, tmp_path):
    packages.unpack(sorted(needed(name, built)), tmp_path)
    imports = [f"import {each}\n" for each in modules(built[name], r"usr/lib/python3\.\d+/site-packages")]
    assert imports
    done = run_python(tmp_path, "-c", "".join(imports))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_addresses_come_from_the_package_on_micropython(root, micropython):
    environment = {**os.environ, "MICROPYPATH": f".frozen:{root}/usr/lib/micropython"}
    words = "-m", "xlat464", "node-prefix", "fddd:1337:1337::/48", "12:34:56:78:9a:bc"
    done = micropython.run(*words, cwd=root, env=environment)
    assert done.stdout == "fddd:1337:1337:1234:5678:9abc::/96\n"


def test_the_wrapper_of_prefixd_adds_the_routers_socket_unless_one_is_said(root, tmp_path):
    (tmp_path / "micropython").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "micropython").chmod(0o755)

    def said(*words):
        command = [str(root / "usr/sbin/prefixd"), *words]
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout.split()

    assert said("--status")[-3:] == ["--status", "--socket", "/var/run/prefixd.sock"]
    assert said("--status", "--socket", "/x")[-2:] == ["--socket", "/x"]
    assert "--socket" not in said("--help")


def run_python(root, *words):
    """Run a module as the router's Python would find it, and nothing of this tree."""
    site = next(root.glob("usr/lib/python3*/site-packages"))
    return subprocess.run(
        [sys.executable, "-P", *words],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )


def test_siit_translates_from_its_package(root):
    rule = (
        "local.v4 192.0.2.0/24 local.v6 fd00:1::/96 local.style RFC6052 "
        "remote.v4 0.0.0.0/0 remote.v6 64:ff9b::/96 remote.style RFC6052"
    )
    packet = "4500001c00004000401100000a000001c6336450" + "0035003500080000"
    done = run_python(root, "-m", "siit", "translate", "--rule", rule, packet)
    assert done.returncode == 0, done.stderr
    assert "_build" not in {path.stem for path in root.glob("usr/lib/python3*/site-packages/siit/*")}


def test_the_roaming_daemon_starts_from_its_package(root):
    done = run_python(root, "-m", "l3roamd_py", "--help")
    assert done.returncode == 0, done.stderr
    assert "daemon" in done.stdout
    assert (root / "usr/sbin/l3roamd").readlink() == Path("l3roamd_py"), "what Gluon's init script starts"


def test_nothing_in_a_python_package_is_text(root):
    assert not list(root.glob("usr/lib/python3*/**/*.py"))


def codes(code):
    """A module's code, and that of all that is defined in it."""
    yield code
    for each in code.co_consts:
        if isinstance(each, type(code)):
            yield from codes(each)


def test_what_python_runs_brings_nothing_that_only_readers_need(root):
    """Compiled by us: Py3Package, which would do it with docstrings and columns, leaves what is there."""
    for file in root.glob("usr/lib/python3*/site-packages/*/**/*.pyc"):
        module = marshal.loads(file.read_bytes()[16:])
        assert module.co_filename == "/" + str(file.relative_to(root).with_suffix(".py"))
        assert "__doc__" not in module.co_names
        assert {place[3] for code in codes(module) for place in code.co_positions()} == {None}


def test_openwrt_keeps_what_is_compiled(tmp_path):
    """What its Py3Package does: see python3-package.mk in the feed `packages`."""
    packages.ipk.make_trees(tmp_path, ["python3-xlat464"], [packages.ipk.IPV6], 0)
    installed = tmp_path / "work/python3-xlat464/ipkg-install"
    before = {file: file.read_bytes() for file in installed.rglob("*.pyc")}
    assert before
    words = [sys.executable, "-m", "compileall", "-q", "-r", "20", "-b", "-d", "/", str(installed)]
    subprocess.run(words, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}, check=True)
    assert {file: file.read_bytes() for file in installed.rglob("*.pyc")} == before
