#!/bin/sh
# SPDX-License-Identifier: ISC
# A stand-in for OpenWrt's functions.sh: configuration files for init scripts. After `config_load NAME` each option is
# a variable CONFIG_SECTION_OPTION; a list has its items on lines of their own. UCI_CONFIG_DIR: /etc/config.

config_load() { # NAME
	local line kind name value section='' key
	CONFIG_SECTIONS=''
	CONFIG_COUNT=0
	[ -r "${UCI_CONFIG_DIR:-/etc/config}/$1" ] || return 1
	# as UCI: nothing of a file with a quotation that does not end
	[ $(($(sed 's/#.*//' "${UCI_CONFIG_DIR:-/etc/config}/$1" | tr -cd "'" | wc -c) % 2)) = 0 ] || return 1
	while IFS= read -r line || [ -n "$line" ]; do
		line=${line#"${line%%[![:space:]]*}"}
		kind=${line%%[[:space:]]*}
		case "$kind" in config | option | list) ;; *) continue ;; esac
		line=${line#"$kind"}
		line=${line#"${line%%[![:space:]]*}"}
		name=$(config_unquote "${line%%[[:space:]]*}")
		case "$line" in *[[:space:]]*) value=$(config_unquote "${line#*[[:space:]]}") ;; *) value='' ;; esac
		case "$name" in '' | *[!A-Za-z0-9_-]*) continue ;; esac
		case "$value" in *[!A-Za-z0-9_]*) key='' ;; *) key=$value ;; esac
		if [ "$kind" = config ]; then
			CONFIG_COUNT=$((CONFIG_COUNT + 1))
			section=${key:-cfg$CONFIG_COUNT}
			config_forget "$section"
			CONFIG_SECTIONS="$CONFIG_SECTIONS $name:$section"
		elif [ -n "$section" ]; then
			key="CONFIG_${section}_$(printf '%s' "$name" | tr - _)"
			if [ "$kind" = list ]; then
				eval "value=\"\${$key:+\$$key
}\$value\""
			fi
			eval "$key=\$value"
			eval "CONFIG_KEYS_$section=\"\${CONFIG_KEYS_$section-} $key\""
		fi
	done <"${UCI_CONFIG_DIR:-/etc/config}/$1"
}

# A section that is read again has only what is in the file now.
config_forget() { # SECTION
	local key keys
	eval "keys=\${CONFIG_KEYS_$1-}"
	for key in $keys; do unset "$key"; done
	unset "CONFIG_KEYS_$1"
}

config_unquote() { # WORD, with blanks behind it
	local word="$1"
	word=${word%"${word##*[![:space:]]}"}
	case "$word" in
	\'*\') word=${word#\'} word=${word%\'} ;;
	\"*\") word=${word#\"} word=${word%\"} ;;
	esac
	printf '%s' "$word"
}

config_get() { # VARIABLE SECTION OPTION [DEFAULT]
	local config_value
	eval "config_value=\${CONFIG_${2}_$3-}"
	[ -n "$config_value" ] || config_value=${4-}
	config_value=$(printf '%s' "$config_value" | tr '\n' ' ')
	eval "$1=\$config_value"
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

config_foreach() { # FUNCTION TYPE
	local entry
	for entry in $CONFIG_SECTIONS; do
		[ "${entry%%:*}" != "$2" ] || "$1" "${entry#*:}"
	done
}

config_list_foreach() { # SECTION OPTION FUNCTION
	local item items
	eval "items=\${CONFIG_${1}_$2-}"
	[ -n "$items" ] || return 0
	while IFS= read -r item <&7; do "$3" "$item"; done 7<<-ITEMS
		$items
	ITEMS
}
