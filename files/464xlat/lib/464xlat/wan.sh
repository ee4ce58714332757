# shellcheck shell=sh disable=SC2034,SC2154 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# What supervise.sh of a PLAT knows of the WAN: its devices, and whether it leads anywhere. A node that is announced as a
# platnode and has no way to the IPv4 internet takes its neighbours' clients from those that have one.

add_wan() { # NETWORK-OR-DEVICE; two networks may be of one device
	local device
	network_get_device device "$1" || device=$1
	case ",$wan," in *",$device,"*) return ;; esac
	wan="${wan:+$wan,}$device"
}

find_wan() {
	local uplink
	wan=
	config_get uplink plat uplink wan
	[ "$uplink" != reach ] || return 0 # whose link the program looks for
	network_flush_cache
	config_list_foreach plat wan add_wan
}

# (Which table the route is in, is for the node's routing rules to say.)
has_uplink() {
	local device routes rest="$wan,"
	[ -n "$wan" ] || return 0
	routes="$(ip -4 route show table all default 2>/dev/null) "
	while [ -n "$rest" ]; do
		device=${rest%%,*} rest=${rest#*,}
		case "$routes" in *" dev $device"[!A-Za-z0-9._-]*) return 0 ;; esac
	done
	return 1
}
