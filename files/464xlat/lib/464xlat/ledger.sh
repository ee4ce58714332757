# shellcheck shell=sh disable=SC2034,SC2153 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# The undo ledger: what one `up` changed, as shell commands that undo it, in $XLAT464_RUN/NAME.undo.
#
# A line is written before its change, so not even SIGKILL leaves an unknown change. If a change fails, its line is
# removed. Undoing runs the lines from the last to the first. The settings lie beside, in NAME.settings, and are written
# last: a ledger without settings is an `up` that did not get to its end.
#
# NAME is a role (clat, plat), or `node` for what the roles share and the last of them undoes.

# Print one line, whatever characters a quoted setting has.
end_with() { # STATUS SENTENCE...
	local status="$1"
	shift
	printf '464xlat: %s%s\n' "${DOING:+$DOING: }" "$(printf '%s' "$*" | tr '\001-\037\177' '?')" >&2
	exit "$status"
}
die() { end_with 1 "$@"; }    # SENTENCE...; this machine cannot do it
refuse() { end_with 2 "$@"; } # SENTENCE...; no machine could: the command line, or a setting, is wrong

warn() { # SENTENCE...
	printf '464xlat: %s%s\n' "${DOING:+$DOING: }" "$*" >&2
}

ledger_exists() { [ -e "$XLAT464_RUN/$1.undo" ]; }   # NAME
ledger_finished() { [ -e "$XLAT464_RUN/$1.settings" ]; } # NAME
ledger_settings() { cat "$XLAT464_RUN/$1.settings"; } # NAME

# One `464xlat` changes a node at a time. The lock is the file descriptor's, so it ends with the process.
ledger_lock() {
	local tries=0
	mkdir -p "$XLAT464_RUN" || die "cannot make the folder $XLAT464_RUN"
	exec 9>"$XLAT464_RUN/lock" || die "cannot write to the folder $XLAT464_RUN"
	until flock -n 9; do
		tries=$((tries + 1))
		[ "$tries" -lt "$LOCK_WAIT_S" ] || die "another 464xlat has been busy for $LOCK_WAIT_S s, expected it to end: try again"
		sleep 1
	done
}
LOCK_WAIT_S=30

# From here to ledger_close, the end of this shell for any reason undoes what is in the ledger.
ledger_open() { # NAME
	LEDGER_NAME=$1
	LEDGER=$XLAT464_RUN/$1.undo
	: >"$LEDGER" || die "cannot write $LEDGER"
	trap 'ledger_abort' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

ledger_abort() {
	local status=$?
	trap '' INT TERM HUP
	trap - EXIT
	ledger_undo "$LEDGER_NAME" quiet
	node_release
	guard_down
	exit "$status"
}

ledger_note() { # NAME SETTINGS
	printf '%s\n' "$2" >"$XLAT464_RUN/$1.settings.new" || die "cannot write $XLAT464_RUN/$1.settings"
	mv "$XLAT464_RUN/$1.settings.new" "$XLAT464_RUN/$1.settings"
}

ledger_close() { # SETTINGS
	ledger_note "$LEDGER_NAME" "$1"
	trap - EXIT INT TERM HUP
}

# Run COMMAND, which UNDO (one line of shell) undoes; without a LEDGER that is noted already. The words in UNDO come from
# checked settings: no quoting.
change() { # UNDO COMMAND...
	local undo="$1" said
	shift
	[ -z "$LEDGER" ] || printf '%s\n' "$undo" >>"$LEDGER" || die "cannot write $LEDGER"
	tell "$@"
	said=$("$@" 2>&1 </dev/null) && return
	[ -z "$LEDGER" ] || { sed '$d' "$LEDGER" >"$LEDGER.new" && mv "$LEDGER.new" "$LEDGER"; }
	die "\`$*\` failed: $(printf '%s' "$said" | tail -n 1)"
}

tell() { [ -z "${VERBOSE:-}" ] || printf '464xlat: + %s\n' "$*" >&2; } # COMMAND...

# Undo a ledger and remove it. `quiet` is for an aborted `up`, whose last line may be of a change that was never made.
ledger_undo() { # NAME [quiet]
	local file="$XLAT464_RUN/$1.undo" line said lines
	rm -f "$XLAT464_RUN/$1.settings" "$XLAT464_RUN/$1.rules" "$XLAT464_RUN/$1.moves" "$XLAT464_RUN/$1.behind"
	[ -e "$file" ] || return 0
	# read the list first, since an undo may change the ledger. Not into a file: there may be no room for one
	lines=$(sed -n '1!G;h;$p' "$file")
	while IFS= read -r line <&8; do
		[ -n "$line" ] || continue
		tell "$line"
		# a change that somebody else has undone must not stop us from undoing the others
		said=$(eval "$line" 2>&1 </dev/null) || [ "${2:-}" = quiet ] ||
			warn "\`$line\` failed: $(printf '%s' "$said" | tail -n 1)"
	done 8<<-LINES
		$lines
	LINES
	rm -f "$file" "$file.new" "$XLAT464_RUN/$1.rules"
}
