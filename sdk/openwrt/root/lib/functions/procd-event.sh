#!/bin/sh
# SPDX-License-Identifier: ISC
# Do what procd does for an event: run the triggers that services have registered. Usage: procd-event.sh
# interface.update

for file in "${PROCD_RUN:-/var/run/procd}"/*/triggers; do
	[ -e "$file" ] || continue
	while read -r event command; do
		case "$event" in
		*.'*') case "$1" in "${event%'*'}"*) eval "$command" ;; esac ;;
		"$1") eval "$command" ;;
		esac
	done <"$file"
done
