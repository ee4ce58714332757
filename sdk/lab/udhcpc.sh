#!/bin/sh
# SPDX-License-Identifier: ISC
# What a client does with a lease; busybox udhcpc calls it with the event and the lease in variables.
# shellcheck disable=SC2154 # interface, ip, mask, router, dns and lease are those variables
set -e

case "$1" in
deconfig)
	ip -4 addr flush dev "$interface"
	;;
bound | renew)
	ip -4 addr replace "$ip/${mask:-24}" dev "$interface" valid_lft "$lease" preferred_lft "$lease"
	for gateway in $router; do
		ip -4 route replace default via "$gateway" dev "$interface"
		break
	done
	for server in $dns; do printf 'nameserver %s\n' "$server"; done >/run/resolv.conf
	;;
esac
