#!/bin/sh
# SPDX-License-Identifier: ISC
# A stand-in for OpenWrt's network.sh, where there is no netifd: a network's device bears its name.

network_flush_cache() { :; }

network_get_device() { # VARIABLE NETWORK
	ip link show dev "$2" >/dev/null 2>&1 && eval "$1=\$2"
}

network_get_physdev() { network_get_device "$@"; } # VARIABLE NETWORK
