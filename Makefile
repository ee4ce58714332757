# SPDX-License-Identifier: ISC
# For people. Each target installs what it needs (Debian packages, .venv, the compiled parts) and may be run again.
#
#   make demo [SITE=FILE] [TOPOLOGY=FILE] [KEEP=1]   the whole job: IPv4 through an IPv6-only mesh
#   make demo WATCH=1                                the same, shown in the browser while it happens
#   make demo FROM_PACKAGES=1                        the same on nodes that run the packages, with their init scripts
#   make test [ARGS='-k siit']                       every test
#   make test FROM_PACKAGES=1                        the tests of labs, on nodes that run the packages
#   make test-long [ARGS=FILES]                      the same for hours: every combination, 2,000 examples of each property
#   make babeld                                      with it labs run what the patches mend, instead of Debian's
#   make oldest-micropython                          with it tests try what released OpenWrt has
#   make vm [KERNEL=VERSION]                         what sdk/vm/run needs: QEMU, virtme-ng and a kernel of Debian's
#   make test-vm [NAT46_KO=FILE]                     what needs that kernel: Wi-Fi, tunnels, Jool, no nftables
#   make test-big-endian                             siit's fast path on a kernel of the other byte order, emulated
#   make test-browser                                lab watch and the status page in a Chromium
#   make pictures                                    the README's and docs/gateway.md's
#   make test-debian [SUITE=trixie]                   unit tests and the demo on Debian 13, in a root of its own
#   make test-openwrt ROOTFS=FILE [PACKAGES=DIR]     the packages on an official root file system of OpenWrt or Gluon
#   make conformance [FROM=FOLDER]                   docs/conformance.md, from a run against siit and kept recordings
#   make diagram                                     the drawing of a client's states in docs/architecture.md
#   make storm [ARGS='--rules xtables lock flood']   connections of clients that walk, among what goes wrong
#   make simulate [ARGS='--seed 3 --seeds 5 --nodes 100 --clients 2000']   an hour of a large mesh, and docs/protocol.md's invariants
#   make bench [ARGS='speed --quick' COMPARE=FILE TAYGA=PROGRAM]   speed and memory, as ratios against peers
#   make ipk [SET=PACKAGE_firewall4]                 packages for opkg from package/*/Makefile, in build/ipk
#   make apk [APK=PROGRAM]                           the same for apk, which OpenWrt's main branch has; needs apk-tools 3
#   make sizes [PACKAGES='LISTS' RELEASE=NAME]        the table of flash sizes, with lists of packages of an OpenWrt release
#   make deb [ARCH=arm64]                            packages for Debian servers, in build/deb
#   make test-deb [SUITES='bookworm trixie']         installed by apt, upgraded and purged in fresh roots; lintian
#   make test-dashboard                              a real Prometheus answers the queries of docs/grafana-dashboard.json
#   make dist                                        what is released: sources and Debian packages, checksums, in build/dist
#   make requirements                                requirements.txt with hashes, of requirements.in
#   make feed SDK=DIR | GLUON=DIR [PACKAGES='prefixd']   the same Makefiles in an OpenWrt SDK or a Gluon tree
#   make lint                                        ruff, mypy, shellcheck, luacheck, licences
#   make bpf                                         siit/bpf/insns.h again, after a change of fast.bpf.c
#   make fuzz-fast [PACKETS=1000000 SEED=N]          siit's fast path against its slow one, packet for packet
#   make fix                                         let ruff mend what it can
#   make clean                                       remove build/ and .venv
.SILENT:
.NOTPARALLEL:
.PHONY: help demo test test-long babeld oldest-micropython vm test-vm test-browser pictures test-big-endian test-debian test-openwrt conformance diagram bench storm simulate ipk apk sizes deb test-deb test-dashboard dist requirements feed lint fix bpf fuzz-fast setup setup-run setup-bench setup-vm again clean

