# SPDX-License-Identifier: ISC
# A stand-in for the part of OpenWrt's python3-package.mk that this feed uses: $(HOST_PYTHON) is builder and target.

PYTHON3_VERSION := $(shell $(HOST_PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
PYTHON3_PKG_DIR := /usr/lib/python$(PYTHON3_VERSION)/site-packages
PYTHON3_INC_DIR := $(shell $(HOST_PYTHON) -c 'import sysconfig; print(sysconfig.get_paths()["include"])')

# $(1) folder, $(2) arguments of Python
define Python3/Run
	cd "$(1)" && PYTHONDONTWRITEBYTECODE=1 $(HOST_PYTHON) $(2)
endef

# What PKG_INSTALL_DIR has for Python, precompiled and without its text, and what Py3Package/NAME/install adds. The file
# names in it begin at the root; the hash of the source in place of its time makes the result the same each time.
define Py3Package
  define Package/$(1)/install
	$$(call Py3Package/$(1)/install,$$(1))
	$(INSTALL_DIR) $$(1)$(PYTHON3_PKG_DIR)
	$(CP) $(PKG_INSTALL_DIR)$(PYTHON3_PKG_DIR)/. $$(1)$(PYTHON3_PKG_DIR)/
	$(HOST_PYTHON) -m compileall -q -b -s $$(1) --invalidation-mode unchecked-hash $$(1)$(PYTHON3_PKG_DIR)
	find $$(1)$(PYTHON3_PKG_DIR) -name '*.py' -delete
  endef
endef
