#!/bin/sh
# SPDX-License-Identifier: ISC
# A stand-in for procd and its functions: /var/run/procd/SERVICE/INSTANCE holds a command line (an argument a line),
# whether to respawn, and the supervisor's process. As with procd, an instance whose description is the same goes on,
# one that has ended starts again, and one that is not described any more is stopped.

PROCD_RUN=${PROCD_RUN:-/var/run/procd}
PROCD_LOG=${PROCD_LOG:-/var/run/procd.log} # what `logread` shows on a router
PROCD_SERVICE=''
PROCD_COUNT=0

procd_open_service() { # NAME
	PROCD_SERVICE=$1
	PROCD_COUNT=0
	mkdir -p "$PROCD_RUN/$1"
	rm -rf "$PROCD_RUN/$1"/*.new "$PROCD_RUN/$1/triggers"
}

procd_open_instance() { # [NAME]
	PROCD_COUNT=$((PROCD_COUNT + 1))
	PROCD_INSTANCE=$PROCD_RUN/$PROCD_SERVICE/${1:-instance$PROCD_COUNT}.new
	mkdir -p "$PROCD_INSTANCE"
}

procd_set_param() { # TYPE VALUE...
	local type="$1"
	shift
	case "$type" in
	command | respawn | env) ;;
	file) set -- "$(cksum "$@" 2>&1)" ;; # procd compares what is in it
	*) return 0 ;;
	esac
	if [ $# = 0 ]; then : >"$PROCD_INSTANCE/$type"; else printf '%s\n' "$@" >"$PROCD_INSTANCE/$type"; fi
}

procd_append_param() { # TYPE VALUE...
	local type="$1"
	shift
	case "$type" in command | env) printf '%s\n' "$@" >>"$PROCD_INSTANCE/$type" ;; esac
}

procd_close_instance() { :; }

procd_close_service() {
	local folder old
	for folder in "$PROCD_RUN/$PROCD_SERVICE"/*; do
		case "$folder" in *.new | *'*') continue ;; esac
		[ -d "$folder.new" ] || procd_end "$folder"
	done
	for folder in "$PROCD_RUN/$PROCD_SERVICE"/*.new; do
		[ -d "$folder" ] || continue
		old=${folder%.new}
		if procd_alive "$old" && procd_same "$old" "$folder"; then
			rm -r "$folder"
			continue
		fi
		procd_end "$old"
		mv "$folder" "$old"
		setsid sh "${PROCD_SUPERVISOR:-/lib/functions/procd-supervise.sh}" "$old" </dev/null >>"$PROCD_LOG" 2>&1 9>&- &
		procd_await "$old/pid"
	done
}

# An instance without its process yet would count as ended: wait for it, 5 s at most.
procd_await() { # FILE
	local waited=0
	until [ -s "$1" ] || [ "$waited" -ge 100 ]; do
		waited=$((waited + 1))
		sleep 0.05
	done
}

procd_same() { # FOLDER FOLDER
	local file
	for file in command respawn env file; do
		[ "$(cat "$1/$file" 2>/dev/null)" = "$(cat "$2/$file" 2>/dev/null)" ] || return 1
		[ -e "$1/$file" ] && [ ! -e "$2/$file" ] && return 1
		[ ! -e "$1/$file" ] && [ -e "$2/$file" ] && return 1
	done
	return 0
}

procd_alive() { # FOLDER
	local pid
	[ -s "$1/pid" ] && read -r pid <"$1/pid" && kill -0 "$pid" 2>/dev/null
}

# Stop an instance and wait until it is gone, 5 s at most.
procd_end() { # FOLDER
	local pid waited=0
	if procd_alive "$1"; then
		read -r pid <"$1/pid"
		kill -TERM "$pid" 2>/dev/null
		while kill -0 "$pid" 2>/dev/null; do
			waited=$((waited + 1))
			[ "$waited" -lt 50 ] || kill -KILL -- "-$pid" 2>/dev/null
			[ "$waited" -lt 60 ] || break
			sleep 0.1
		done
	fi
	rm -rf "$1"
}

procd_kill() { # SERVICE
	local folder
	for folder in "$PROCD_RUN/$1"/*; do
		[ ! -d "$folder" ] || procd_end "$folder"
	done
}

procd_running() { # SERVICE
	local folder
	for folder in "$PROCD_RUN/$1"/*; do
		! procd_alive "$folder" || return 0
	done
	return 1
}

# Send a signal to what an instance runs, or all instances do.
procd_send_signal() { # SERVICE INSTANCE|* SIGNAL
	local file pid status=4
	for file in "$PROCD_RUN/$1"/*/main; do
		case "$2" in '*' | "$(basename "${file%/main}")") ;; *) continue ;; esac
		[ -s "$file" ] && read -r pid <"$file" && kill -s "$3" "$pid" 2>/dev/null && status=0
	done
	return "$status"
}

# A service's triggers are noted for procd-event.sh, which stands in for netifd.
procd_open_trigger() { :; }
procd_close_trigger() { :; }
procd_add_raw_trigger() { # EVENT DELAY-MS COMMAND...
	printf '%s ' "$1" >>"$PROCD_RUN/$PROCD_SERVICE/triggers"
	shift 2
	printf "'%s' " "$@" >>"$PROCD_RUN/$PROCD_SERVICE/triggers"
	echo >>"$PROCD_RUN/$PROCD_SERVICE/triggers"
}
procd_add_reload_trigger() { # CONFIG...
	printf "config.change '/etc/init.d/%s' 'reload' # %s\n" "$PROCD_SERVICE" "$*" >>"$PROCD_RUN/$PROCD_SERVICE/triggers"
}
