# shellcheck shell=sh disable=SC2034,SC2153 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# The PLAT: a NAT66 onto the pool's addresses in the PLAT prefix, a stateless device that makes IPv4 of them, and the
# masquerade on the WAN.

plat_settings() { # WORD...
	local first
	read_settings CLAT_RANGE= PLAT_RANGE= MAC= POOL= PORTS=1024-65535 WAN= UPLINK=wan CLIENT_RANGE= MESH_MTU=1280 DEVICE=plat \
		TARGET=auto ENGINE=auto FIREWALL=auto ALLOW= CLIENT_FLOWS=auto NODE_FLOWS=auto \
		CLIENT_FLOWS_PER_S=100 NODE_FLOWS_PER_S=1000 \
		LIMIT_UP_KBIT=0 LIMIT_DOWN_KBIT=0 CLIENT_PREFIXES= PREF64=auto -- "$@"
	need_set POOL 192.0.2.9/32
	ask prefix4 "$POOL"
	POOL=$ANSWER
	if [ -n "$CLIENT_RANGE" ]; then
		check_ranges --pool "$POOL" --client-range "$CLIENT_RANGE"
	else
		check_ranges --pool "$POOL"
	fi
	node_prefix "$PLAT_RANGE"
	find_pref64
	plat_sources
	ask exit-routes "$PREFIX" "$ALLOW" # whether it can be understood
	ask first-last "$POOL"
	first=${ANSWER% *} POOL_LAST=${ANSWER#* }
	ask embed "$PREFIX" "$POOL_LAST"
	POOL_LAST=$ANSWER
	ask embed "$PREFIX" "$first"
	POOL_FIRST=$ANSWER
	need_ports
	need_flows CLIENT_FLOWS
	need_flows NODE_FLOWS
	need_number CLIENT_FLOWS_PER_S 0 10000
	need_number NODE_FLOWS_PER_S 0 10000
	need_number MESH_MTU 1280 65535
	need_choice FIREWALL auto nft xtables
	need_name DEVICE
	need_choice UPLINK wan reach
	[ "$UPLINK" = wan ] || find_reach
	need_set WAN wan
	need_wan
	limit_settings
	need_choice ENGINE auto nat46 siit jool
	find_translator
	find_flow_limits
	firewall_choose plat
	SETTINGS="clat_range=$CLAT_RANGE plat_range=$PLAT_RANGE prefix=$PREFIX pool=$POOL ports=$PORTS wan=$WAN \
mesh_mtu=$MESH_MTU device=$DEVICE target=$TARGET ipv4_mtu=$(ipv4_mtu) firewall=$FIREWALL uplink=$UPLINK engine=$TRANSLATOR \
client_range=$CLIENT_RANGE allow=$ALLOW client_flows=$CLIENT_FLOWS node_flows=$NODE_FLOWS client_flows_per_s=$CLIENT_FLOWS_PER_S \
node_flows_per_s=$NODE_FLOWS_PER_S client_prefixes=$CLIENT_PREFIXES pref64=$PREF64"
}

# Sources that may pass, each as address and mask: clients (all of clat_range if their range is not set), and the nodes
# themselves, which send probes through the exit.
plat_sources() {
	ask clat-sources "$CLAT_RANGE" "${CLIENT_RANGE:-0.0.0.0/0}"
	CLIENTS=$ANSWER
	ask clat-sources "$CLAT_RANGE" 192.0.0.1/32
	NODES=$ANSWER
}

# How many flows one client, and all clients of a node, may have open here at a time; 0 for no limit.
need_flows() { # NAME
	local value
	eval "value=\$$1"
	[ "$value" = auto ] || need_number "$1" 0 4294967
}

# What `auto` means, in CLIENT_MAX and NODE_MAX: shares of connection tracking's table, of which a flow takes two
# entries. A few thousand are enough for a client, and each new flow may cost a search of all the client's flows.
find_flow_limits() {
	local places
	places=$(cat /proc/sys/net/netfilter/nf_conntrack_max 2>/dev/null)
	flow_limit CLIENT_MAX "$CLIENT_FLOWS" $((${places:-16384} / 32)) 128 4096
	flow_limit NODE_MAX "$NODE_FLOWS" $((${places:-16384} / 8)) 512 8192
}

flow_limit() { # NAME SETTING SHARE LEAST MOST
	local limit="$2"
	if [ "$2" = auto ]; then
		limit=$3
		[ "$limit" -ge "$4" ] || limit=$4
		[ "$limit" -le "$5" ] || limit=$5
	fi
	eval "$1=\$limit"
}

# Single addresses that are allowed, each followed by a comma: the node's own are reached only if listed so.
allowed_hosts() {
	local each
	for each in $(printf '%s' "$ALLOW" | tr ',' ' '); do
		case "$each" in */32) printf '%s, ' "$each" ;; esac
	done
}

