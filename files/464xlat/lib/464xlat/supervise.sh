#!/bin/sh
# SPDX-License-Identifier: ISC
# supervise.sh ROLE up     keep a role as /etc/config/464xlat says. Bring it up. Try again while something is missing that
#                          may still come: a device, a module, a translator. Check every few seconds that it is still
#                          complete, because other programs flush firewall rules. A node without an IPv4 line or without
#                          a translator is no platnode. SIGHUP: networks have changed, check now.
#                          procd ends this script when the configuration changes.
# supervise.sh ROLE down   take the role down, if it is up, and end
#
# Both notify what depends on roles: prefixd, babeld's drop-in, the roaming daemon (lib/464xlat/role.d).
# A problem is logged when it changes. /var/run/464xlat/ROLE.problem holds it for `service 464xlat status`.

signalled='' sleeper=''
# before anything else: at a boot networks come one after the other
trap 'signalled=1; [ -z "$sleeper" ] || kill "$sleeper" 2>/dev/null' HUP

tell_manager() { :; } # SENTENCE; a server's functions.sh tells systemd
XLAT464_UCI=${XLAT464_UCI:-/lib} # a server has no UCI, and files of its own that stand for it
# shellcheck source=/dev/null
. "$XLAT464_UCI/functions.sh"
# shellcheck source=/dev/null
. "$XLAT464_UCI/functions/network.sh"
# shellcheck source=files/464xlat/lib/464xlat/config.sh
. /lib/464xlat/config.sh

RUN=/var/run/464xlat
CHECK_S=5
AGAIN_S=2        # what is missing may return: a translator that restarts
NETWORK_ROUNDS=12 # rounds, after which everything is checked and netifd is asked for the devices, in case an event was lost
LONGEST_WAIT_S=30
HUNG_UP=129 # status of a `wait` that SIGHUP has ended

role=$1 way=${2:-up}
mkdir -p "$RUN" || exit 1

# Words of the command line, from options that are set. The program itself refuses wrong ones.
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
	add_option node pref64 --pref64
	add_list roaming prefix --client-prefixes
	find_target
	add_option "$role" device --device
	node_mac
	if [ "$role" = clat ]; then
		add_option clat client_device --client-device
		add_option clat table --table
		add_option clat priority --priority
	else
		add_option plat pool --pool
		add_option plat ports --ports
		add_option plat uplink --uplink
		add_option plat limit_up_kbit --limit-up-kbit
		add_option plat limit_down_kbit --limit-down-kbit
		add_list plat allow --allow
		add_option plat client_flows --client-flows
		add_option plat node_flows --node-flows
		add_option plat client_flows_per_s --client-flows-per-s
		add_option plat node_flows_per_s --node-flows-per-s
	fi
}

report_problem() { # SENTENCE
	[ "$1" != "$reported" ] || return 0
	echo "$1" >&2
	printf '%s\n' "$1" >"$RUN/$role.problem"
	reported=$1
	tell_manager "$1"
}

clear_problem() {
	rm -f "$RUN/$role.problem" "$RUN/$role.said"
	reported=
	wait_s=$AGAIN_S
	tell_manager "$role is $way"
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

# SIGHUP may come between any two commands here: it ends the sleep, or is seen before the wait.
pause() { # SECONDS, at most
	sleep "$1" &
	sleeper=$!
	[ -n "$signalled" ] || wait "$sleeper"
	kill "$sleeper" 2>/dev/null
	sleeper=
}

back_off() {
	report_problem "$(tail -n 1 "$RUN/$role.said")"
	pause "$wait_s"
	wait_s=$((wait_s * 2))
	[ -z "$signalled" ] || wait_s=$AGAIN_S # what was missing may have come
	[ "$wait_s" -le "$LONGEST_WAIT_S" ] || wait_s=$LONGEST_WAIT_S
}

# A check runs some dozen programs. So it runs only when the fingerprint has changed, which takes few programs to read.
is_intact() {
	local now
	fingerprint=$(464xlat "$role" fingerprint 2>/dev/null)
	now=$(eval "$fingerprint" 2>&1)
	if 464xlat "$role" check >/dev/null 2>&1; then expected=$now; else fingerprint='' && return 1; fi
}
is_unchanged() { [ -n "$fingerprint" ] && [ "$(eval "$fingerprint" 2>&1)" = "$expected" ]; }
is_applied() { [ -z "$changed" ] && [ "$words$wan" = "$applied" ]; }

stay_up() {
	[ -z "$reported" ] || clear_problem
	pause "$CHECK_S"
}

# An exit without an uplink would attract clients of exits that work.
withdraw() {
	applied='' fingerprint=''
	[ ! -e "$RUN/$role.undo" ] || { 464xlat "$role" down >/dev/null && notify_dependents changed; }
}

ensure_up() {
	if is_applied && is_unchanged; then
		stay_up
	elif ! has_uplink; then
		report_problem "464xlat: plat up: no IPv4 default route leads out of $wan, expected one: is the line up?"
		if withdraw; then pause "$CHECK_S"; else pause "$AGAIN_S"; fi
	elif is_applied && { is_intact || { pause "$AGAIN_S" && is_intact; }; }; then
		stay_up
	elif run "$words${wan:+ --wan $wan}"; then
		[ -n "$applied" ] || echo "464xlat: $role is up"
		applied=$words$wan changed='' fingerprint=''
		cat "$RUN/$role.said" >&2 # whose rules stood before ours, say
		clear_problem
		notify_dependents changed
	else
		[ "$role" = clat ] || is_intact || withdraw
		back_off
	fi
}

# a node that is no platnode may lack this file
find_wan() { :; }
has_uplink() { :; }
# shellcheck source=files/464xlat/lib/464xlat/wan.sh
[ "$role" = clat ] || [ ! -r /lib/464xlat/wan.sh ] || . /lib/464xlat/wan.sh

wait_s=$AGAIN_S
reported=
words=
wan=
applied=
fingerprint='' expected='' # lines of sh, and their output when the role was complete
changed= # networks, since the last up
trap 'kill "$!" 2>/dev/null; wait; exit 143' TERM # an unfinished up then undoes itself

if [ "$way" = down ]; then
	trap '' HUP
	until [ ! -e "$RUN/$role.undo" ] || run ''; do back_off; done
	clear_problem
	notify_dependents changed
	# procd must forget the instance: a disabled role is not a service that has died
	ubus call service delete "{\"name\":\"464xlat\",\"instance\":\"$role\"}"
	exit
fi

until load_464xlat 2>"$RUN/$role.said"; do
	signalled=
	back_off
done
read_options
find_wan
round=0
while :; do
	round=$((round + 1))
	if [ -n "$signalled" ] || [ $((round % NETWORK_ROUNDS)) = 0 ]; then
		changed=${signalled:-$changed}
		signalled='' fingerprint=''
		find_wan
	fi
	ensure_up
done
