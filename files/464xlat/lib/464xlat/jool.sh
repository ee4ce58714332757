# shellcheck shell=sh disable=SC2034,SC2153 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# Jool as a PLAT's engine: a stateful NAT64 in a network namespace of its own, behind a veth in the device's place.
#
#   mesh -- IPv6 -- DEVICE ==== jool (pool6: the PLAT prefix, pool4: the pool with its ports) -- IPv4 -- DEVICE -- WAN
#
# So what is around the device stays as it is with the other engines: routes, firewall, roam maps. Jool translates
# before any chain of the namespace that it is in, and what it emits passes neither forward nor prerouting there: in the
# node's own, a client that roamed would not be mapped back. And it takes ports that connection tracking knows nothing
# of: the pool's addresses are no others' than Jool's, so no masquerade of the node can take the same port. (NAT66 is
# Jool's business here.) A pool of the WAN's own address would need a range of ports of its own against that.

JOOL_INSTANCE=464xlat
JOOL_INSIDE=mesh   # the veth's other end
JOOL_MAC=02:00:46:40:00:01 # of both ends: without ARP each sends to its own
JOOL_ERRORS_FROM=192.0.0.8 # RFC 7600

need_jool() {
	command -v "${JOOL:-jool}" >/dev/null 2>&1 ||
		die "--engine: there is no program jool, expected the packages kmod-jool-netfilter and jool-tools-netfilter"
	[ -e /sys/module/jool ] || modprobe jool >/dev/null 2>&1 || true # `instance add` says what is wrong
	ask embed "$PREFIX" "$JOOL_ERRORS_FROM"
	JOOL_ADDRESS=$ANSWER
}

jool_space() { printf 'xlat464-%s' "$1"; } # DEVICE
inside() { ip netns exec "$(jool_space "$DEVICE")" "$@"; } # COMMAND...

# When the namespace ends, so does all that is in it: Jool's instance with its sessions, and both ends of the veth.
jool_up() {
	change "ip netns del $(jool_space "$DEVICE")" ip netns add "$(jool_space "$DEVICE")"
	change "jool_unlink $DEVICE" ip link add "$DEVICE" address "$JOOL_MAC" type veth \
		peer name "$JOOL_INSIDE" address "$JOOL_MAC" netns "$(jool_space "$DEVICE")"
	must ip link set dev "$DEVICE" mtu "$MESH_MTU" arp off
	must device_sysctls "$DEVICE"
	must inside ip link set dev "$JOOL_INSIDE" mtu "$MESH_MTU" arp off
	must inside sh -c "cd /proc/sys/net; echo 1 >ipv4/ip_forward; echo 1 >ipv6/conf/all/forwarding
		echo 0 >ipv6/conf/$JOOL_INSIDE/accept_ra; echo 1 >ipv6/conf/$JOOL_INSIDE/addr_gen_mode"
	must inside ip link set dev lo up
	must inside ip link set dev "$JOOL_INSIDE" up
	must ip link set dev "$DEVICE" up
	must inside ip -4 addr add "$JOOL_ERRORS_FROM/32" dev lo
	must inside ip -6 addr add "$JOOL_ADDRESS/128" dev lo
	must inside ip -4 route add default dev "$JOOL_INSIDE"
	must inside ip -6 route add default dev "$JOOL_INSIDE"
	jool_configure
}

jool_configure() {
	local protocol
	must inside "${JOOL:-jool}" instance add "$JOOL_INSTANCE" --netfilter --pool6 "$PREFIX"
	for protocol in tcp udp icmp; do
		must inside "${JOOL:-jool}" -i "$JOOL_INSTANCE" pool4 add "--$protocol" "$POOL" "$PORTS" --force
	done
}

jool_unlink() { ! device_exists "$1" || ip link del dev "$1"; } # DEVICE

jool_is_intact() { eval "$(jool_fingerprint)" >/dev/null 2>&1; }

jool_fingerprint() {
	printf 'ip netns exec %s %s -i %s pool4 display\n' "$(jool_space "$DEVICE")" "${JOOL:-jool}" "$JOOL_INSTANCE"
}