# The WAN is reach's link: where its routing rule for the PLAT's device leads.
find_reach() {
	local table
	[ -z "$WAN" ] || refuse "--wan: '$WAN' beside --uplink reach, whose link is the WAN; expected one of the two"
	table=$(ip -4 rule show 2>/dev/null | sed -n "s/.* iif $DEVICE .*lookup \([^ ]*\).*/\1/p" | head -n 1)
	[ -z "$table" ] || WAN=$(ip -4 route show table "$table" default 2>/dev/null | sed -n 's/^default dev \([^ ]*\).*/\1/p')
	[ -n "$WAN" ] || die "--uplink: no link of reach takes what comes from $DEVICE yet, expected one that is up with \
route = \"uplink\", and lan_device = \"$DEVICE\" for this node"
}

need_ports() {
	local FIRST_PORT="${PORTS%-*}" LAST_PORT="${PORTS#*-}"
	case "$PORTS" in
	*[!0-9-]* | *-*-* | -* | *-) ;;
	*-*)
		if [ ${#FIRST_PORT} -le 5 ] && [ ${#LAST_PORT} -le 5 ] && [ "$FIRST_PORT" -ge 1 ] &&
			[ "$FIRST_PORT" -le "$LAST_PORT" ] && [ "$LAST_PORT" -le 65535 ]; then
			HIGH_PORTS=$PORTS
			# ports below 1024 belong to services: a source port there is mapped there, and no other is
			[ "$FIRST_PORT" -ge 1024 ] || [ "$LAST_PORT" -lt 1024 ] || HIGH_PORTS=1024-$LAST_PORT
			return
		fi
		;;
	esac
	refuse "--ports: '$PORTS' is no range of ports, expected one like 1024-65535"
}

# WAN is one device or several with commas between; they come and go (a dial-up line), so they need not exist.
need_wan() {
	local WAN_DEVICE
	for WAN_DEVICE in $(printf '%s' "$WAN" | tr ',' ' '); do
		case "$WAN_DEVICE" in
		"$DEVICE") refuse "--wan: '$WAN' names the PLAT's own device, expected the one that leads to the internet" ;;
		-* | *[!A-Za-z0-9._-]* | ????????????????*) refuse "--wan: '$WAN_DEVICE' is no device name, expected at most 15 of A-Z a-z 0-9 . _ -" ;;
		esac
	done
	case "$WAN" in ,* | *, | *,,*) refuse "--wan: '$WAN' is no list of devices, expected one like wan,lte" ;; esac
}

# What must not exist already, unless an earlier up of ours made it.
plat_need_free() {
	[ "$DEVICE" = "$(setting plat device)" ] || need_free DEVICE
	[ "$POOL" = "$(setting plat pool)" ] || [ -z "$(ip -4 route show exact "$POOL" 2>/dev/null)" ] ||
		die "--pool: there is a route to $POOL already, expected addresses that nobody uses"
}

