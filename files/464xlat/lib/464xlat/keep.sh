#!/bin/sh
# SPDX-License-Identifier: ISC
# keep.sh ROLE up     bring a role up as /etc/config/464xlat says, and try again while something is missing that can
#                     still come: a device, a module, a translator. Ends once the role is up; procd ends it before
#                     that when the configuration changes.
# keep.sh ROLE down   take it down, if it is up
#
# Either then tells what depends on roles: prefixd, babeld's drop-in, the roaming daemon (lib/464xlat/role.d).
# What is missing is logged when it changes, and lies in /var/run/464xlat/ROLE.problem for `service 464xlat status`.

# shellcheck source=/dev/null
. /lib/functions.sh
# shellcheck source=/dev/null
. /lib/functions/network.sh

RUN=/var/run/464xlat
LONGEST_WAIT_S=60

role=$1 way=${2:-up}
[ "$way" = up ] || [ -e "$RUN/$role.undo" ] || exit 0

tell_others() {
	local hook
	for hook in /lib/464xlat/role.d/*; do
		[ ! -x "$hook" ] || "$hook" changed
	done
}

mkdir -p "$RUN" || exit 1

# Words of the command line, from options that are set: an empty one is the program's to complain about.
append() { # SECTION OPTION --NAME
	local value
	config_get value "$1" "$2"
	[ -z "$value" ] || words="$words $3 $value"
}

# One word of all values of a list.
append_list() { # SECTION OPTION --NAME
	local listed=
	config_list_foreach "$1" "$2" append_value
	[ -z "$listed" ] || words="$words $3 $listed"
}
append_value() { listed="${listed:+$listed,}$1"; } # VALUE

node_mac() {
	local mac device
	config_get mac node mac
	if [ -z "$mac" ]; then
		config_get device clat client_device br-client
		for device in "/sys/class/net/$device" /sys/class/net/*; do
			[ -e "$device/address" ] || continue
			read -r mac <"$device/address"
			case "$mac" in 00:00:00:00:00:00 | '') mac= ;; *) break ;; esac
		done
	fi
	words="$words${mac:+ --mac $mac}"
	printf '%s\n' "$mac" >"$RUN/mac" # the roaming daemon's too
}

# routers have no /run, where siit's socket is elsewhere
find_target() {
	local target engine
	config_get target node target auto
	config_get engine "$role" engine auto
	words="$words --engine $engine"
	case "$engine" in nat46 | jool) return ;; esac
	if [ "$target" = auto ] && [ -x /etc/init.d/siit ]; then target=/var/run/siit/control.sock; fi
	words="$words --target $target"
}

command_line() {
	words=
	config_load 464xlat
	append node clat_range --clat-range
	append node plat_range --plat-range
	append node client_range --client-range
	append node mesh_mtu --mesh-mtu
	append node firewall --firewall
	find_target
	append "$role" device --device
	node_mac
	if [ "$role" = clat ]; then
		append clat client_device --client-device
		append clat table --table
		append clat priority --priority
		append_list roaming prefix --client-prefixes
	else
		append plat pool --pool
		append plat ports --ports
		append plat uplink --uplink
		append_list plat allow --allow
		find_wan
	fi
}

tell_problem() { # SENTENCE
	[ "$1" != "$told" ] || return 0
	echo "$1" >&2
	printf '%s\n' "$1" >"$RUN/$role.problem"
	told=$1
}

# a node that is no platnode need not have its part
find_wan() { :; }
has_line() { :; }
# shellcheck source=files/464xlat/lib/464xlat/wan.sh
[ "$role" = clat ] || [ ! -r /lib/464xlat/wan.sh ] || . /lib/464xlat/wan.sh

wait_s=2
told=
words=
trap 'kill "$!" 2>/dev/null; wait; exit 143' TERM # what is half up then undoes itself
while :; do
	if [ "$way" = up ]; then
		command_line
		has_line || {
			wait_line
			continue
		}
	fi
	# shellcheck disable=SC2086 # words, and the program checks each
	(set -f && exec 464xlat "$role" "$way" $words >/dev/null 2>"$RUN/$role.said") &
	if wait "$!"; then break; fi
	tell_problem "$(tail -n 1 "$RUN/$role.said")"
	sleep "$wait_s" &
	wait "$!"
	wait_s=$((wait_s * 2))
	[ "$wait_s" -le "$LONGEST_WAIT_S" ] || wait_s=$LONGEST_WAIT_S
done
trap - TERM
rm -f "$RUN/$role.problem" "$RUN/$role.said"
tell_others
