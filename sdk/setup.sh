#!/bin/sh
# SPDX-License-Identifier: ISC
# Install what a make target needs: Debian packages and .venv. Safe to run again and again; does and says nothing where
# nothing is missing. The Makefile builds the compiled parts.
#
# Usage: sdk/setup.sh run | test | bench | browser | vm | debian | deb | arm64 | big-endian
#   run      what the lab and the daemons need
#   test     that, and what tests and lint need on top
#   bench    that, and what counts instructions
#   browser  what run has, and a Chromium
#   vm       what test has, and what the virtual machine and the tests in it need on top
#   debian   what run has, and what makes the root of another Debian
#   deb      what run and debian have, and what tries Debian packages
#   arm64    what run has, and what compiles for arm64
#   big-endian   what run has, and what makes and boots a machine of the other byte order
set -eu

cd "$(dirname "$0")/.."

RUN_PACKAGES="babeld busybox curl dnsmasq-base ethtool gcc iproute2 ipset iptables iputils-ping libb2-dev libc6-dev libjs-d3 lua5.1 nftables
	procps python3 python3-dev python3-venv radvd tayga tcpdump util-linux"
TEST_PACKAGES="bird2 clang-14 conntrack iperf3 libjson-c-dev lua-check ndppd shellcheck sip-tester socat systemd
	wireguard-go wireguard-tools xz-utils"
UNPACKED=build/unpacked # programs whose packages would change this machine's network
VM_PACKAGES="hostapd iw jool-tools kmod make qemu-system-x86 wpasupplicant"

say() { printf 'setup: %s\n' "$*"; }
fail() {
	printf 'setup: %s\n' "$*" >&2
	exit 1
}

case "${1:-}" in
run) packages=$RUN_PACKAGES ;;
test) packages="$RUN_PACKAGES $TEST_PACKAGES" ;;
bench) packages="$RUN_PACKAGES $TEST_PACKAGES valgrind" ;;
browser) packages="$RUN_PACKAGES chromium" ;;
vm) packages="$RUN_PACKAGES $TEST_PACKAGES $VM_PACKAGES" ;;
debian) packages="$RUN_PACKAGES debootstrap" ;;
deb) packages="$RUN_PACKAGES debootstrap lintian" ;;
arm64) packages="$RUN_PACKAGES gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;;
big-endian) packages="$RUN_PACKAGES gcc-s390x-linux-gnu libc6-dev-s390x-cross qemu-system-misc" ;;
*) fail "usage: sdk/setup.sh run|test|bench|browser|vm|debian|deb|arm64|big-endian" ;;
esac

[ "$(id -u)" = 0 ] || fail "this makes network namespaces and installs packages, which needs root: run it as root, or with sudo"

mkdir -p build
# two makes in one checkout (a demo beside the tests) take turns here
exec 9>build/setup.lock
if ! flock -n 9; then
	say "waiting for another setup in this checkout"
	flock 9
fi

# what a later Debian has no more; the tests with it say that it is not there
is_gone() {
	case "$1" in bird2 | clang-14 | libjs-d3 | ndppd) ;; *) return 1 ;; esac
	apt-cache show radvd >/dev/null 2>&1 && ! apt-cache show "$1" >/dev/null 2>&1
}

missing_packages() {
	local package installed
	# shellcheck disable=SC2086 # a list of names
	installed=$(dpkg-query -W -f '${binary:Package} ${db:Status-Status}\n' $packages 2>/dev/null || true) # not zero if one was never heard of
	for package in $packages; do
		printf '%s\n' "$installed" | grep -q "^$package\(:.*\)\{0,1\} installed\$" || is_gone "$package" || printf '%s ' "$package"
	done
}

# some packages come with services of their own. We want the programs, not a routing daemon that starts on
# somebody's laptop: policy-rc.d keeps it from starting now, `systemctl disable` from starting at the next boot.
guard_services() {
	[ -e /usr/sbin/policy-rc.d ] && return
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
	trap 'exit 130' INT TERM
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod 755 /usr/sbin/policy-rc.d
}
unit_of() {
	case "$1" in
	wpasupplicant) echo wpa_supplicant ;;
	bird2) echo bird ;;
	*) echo "$1" ;;
	esac
}
release_services() {
	local service
	for service in babeld bird2 tayga hostapd ndppd radvd wpasupplicant; do
		case " $missing " in *" $service "*)
			if command -v systemctl >/dev/null 2>&1; then systemctl disable "$(unit_of "$service")" >/dev/null 2>&1 || true; fi
			;;
		esac
	done
	if [ "$(cat /usr/sbin/policy-rc.d 2>/dev/null)" = "$(printf '#!/bin/sh\nexit 101\n')" ]; then rm -f /usr/sbin/policy-rc.d; fi
	trap - EXIT INT TERM
}

