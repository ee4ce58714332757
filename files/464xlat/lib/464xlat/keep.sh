#!/bin/sh
# SPDX-License-Identifier: ISC
# keep.sh ROLE up     keep a role as /etc/config/464xlat says: bring it up, try again while something is missing that can
#                     still come (a device, a module, a translator), and look every few seconds whether all of it is
#                     still there, for other programs flush firewall rules. Without an IPv4 line, or a translator, a node
#                     is no platnode. SIGHUP: look now, networks have changed. procd ends it when the file changes.
# keep.sh ROLE down   take it down, if it is up, and end
#
# Either tells what depends on roles: prefixd, babeld's drop-in, the roaming daemon (lib/464xlat/role.d).
# What is missing is logged when it changes, and lies in /var/run/464xlat/ROLE.problem for `service 464xlat status`.

woken=
trap 'woken=1' HUP # before anything else: at a boot networks come one after the other

# shellcheck source=/dev/null
. /lib/functions.sh
# shellcheck source=/dev/null
. /lib/functions/network.sh
# shellcheck source=files/464xlat/lib/464xlat/config.sh
. /lib/464xlat/config.sh

RUN=/var/run/464xlat
CHECK_S=5
AGAIN_S=2        # what is gone may be back: a translator that is started anew
NETWORK_ROUNDS=12 # of looks, after which all is checked and networks are asked for their devices, should an event be lost
LONGEST_WAIT_S=30
HUNG_UP=129 # status of a `wait` that SIGHUP has ended

role=$1 way=${2:-up}
mkdir -p "$RUN" || exit 1

# Words of the command line, from options that are set: a wrong one is the program's to complain about.
add_option() { # SECTION OPTION --NAME
	local value
	config_get value "$1" "$2"
	[ -z "$value" ] || words="$words $3 $value"
}

# One word of all values of a list.
add_list() { # SECTION OPTION --NAME
	local listed=
	config_list_foreach "$1" "$2" add_value
	[ -z "$listed" ] || words="$words $3 $listed"
}
add_value() { listed="${listed:+$listed,}$1"; } # VALUE

node_mac() {
	local mac
	config_get mac node mac
	if [ -n "$mac" ]; then
		printf '%s\n' "$mac" >"$RUN/mac" # the roaming daemon's too
	elif [ -r "$RUN/mac" ]; then
		read -r mac <"$RUN/mac" # of a node whose flash takes no writes
	fi
	words="$words${mac:+ --mac $mac}"
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

read_options() {
	words=
	add_option node clat_range --clat-range
	add_option node plat_range --plat-range
	add_option node client_range --client-range
	add_option node mesh_mtu --mesh-mtu
	add_option node firewall --firewall
	find_target
	add_option "$role" device --device
	node_mac
	if [ "$role" = clat ]; then
		add_option clat client_device --client-device
		add_option clat table --table
		add_option clat priority --priority
		add_list roaming prefix --client-prefixes
	else
		add_option plat pool --pool
		add_option plat ports --ports
		add_option plat uplink --uplink
		add_option plat limit_up_kbit --limit-up-kbit
		add_option plat limit_down_kbit --limit-down-kbit
		add_list plat allow --allow
		add_option plat client_flows --client-flows
		add_option plat node_flows --node-flows
	fi
}

tell_problem() { # SENTENCE
	[ "$1" != "$told" ] || return 0
	echo "$1" >&2
	printf '%s\n' "$1" >"$RUN/$role.problem"
	told=$1
}

forget_problem() {
	rm -f "$RUN/$role.problem" "$RUN/$role.said"
	told=
	wait_s=$AGAIN_S
}

# Bring the role up or down; what that says last is in ROLE.said. SIGHUP ends a wait, not the program.
run() { # OPTIONS, as words of one text
	local status
	# shellcheck disable=SC2086 # the program checks each
	(set -f && exec 464xlat "$role" "$way" $1 >/dev/null 2>"$RUN/$role.said") &
	until wait "$!"; do
		status=$?
		[ "$status" = "$HUNG_UP" ] || return "$status"
	done
}

pause() { # SECONDS, at most
	[ -z "$woken" ] || return 0
	sleep "$1" &
	wait "$!" || kill "$!" 2>/dev/null
}

wait_longer() {
	tell_problem "$(tail -n 1 "$RUN/$role.said")"
	pause "$wait_s"
	wait_s=$((wait_s * 2))
	[ -z "$woken" ] || wait_s=$AGAIN_S # what was missing may have come
	[ "$wait_s" -le "$LONGEST_WAIT_S" ] || wait_s=$LONGEST_WAIT_S
}

# A check is some dozen programs, so it is for when something has changed; what shows that is a few (464xlat ROLE look).
is_whole() {
	local now
	look=$(464xlat "$role" look 2>/dev/null)
	now=$(eval "$look" 2>&1)
	if 464xlat "$role" check >/dev/null 2>&1; then shown=$now; else look='' && return 1; fi
}
is_same() { [ -n "$look" ] && [ "$(eval "$look" 2>&1)" = "$shown" ]; }
is_made() { [ -z "$is_news" ] && [ "$words$wan" = "$made" ]; }

settle() {
	[ -z "$told" ] || forget_problem
	pause "$CHECK_S"
}

# An exit that leads nowhere takes clients from those that lead somewhere.
withdraw() {
	made='' look=''
	[ ! -e "$RUN/$role.undo" ] || { 464xlat "$role" down >/dev/null && tell_others changed; }
}

keep_up() {
	if is_made && is_same; then
		settle
	elif ! has_line; then
		tell_problem "464xlat: plat up: no IPv4 default route leads out of $wan, expected one: is the line up?"
		withdraw
		pause "$CHECK_S"
	elif is_made && { is_whole || { pause "$AGAIN_S" && is_whole; }; }; then
		settle
	elif run "$words${wan:+ --wan $wan}"; then
		[ -n "$made" ] || echo "464xlat: $role is up"
		made=$words$wan is_news='' look=''
		forget_problem
		tell_others changed
	else
		[ "$role" = clat ] || is_whole || withdraw
		wait_longer
	fi
}

# a node that is no platnode need not have its part
find_wan() { :; }
has_line() { :; }
# shellcheck source=files/464xlat/lib/464xlat/wan.sh
[ "$role" = clat ] || [ ! -r /lib/464xlat/wan.sh ] || . /lib/464xlat/wan.sh

wait_s=$AGAIN_S
told=
words=
wan=
made=
look='' shown='' # lines of sh, and what they said when the role was whole
is_news= # networks have changed since the last up, which may be of interest to it
trap 'kill "$!" 2>/dev/null; wait; exit 143' TERM # what is half up then undoes itself

if [ "$way" = down ]; then
	trap '' HUP
	until [ ! -e "$RUN/$role.undo" ] || run ''; do wait_longer; done
	forget_problem
	tell_others changed
	# procd is to know of nothing that has ended: a role that is off is no service that has died
	ubus call service delete "{\"name\":\"464xlat\",\"instance\":\"$role\"}"
	exit
fi

until load_464xlat 2>"$RUN/$role.said"; do
	woken=
	wait_longer
done
read_options
find_wan
round=0
while :; do
	round=$((round + 1))
	if [ -n "$woken" ] || [ $((round % NETWORK_ROUNDS)) = 0 ]; then
		is_news=${woken:-$is_news}
		woken='' look=''
		find_wan
	fi
	keep_up
done
