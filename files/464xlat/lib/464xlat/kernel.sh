# shellcheck shell=sh disable=SC2034,SC2153 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# Kernel settings under /proc/sys, with their old values in the ledger, and whether a device exists.

# (/sys/class/net is of the network namespace that /sys was mounted in, which need not be ours.)
device_exists() { ip link show dev "$1" >/dev/null 2>&1; } # DEVICE

# Set a value if it differs. The undo restores the old value, unless somebody has changed it since or its device is
# gone.
sysctl_set() { # PATH VALUE
	local old
	[ -e "/proc/sys/$1" ] || return 0
	old=$(cat "/proc/sys/$1") # `read` asks byte by byte, and the kernel answers the first one only
	[ "$old" != "$2" ] || return 0
	change "sysctl_restore $1 $2 $old" sysctl_write "$1" "$2"
}

sysctl_write() { printf '%s\n' "$2" >"/proc/sys/$1"; } # PATH VALUE

sysctl_restore() { # PATH OURS OLD
	local now
	[ -e "/proc/sys/$1" ] || return 0
	now=$(cat "/proc/sys/$1")
	[ "$now" != "$2" ] || sysctl_write "$1" "$3"
}

sysctl_get() { # PATH; nothing if there is no such setting
	local value=''
	[ ! -e "/proc/sys/$1" ] || read -r value <"/proc/sys/$1"
	printf '%s' "$value"
}

# Settings of the node that both roles need. They have a ledger of their own, because roles come and go one by one.
#
# IPv4 forwarding is not among them: each role enables it for its own devices, so that a server does not become a router
# between all its networks.
node_up() {
	local device value
	ledger_exists node && ! ledger_finished node && ledger_undo node quiet
	ledger_exists node && return
	ledger_open node
	# a kernel that becomes a router forgets its default routes from router advertisements and ignores new ones,
	# except on devices with accept_ra 2. Turning forwarding off again affects every device
	if [ "$(sysctl_get net/ipv6/conf/all/forwarding)" = 0 ]; then
		for device in /proc/sys/net/ipv6/conf/*; do
			device=${device##*/}
			[ "$device" = all ] && continue
			[ "$(sysctl_get "net/ipv6/conf/$device/accept_ra")" != 1 ] ||
				sysctl_set "net/ipv6/conf/$device/accept_ra" 2
			[ "$(sysctl_get "net/ipv6/conf/$device/forwarding")" = 0 ] ||
				printf 'sysctl_restore net/ipv6/conf/%s/forwarding 0 1\n' "$device" >>"$LEDGER"
		done
		sysctl_set net/ipv6/conf/all/forwarding 1
	fi
	# the kernel uses the larger value of `all` and the device. So a translator's device is exempt from the reverse
	# path filter only if `all` is 0 and the other devices have the value themselves
	value=$(sysctl_get net/ipv4/conf/all/rp_filter)
	if [ "$value" != 0 ]; then
		for device in /proc/sys/net/ipv4/conf/*; do
			device=${device##*/}
			[ "$device" != all ] || continue
			[ "$(sysctl_get "net/ipv4/conf/$device/rp_filter")" -ge "$value" ] ||
				sysctl_set "net/ipv4/conf/$device/rp_filter" "$value"
		done
		sysctl_set net/ipv4/conf/all/rp_filter 0
	fi
	ledger_close shared
}

# Undo node_up when no role needs it any more.
node_release() {
	ledger_exists clat || ledger_exists plat || ledger_undo node
}

# A device that was created again (a dial-up line, a bridge) has the kernel's defaults.
forwarding_lacks() { # DEVICE[,DEVICE...]
	local device value rest="$1,"
	while [ -n "$rest" ]; do
		device=${rest%%,*} rest=${rest#*,} value=1
		[ ! -e "/proc/sys/net/ipv4/conf/$device/forwarding" ] || read -r value <"/proc/sys/net/ipv4/conf/$device/forwarding"
		[ "$value" = 1 ] || echo "IPv4 forwarding is off on $device"
	done
}

# What a translator's device needs to pass packets: it is not a link with hosts, so nothing may answer or filter on it.
device_sysctls() { # DEVICE
	sysctl_write "net/ipv4/conf/$1/rp_filter" 0 && # ICMP errors come from 192.0.0.8 (RFC 7600), which is routed nowhere
		sysctl_write "net/ipv4/conf/$1/forwarding" 1 &&
		sysctl_write "net/ipv6/conf/$1/disable_ipv6" 0 &&
		sysctl_write "net/ipv6/conf/$1/accept_ra" 0 || return
	# no link-local address, hence no router solicitations and multicast reports for the translator to drop
	[ ! -e "/proc/sys/net/ipv6/conf/$1/addr_gen_mode" ] || sysctl_write "net/ipv6/conf/$1/addr_gen_mode" 1
	ip -6 addr flush dev "$1" scope link # of a network manager that was here first and has set it up
}
