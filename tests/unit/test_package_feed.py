# SPDX-License-Identifier: ISC
"""The feed in OpenWrt's build system: what `make feed` does to a tree, and what the tree's own scan makes of Makefiles.

With OPENWRT_TREE=/path/to/openwrt and OPENWRT_PACKAGES=/path/to/packages (OpenWrt's feed of that name) the real
metadata scan reads the Makefiles, with GLUON_TREE=/path/to/gluon those of Gluon's packages as well.
"""

import os
import subprocess
from pathlib import Path

import pytest

from sdk.debian import babeld

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {path.parent.name for path in ROOT.glob("package/*/Makefile")}
OF_ITSELF = {name for name in FOLDERS if not name.startswith("gluon-")}
OPENWRT, FEED_PACKAGES = os.environ.get("OPENWRT_TREE"), os.environ.get("OPENWRT_PACKAGES")
GLUON = os.environ.get("GLUON_TREE")

# what this feed needs of a tree's scripts/feeds; it notes what it is asked
FEEDS = """\
#!/bin/sh
echo "feeds $*" >>calls
[ -z "${OFFLINE:-}" ] || exit 1
if [ "$1" = install ]; then
	shift 3
	for folder; do
		[ "$folder" = "${TAKEN:-}" ] || mkdir -p "package/feeds/gluon_464xlat/$folder"
	done
fi
[ "$1" = update ] || exit 0
if [ "$2" = -a ]; then
	mkdir -p feeds/packages/lang/python
	: >feeds/packages/lang/python/python3-package.mk
fi
sed -n 's/^src-link gluon_464xlat //p' feeds.conf | while read -r root; do
	for makefile in "$root"/*/Makefile; do
		folder=$(basename "$(dirname "$makefile")")
		[ "$folder" != "${BROKEN:-}" ] || continue
		echo "Source-Makefile: feeds/gluon_464xlat/$folder/Makefile"
		sed -n 's/^define Package\\/\\([^/]*\\)$/Package: \\1/p' "$makefile"
	done
done >feeds/gluon_464xlat.index
"""


@pytest.fixture
def tree(tmp_path):
    """A tree as fresh as an SDK's archive."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "feeds").mkdir()
    (tmp_path / "scripts/feeds").write_text(FEEDS)
    (tmp_path / "scripts/feeds").chmod(0o755)
    (tmp_path / "feeds.conf.default").write_text("src-git packages https://git.example.org/packages.git\n")
    (tmp_path / "Makefile").write_text("%:\n\t@echo make $@ >>calls\nMakefile: ;\n")
    return tmp_path


def feed(tree: Path, packages: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(ROOT / "sdk/ipk/feed.sh"), str(tree), "", packages]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)


def test_feeds_that_cannot_be_had_are_said(tree):
    done = feed(tree, OFFLINE="1")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "`scripts/feeds update -a` failed" in done.stderr


def test_a_fresh_tree_gets_openwrts_feeds_and_then_ours_once(tree):
    for _ in range(2):
        done = feed(tree)
        assert done.returncode == 0, done.stderr
    calls = (tree / "calls").read_text().splitlines()
    assert [call for call in calls if "update" in call] == ["feeds update -a", "feeds update gluon_464xlat"]
    assert (tree / "feeds.conf").read_text().count("src-link gluon_464xlat ") == 1


def test_everything_that_needs_no_gluon_is_selected_and_built(tree):
    assert feed(tree).returncode == 0
    calls = (tree / "calls").read_text().splitlines()
    built = {call.split("/")[3] for call in calls if call.endswith("/compile")}
    assert built == OF_ITSELF
    assert calls.index("make defconfig") < calls.index("make package/feeds/gluon_464xlat/prefixd/compile")
    selected = (tree / ".config").read_text().splitlines()
    assert {f"CONFIG_PACKAGE_{name}=m" for name in ("464xlat-nft", "464xlat-plat", "siit")} <= set(selected)
    assert len(selected) == len(set(selected))


def test_what_is_selected_already_stays_so(tree):
    selected = "".join(
        f"CONFIG_PACKAGE_{name}\n" for name in ("prefixd=y", "prefixd-bird=m", "prefixd-hosts=m")
    )
    (tree / ".config").write_text(selected)
    assert feed(tree, "prefixd").returncode == 0
    assert (tree / ".config").read_text() == selected


def test_a_makefile_that_the_tree_cannot_read_is_named(tree):
    done = feed(tree, BROKEN="464xlat-siit")
    assert done.returncode == 1
    assert "464xlat-siit" in done.stderr


def test_a_source_that_another_feed_has_brought_is_named(tree):
    done = feed(tree, TAKEN="prefixd")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "another feed's prefixd" in done.stderr
    assert "make" not in (tree / "calls").read_text().split()


@pytest.fixture
def patches(tmp_path):
    """babeld's patches, name -> text."""
    made = tmp_path / "patches"
    made.mkdir()
    return {path.name: path.read_text() for path in babeld.unpack_patches(made)}


