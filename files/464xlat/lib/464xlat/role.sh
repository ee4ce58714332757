# shellcheck shell=sh disable=SC2034,SC2153 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# Up and down of a role (clat or plat), what it lacks, and what status shows. The steps of each role are in the file of
# its name.

# Make the role what the settings say. Nothing happens if it has these settings already. With other settings it is made
# again; then a CLAT has a new device, and prefixd has to choose again.
role_up() { # clat | plat WORD...
	local role="$1"
	shift
	DOING="$role up"
	need_root
	[ -r "$XLAT464_LIB/$role.sh" ] || die "there is no $XLAT464_LIB/$role.sh, expected the package 464xlat-$role"
	"${role}_settings" "$@"
	ledger_lock
	# an up that was killed left changes behind, perhaps the device whose name must be free
	if ledger_exists "$role" && ! ledger_finished "$role"; then ledger_undo "$role" quiet; fi
	if ledger_finished "$role" && role_is_served &&
		{ [ "$(ledger_settings "$role")" = "$SETTINGS" ] || { [ "$role" = plat ] && plat_differs_in_wan; }; }; then
		firewall_is_intact "$FIREWALL" "$role" || {
			(firewall_restore "$role")
			[ "$role" = clat ] || plat_clear_flows
		}
		if "${role}_refresh" && [ -z "$(role_lacks "$role")" ]; then
			(gro_list_off) || true # of devices that are new
			echo "464xlat: $role up: it is, with these settings"
			return
		fi
	fi
	translator_forget "$TARGET" "$DEVICE"
	"${role}_need_free"
	if ledger_exists "$role"; then
		guard_up "$role"
		ledger_undo "$role" quiet
	fi
	"${role}_make"
	guard_down
	(gro_list_off) || true # a role that is slow is up
}

# While a CLAT is made again its clients' packets must not use the node's own default route.
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
	[ $# = 1 ] || [ "$2" = --verbose ] || [ "$2" = -v ] || refuse "'$2' is no option, expected none, or --verbose"
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

# Read the settings of a role that is up from its notes.
noted_settings() { # clat | plat
	local word line=''
	TRANSLATOR='' PREF64='' CLIENT_PREFIXES=''
	read -r line <"$XLAT464_RUN/$1.settings" || return
	for word in $line; do
		case "$word" in
		prefix=*) PREFIX=${word#*=} ;;
		device=*) DEVICE=${word#*=} ;;
		mesh_mtu=*) MESH_MTU=${word#*=} ;;
		target=*) TARGET=${word#*=} ;;
		engine=*) TRANSLATOR=${word#*=} ;;
		firewall=*) FIREWALL=${word#*=} ;;
		client_range=*) CLIENT_RANGE=${word#*=} ;;
		client_device=*) CLIENT_DEVICE=${word#*=} ;;
		table=*) TABLE=${word#*=} ;;
		priority=*) PRIORITY=${word#*=} ;;
		pref64=*) PREF64=${word#*=} ;;
		client_prefixes=*) CLIENT_PREFIXES=${word#*=} ;;
		client_devices=*) CLIENT_DEVICES=$(printf '%s' "${word#*=}" | tr ',' ' ') ;;
		pool=*) POOL=${word#*=} ;;
		ports=*) PORTS=${word#*=} ;;
		wan=*) WAN=${word#*=} ;;
		esac
	done
}

# Whether the device is there and a translator serves it: a TUN device has a carrier as long as somebody reads it.
role_is_served() {
	LINK=$(ip link show dev "$DEVICE" 2>/dev/null)
	case "$LINK" in *LOWER_UP*) return 0 ;; esac
	return 1
}

# Print the first thing that a role lacks of what its up has made; nothing if it is complete.
role_lacks() { # clat | plat
	if ! role_is_served; then
		case "$LINK" in
		'') echo "there is no device $DEVICE" ;;
		*NO-CARRIER*) echo "nothing translates on $DEVICE: ${TRANSLATOR:-the translator} is not running" ;;
		*) echo "the device $DEVICE is down" ;;
		esac
	elif [ -z "$(ip -6 route show exact "$PREFIX" dev "$DEVICE" 2>/dev/null)" ]; then
		echo "there is no route $PREFIX dev $DEVICE"
	elif ! firewall_is_intact "$FIREWALL" "$1"; then
		firewall_lacks "$FIREWALL" "$1"
	else
		"${1}_lacks"
	fi
}

check() { # clat | plat
	local lacks='it is not up'
	DOING="$1 check"
	! ledger_finished "$1" || ! noted_settings "$1" || lacks=$(role_lacks "$1")
	[ -z "$lacks" ] || die "$lacks"
}

# Print lines of sh. While their output is the same as when the role was complete, the role is still complete. They run
# fewer programs than a check. (Values that change by themselves, as the lifetime of an address, are left out.)
fingerprint() { # clat | plat
	DOING="$1 fingerprint"
	{ ledger_finished "$1" && noted_settings "$1"; } || die 'it is not up'
	printf 'ip -6 route show root %s\n' "$PREFIX"
	"${1}_fingerprint"
	[ "$FIREWALL" = none ] || "${FIREWALL}_fingerprint" "$1"
}

fingerprint_ipv4() { # COMMAND-OF-ip...
	printf 'ip -4 -batch - <<END\n'
	printf '%s\n' "link show dev $DEVICE" "$@" END
}

fingerprint_forwarding() { # DEVICES
	local each
	for each in $1; do
		# shellcheck disable=SC2016 # the reader of the fingerprint expands it
		printf 'read -r value </proc/sys/net/ipv4/conf/%s/forwarding && echo "$value"\n' "$each"
	done
}

STATUS_FORMAT='%-5s %-10s %-15s %-40s %s\n'

status() { # ROLE...
	local role rc=0
	# shellcheck disable=SC2059 # the format is ours
	printf "$STATUS_FORMAT" ROLE STATE DEVICE PREFIX DETAIL
	for role; do role_status "$role" || rc=1; done
	return "$rc"
}

role_status() { # clat | plat
	local state=up detail=- lacks=''
	DEVICE=- PREFIX=-
	if ! ledger_exists "$1"; then
		state=down
		[ "$1" = clat ] || detail='this line is not shared'
	elif ! ledger_finished "$1" || ! noted_settings "$1"; then
		state=unfinished detail='another 464xlat is at work, or was ended; the next up makes it anew'
	else
		lacks=$(role_lacks "$1")
		detail="$("$1_detail"), MTU $MESH_MTU, $FIREWALL$(firewall_detail "$1")"
		[ -z "$lacks" ] || { state=broken detail=$lacks; }
	fi
	# shellcheck disable=SC2059
	printf "$STATUS_FORMAT" "$1" "$state" "$DEVICE" "$PREFIX" "$detail"
	case "$state" in up | down) ;; *) return 1 ;; esac
}
