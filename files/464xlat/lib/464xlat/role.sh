# shellcheck shell=sh disable=SC2034,SC2153 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# Up and down of a role, clat or plat, whose own steps are in files of their names; and what status shows of it.

# Make the role what the settings say. Nothing happens if it is that already; with other settings it is made anew, and
# for a CLAT prefixd has to choose again, for its device is a new one.
role_up() { # clat | plat WORD...
	local role="$1"
	shift
	DOING="$role up"
	need_root
	[ -r "$XLAT464_LIB/$role.sh" ] || die "there is no $XLAT464_LIB/$role.sh, expected the package 464xlat-$role"
	"${role}_settings" "$@"
	ledger_lock
	# an up that was killed left things behind, perhaps the device whose name must be free
	if ledger_exists "$role" && ! ledger_finished "$role"; then ledger_undo "$role" quiet; fi
	if ledger_finished "$role" && [ "$(ledger_settings "$role")" = "$SETTINGS" ] && "${role}_is_whole" &&
		{ [ "$role" = clat ] || plat_refresh; }; then
		echo "464xlat: $role up: it is, with these settings"
		return
	fi
	"${role}_need_free"
	if ledger_exists "$role"; then
		guard_up "$role"
		ledger_undo "$role" quiet
	fi
	"${role}_make"
	guard_down
}

# While a CLAT is made anew its clients' packets must not take the node's own default route.
GUARD=""
GUARD_PRIORITY=32500
guard_up() { # ROLE
	[ "$1" = clat ] || return 0
	GUARD=$CLIENT_DEVICE
	trap 'guard_down' EXIT
	ip -4 rule add pref "$GUARD_PRIORITY" iif "$GUARD" unreachable
}
guard_down() {
	[ -z "$GUARD" ] || ip -4 rule del pref "$GUARD_PRIORITY" iif "$GUARD" unreachable
	GUARD=
}

role_down() { # clat | plat
	local device
	DOING="$1 down"
	[ $# = 1 ] || [ "$2" = --verbose ] || [ "$2" = -v ] || die "'$2' is no option, expected none, or --verbose"
	[ $# = 1 ] || VERBOSE=1
	need_root
	ledger_lock
	ledger_exists "$1" || return 0
	device=$(setting "$1" device)
	trap '' INT TERM HUP
	ledger_undo "$1"
	node_release
	[ -z "$device" ] || ! device_exists "$device" || die "the device $device is still there"
}

# One of a role's noted settings; nothing if the role is not up.
setting() { # ROLE KEY
	local word line=''
	ledger_finished "$1" || return 0
	read -r line <"$XLAT464_RUN/$1.settings"
	for word in $line; do
		[ "${word%%=*}" != "$2" ] || printf '%s' "${word#*=}"
	done
}

STATUS_FORMAT='%-5s %-10s %-15s %-40s %s\n'

status() { # ROLE...
	local role
	# shellcheck disable=SC2059 # the format is ours
	printf "$STATUS_FORMAT" ROLE STATE DEVICE PREFIX DETAIL
	for role; do role_status "$role"; done
}

role_status() { # clat | plat
	local device state=up DEVICE
	if ! ledger_exists "$1"; then
		# shellcheck disable=SC2059
		printf "$STATUS_FORMAT" "$1" down - - "$([ "$1" = plat ] && echo 'this line is not shared' || echo -)"
		return
	fi
	device=$(setting "$1" device)
	ledger_finished "$1" || state=unfinished
	if [ "$state" = up ]; then
		device_exists "$device" && firewall_holds "$(setting "$1" firewall)" "$1" || state=broken
		[ "$1" = clat ] || limit_holds "$device" || state=broken
		DEVICE=$device # for what follows
		[ "$(setting "$1" engine)" != jool ] || jool_is_whole || state=broken
	fi
	# shellcheck disable=SC2059
	printf "$STATUS_FORMAT" "$1" "$state" "${device:--}" "$(setting "$1" prefix)" \
		"$("$1_detail" "$device"), MTU $(setting "$1" mesh_mtu), $(setting "$1" firewall)"
}
