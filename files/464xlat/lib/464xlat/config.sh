# shellcheck shell=sh
# SPDX-License-Identifier: ISC
# Reads /etc/config/464xlat; functions.sh is sourced already. UCI leaves out what it cannot read of a file, and config_load
# says nothing of it; but half of a configuration is no word to change anything. Nor is an empty file, as power cuts make.
load_464xlat() {
	uci -q get 464xlat.node >/dev/null && config_load 464xlat && return
	echo "464xlat: UCI cannot read /etc/config/464xlat, expected 'uci show 464xlat.node' to work: all stays as it is" >&2
	return 1
}
