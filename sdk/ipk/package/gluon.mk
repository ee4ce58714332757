# SPDX-License-Identifier: ISC
# A stand-in for Gluon's gluon.mk: its folders (files/, luasrc/, src/) and check_site.lua are the build rule.
# i18n/ needs Gluon's own compiler: without it pages are in English.

include $(INCLUDE_DIR)/package.mk

PO2LMO ?= $(shell command -v gluon-po2lmo 2>/dev/null)

Build/Compile = $(if $(wildcard ./src/Makefile),$(call Build/Compile/Default))

define Gluon/Build/Install
	$(if $(wildcard ./files/.),$(CP) ./files/. $(1)/)
	$(if $(wildcard ./luasrc/.),$(CP) ./luasrc/. $(1)/)
	$(if $(wildcard ./src/respondd.c),$(INSTALL_DIR) $(1)/usr/lib/respondd && \
		$(CP) $(PKG_BUILD_DIR)/respondd.so $(1)/usr/lib/respondd/$(PKG_NAME).so)
	$(if $(PO2LMO),$(foreach po,$(wildcard ./i18n/*.po),$(INSTALL_DIR) $(1)/lib/gluon/web/i18n && \
		"$(PO2LMO)" $(po) $(1)/lib/gluon/web/i18n/$(PKG_NAME).$(basename $(notdir $(po))).lmo &&) true)
endef

# the file as text in a variable of Make, where a $ would begin a variable
check_site := $(subst $$,$$$$,$(file <check_site.lua))

define BuildPackageGluon
  define Package/$(1) :=
    SECTION:=gluon
    $$(Package/$(1))
  endef

  Package/$(1)/install ?= $$(Gluon/Build/Install)

  ifneq ($(wildcard check_site.lua),)
    define Package/$(1)/postinst
#!/bin/sh
LUA_PATH="$$$$IPKG_INSTROOT/usr/lib/lua/?.lua" lua "$$$$IPKG_INSTROOT/lib/gluon/check-site.lua" <<'END__GLUON__CHECK__SITE'
$$(check_site)
END__GLUON__CHECK__SITE
    endef
  endif

  $$(eval $$(call BuildPackage,$(1)))
endef
