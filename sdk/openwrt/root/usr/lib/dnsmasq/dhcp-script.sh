#!/bin/sh
# SPDX-License-Identifier: ISC
# A stand-in for OpenWrt's dhcp-script of dnsmasq, which has procd call the scripts of /etc/hotplug.d/dhcp: they get four
# variables, and none that dnsmasq has for its script.

for name in $(env | sed -n 's/^\(DNSMASQ_[A-Z0-9_]*\)=.*/\1/p'); do unset "$name"; done
export MACADDR="$2" IPADDR="$3" HOSTNAME="${4:-}"
case "$1" in
add) ACTION=add ;;
old) ACTION=update ;;
del) ACTION=remove ;;
*) exit 0 ;;
esac
export ACTION
for script in /etc/hotplug.d/dhcp/*; do
	# shellcheck source=/dev/null
	[ ! -f "$script" ] || (. "$script")
done
