# SPDX-License-Identifier: ISC
"""The commands of the pages for beginners, executed on stand-ins, or on real programs if the environment names them.

GLUON_TREE names Gluon's own scripts, OPKG and APK the package managers.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import packages
import pytest
import test_package_apk
import test_package_opkg
import uci

ROOT = Path(__file__).resolve().parents[2]
GLUON = os.environ.get("GLUON_TREE")
COPIED_TO = "/tmp/464xlat/"
# in every image with firewall4, which depends on them
WITH_FIREWALL4 = {"libc", "nftables", "kmod-nft-core", "kmod-nft-fib", "kmod-nft-nat", "kmod-nft-offload"}
# what of Gluon's Makefile the page needs; the real update.sh asks git for the commit in the same words
MAKEFILE = """\
all: ; test -n "$(GLUON_TARGET)" && cat site/site.mk site/modules >/dev/null && mkdir -p output/images
update:
	. site/modules && mkdir packages && cd packages && git init -q . && \\
	git fetch -q "$$PACKAGES_XLAT464_REPO" "$$PACKAGES_XLAT464_BRANCH" && git branch -f base "$$PACKAGES_XLAT464_COMMIT"
"""
pytestmark = pytest.mark.skipif(
    not Path("/usr/include/json-c/json.h").exists() or shutil.which("make") is None,
    reason="no build tools: apt-get install make libjson-c-dev",
)


def blocks(page: str) -> list[list[str]]:
    """The lines of each block of commands of a page."""
    text = (ROOT / "docs" / page).read_text()
    return [block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)]


def block(*words: str) -> list[str]:
    """The commands of docs/first-steps-openwrt.md for a kind of node and a package manager."""
    (found,) = [
        lines
        for lines in blocks("first-steps-openwrt.md")
        if lines[0].removeprefix("# on: ").split() == list(words)
    ]
    return found[1:]


def git(*words: str, cwd: Path) -> str:
    author = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", *author, *words], cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkouts(tmp_path):
    """A folder with this repository as a clone of its branch `main`, as the page has it beside Gluon's."""
    ours = tmp_path / "gluon-464xlat"
    shutil.copytree(ROOT / "docs", ours / "docs")
    shutil.copytree(ROOT / "package", ours / "package")
    shutil.copytree(ROOT / "patches", ours / "patches")
    git("init", "-q", "-b", "main", ".", cwd=ours)
    git("add", "-A", cwd=ours)
    git("commit", "-q", "-m", "all", cwd=ours)
    return tmp_path


