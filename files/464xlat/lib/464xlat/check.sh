# shellcheck shell=sh disable=SC2034,SC2153 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# Settings: where they come from and what they may be. Everything here runs before the first change.
#
# A setting is an option (--mesh-mtu 1374) or a variable (XLAT464_MESH_MTU=1374); the option wins. Inside it is a
# variable named like the option, MESH_MTU. Checked values hold no character that a shell would care about.

# Set the variables of the named settings from the environment, then from the options in the words behind `--`.
read_settings() { # NAME=DEFAULT... -- WORD...
	local known=' ' name value
	while [ "$1" != -- ]; do
		name=${1%%=*}
		known="$known$name "
		eval "value=\${XLAT464_$name-}"
		[ -n "$value" ] || value=${1#*=}
		eval "$name=\$value"
		shift
	done
	shift
	while [ $# -gt 0 ]; do
		case "$1" in
		-v | --verbose)
			VERBOSE=1
			shift
			continue
			;;
		--*=*)
			value=${1#*=}
			name=${1%%=*}
			;;
		--*)
			name=$1
			[ $# -ge 2 ] || refuse "$1 needs a value behind it"
			value=$2
			shift
			;;
		*) refuse "'$1' is no option, expected one of$(as_options "$known") --verbose" ;;
		esac
		shift
		name=$(as_name "$name")
		case "$known" in
		*" ${name:--} "*) eval "$name=\$value" ;;
		*) refuse "'--$(as_option "$name")' is no option, expected one of$(as_options "$known") --verbose" ;;
		esac
	done
}

as_option() { printf '%s' "$1" | tr 'A-Z_' 'a-z-'; }
as_name() { printf '%s' "${1#--}" | tr 'a-z-' 'A-Z_' | tr -c 'A-Z0-9_' '?'; }
as_options() { # NAMES
	local name
	for name in $1; do printf ' --%s' "$(as_option "$name")"; done
}

need_root() {
	[ "$(id -u)" = 0 ] || die "this changes the kernel's settings, which needs root: run it as root, or with sudo"
}

need_set() { # NAME EXAMPLE
	local value
	eval "value=\$$1"
	[ -n "$value" ] || refuse "--$(as_option "$1") is missing, expected one like --$(as_option "$1") $2"
}

need_number() { # NAME MIN MAX [ANOTHER]
	local value
	eval "value=\$$1"
	[ -z "${4:-}" ] || [ "$value" != "$4" ] || return 0
	case "$value" in
	'' | *[!0-9]* | ??????????*) ;;
	0 | [1-9]*) [ "$value" -ge "$2" ] && [ "$value" -le "$3" ] && return ;;
	esac
	refuse "--$(as_option "$1"): '$value' is no number that fits, expected $2 to $3${4:+, or $4}"
}

need_name() { # NAME: of a network device, by the kernel's rules and without what shell and firewalls would trip over
	local value
	eval "value=\$$1"
	case "$value" in
	'' | . | .. | all | default | -* | *[!A-Za-z0-9._-]* | ????????????????*)
		refuse "--$(as_option "$1"): '$value' is no device name, expected at most 15 of A-Z a-z 0-9 . _ -"
		;;
	esac
}

need_path() { # NAME
	local value
	eval "value=\$$1"
	case "$value" in
	*[!A-Za-z0-9._/-]*) ;;
	/*) return ;;
	esac
	refuse "--$(as_option "$1"): '$value' is no path, expected a full one of A-Z a-z 0-9 . _ - /"
}

need_choice() { # NAME CHOICE...
	local value name="$1" choice
	eval "value=\$$1"
	shift
	for choice; do [ "$value" != "$choice" ] || return 0; done
	refuse "--$(as_option "$name"): '$value' is no choice, expected one of $*"
}

need_present() { # NAME: of a device that is there
	local value
	need_name "$1"
	eval "value=\$$1"
	device_exists "$value" || die "--$(as_option "$1"): there is no device '$value', expected one that exists"
}

need_free() { # NAME: of a device that is not there
	local value
	need_name "$1"
	eval "value=\$$1"
	! device_exists "$value" ||
		die "--$(as_option "$1"): there is a device '$value' already and it is not ours, expected a free name"
}

# Ask xlat464; the answer is in ANSWER. (In a $(...) a failure could not end this shell.)
ask() { # COMMAND ARGUMENT...
	# shellcheck disable=SC2086 # a command line
	ANSWER=$($XLAT464 "$@" 2>&1 </dev/null) && return
	if [ $? = 2 ]; then set -- refuse; else set -- die; fi
	ANSWER=$(printf '%s' "$ANSWER" | tail -n 1)
	"$1" "${ANSWER#xlat464: }"
}

check_ranges() {
	need_set CLAT_RANGE fddd:1337:1337::/48
	need_set PLAT_RANGE fddd:1337:1338::/48
	ask check-ranges "$CLAT_RANGE" "$PLAT_RANGE" "$@"
	ask prefix6 "$CLAT_RANGE"
	CLAT_RANGE=$ANSWER
	ask prefix6 "$PLAT_RANGE"
	PLAT_RANGE=$ANSWER
}

# The prefix of hosts that translate themselves, in PREF64, empty where there is none; and the clients' prefixes.
find_pref64() {
	local each found=''
	for each in $(printf '%s' "$CLIENT_PREFIXES" | tr ',' ' '); do
		ask prefix6 "$each"
		found=$found${found:+,}$ANSWER
	done
	CLIENT_PREFIXES=$found
	# shellcheck disable=SC2046 # words
	ask pref64 "$PREF64" "$CLAT_RANGE" "$PLAT_RANGE" $(printf '%s' "$CLIENT_PREFIXES" | tr ',' ' ')
	PREF64=$ANSWER
	[ -z "$PREF64" ] || ask embed "$PREF64" 192.0.0.0
	HOST_NODES=$ANSWER/120 # nodes' own addresses, behind it
}

# The node's own /96 in a range, in PREFIX, and its management address in ADDRESS.
node_prefix() { # RANGE
	need_set MAC 12:34:56:78:9a:bc
	ask node-prefix "$1" "$MAC"
	PREFIX=$ANSWER
	ask management-address "$PREFIX"
	ADDRESS=$ANSWER
}