install_packages() {
	missing=$(missing_packages)
	[ -n "$missing" ] || return 0
	command -v apt-get >/dev/null 2>&1 ||
		fail "these Debian packages are missing and there is no apt-get to install them: $missing"
	say "installing Debian packages: $missing"
	guard_services
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086 # a list of names
	if ! apt-get install -y --no-install-recommends $missing >build/apt.log 2>&1; then
		# the package lists of a fresh image are empty or old
		apt-get update >>build/apt.log 2>&1 || fail "apt-get update failed: see build/apt.log"
		apt-get install -y --no-install-recommends $missing >>build/apt.log 2>&1 ||
			fail "apt-get could not install $missing: see build/apt.log"
	fi
	release_services
}

# `ifup` reads what reach renders, dhcpcd is the DHCP client of a lab's handset; installed, they would have a say in this
# machine's own interfaces
unpack() { # PACKAGE PROGRAM
	# Debian 13 has ifup in /usr/sbin
	if [ -x "$UNPACKED/sbin/$2" ] || [ -x "$UNPACKED/usr/sbin/$2" ] || command -v "$2" >/dev/null 2>&1; then return; fi
	command -v apt-get >/dev/null 2>&1 || return 0 # the tests with it say that it is not there
	say "unpacking $1 into $UNPACKED"
	mkdir -p "$UNPACKED"
	(cd "$UNPACKED" && rm -f "$1"_*.deb && { apt-get download -q "$1" || { apt-get update && apt-get download -q "$1"; }; } &&
		dpkg-deb -x "$1"_*.deb .) >build/unpacked.log 2>&1 || fail "$1 could not be unpacked: see build/unpacked.log"
}

# Debian's own interpreter before whatever else calls itself python3: it is the one that python3-dev fits
find_python() {
	local python
	for python in /usr/bin/python3 python3; do
		if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
			printf '%s' "$python"
			return
		fi
	done
	fail "no Python 3.11 or newer: Debian 12 and later have one"
}

# virtme-ng is for the host only, and has an environment of its own
make_vm_venv() {
	local want venv=build/vm/venv
	want=$(sha256sum <sdk/vm/requirements.txt)
	[ -x "$venv/bin/virtme-run" ] && [ "$(cat "$venv/requirements.sha256" 2>/dev/null)" = "$want" ] && return
	say "installing virtme-ng into $venv"
	mkdir -p build/vm
	[ -x "$venv/bin/python" ] || "$(find_python)" -m venv "$venv" >build/pip.log 2>&1 || fail "no $venv could be made: see build/pip.log"
	"$venv/bin/python" -m pip install --disable-pip-version-check -q -r sdk/vm/requirements.txt >>build/pip.log 2>&1 ||
		fail "pip could not install sdk/vm/requirements.txt: see build/pip.log"
	printf '%s\n' "$want" >"$venv/requirements.sha256"
}

make_venv() {
	local want
	want=$(sha256sum <requirements.txt)
	[ -x .venv/bin/python ] && [ "$(cat .venv/requirements.sha256 2>/dev/null)" = "$want" ] && return
	say "installing Python packages into .venv"
	[ -x .venv/bin/python ] || "$(find_python)" -m venv .venv >build/pip.log 2>&1 || fail "no .venv could be made: see build/pip.log"
	.venv/bin/python -m pip install --disable-pip-version-check -q -r requirements.txt >>build/pip.log 2>&1 ||
		fail "pip could not install requirements.txt: see build/pip.log"
	printf '%s\n' "$want" >.venv/requirements.sha256
}

install_packages
make_venv
case "$1" in test | bench | vm) unpack ifupdown ifup ;; esac
case "$1" in run | test | bench | browser | vm) unpack dhcpcd-base dhcpcd ;; esac
if [ "$1" = vm ]; then make_vm_venv; fi
