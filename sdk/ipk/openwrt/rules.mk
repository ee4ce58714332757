# SPDX-License-Identifier: ISC
# A stand-in for OpenWrt's rules.mk: the variables that this feed's Makefiles use, with this machine as the target.
# sdk/ipk sets OUT (where to build) and HOST_PYTHON.

INCLUDE_DIR := $(TOPDIR)/include
STAGING_DIR := $(OUT)/staging
BUILD_DIR := $(OUT)/work

INSTALL_DIR := install -d -m0755
INSTALL_BIN := install -m0755
INSTALL_DATA := install -m0644
INSTALL_CONF := install -m0600
CP := cp -fpR
FIND := find

TARGET_CC := $(CC)
TARGET_CFLAGS := -O2 -g0 -ffile-prefix-map=$(OUT)=.
TARGET_CPPFLAGS := -I$(TOPDIR)/../include
TARGET_LDFLAGS := -Wl,--build-id=none -s # OpenWrt strips what it packs
FPIC := -fPIC
ARCH_PACKAGES := $(shell uname -m)

