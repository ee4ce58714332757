#!/bin/sh
# SPDX-License-Identifier: ISC
# Build this feed's packages in a real OpenWrt SDK or buildroot, or in the OpenWrt tree of a Gluon that has been
# updated (`make update` there). Usage: feed.sh SDK GLUON PACKAGES; one of the first two is empty.
set -eu

ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
FEED=gluon_464xlat

fail() {
	printf 'feed: %s\n' "$*" >&2
	exit 1
}

sdk=$1 gluon=$2 packages=$3
[ -n "$sdk$gluon" ] || fail "no tree given, expected \`make feed SDK=DIR\` or \`make feed GLUON=DIR\`"
if [ -n "$gluon" ]; then
	[ -e "$gluon/package/gluon.mk" ] || fail "$gluon is no Gluon tree, expected one with package/gluon.mk"
	sdk=$gluon/openwrt
	[ -d "$sdk" ] || fail "there is no $sdk yet, expected \`make update\` to have been run in $gluon"
elif [ -z "$packages" ]; then
	packages='464xlat-common prefixd python3-nat46 siit l3roamd-py' # what does not need Gluon
fi
[ -x "$sdk/scripts/feeds" ] || fail "$sdk is no OpenWrt tree, expected one with scripts/feeds"
[ -n "$packages" ] || packages=$(cd "$ROOT/package" && for folder in */; do echo "${folder%/}"; done)

cd "$sdk"
[ -e feeds.conf ] || cp feeds.conf.default feeds.conf
if ! grep -q "^src-link $FEED " feeds.conf; then
	printf 'src-link %s %s\n' "$FEED" "$ROOT/package" >>feeds.conf
fi
./scripts/feeds update "$FEED"
# shellcheck disable=SC2086 # names
./scripts/feeds install -p "$FEED" $packages
if [ -n "$gluon" ]; then
	printf 'feed: Gluon knows these packages now:\n%s\n' "$packages"
	exit 0
fi
for package in $packages; do make "package/feeds/$FEED/$package/compile" V=s; done
