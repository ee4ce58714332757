# shellcheck shell=sh disable=SC2034,SC2154 # set and read by name
# SPDX-License-Identifier: ISC
# What the roles' sh uses of OpenWrt's functions.sh, of /etc/464xlat.conf: after config_load an option is the variable
# CONFIG_SECTION_OPTION, a list's values with spaces between them.

CONF=/usr/lib/464xlat/conf

# All that is asked of it: whether the configuration can be read. config_load takes what it has read.
uci() {
	CONFIG_LINES=$($CONF shell 2>&1) && return
	CONFIG_FAULT=${CONFIG_LINES#464xlat: } CONFIG_FAULT=${CONFIG_FAULT%: all stays as it is}
	return 1
}

config_load() { eval "$CONFIG_LINES"; } # NAME

config_get() { eval "$1=\${CONFIG_${2}_$3:-\${4-}}"; } # VARIABLE SECTION OPTION [DEFAULT]

config_get_bool() { # VARIABLE SECTION OPTION [DEFAULT]
	config_get "$@"
	eval "case \$$1 in 1 | on | true | yes | enabled) $1=1 ;; *) $1=0 ;; esac"
}

config_list_foreach() { # SECTION OPTION FUNCTION [ARGUMENT...]
	local items item each="$3"
	config_get items "$1" "$2"
	shift 3
	for item in $items; do "$each" "$item" "$@"; done
}

# What `systemctl status` shows.
tell_manager() { systemd-notify "--status=$1"; } # SENTENCE

ubus() { :; } # systemd forgets a service that has ended by itself
