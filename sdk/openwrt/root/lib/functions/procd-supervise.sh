#!/bin/sh
# SPDX-License-Identifier: ISC
# Run an instance of procd.sh: once, or again and again where it is to respawn. Ends with its instance on SIGTERM.
# PROCD_TAG names a variable in the instance's environment that is to bear its service's name.
# Usage: procd-supervise.sh FOLDER

folder=$1
child=''
echo $$ >"$folder/pid"
trap '[ -z "$child" ] || kill -TERM "$child" 2>/dev/null; wait; exit 0' TERM

set --
while IFS= read -r word; do set -- "$@" "$word"; done <"$folder/command"
pause_s=''
service=${folder%/*}
[ -z "${PROCD_TAG:-}" ] || export "$PROCD_TAG=${service##*/}"
[ ! -e "$folder/respawn" ] || pause_s=$(sed -n 2p "$folder/respawn")
while :; do
	"$@" &
	child=$!
	echo "$child" >"$folder/main"
	wait "$child"
	[ -e "$folder/respawn" ] || break
	sleep "${pause_s:-5}" &
	child=$!
	wait "$child"
done