def follow(lines: list[str], folder: Path) -> None:
    for line in lines:
        done = subprocess.run(["sh", "-e", "-c", line], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"


def test_six_commands_lead_from_a_gluon_checkout_to_an_image(checkouts):
    ((*commands,),) = blocks("first-steps-gluon.md")
    assert len(commands) == 6
    gluon = checkouts / "gluon"
    (gluon / "patches/packages/routing").mkdir(parents=True)
    (gluon / "Makefile").write_text(MAKEFILE)
    follow(commands, gluon)
    assert (gluon / "output/images").is_dir()
    assert list((gluon / "patches/packages/routing").glob("*-babeld-*.patch"))
    commit = git("rev-parse", "HEAD", cwd=checkouts / "gluon-464xlat")
    assert git("rev-parse", "base", cwd=gluon / "packages") == commit


@pytest.mark.skipif(GLUON is None, reason="no Gluon: say GLUON_TREE=/path")
def test_gluons_own_update_takes_the_feed_as_the_page_names_it(checkouts):
    (commands,) = blocks("first-steps-gluon.md")
    gluon = checkouts / "gluon"
    (gluon / "patches/packages/routing").mkdir(parents=True)
    shutil.copytree(f"{GLUON}/scripts", gluon / "scripts")
    shutil.copy(f"{GLUON}/modules", gluon)
    follow(commands[:4], gluon)
    commit = git("rev-parse", "HEAD", cwd=checkouts / "gluon-464xlat")
    with (gluon / "site/modules").open("a") as file:  # what is not ours would come from elsewhere
        file.write(
            f"GLUON_FEEDS=\nOPENWRT_REPO=../../gluon-464xlat OPENWRT_BRANCH=main OPENWRT_COMMIT={commit}\n"
        )
    environment = {**os.environ, "GLUON_SITEDIR": str(gluon / "site")}
    subprocess.run(["bash", "scripts/update.sh"], cwd=gluon, env=environment, capture_output=True, check=True)
    assert git("rev-parse", "base", cwd=gluon / "packages/xlat464") == commit


@pytest.mark.parametrize("node", ["clatnode", "platnode"])
@pytest.mark.parametrize("manager", ["opkg", "apk"])
def test_what_is_installed_from_files_is_all_of_ours_that_is_needed(node, manager):
    """And nothing else; foreign packages are named before, so that nothing is looked for in vain."""
    lines = block(node, manager)
    given = set(re.findall(rf"{COPIED_TO}([\w-]+?)[_-]\*\.(?:ipk|apk)", " ".join(lines)))
    fields = {}
    for tree in packages.trees("nft").values():
        parsed = packages.ipk.control.parse_fields((tree / "control/fields").read_text())
        fields[tree.name] = set(packages.ipk.control.depends(parsed["Depends"], [packages.ipk.IPV6]))
    needed, waiting = set(), ["prefixd" if node == "clatnode" else "464xlat-plat"]
    while waiting:
        name = waiting.pop()
        needed.add(name)
        waiting += fields.get(name, set()) - needed
    assert given == needed & set(fields)
    foreign = {word for line in lines for word in line.split()[2:] if "/" not in word and word[0] != "-"}
    assert needed - set(fields) <= foreign | WITH_FIREWALL4 | {"ip"}  # which ip-tiny provides


def test_the_meshs_network_is_one(tmp_path, monkeypatch):
    (tmp_path / "network").write_text("")
    program = uci.shell(tmp_path) + 'service() { echo "$@"; }\n'
    typed = "\n".join(block("clatnode", "platnode"))
    done = subprocess.run(["sh", "-e", "-c", program + typed], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("network reload\n", "")
    (section,) = uci.load(tmp_path, "network")
    assert (section.kind, section.name) == ("interface", "mesh")
    assert section.options == {"proto": "none", "device": "eth2"}


def test_one_gateway_for_all_nodes_leaves_each_a_mac_of_its_own(tmp_path):
    """What docs/package/464xlat-common.rst says of roaming; eth0 is a file here."""
    page = (ROOT / "docs/package/464xlat-common.rst").read_text()
    typed = re.search(r"is its own then::\n\n((?:  .*\n)+)", page)[1].replace(
        "/sys/class/net/eth0", str(tmp_path)
    )
    (tmp_path / "address").write_text("02:00:00:00:00:01\n")
    (tmp_path / "464xlat").write_text((ROOT / "files/464xlat/etc/config/464xlat").read_text())
    (tmp_path / "network").write_text("config device\n\toption name 'br-lan'\nconfig interface 'lan'\n")
    program = uci.shell(tmp_path) + 'service() { echo "$@"; }\n'
    done = subprocess.run(["sh", "-e", "-c", program + typed], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("network reload\n", "")
    device, lan = uci.load(tmp_path, "network")
    (node,) = [section for section in uci.load(tmp_path, "464xlat") if section.name == "node"]
    assert lan.options == {"ipaddr": "10.46.0.1", "netmask": "255.255.0.0"}
    assert node.options["mac"] == "02:00:00:00:00:01" != device.options["macaddr"]
    assert int(device.options["macaddr"][:2], 16) & 3 == 2  # nobody's own, and no group's


def words_of(line: str, folder: Path) -> list[str]:
    """A line's words as a shell has them, with the packages in a folder of ours."""
    text = f"echo {line.replace(COPIED_TO, f'{folder}/')}"
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(test_package_opkg.OPKG is None, reason="no opkg: say OPKG=/path")
@pytest.mark.parametrize("node", ["clatnode", "platnode"])
def test_the_real_opkg_takes_each_line(node, tmp_path):
    feed = tmp_path / "feeds/1"
    packages.ipk.build(feed, [], [packages.ipk.IPV6, packages.ipk.FIREWALL4])
    test_package_opkg.add_strangers(feed, {"babeld", "ip-tiny", "kmod-nat46"})
    root = test_package_opkg.Root(tmp_path, tmp_path / "feeds")
    for line in block(node, "opkg"):
        root(*words_of(line, feed)[1:])
    listed = root("list-installed")
    assert ("prefixd - " in listed) == (node == "clatnode")
    assert "464xlat-common - " in listed


@pytest.mark.skipif(test_package_apk.APK is None, reason="no apk: say APK=/path")
@pytest.mark.parametrize("node", ["clatnode", "platnode"])
def test_the_real_apk_takes_each_line(node, tmp_path):
    out = tmp_path / "feeds/1"
    files = packages.ipk.build_apk(out, ["464xlat-common", "prefixd"], [packages.ipk.FIREWALL4])
    files += test_package_apk.strangers(files, out, {"babeld", "kmod-nat46"}, {"ip-tiny": "ip=1-r1"})
    packages.ipk.apk.index(files, out, 0)
    root = test_package_apk.Root(tmp_path / "root", tmp_path / "feeds")
    for line in block(node, "apk"):
        words = words_of(line, out)
        if words[1] != "update":
            root(*words[1:])
    listed = root("list", "--installed")
    assert ("prefixd-" in listed) == (node == "clatnode")
    assert "464xlat-common-" in listed
