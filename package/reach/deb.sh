#!/bin/sh
# SPDX-License-Identifier: ISC
# Build the Debian package of reach for this machine, in build/deb: the program, the relay, the unit, the examples.
# Nothing is downloaded; needs a C compiler and dpkg-deb. SOURCE_DATE_EPOCH, or the newest commit, is the time in it.
set -eu

cd "$(dirname "$0")/../.."
version=$(sed -n 's/^VERSION = "\(.*\)"$/\1/p' runtime/version.py)
architecture=$(dpkg --print-architecture)
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || echo 0)}"
export SOURCE_DATE_EPOCH
out=${1:-build/deb}
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

modules=$tree/usr/lib/python3/dist-packages/reach
install -d "${modules%/*}/runtime" "${modules%/*}/xlat464" "$modules/relay" "$modules/render" "$modules/examples" "$tree/usr/bin" "$tree/lib/systemd/system" \
	"$tree/usr/share/doc/reach" "$tree/etc/reach" "$tree/DEBIAN" "$out"
install -m 0644 reach/*.py "$modules"
for shared in runtime xlat464; do
	install -m 0644 "$shared"/*.py "${modules%/*}/$shared"
done
install -m 0644 reach/relay/__init__.py "$modules/relay"
install -m 0644 reach/render/*.py "$modules/render"
install -m 0644 reach/examples/*.toml "$modules/examples"
install -m 0755 files/reach/usr/bin/reach "$tree/usr/bin/reach"
install -m 0644 'reach/reach@.service' "$tree/lib/systemd/system"
install -m 0644 docs/reach.md "$tree/usr/share/doc/reach"
install -m 0644 LICENSES/ISC.txt "$tree/usr/share/doc/reach/copyright"
"${CC:-cc}" -std=gnu11 -O2 -D_GNU_SOURCE "-DVERSION=\"$version\"" -fstack-protector-strong "-ffile-prefix-map=$PWD=." -Wl,--build-id=none -s \
	-o "$tree/usr/bin/reach-relay" reach/relay/src/*.c

# Python's caches are made at the first start, and go with the package
cat >"$tree/DEBIAN/control" <<-TEXT
	Package: reach
	Version: $version
	Architecture: $architecture
	Maintainer: gluon-464xlat maintainers <maintainers@gluon-464xlat.example>
	Section: net
	Priority: optional
	Depends: python3 (>= 3.11), python3-pyroute2, nftables, iproute2, libc6
	Recommends: wireguard-tools
	Suggests: wireguard-go, dnsmasq-base, radvd, ndppd, ethtool
	Description: IPv4 in and out through a rented server
	 For a home or a mesh site that has only IPv6, or shares its IPv4 address with others (DS-Lite, carrier-grade NAT).
	 One file describes both ends; each is set up from it with one command, and taken back with another.
TEXT
cat >"$tree/DEBIAN/postinst" <<-'TEXT'
	#!/bin/sh
	set -e
	[ ! -d /run/systemd/system ] || systemctl daemon-reload
TEXT
cat >"$tree/DEBIAN/prerm" <<-'TEXT'
	#!/bin/sh
	set -e
	forget() {
		for name in reach reach/relay reach/render runtime xlat464; do
			rm -rf "/usr/lib/python3/dist-packages/$name/__pycache__"
		done
	}
	forget
	[ "$1" = remove ] || exit 0
	[ ! -d /run/systemd/system ] || systemctl stop 'reach@*.service'
	for ledger in /run/reach/*.json; do
		[ ! -e "$ledger" ] || reach down "$(basename "$ledger" .json)"
	done
	forget # what `reach down` has made again
TEXT
chmod 0755 "$tree/DEBIAN/postinst" "$tree/DEBIAN/prerm"
chmod 0755 "$tree/etc/reach"
chmod 0755 "$tree"
find "$tree" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group --build "$tree" "$out/reach_${version}_$architecture.deb" >/dev/null
echo "$out/reach_${version}_$architecture.deb"
