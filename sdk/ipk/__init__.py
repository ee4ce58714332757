# SPDX-License-Identifier: ISC
"""Packages for opkg from this feed's Makefiles, without an OpenWrt tree: `python -m sdk.ipk`.

openwrt/, package/   stand-ins for OpenWrt's rules.mk and package.mk, python3-package.mk and Gluon's gluon.mk; they
                     evaluate package/*/Makefile of this repository, the same that OpenWrt evaluates
control.py           what a Makefile says becomes what opkg reads     pure
archive.py           folders become archives, byte for byte the same  pure
apk.py               the same for apk, whose own program makes the archives
__main__.py          runs make, writes build/ipk or build/apk
"""
