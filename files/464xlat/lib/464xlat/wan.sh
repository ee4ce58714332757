# shellcheck shell=sh disable=SC2034,SC2154 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# What keep.sh of a PLAT knows of the WAN: its devices, and whether it leads anywhere. A node that is announced as a
# platnode and has no way to the IPv4 internet takes its neighbours' clients from those that have one.

LINE_WAIT_S=5 # to look for a line is quickly done

wan=

add_wan() { # NETWORK-OR-DEVICE
	local device
	network_get_device device "$1" || device=$1
	wan="${wan:+$wan,}$device"
}

find_wan() {
	local uplink
	append plat limit_up_kbit --limit-up-kbit
	append plat limit_down_kbit --limit-down-kbit
	wan=
	config_get uplink plat uplink wan
	[ "$uplink" != reach ] || return 0 # whose link the program looks for
	network_flush_cache
	config_list_foreach plat wan add_wan
	words="$words${wan:+ --wan $wan}"
}

# (Which table the route is in, is for the node's routing rules to say.)
has_line() {
	local device
	[ -n "$wan" ] || return 0
	for device in $(printf '%s' "$wan" | tr ',' ' '); do
		[ -z "$(ip -4 route show table all default dev "$device" 2>/dev/null)" ] || return 0
	done
	return 1
}

wait_line() {
	tell_problem "464xlat: plat up: no IPv4 default route leads out of $wan, expected one: is the line up?"
	if [ -e "$RUN/plat.undo" ]; then
		464xlat plat down >/dev/null
		tell_others
	fi
	sleep "$LINE_WAIT_S" &
	wait "$!"
}