PYTHON := .venv/bin/python
ARGS :=
SUITE := trixie
ON_PACKAGES := $(patsubst %,tests/lab/test_%.py,lab lab_roam l3roamd_daemon roam_storm package_services)
OLDEST := build/oldest-micropython/micropython
BABELD := build/babeld/babeld
# packages of labs, whose roams' rules are of either kind
FOR_LABS := $(if $(FROM_PACKAGES),XLAT464_ROAM_RULES=xtables)
TRY_BABELD = $(MAKE) --no-print-directory babeld || echo "setup: labs run Debian's babeld, which withdraws wrong routes: docs/babeld.md"
TRY_OLDEST = $(MAKE) --no-print-directory oldest-micropython || echo 'setup: nothing is tried on it'
PARTS := build/siit.stamp build/nat46.stamp build/bin/wire build/bin/reach-relay

help:
	sed -n 's/^#   //p' Makefile

demo: $(PARTS) $(if $(FROM_PACKAGES),ipk)
	$(TRY_BABELD)
	$(if $(FROM_PACKAGES),$(TRY_OLDEST))
	$(PYTHON) -m sdk.demo $(if $(SITE),--site '$(SITE)') $(if $(TOPOLOGY),--topology '$(TOPOLOGY)') $(if $(KEEP),--keep) $(if $(WATCH),--watch) $(if $(FROM_PACKAGES),--from-packages) $(ARGS)

test: setup $(PARTS)
	$(TRY_BABELD)
	$(TRY_OLDEST)
	$(if $(FROM_PACKAGES),$(FOR_LABS) $(PYTHON) -m sdk.ipk >/dev/null,$(PYTHON) -m sdk.suite $(ARGS))
	$(if $(FROM_PACKAGES),LAB_PACKAGES=$(CURDIR)/build/ipk $(PYTHON) -m sdk.suite $(ON_PACKAGES) $(ARGS))

test-long: setup $(PARTS)
	$(TRY_BABELD)
	$(TRY_OLDEST)
	LONG=1 REACH_CHURN=10 $(PYTHON) -m sdk.suite --hypothesis-profile thorough $(or $(ARGS),tests)

vm: setup-vm $(PARTS)
	$(PYTHON) -m sdk.vm.kernels $(KERNEL)

test-vm: vm
	$(PYTHON) -m sdk.vm.modules jool $(KERNEL) >/dev/null
	$(PYTHON) -m sdk.vm.suite $(if $(KERNEL),--kernel '$(KERNEL)') $(if $(NAT46_KO),--nat46 '$(NAT46_KO)') $(ARGS)

test-browser: $(PARTS)
	$(TRY_BABELD)
	sh sdk/setup.sh browser
	$(PYTHON) -m pytest tests/browser $(ARGS)

pictures: $(PARTS)
	$(TRY_BABELD)
	sh sdk/setup.sh browser
	$(PYTHON) -m sdk.watch.pictures

# in a root of Debian 13, or SUITE=forky and the like; ARGS=tests/unit is what is tried there before the demo
test-debian:
	sh sdk/setup.sh debian
	$(PYTHON) -m sdk.debian.root --suite '$(SUITE)' -- make test ARGS='$(or $(ARGS),tests/unit)'
	$(PYTHON) -m sdk.debian.root --suite '$(SUITE)' -- make demo

test-big-endian:
	sh sdk/setup.sh big-endian
	$(PYTHON) -m sdk.vm.big_endian

test-openwrt: setup $(PARTS)
	$(PYTHON) -m sdk.router --rootfs '$(ROOTFS)' $(if $(PACKAGES),--packages '$(PACKAGES)') $(ARGS)

conformance: setup $(PARTS)
	CONFORMANCE_OUT=tests/lab/conformance $(PYTHON) -m pytest tests/lab/test_conformance.py $(ARGS)
	$(PYTHON) tests/lab/conformance_page.py $(FROM)

diagram: setup
	$(PYTHON) -m sdk.roaming_states --write

bench: setup-bench $(PARTS)
	$(TRY_BABELD)
	$(TRY_OLDEST)
	$(PYTHON) -m bench $(if $(COMPARE),--compare '$(COMPARE)') $(ARGS)

storm: $(PARTS)
	$(TRY_BABELD)
	$(PYTHON) -m sdk.storm $(ARGS)

