# shellcheck shell=sh disable=SC2034,SC2153 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# The rules as nftables: one table a role, loaded in one go and deleted in one.
# nft takes no name that begins with a digit, hence xlat464.

# Whether nft is there and its kernel can do all of it: a check is sent to the kernel and rolled back.
nft_check() { nft_rules "$1" | nft -c -f -; } # clat | plat

nft_up() { # clat | plat
	change "nft delete table inet xlat464_$1" nft_load "$1"
}

# The table as it was set up, without what changes by itself: counters and the elements of sets.
nft_list() { nft -s -t list table inet "xlat464_$1"; } # clat | plat
nft_fingerprint() { printf 'exec nft -s -t list table inet xlat464_%s\n' "$1"; } # clat | plat

# In one transaction, which also replaces an earlier table: no packet meets half of the rules, or none.
nft_load() { # clat | plat
	{ printf 'table inet xlat464_%s\ndelete table inet xlat464_%s\n' "$1" "$1" && nft_rules "$1"; } | nft -f -
}

# A packet of the mesh's own passes our base chains as well: so there are few of them, and they begin with what tells it
# from those of the role. A set of one costs more than a comparison.
#
# MSS, DEVICE, TRANSLATOR, CLAT_RANGE, CLIENT_RANGE; for the CLAT PLAT_RANGE, CLIENT_DEVICES, CLIENT_PREFIXES; for the
# PLAT POOL, POOL_FIRST, POOL_LAST, PORTS, HIGH_PORTS, WAN, CLIENTS, NODES, ALLOW
nft_rules() { # clat | plat
	printf 'table inet xlat464_%s {\n' "$1"
	"nft_$1_rules"
	[ "$TRANSLATOR" != nat46 ] || "nft_nat46_$1"
	printf '}\n'
}

# What a rule begins with that lowers the MSS of an IPv4 connection. The device is asked for behind it: most packets begin
# no connection.
NFT_SYN='meta nfproto ipv4 tcp flags & (syn | rst) == syn'

# Rules for what the module nat46 lacks and siit does by itself: docs/nat46.md
nft_nat46_clat() {
	cat <<-NFT
		chain out_of_nat46 {
			type filter hook prerouting priority raw; policy accept;
			iifname "$DEVICE" ip daddr != $CLIENT_RANGE drop
			iifname "$DEVICE" ip saddr $CLIENT_RANGE icmp type { destination-unreachable, time-exceeded, parameter-problem } ip saddr set 192.0.0.8
			# (other nodes' clients are routed back into the device)
			iifname "$DEVICE" ip saddr $CLIENT_RANGE fib saddr . iif oif missing drop
		}
		chain into_nat46 {
			type filter hook forward priority filter; policy accept;
			oifname "$DEVICE" ip saddr != $CLIENT_RANGE reject with icmp type admin-prohibited
		}
	NFT
}

nft_nat46_plat() {
	cat <<-NFT
		chain out_of_nat46 {
			type filter hook prerouting priority raw; policy accept;
			iifname "$DEVICE" ip length <= 1260 ip frag-off & 0x3fff == 0 ip frag-off set 0
		}
	NFT
}

nft_names() { # NAMES
	local name
	for name in $1; do printf '"%s", ' "$name"; done
}

nft_devices() { # NAMES
	case "$1" in
	*' '*) printf '{ %s}' "$(nft_names "$1")" ;;
	*) printf '"%s"' "$1" ;;
	esac
}

# Sources that need no way back: those of the configured prefixes, and link-local ones.
nft_prefixes() {
	local each
	for each in $(printf '%s' "$CLIENT_PREFIXES" | tr ',' ' ') fe80::/10; do echo "ip6 saddr $each return"; done
}

# What hosts that translate themselves may send to the PLATs; the set is for counting them.
nft_hosts() {
	[ -n "$PREF64" ] || return 0
	printf '%s\n' "ip6 daddr $HOST_NODES drop" "ip6 daddr $PREF64 update @hosts { ip6 saddr timeout 10m }" \
		"ip6 daddr $PREF64 accept" "meta mark & $HOST_MARK == $HOST_MARK accept"
}

nft_clat_rules() {
	local devices
	devices=$(nft_devices "$CLIENT_DEVICES")
	[ -z "$PREF64" ] || echo 'set hosts { type ipv6_addr; size 4096; flags dynamic,timeout; }'
	cat <<-NFT
		chain forward {
			type filter hook forward priority mangle; policy accept;
			# (from client to client it is the bridge that forwards, where a kernel shows us that too: DHCP, DAD)
			iifname $devices oifname != $devices jump own_sources
			$NFT_SYN jump mss
		}
		chain mss {
			oifname "$DEVICE" tcp option maxseg size set $MSS
			iifname "$DEVICE" tcp option maxseg size set $MSS
		}
		chain own_sources {
			# those of the configured prefixes, and those that are routed back to where they came from
			ip saddr != $CLIENT_RANGE counter drop
			meta nfproto ipv4 return
			$(nft_prefixes)
			fib saddr . iif oif missing counter drop
		}
		chain from_clients {
			type filter hook prerouting priority raw; policy accept;
			iifname $devices goto from_client
		}
		chain from_client {
			meta nfproto ipv6 goto from_client6
			ip daddr 192.0.0.0/24 drop
			udp dport 5523 ip daddr $CLIENT_RANGE drop
		}
		chain from_client6 {
			ip6 saddr $CLAT_RANGE drop
			ip6 saddr $PLAT_RANGE drop
			$(nft_hosts)
			ip6 daddr $CLAT_RANGE drop
			ip6 daddr $PLAT_RANGE drop
			udp dport 5523 drop
		}
	NFT
}

