# shellcheck shell=sh disable=SC2034,SC2153 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# Hosts that translate themselves: what they send to PREF64 goes to the PLAT in use. The roaming daemon does so by itself,
# for each client's own PLAT and without state, before these rules; they are for nodes without it. NAT of whole prefixes,
# so addresses and ports stay, and the kernel's NAT puts errors right.

hosts_are_on() { [ -n "$PREF64" ] && [ "$FIREWALL" != none ]; }

# While no PLAT is in use there is no way: "network unreachable", at once.
hosts_rule() { printf 'pref %s iif %s to %s unreachable' "$PRIORITY" "$CLIENT_DEVICE" "$PREF64"; }

hosts_up() {
	[ -n "$PREF64" ] || return 0
	# shellcheck disable=SC2046 # words
	change "ip -6 rule del $(hosts_rule)" ip -6 rule add $(hosts_rule)
	change "hosts_stop $FIREWALL" true
}

hosts_use() { # PLAT
	hosts_are_on || return 0
	"hosts_use_$FIREWALL" "$1" 2>"$XLAT464_RUN/hosts.problem" || {
		warn "hosts that translate themselves have no exit: $(tail -n 1 "$XLAT464_RUN/hosts.problem")"
		return 0
	}
	printf '%s\n' "$1" >"$XLAT464_RUN/hosts.plat"
	rm -f "$XLAT464_RUN/hosts.problem"
	# flows of another PLAT would go on there. Where the parts for that are not installed they do until they pause
	$XLAT464 forget-hosts "$PREF64" "$1" >/dev/null 2>&1 </dev/null || true
}

hosts_use_nft() { # PLAT
	local devices
	devices=$(nft_names "$CLIENT_DEVICES")
	nft -f - <<-NFT
		table ip6 xlat464_hosts
		delete table ip6 xlat464_hosts
		table ip6 xlat464_hosts {
			chain prerouting {
				type nat hook prerouting priority dstnat; policy accept;
				iifname { $devices } ip6 daddr $PREF64 dnat ip6 prefix to ip6 daddr map { $PREF64 : $1 }
			}
		}
	NFT
}

hosts_use_xtables() { # PLAT
	local device rules=''
	for device in $CLIENT_DEVICES; do
		rules="$rules
-A XLAT464_hosts -i $device -d $PREF64 -j NETMAP --to $1"
	done
	xtables_restore ip6tables nat PREROUTING XLAT464_hosts "$rules"
}

hosts_stop() { # FIREWALL
	rm -f "$XLAT464_RUN/hosts.plat" "$XLAT464_RUN/hosts.problem"
	case "$1" in
	nft) nft delete table ip6 xlat464_hosts 2>/dev/null ;;
	xtables) xtables_unload ip6tables nat PREROUTING XLAT464_hosts 2>/dev/null ;;
	esac
	true
}

hosts_rules_are_there() {
	[ -e "$XLAT464_RUN/hosts.plat" ] || return 0
	case "$FIREWALL" in
	nft) nft -t list table ip6 xlat464_hosts ;;
	xtables) ip6tables-save -t nat | grep '^-A PREROUTING .*XLAT464_hosts' ;;
	esac >/dev/null 2>&1
}

hosts_lacks() {
	[ -n "$PREF64" ] || return 0
	case "$(ip -6 rule show pref "$PRIORITY" 2>/dev/null)" in
	*" to $PREF64 iif $CLIENT_DEVICE unreachable"*) ;;
	*) echo "there is no routing rule $PRIORITY for $PREF64" && return ;;
	esac
	hosts_rules_are_there || echo "the rules for hosts that translate themselves are gone"
}

# Make again what somebody took away; the role's ledger has the undo already.
hosts_restore() {
	local plat=''
	[ -n "$(hosts_lacks)" ] || return 0
	# shellcheck disable=SC2046 # words
	ip -6 rule add $(hosts_rule) 2>/dev/null || true # it is there
	[ ! -e "$XLAT464_RUN/hosts.plat" ] || read -r plat <"$XLAT464_RUN/hosts.plat"
	[ -z "$plat" ] || hosts_use "$plat"
}

# How many addresses of hosts were heard, by our rules or the roaming daemon's, which come first; where nft can tell.
hosts_detail() {
	local count
	[ -n "$PREF64" ] && command -v nft >/dev/null 2>&1 || return 0
	count=$({
		nft list set inet xlat464_clat hosts
		nft list set ip6 l3roamd_hosts hosts
	} 2>/dev/null | grep -o ' expires ' | grep -c .)
	printf ', %s translate themselves' "$count"
}
