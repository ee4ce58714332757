# shellcheck shell=sh
# SPDX-License-Identifier: ISC
# What the services share: the configuration, the settings of the roles that are up, and who depends on roles.

# Reads /etc/config/464xlat; functions.sh is sourced already. UCI leaves out the lines that it cannot read, and
# config_load does not report them. Half a configuration must not change anything, nor an
# empty file, as power cuts leave it.
load_464xlat() {
	uci -q get 464xlat.node >/dev/null && config_load 464xlat && return
	echo "464xlat: ${CONFIG_FAULT:-UCI cannot read /etc/config/464xlat, expected 'uci show 464xlat.node' to work}: all stays as it is" >&2
	return 1
}

has_role() { [ -e "/var/run/464xlat/$1.settings" ]; } # clat | plat; whether it is up

# One of the settings that a role is up with; nothing if it is not up.
setting() { # ROLE KEY
	local word line=''
	! has_role "$1" || read -r line <"/var/run/464xlat/$1.settings"
	for word in $line; do
		[ "${word%%=*}" != "$2" ] || printf '%s' "${word#*=}"
	done
}

notify_dependents() { # boot | changed | gone
	local hook
	for hook in /lib/464xlat/role.d/*; do
		[ ! -x "$hook" ] || "$hook" "$1"
	done
}