# Of new flows only, so what is under way costs nothing.
nft_flow_sets() {
	local each
	for each in client node; do
		printf 'set flows_of_%s { type ipv6_addr; size 65535; flags dynamic; }\n' "$each"
		printf 'set new_of_%s { type ipv6_addr; size 65535; flags dynamic,timeout; timeout 1m; }\n' "$each"
	done
}

# The rate is asked for first: it costs little, and whoever floods gets no further. Who is too fast gets no answer and
# tries again a second later, while somebody with too many flows is told.
nft_flow_limits() { # client | node, MAX, PER-S, WHOSE
	[ "$3" = 0 ] || echo "update @new_of_$1 { $4 limit rate over $3/second burst $(($3 * FLOWS_BURST_S)) packets } counter drop"
	[ "$2" = 0 ] || echo "add @flows_of_$1 { $4 ct count over $2 } reject with icmpv6 type admin-prohibited"
}

nft_plat_rules() {
	local wan nat66 snat="snat ip6 to [$POOL_FIRST]" hosts=''
	local clients="ip6 saddr & ${CLIENTS#* } == ${CLIENTS% *}" nodes="ip6 saddr & ${NODES#* } == ${NODES% *}"
	local allowed='' named='' node_only=''
	# through 192.0.0.1 a client would reach the nodes' own traffic
	[ -z "$(host_prefixes)" ] || hosts="ip6 saddr { $CLIENT_PREFIXES }"
	nat66="oifname \"$DEVICE\" ip6 saddr { $CLAT_RANGE${hosts:+, $CLIENT_PREFIXES} } jump nat66"
	[ -z "$CLIENT_RANGE" ] || node_only="ip6 daddr $ADDRESS $clients reject with icmpv6 type admin-prohibited"
	[ "$POOL_FIRST" = "$POOL_LAST" ] || snat="$snat-[$POOL_LAST]"
	[ "$TRANSLATOR" != jool ] || nat66= # it has a NAT of its own
	wan=$(nft_devices "$(printf '%s' "$WAN" | tr ',' ' ')")
	if [ -n "$ALLOW" ]; then
		allowed="ip daddr { $ALLOW }"
		named=$(allowed_hosts)
		[ -z "$named" ] || named="ip daddr { $named } accept"
	fi
	cat <<-NFT
		chain forward {
			type filter hook forward priority filter; policy accept;
			oifname "$DEVICE" goto into
			meta nfproto ipv4 iifname "$DEVICE" goto from4
		}
		chain into {
			iifname "$DEVICE" drop
			$NFT_SYN tcp option maxseg size set $MSS
			ct state established accept
			ct state invalid drop
			meta nfproto ipv4 ct state related accept
			meta nfproto ipv4 drop
			$clients goto count_flows
			${hosts:+$hosts goto count_flows}
			$nodes icmpv6 type echo-request goto count_flows
			meta l4proto ipv6-icmp ct state related accept
			reject with icmpv6 type admin-prohibited
		}
		$(nft_flow_sets)
		chain count_flows {
			# until a flow is answered all its packets are new, and each would cost a search of all the
			# client's flows
			ct status confirmed accept
			$(nft_flow_limits client "$CLIENT_MAX" "$CLIENT_FLOWS_PER_S" 'ip6 saddr')
			# a node's probes: its clients must not make an exit look dead
			$nodes accept
			$(nft_flow_limits node "$NODE_MAX" "$NODE_FLOWS_PER_S" 'ip6 saddr & ffff:ffff:ffff:ffff:ffff:ffff::')
			accept
		}
		chain from4 {
			# also for flows that were let through earlier, before a route changed or was forbidden
			ct state invalid drop
			$NFT_SYN tcp option maxseg size set $MSS
			oifname $wan accept
			${allowed:+$allowed accept}
			reject with icmp type admin-prohibited
		}
		chain input {
			type filter hook input priority filter; policy accept;
			iifname "$DEVICE" goto to_exit
			$node_only
			${hosts:+ip6 daddr $ADDRESS $hosts reject with icmpv6 type admin-prohibited}
		}
		chain to_exit {
			ct state established,related accept
			$named
			meta nfproto ipv4 reject with icmp type admin-prohibited
			drop
		}
		chain postrouting {
			type nat hook postrouting priority srcnat; policy accept;
			$nat66
			oifname $wan ip saddr $POOL masquerade
			${allowed:+ip saddr $POOL $allowed masquerade}
		}
		chain nat66 {
			meta l4proto { tcp, udp } th sport < 1024 $snat persistent
			meta l4proto { tcp, udp } $snat:$HIGH_PORTS persistent
			meta l4proto ipv6-icmp $snat:$PORTS persistent
			$snat persistent
		}
	NFT
}