simulate: setup
	PYTHONPATH=.:tests/unit $(PYTHON) tests/unit/simulation.py $(ARGS)

ipk: setup
	$(FOR_LABS) $(PYTHON) -m sdk.ipk $(addprefix --set ,$(SET)) $(ARGS)

sizes: setup
	$(PYTHON) -m sdk.sizes --write $(if $(RELEASE),--release '$(RELEASE)') $(PACKAGES)

deb: setup-run
	$(if $(ARCH),sh sdk/setup.sh '$(ARCH)')
	$(PYTHON) -m sdk.deb $(addprefix --arch ,$(ARCH)) $(ARGS)

test-deb: setup-run
	sh sdk/setup.sh deb
	$(PYTHON) -m sdk.deb.trial $(SUITES)

test-dashboard: setup $(PARTS)
	$(TRY_BABELD)
	$(PYTHON) -m sdk.dashboard

apk: setup
	$(if $(APK),APK='$(APK)') $(PYTHON) -m sdk.ipk --apk $(addprefix --set ,$(SET)) $(ARGS)

dist: setup-run
	$(PYTHON) -m sdk.dist

requirements: setup-run
	$(PYTHON) -m sdk.requirements

feed:
	sh sdk/ipk/feed.sh '$(SDK)' '$(GLUON)' '$(PACKAGES)'

lint: setup
	sh sdk/lint.sh

fix: setup
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

bpf: setup
	$(PYTHON) siit/bpf/make_insns.py

fuzz-fast: $(PARTS)
	PYTHONPATH=. $(PYTHON) tests/fuzz/siit_fast.py --packets $(or $(PACKETS),1000000) $(addprefix --seed ,$(SEED))

setup:
	sh sdk/setup.sh test

setup-run:
	sh sdk/setup.sh run

setup-bench:
	sh sdk/setup.sh bench

setup-vm:
	sh sdk/setup.sh vm

# A stamp is as old as the newest file that was compiled, so that what changes meanwhile is newer.
# $(1) Python package, $(2) its name for people
define COMPILE
	echo 'setup: compiling $(2)'
	touch -r "$$(ls -t $(filter-out again,$^) | head -n 1)" $@.new
	$(PYTHON) -m $(1)._build >build/$(1).log 2>&1 || { echo 'setup: $(2) did not compile: see build/$(1).log' >&2; exit 1; }
	mv $@.new $@
endef

# after setup in any order of the command line, but not again only because setup ran
build/siit.stamp: $(wildcard siit/src/*.[ch] siit/bpf/*.[ch]) siit/_build.py requirements.txt $(if $(wildcard siit/_siit.*.so),,again) | setup-run
	$(call COMPILE,siit,siit)

build/nat46.stamp: nat46/libc.py nat46/_build.py requirements.txt $(if $(wildcard nat46/_libc.*.so),,again) | setup-run
	$(call COMPILE,nat46,the shim)

build/bin/wire: sdk/lab/wire.c | setup-run
	echo "setup: compiling the lab's wire"
	mkdir -p build/bin
	$(CC) -std=c11 -O2 -Wall -Wextra -Werror -o $@ $<

build/bin/reach-relay: $(wildcard reach/relay/src/*.c reach/relay/src/*.h) reach/relay/build.py | setup-run
	echo 'setup: compiling the relay'
	$(PYTHON) -m reach.relay.build $@

# what released OpenWrt has; tests do without where Debian cannot be asked for its source, and say so
oldest-micropython: $(OLDEST)
$(OLDEST): sdk/debian/micropython.py sdk/debian/source.py | setup
	echo 'setup: building the oldest MicroPython'
	$(PYTHON) -m sdk.debian.micropython

# what Debian's source package and our patches make; labs do with Debian's own where it cannot be had
babeld: $(BABELD)
$(BABELD): sdk/debian/babeld.py sdk/debian/source.py $(wildcard patches/packages/routing/*-babeld-*) | setup-run
	echo 'setup: building the mended babeld'
	$(PYTHON) -m sdk.debian.babeld

clean:
	rm -rf build .venv siit/*.so nat46/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
