# shellcheck shell=sh
# SPDX-License-Identifier: ISC
# What role.d's files of daemons share. A daemon is started again only when its command line has changed.

# Have a daemon run as the configuration and the roles have it now, or not at all.
update_daemon() { # DAEMON; its unit has the same name
	local wanted
	systemctl -q is-enabled "$1.service" 2>/dev/null || return 0
	wanted=$(/usr/lib/464xlat/conf words "$1") || return
	if [ -z "$wanted" ]; then
		systemctl --no-block stop "$1.service"
	elif [ "$wanted" != "$(cat "/run/464xlat/$1.command" 2>/dev/null)" ] || ! systemctl -q is-active "$1.service"; then
		systemctl --no-block restart "$1.service"
	fi
}
