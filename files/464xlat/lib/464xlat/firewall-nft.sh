# shellcheck shell=sh disable=SC2034,SC2153 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# The rules as nftables: one table a role, loaded in one go and deleted in one.
# nft takes no name that begins with a digit, hence xlat464.

# Whether nft is there and its kernel can do all of it: a check goes to the kernel and is taken back.
nft_check() { nft_rules "$1" | nft -c -f -; } # clat | plat

nft_up() { # clat | plat
	change "nft delete table inet xlat464_$1" nft_load "$1"
}

nft_load() { nft_rules "$1" | nft -f -; } # clat | plat

# MSS, DEVICE, TRANSLATOR, for the CLAT CLIENT_RANGE, for the PLAT CLAT_RANGE, POOL, POOL_FIRST, POOL_LAST, PORTS, WAN
nft_rules() { # clat | plat
	printf 'table inet xlat464_%s {\n' "$1"
	cat <<-NFT
		chain mss {
			type filter hook forward priority mangle; policy accept;
			meta nfproto ipv4 oifname "$DEVICE" tcp flags & (syn | rst) == syn tcp option maxseg size set $MSS
			meta nfproto ipv4 iifname "$DEVICE" tcp flags & (syn | rst) == syn tcp option maxseg size set $MSS
		}
	NFT
	[ "$1" = clat ] || nft_plat_rules
	[ "$TRANSLATOR" != nat46 ] || "nft_nat46_$1"
	printf '}\n'
}

# What siit does by itself and the module nat46 does not: docs/nat46.md
nft_nat46_clat() {
	cat <<-NFT
		chain out_of_nat46 {
			type filter hook prerouting priority raw; policy accept;
			iifname "$DEVICE" ip daddr != $CLIENT_RANGE drop
			iifname "$DEVICE" ip saddr $CLIENT_RANGE icmp type { destination-unreachable, time-exceeded, parameter-problem } ip saddr set 192.0.0.8
			iifname "$DEVICE" ip saddr $CLIENT_RANGE drop
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

nft_plat_rules() {
	local wan nat66="oifname \"$DEVICE\" ip6 saddr $CLAT_RANGE jump nat66" snat="snat ip6 to [$POOL_FIRST]" ports=":$PORTS persistent"
	[ "$POOL_FIRST" = "$POOL_LAST" ] || snat="$snat-[$POOL_LAST]"
	[ "$TRANSLATOR" != jool ] || nat66= # it has a NAT of its own
	wan=$(printf '"%s"' "$WAN" | sed 's/,/", "/g')
	cat <<-NFT
		chain forward {
			type filter hook forward priority filter; policy accept;
			meta nfproto ipv6 oifname "$DEVICE" jump into6
			meta nfproto ipv4 oifname "$DEVICE" jump into4
			meta nfproto ipv4 iifname "$DEVICE" jump from4
		}
		chain into6 {
			iifname "$DEVICE" drop
			ct state invalid drop
			ip6 saddr $CLAT_RANGE return
			meta l4proto ipv6-icmp ct state related return
			reject with icmpv6 type admin-prohibited
		}
		chain into4 {
			ct state established,related return
			drop
		}
		chain from4 {
			ct state invalid drop
			oifname { $wan } return
			reject with icmp type admin-prohibited
		}
		chain postrouting {
			type nat hook postrouting priority srcnat; policy accept;
			$nat66
			oifname { $wan } ip saddr $POOL masquerade
		}
		chain nat66 {
			meta l4proto tcp $snat$ports
			meta l4proto udp $snat$ports
			meta l4proto ipv6-icmp $snat$ports
			$snat persistent
		}
	NFT
}
