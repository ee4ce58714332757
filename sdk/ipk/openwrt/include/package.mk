# SPDX-License-Identifier: ISC
# A stand-in for OpenWrt's package.mk: builds and installs each package of a Makefile into folders of its own,
#
#   $(OUT)/tree/PACKAGE/data      what lands on a router
#   $(OUT)/tree/PACKAGE/control   fields, conffiles and scripts, as the Makefile has them
#
# from which sdk/ipk makes archives. As in OpenWrt, a recipe's text is expanded once by $(call) and once when it runs.

all:

PKG_BUILD_DIR ?= $(BUILD_DIR)/$(PKG_NAME)
PKG_INSTALL_DIR ?= $(PKG_BUILD_DIR)/ipkg-install

define Package/Default
  TITLE:=
  SECTION:=
  DEPENDS:=
  CONFLICTS:=
  EXTRA_DEPENDS:=
  PROVIDES:=
  URL:=
  PKGARCH:=$(ARCH_PACKAGES)
endef

define Build/Prepare
	mkdir -p $(PKG_BUILD_DIR)
	$(if $(wildcard ./src/.),$(CP) ./src/. $(PKG_BUILD_DIR))
endef

define Build/Compile/Default
	$(MAKE) -C $(PKG_BUILD_DIR) CC="$(TARGET_CC)" CFLAGS="$(TARGET_CFLAGS)" CPPFLAGS="$(TARGET_CPPFLAGS)" \
		LDFLAGS="$(TARGET_LDFLAGS)"
endef

Build/Compile = $(call Build/Compile/Default)
Build/Install =

# $(1) file, $(2) text: with its newlines, which a shell command would lose. It happens before a recipe's first command.
write = $(if $(strip $(2)),$(shell mkdir -p $(dir $(1)))$(file >$(1),$(2)))

define Fields
Package: $(1)
Version: $(PKG_VERSION)-r$(PKG_RELEASE)
Depends: $(DEPENDS)
Conflicts: $(CONFLICTS)
Extra-Depends: $(EXTRA_DEPENDS)
Provides: $(PROVIDES)
SourceName: $(PKG_NAME)
License: $(PKG_LICENSE)
Section: $(SECTION)
URL: $(URL)
Maintainer: $(PKG_MAINTAINER)
Architecture: $(PKGARCH)
Title: $(TITLE)
endef

define BuildPackage
  $(eval $(Package/Default))
  $(eval $(Package/$(1)))
  $(foreach field,TITLE SECTION PKG_VERSION,$(if $($(field)),,$(error Package/$(1) has no $(field))))
  # DEPENDS and its like are the next package's soon
  define FIELDS_$(1)
$(call Fields,$(1))
  endef

  all: $(OUT)/tree/$(1)

  $(OUT)/tree/$(1): $(PKG_BUILD_DIR)/.built
	mkdir -p $$@/data $$@/control
	$$(call write,$$@/control/fields,$$(FIELDS_$(1)))
	$$(call write,$$@/control/description,$$(Package/$(1)/description))
	$$(call write,$$@/control/conffiles,$$(Package/$(1)/conffiles))
	$$(foreach script,preinst postinst prerm postrm,$$(call write,$$@/control/$$(script),$$(Package/$(1)/$$(script))))
	$(call Package/$(1)/install,$(OUT)/tree/$(1)/data)

  $(if $(BUILD_RULES),,$(call BuildRules))
  BUILD_RULES := made
endef

define BuildRules
  $(PKG_BUILD_DIR)/.built:
	rm -rf $(PKG_BUILD_DIR)
	$(Build/Prepare)
	$(Build/Compile)
	$(Build/Install)
	touch $$@
endef