def test_babeld_of_the_tree_is_patched(tree, patches):
    said = feed(tree, "prefixd").stdout
    assert "feed: this tree has no babeld" in said
    folder = tree / "feeds/routing/babeld"
    (folder / "patches").mkdir(parents=True)
    (folder / "Makefile").touch()
    (folder / "patches/600-add-ubus.patch").write_text("its own\n")
    for _ in range(2):
        done = feed(tree, "prefixd")
        assert (done.returncode, "no babeld" in done.stdout) == (0, False)
    found = {path.name: path.read_text() for path in (folder / "patches").iterdir()}
    assert found == {"600-add-ubus.patch": "its own\n", **patches}


def test_gluons_update_takes_babelds_patches(tree, tmp_path, patches):
    """As its scripts/patch.sh does it: `git am` in a clone of the feed."""
    gluon = tmp_path / "gluon"
    (gluon / "package").mkdir(parents=True)
    (gluon / "package/gluon.mk").touch()
    (gluon / "openwrt").symlink_to(tree)
    routing = gluon / "packages/routing"
    (routing / "babeld").mkdir(parents=True)
    (routing / "babeld/Makefile").touch()
    git = ["git", "-C", str(routing), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "base"]):
        subprocess.run([*git, *words], check=True)
    command = ["sh", str(ROOT / "sdk/ipk/feed.sh"), "", str(gluon), "prefixd"]
    said = [subprocess.run(command, capture_output=True, text=True) for _ in range(2)]
    assert [(done.returncode, "run `make update`" in done.stdout) for done in said] == [(0, True), (0, False)]
    (mail,) = (gluon / "patches/packages/routing").iterdir()
    subprocess.run([*git, "am", "-q", "--whitespace=nowarn", str(mail)], check=True)
    assert {path.name: path.read_text() for path in (routing / "babeld/patches").iterdir()} == patches


needs_openwrt = pytest.mark.skipif(
    not OPENWRT or not FEED_PACKAGES, reason="no OpenWrt: say OPENWRT_TREE=/path OPENWRT_PACKAGES=/path"
)


@needs_openwrt
def test_no_folder_has_the_name_of_another_source():
    """Of two sources of one name a tree takes the one whose feed comes first, and says nothing of the other."""
    trees = [Path(OPENWRT) / "package", Path(FEED_PACKAGES), *([Path(GLUON) / "package"] if GLUON else [])]
    theirs = {path.parent.name for tree in trees for path in tree.rglob("Makefile")}
    assert "siit" in theirs
    assert not theirs & FOLDERS


@needs_openwrt
def test_openwrts_own_scan_reads_every_makefile_without_a_word(tmp_path):
    openwrt = tmp_path / "openwrt"
    for folder in ("feeds", "tmp", "staging_dir/host"):
        (openwrt / folder).mkdir(parents=True)
    (openwrt / "staging_dir/host/.prereq-build").touch()  # what a whole build would need is not asked for
    for name in ("Config.in", "Makefile", "config", "include", "package", "rules.mk", "scripts", "target"):
        (openwrt / name).symlink_to(Path(OPENWRT) / name)
    (openwrt / "feeds/packages").symlink_to(FEED_PACKAGES)
    (openwrt / "feeds/ours").symlink_to(ROOT)
    (openwrt / "feeds.conf").write_text(f"src-link ours {ROOT}\n")
    if GLUON:
        (tmp_path / "package").symlink_to(Path(GLUON) / "package")
    done = subprocess.run(
        ["./scripts/feeds", "update", "-i", "ours"],
        cwd=openwrt,
        env={**os.environ, "TOPDIR": str(openwrt), "IS_TTY": "0", "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0
    for word in ("ERROR", "WARNING", "warning"):
        assert word not in done.stdout, done.stdout
    assert not (openwrt / "logs").exists()
    index = (openwrt / "feeds/ours.index").read_text()
    found = {line.split("/")[3] for line in index.splitlines() if line.startswith("Source-Makefile:")}
    assert found == FOLDERS
    named = {line.split()[1] for line in index.splitlines() if line.startswith("Package:")}
    assert named >= (FOLDERS if GLUON else OF_ITSELF) - {"464xlat-siit"} | {"siit"}
