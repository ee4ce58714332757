# SPDX-License-Identifier: ISC
# What the packages of this feed share. Their sources are this repository, so nothing is downloaded: Build/Prepare
# copies the folders named in XLAT464_SOURCES from the repository's root.
#
# Include it between PKG_NAME and package.mk (or, for Gluon's packages, gluon.mk).

XLAT464_MK := $(abspath $(lastword $(MAKEFILE_LIST)))
XLAT464_ROOT := $(patsubst %/package/464xlat.mk,%,$(XLAT464_MK))
XLAT464_SLIM := $(XLAT464_ROOT)/package/slim.py

PKG_VERSION := $(shell sed -n 's/^VERSION = "\(.*\)"$$/\1/p' $(XLAT464_ROOT)/runtime/version.py)
XLAT464_COMMIT := $(shell git -C $(XLAT464_ROOT) describe --always --dirty --exclude='*' 2>/dev/null)
PKG_RELEASE ?= 1
PKG_LICENSE ?= ISC
PKG_LICENSE_FILES ?= LICENSES/ISC.txt
PKG_MAINTAINER ?= gluon-464xlat maintainers <maintainers@gluon-464xlat.example>
PKG_FILE_DEPENDS += $(XLAT464_MK) $(XLAT464_SLIM) $(addprefix $(XLAT464_ROOT)/,$(XLAT464_SOURCES))

# Gluon's helper, where the feed is part of a Gluon tree. Elsewhere the gluon-* packages are not offered.
XLAT464_GLUON_MK := $(wildcard $(TOPDIR)/../package/gluon.mk)

# The firewall of the image: Gluon's is iptables, OpenWrt's nftables. (The symbol PACKAGE_firewall4 tells nothing of it:
# a Gluon build has it as a module that no image gets, and an SDK does not know it.)
XLAT464_FIREWALL ?= $(if $(XLAT464_GLUON_MK),xtables,nft)

# $(1) what nftables needs, $(2) what iptables needs
XLAT464/Firewall = $(if $(filter nft,$(XLAT464_FIREWALL)),$(1),$(2))

# The .mpy compiler that OpenWrt's micropython leaves for the build, or one that the build machine has.
MPY_CROSS ?= $(firstword $(wildcard $(STAGING_DIR)/host/lib/micropython/mpy-cross/build/mpy-cross) \
	$(shell command -v mpy-cross 2>/dev/null))

XLAT464_MICROPYTHON_DIR := /usr/lib/micropython

define XLAT464/Prepare
	mkdir -p $(PKG_BUILD_DIR)
	cd $(XLAT464_ROOT) && tar -cf - --exclude=__pycache__ --exclude='*.so' $(XLAT464_SOURCES) | tar -xf - -C $(PKG_BUILD_DIR)
	$(if $(filter runtime,$(XLAT464_SOURCES)),sed -i -e 's/^VERSION = .*/VERSION = "$(PKG_VERSION)-r$(PKG_RELEASE)"/' \
		-e 's/^COMMIT = .*/COMMIT = "$(XLAT464_COMMIT)"/' $(PKG_BUILD_DIR)/runtime/version.py)
endef

