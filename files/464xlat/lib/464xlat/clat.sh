# shellcheck shell=sh disable=SC2034,SC2153 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# The CLAT: clients' IPv4 to IPv6 and back, statelessly. prefixd adds the remote prefix and uses clat-route.

clat_settings() { # WORD...
	read_settings CLAT_RANGE= PLAT_RANGE= MAC= CLIENT_RANGE= CLIENT_DEVICE=br-client MESH_MTU=1280 DEVICE=clat \
		TARGET=auto ENGINE=auto TABLE=464 PRIORITY=464 FIREWALL=auto CLIENT_PREFIXES= PREF64=auto -- "$@"
	need_set CLIENT_RANGE 10.126.0.0/16
	ask prefix4 "$CLIENT_RANGE"
	CLIENT_RANGE=$ANSWER
	check_ranges --client-range "$CLIENT_RANGE"
	node_prefix "$CLAT_RANGE"
	need_number MESH_MTU 1280 65535
	need_number TABLE 1 4294967295
	case "$TABLE" in 253 | 254 | 255) refuse "--table: $TABLE is the kernel's own, expected another number" ;; esac
	need_number PRIORITY 1 32000
	need_choice FIREWALL auto nft xtables none
	need_name CLIENT_DEVICE
	need_name DEVICE
	need_present CLIENT_DEVICE
	find_pref64
	find_client_devices
	need_choice ENGINE auto nat46 siit # the way from the clients has to be stateless
	find_translator
	firewall_choose clat
	SETTINGS="clat_range=$CLAT_RANGE plat_range=$PLAT_RANGE prefix=$PREFIX client_range=$CLIENT_RANGE \
client_device=$CLIENT_DEVICE mesh_mtu=$MESH_MTU device=$DEVICE target=$TARGET table=$TABLE priority=$PRIORITY \
ipv4_mtu=$(ipv4_mtu) firewall=$FIREWALL client_devices=$(printf '%s' "$CLIENT_DEVICES" | tr ' ' ,) \
client_prefixes=$CLIENT_PREFIXES pref64=$PREF64"
}

# The devices from which clients' packets come. Gluon's is one end of a veth whose other end is a port of the clients'
# bridge; packets come from the bridge itself too.
find_client_devices() {
	local other bridge
	other=$(ip -o link show dev "$CLIENT_DEVICE" | sed -n 's/^[0-9]*: [^:@]*@\([^:]*\):.*/\1/p')
	bridge=$(ip -o link show dev "${other:-lo}" 2>/dev/null | sed -n 's/.* master \([^ ]*\) .*/\1/p')
	CLIENT_DEVICES=$CLIENT_DEVICE${bridge:+ $bridge}
}

# Policy rules route client traffic, so clients do not use the node's own default route. While the table is empty the
# last rule answers "network unreachable" at once.
clat_rules() {
	local pick="iif $CLIENT_DEVICE"
	# shellcheck disable=SC2086 # words
	{
		change "ip -4 rule del pref $((PRIORITY + 2)) $pick unreachable" \
			ip -4 rule add pref $((PRIORITY + 2)) $pick unreachable
		change "ip -4 rule del pref $((PRIORITY + 1)) $pick lookup $TABLE" \
			ip -4 rule add pref $((PRIORITY + 1)) $pick lookup "$TABLE"
		change "ip -4 rule del pref $PRIORITY $pick to $CLIENT_RANGE lookup main" \
			ip -4 rule add pref "$PRIORITY" $pick to "$CLIENT_RANGE" lookup main
	}
}

# What must not exist already, unless an earlier up of ours made it.
clat_need_free() {
	[ "$DEVICE" = "$(setting clat device)" ] || need_free DEVICE
	[ "$TABLE" = "$(setting clat table)" ] || [ -z "$(ip -4 route show table "$TABLE" 2>/dev/null)" ] ||
		die "--table: routing table $TABLE has routes in it that are not ours, expected an unused one"
}

clat_make() {
	node_up
	ledger_open clat
	clat_rules
	device_up "local.v4 $CLIENT_RANGE local.v6 $PREFIX local.style RFC6052"
	sysctl_set "net/ipv4/conf/$CLIENT_DEVICE/forwarding" 1
	change "ip -6 addr del $ADDRESS/128 dev $DEVICE" ip -6 addr add "$ADDRESS/128" dev "$DEVICE"
	firewall_up clat
	# prefixd fills the table; our undo empties it
	change "clat_route_stop $DEVICE $TABLE" true
	hosts_up
	# last: babel announces it, and then packets come
	change "ip -6 route del $PREFIX dev $DEVICE proto static" ip -6 route add "$PREFIX" dev "$DEVICE" proto static
	ledger_close "$SETTINGS"
}

clat_lacks() {
	local rules priority
	rules="
$(ip -4 rule show 2>/dev/null)"
	for priority in "$PRIORITY" $((PRIORITY + 1)) $((PRIORITY + 2)); do
		case "$rules" in
		*"
$priority:"*" iif $CLIENT_DEVICE "*) ;;
		*) echo "there is no routing rule $priority for $CLIENT_DEVICE" && return ;;
		esac
	done
	forwarding_lacks "$CLIENT_DEVICE"
	hosts_lacks
}

# Update what may have changed while the role was up.
clat_refresh() { hosts_restore; }

clat_fingerprint() {
	fingerprint_ipv4 'rule show'
	fingerprint_forwarding "$CLIENT_DEVICE"
}

clat_route_stop() { # DEVICE TABLE
	ip -4 route del default dev "$1" table "$2" 2>/dev/null || true
}

# Send the clients' traffic into the CLAT, or answer it with "network unreachable". prefixd calls this on a failover, so
# it takes one command.
clat_route() { # use | stop [PLAT]
	local device table ipv4_mtu
	ledger_finished clat || die "the CLAT is not up, expected \`464xlat clat up\` first"
	device=$(setting clat device) table=$(setting clat table) ipv4_mtu=$(setting clat ipv4_mtu)
	if [ "$1" = use ]; then
		# `lock`, for older kernels forward by a route's MTU only then
		must ip -4 route replace default dev "$device" table "$table" proto static mtu lock "$ipv4_mtu"
		[ -z "$2" ] || ! noted_settings clat || hosts_use "$2"
	else
		clat_route_stop "$device" "$table"
		! noted_settings clat || hosts_stop "$FIREWALL"
	fi
}

clat_detail() {
	printf 'clients %s on %s, ' "$CLIENT_RANGE" "$CLIENT_DEVICE"
	if [ -n "$(ip -4 route show table "$TABLE" default dev "$DEVICE" 2>/dev/null)" ]; then
		printf 'with an exit'
	else
		printf 'without an exit'
	fi
	hosts_detail
}