plat_make() {
	node_up
	ledger_open plat
	# before the device: a packet without NAT66 would leave an untranslated conntrack entry behind
	firewall_up plat
	# to IPv4, "local" is the internet and "remote" the pool: the reverse of the CLAT
	if [ "$TRANSLATOR" = jool ]; then
		jool_up
	else
		device_up "local.v4 0.0.0.0/0 local.v6 $PREFIX local.style RFC6052 remote.v4 $POOL remote.v6 $PREFIX remote.style RFC6052"
	fi
	limit_up
	plat_wan_sysctls
	# this limit is per destination, and all clients share the pool's address. Without a route each error takes two
	# tokens from a bucket that both limits share (ip_error, icmp_send), so no client would get any.
	# icmp_msgs_per_sec still applies
	sysctl_set net/ipv4/icmp_ratelimit 0
	# the source of errors, RFC 7600: without it errors come from 127.0.0.1 while the WAN has no address, and are
	# lost. It is added before the route, since removing a device's last address removes its IPv4 routes
	change "ip -4 addr del 192.0.0.8/32 dev $DEVICE" ip -4 addr add 192.0.0.8/32 dev "$DEVICE"
	# `lock`, for older kernels forward by a route's MTU only then
	change "ip -4 route del $POOL dev $DEVICE" \
		ip -4 route add "$POOL" dev "$DEVICE" proto static mtu lock "$(ipv4_mtu)"
	change "ip -6 addr del $ADDRESS/128 dev $DEVICE" ip -6 addr add "$ADDRESS/128" dev "$DEVICE"
	change "exit_routes_remove $PREFIX" exit_routes "$PREFIX" "$DEVICE" "$ALLOW"
	# last: babel announces it, and then packets come
	change "ip -6 route del $PREFIX dev $DEVICE proto static" ip -6 route add "$PREFIX" dev "$DEVICE" proto static
	ledger_close "$SETTINGS"
	plat_clear_flows
}

plat_wan_sysctls() {
	local wan
	for wan in $(printf '%s' "$WAN" | tr ',' ' '); do
		sysctl_set "net/ipv4/conf/$wan/forwarding" 1
		# the main table has no way back into a link
		[ "$UPLINK" = wan ] || sysctl_set "net/ipv4/conf/$wan/rp_filter" 0
	done
}

# Whether only the WAN differs. Then the exit stays up with other rules, so connections over a line that remains
# continue.
plat_differs_in_wan() {
	local noted now
	noted=$(ledger_settings plat) now=$(setting plat wan)
	[ "${noted%% wan=*} wan=$WAN ${noted#* wan="$now" }" = "$SETTINGS" ] || return
	rm -f "$XLAT464_RUN/plat.rules" # those of the other lines
	ledger_note plat "$SETTINGS"
}

# Update what may have changed while the role was up.
plat_refresh() {
	LEDGER=$XLAT464_RUN/plat.undo
	plat_wan_sysctls
	must exit_routes "$PREFIX" "$DEVICE" "$ALLOW"
	limit_restore
}

# Flows that began without our rules would continue without them, so clear them.
plat_clear_flows() {
	$XLAT464 forget-flows "$PREFIX" "$POOL" "$TRANSLATOR" >/dev/null 2>"$XLAT464_RUN/said" </dev/null ||
		warn "$(tail -n 1 "$XLAT464_RUN/said")"
	rm -f "$XLAT464_RUN/said"
}

plat_lacks() {
	if [ -z "$(ip -4 route show exact "$POOL" dev "$DEVICE" 2>/dev/null)" ]; then
		echo "there is no route $POOL dev $DEVICE"
	elif [ "$TRANSLATOR" = jool ] && ! jool_is_intact; then
		echo "Jool has no instance any more"
	elif ! exit_routes_are_intact "$PREFIX"; then
		echo "the routes inside $PREFIX are not those that keep the mesh off the networks that this node is in"
	elif ! limit_is_intact "$DEVICE"; then
		echo "the limit on $DEVICE is gone"
	else
		forwarding_lacks "$WAN"
	fi
}

plat_fingerprint() {
	# addresses as the routes to them
	fingerprint_ipv4 "route show exact $POOL dev $DEVICE" 'route show table local type local' 'route show table all default'
	fingerprint_forwarding "$(printf '%s' "$WAN" | tr ',' ' ')"
	[ "$TRANSLATOR" != jool ] || jool_fingerprint
}

plat_detail() { printf 'pool %s ports %s, shared out of %s, %s' "$POOL" "$PORTS" "$WAN" "$(limit_text)"; }
