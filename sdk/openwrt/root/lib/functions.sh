#!/bin/sh
# SPDX-License-Identifier: ISC
# A stand-in for OpenWrt's functions.sh with what it means to its users: after `config_load NAME` an option is the
# variable CONFIG_SECTION_OPTION; a list is that too, joined, and its items are CONFIG_SECTION_OPTION_ITEM1 and so on. Lists
# are built with append, which is therefore nobody else's name, and forgotten at the next config_load; options are not.
# What uci cannot read of a file is left out and is no error. UCI_CONFIG_DIR: /etc/config.
# shellcheck disable=SC2034,SC2154 # set and read by name

append() { # VARIABLE VALUE [SEPARATOR]
	local separator="${3:- }"
	eval "$1=\"\${$1:+\$$1\${2:+\$separator}}\$2\""
}

prepend() { # VARIABLE VALUE [SEPARATOR]
	local separator="${3:- }"
	eval "$1=\"\$2\${$1:+\$separator\$$1}\""
}

list_contains() { # VARIABLE WORD
	local words
	eval "words=\" \$$1 \""
	case "$words" in *" $2 "*) return 0 ;; esac
	return 1
}

config_set() { eval "CONFIG_${1}_$2=\$3"; } # SECTION OPTION VALUE
config_unset() { config_set "$1" "$2" ''; } # SECTION OPTION

reset_cb() {
	config_cb() { :; }
	option_cb() { :; }
	list_cb() { :; }
}
reset_cb

# The statements of a configuration file are commands, as `uci export` quotes them.
package() { :; }

config() { # TYPE NAME
	CONFIG_NUM_SECTIONS=$((CONFIG_NUM_SECTIONS + 1))
	CONFIG_SECTION=$2
	append CONFIG_SECTIONS "$2"
	config_set "$2" TYPE "$1"
	config_cb "$1" "$2"
}

option() { # NAME VALUE
	config_set "$CONFIG_SECTION" "$1" "$2"
	option_cb "$1" "$2"
}

list() { # NAME VALUE
	local length
	config_get length "$CONFIG_SECTION" "${1}_LENGTH" 0
	[ "$length" != 0 ] || append CONFIG_LIST_STATE "${CONFIG_SECTION}_$1"
	length=$((length + 1))
	config_set "$CONFIG_SECTION" "${1}_ITEM$length" "$2"
	config_set "$CONFIG_SECTION" "${1}_LENGTH" "$length"
	append "CONFIG_${CONFIG_SECTION}_$1" "$2"
	list_cb "$1" "$2"
}

config_load() { # NAME
	local variable statements
	for variable in ${CONFIG_LIST_STATE:-}; do
		eval "CONFIG_$variable='' CONFIG_${variable}_LENGTH=''"
	done
	CONFIG_LIST_STATE='' CONFIG_SECTIONS='' CONFIG_SECTION='' CONFIG_NUM_SECTIONS=0
	statements=$(/usr/sbin/uci -S -n export "$1" 2>/dev/null) || return
	eval "$statements"
	[ -z "$CONFIG_SECTION" ] || config_cb
}

config_get() { # VARIABLE SECTION OPTION [DEFAULT]
	case "$2$3" in *[!A-Za-z0-9_]*) return ;; esac
	eval "$1=\${CONFIG_${2}_$3:-\${4-}}"
}

config_get_bool() { # VARIABLE SECTION OPTION [DEFAULT]
	local config_bool
	config_get config_bool "$2" "$3" "${4-}"
	case "$config_bool" in
	1 | on | true | yes | enabled) config_bool=1 ;;
	0 | off | false | no | disabled) config_bool=0 ;;
	*) config_bool=${4-} ;;
	esac
	eval "$1=\$config_bool"
}

config_foreach() { # FUNCTION [TYPE [ARGUMENT...]]
	local config_each="$1" config_type="${2-}" section type
	[ $# -lt 2 ] || shift
	shift
	for section in $CONFIG_SECTIONS; do
		config_get type "$section" TYPE
		case "$config_type" in '' | "$type") "$config_each" "$section" "$@" ;; esac
	done
}

config_list_foreach() { # SECTION OPTION FUNCTION [ARGUMENT...]
	local section="$1" option="$2" config_each="$3" length index=1 item
	shift 3
	config_get length "$section" "${option}_LENGTH" 0
	while [ "$index" -le "$length" ]; do
		config_get item "$section" "${option}_ITEM$index"
		"$config_each" "$item" "$@"
		index=$((index + 1))
	done
}