# Install Python packages for MicroPython: precompiled where there is a compiler, as text where there is none.
# -O3 leaves line numbers out, a tenth of the size; -s is the name in tracebacks, which must not be a build path.
# $(1) root, $(2) names of Python packages
define XLAT464/InstallMicroPython
	$(foreach room,$(2),$(INSTALL_DIR) $(1)$(XLAT464_MICROPYTHON_DIR)/$(room) && )true
	set -e; cd $(PKG_BUILD_DIR); for file in $(addsuffix /*.py,$(2)); do \
		if [ -n "$(MPY_CROSS)" ]; then \
			"$(MPY_CROSS)" -O3 -s "$$$$file" -o "$(1)$(XLAT464_MICROPYTHON_DIR)/$$$${file%.py}.mpy" "$$$$file"; \
		else \
			$(INSTALL_DATA) "$$$$file" "$(1)$(XLAT464_MICROPYTHON_DIR)/$$$$file"; \
		fi; \
	done
endef

# Of a Python package for MicroPython leave only these modules.
# $(1) root, $(2) name of the Python package, $(3) names of modules
define XLAT464/KeepModules
	cd $(1)$(XLAT464_MICROPYTHON_DIR)/$(2) && mkdir keep && mv $(addsuffix .*,$(3)) keep/ && rm -f *.* && \
		mv keep/* . && rmdir keep
endef

# modules of runtime that only the roaming daemon needs, and those that an exit's set-up needs as well
XLAT464_OF_ROAMING := command_line files garbage lock ordered record rows signing sources
XLAT464_OF_NETLINK := netlink netlink_socket

# The rules of a roam are nf_tables', which the daemon tells the kernel itself: the image's firewall may be iptables, and
# needs no program of nftables. xtables is for a kernel without nf_tables: the package has both then.
XLAT464_ROAM_RULES ?= nft
XLAT464_ROAM_MODULES := l3roamd_py $(addprefix l3roamd_py/,core kernel netfilter netfilter/nft \
	$(if $(filter nft,$(XLAT464_ROAM_RULES)),,netfilter/xtables))
XLAT464_ROAM_NEEDS := +kmod-nfnetlink-queue $(if $(filter nft,$(XLAT464_ROAM_RULES)),\
	+kmod-nft-core +kmod-nft-queue,\
	+kmod-nf-conntrack-netlink +ipset +kmod-ipt-ipset +iptables-zz-legacy +ip6tables-zz-legacy +kmod-ipt-nat6 \
	+kmod-ipt-nat-extra +iptables-mod-nat-extra +iptables-mod-nfqueue)

# Install Python packages for CPython, into the folder that becomes Py3Package's, as text and compiled. Py3Package takes
# the text out. It compiles as well, but not again what is of the same date as its text: so the package is without
# docstrings, assertions and the columns of tracebacks, a sixth smaller, or two fifths compressed. The date is part of
# what is compiled, so it must be the same each time.
# $(1) names of Python packages
define XLAT464/InstallPythonText
	$(foreach room,$(1),$(INSTALL_DIR) $(PKG_INSTALL_DIR)$(PYTHON3_PKG_DIR)/$(room) && \
		$(INSTALL_DATA) $(PKG_BUILD_DIR)/$(room)/*.py $(PKG_INSTALL_DIR)$(PYTHON3_PKG_DIR)/$(room)/ && )true
	find $(PKG_INSTALL_DIR)$(PYTHON3_PKG_DIR) -name '*.py' -exec touch -d @0 {} +
endef

define XLAT464/InstallPython
	$(call XLAT464/InstallPythonText,$(1))
	$(call Python3/Run,$(PKG_INSTALL_DIR),-X no_debug_ranges -m compileall -q -b -o 2 -s $(PKG_INSTALL_DIR) -p / \
		--invalidation-mode timestamp $(PKG_INSTALL_DIR)$(PYTHON3_PKG_DIR))
endef

# The same without annotations as well, and what is for MicroPython alone: see slim.py.
define XLAT464/InstallSlimPython
	$(call XLAT464/InstallPythonText,$(1))
	$(call Python3/Run,$(PKG_INSTALL_DIR),-X no_debug_ranges $(XLAT464_SLIM) $(PKG_INSTALL_DIR))
endef

# Take what only a reader needs out of shell files: comments (not the first line, nor those with a quotation mark behind
# a command), indentation, empty lines.
# $(1) files
define XLAT464/SlimShell
	sed -i -e '1{/^#!/b}' -e '/^[[:space:]]*#/d' -e '/^$$$$/d' -e 's/^	*//' -e 's/() { # .*$$$$/() {/' \
		-e "s/[[:space:]]\{1,\}# [^\"']*$$$$//" $(1)
endef
