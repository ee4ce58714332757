#!/bin/sh
# SPDX-License-Identifier: ISC
# Build this feed's packages in a real OpenWrt SDK or buildroot, or in the OpenWrt tree of a Gluon that has been
# updated (`make update` there). Usage: feed.sh SDK GLUON PACKAGES; one of the first two is empty.
set -eu

ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
FEED=gluon_464xlat
PYTHON=feeds/packages/lang/python/python3-package.mk # which the packages for CPython include

fail() {
	printf 'feed: %s\n' "$*" >&2
	exit 1
}

folders() { (cd "$ROOT/package" && for makefile in */Makefile; do echo "${makefile%/*}"; done); }

# what the scan of the Makefiles found in a folder; nothing if it could not read its Makefile
packages_of() { # FOLDER
	awk -v makefile="feeds/$FEED/$1/Makefile" \
		'$1 == "Source-Makefile:" { ours = $2 == makefile } $1 == "Package:" && ours { print $2 }' "feeds/$FEED.index"
}

# A feed has no place for a patch of another feed's package: OpenWrt looks for it in that package's own folder, and Gluon
# makes there what `make update` finds in its `patches`. docs/babeld.md tells what these are for.
patch_babeld() { # of the tree that we are in
	local folder made patch=packages/routing/9464-babeld-withdraw-the-route-that-goes.patch
	if [ -n "$gluon" ] && [ -d "$gluon/packages/routing/babeld" ]; then
		cmp -s "$ROOT/patches/$patch" "$gluon/patches/$patch" && return
		mkdir -p "$gluon/patches/packages/routing"
		cp "$ROOT/patches/$patch" "$gluon/patches/$patch"
		echo "feed: babeld has a patch now, $gluon/patches/$patch: run \`make update\` there again"
		return
	fi
	for folder in feeds/*/babeld; do
		if [ -n "$gluon" ] || [ ! -e "$folder/Makefile" ]; then continue; fi
		made=$(mktemp -d)
		(cd "$made" && GIT_CEILING_DIRECTORIES=${made%/*} git apply "$ROOT/patches/$patch")
		mkdir -p "$folder/patches"
		cp "$made"/babeld/patches/* "$folder/patches/"
		rm -r "$made"
		return
	done
	echo 'feed: this tree has no babeld that could be patched: see docs/babeld.md'
}

sdk=$1 gluon=$2 packages=$3
[ -n "$sdk$gluon" ] || fail "no tree given, expected \`make feed SDK=DIR\` or \`make feed GLUON=DIR\`"
if [ -n "$gluon" ]; then
	[ -e "$gluon/package/gluon.mk" ] || fail "$gluon is no Gluon tree, expected one with package/gluon.mk"
	sdk=$gluon/openwrt
	[ -d "$sdk" ] || fail "there is no $sdk yet, expected \`make update\` to have been run in $gluon"
	[ -n "$packages" ] || packages=$(folders)
fi
[ -n "$packages" ] || packages=$(folders | grep -v '^gluon-')
[ -x "$sdk/scripts/feeds" ] || fail "$sdk is no OpenWrt tree, expected one with scripts/feeds"

cd "$sdk"
[ -e feeds.conf ] || cp feeds.conf.default feeds.conf
if ! grep -q "^src-link $FEED " feeds.conf; then
	printf 'src-link %s %s\n' "$FEED" "$ROOT/package" >>feeds.conf
fi
# a fresh tree has none of OpenWrt's own feeds
which=-a
[ ! -e "$PYTHON" ] || which=$FEED
./scripts/feeds update "$which" || fail "\`scripts/feeds update $which\` failed in $sdk: what it says is above"
[ -e "$PYTHON" ] || fail "there is no $sdk/$PYTHON, expected OpenWrt's feed \`packages\` in feeds.conf"
for folder in $packages; do
	[ -n "$(packages_of "$folder")" ] ||
		fail "the tree takes no package from $folder, expected one of this feed: see $sdk/logs/feeds/$FEED"
done
# shellcheck disable=SC2086 # names
./scripts/feeds install -p "$FEED" $packages
# of two sources of one name it leaves what is there
for folder in $packages; do
	[ -e "package/feeds/$FEED/$folder" ] ||
		fail "another feed's $folder is installed, expected it gone: ./scripts/feeds uninstall $folder"
done
patch_babeld
if [ -n "$gluon" ]; then
	printf 'feed: Gluon knows these packages now:\n%s\n' "$packages"
	exit 0
fi
# a buildroot builds what is selected
touch .config
for folder in $packages; do
	for package in $(packages_of "$folder"); do
		grep -q "^CONFIG_PACKAGE_$package=[ym]" .config || echo "CONFIG_PACKAGE_$package=m" >>.config
	done
done
make defconfig
for folder in $packages; do make "package/feeds/$FEED/$folder/compile" V=s; done
