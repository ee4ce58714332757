# shellcheck shell=sh
# SPDX-License-Identifier: ISC
# What the roles' sh uses of OpenWrt's network.sh. The file names devices itself.

network_flush_cache() { :; }

network_get_device() { return 1; } # VARIABLE NETWORK
