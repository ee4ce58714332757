# shellcheck shell=sh disable=SC2034,SC2153 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# The rules for iptables and ip6tables: chains of our own, XLAT464_ROLE and more, that the built-in chains jump to.
# A restore takes a table's rules in one go. (ip6tables takes ports for TCP and UDP only, so here the identifiers
# of ICMPv6 echoes are free.)

XTABLES_WAIT_S=10 # for the lock that iptables programs share

xtables_works() { command -v iptables >/dev/null 2>&1 && command -v ip6tables >/dev/null 2>&1; }

xtables_up() { # clat | plat
	xtables_load iptables mangle FORWARD "XLAT464_$1" "$(xtables_mss "$1")"
	if [ "$1" = clat ]; then
		[ "$TRANSLATOR" != nat46 ] ||
			xtables_load iptables mangle PREROUTING XLAT464_nat46 "$(xtables_nat46)"
		return
	fi
	xtables_load iptables filter FORWARD XLAT464_plat "$(xtables_filter4)"
	xtables_load iptables nat POSTROUTING XLAT464_plat "$(xtables_masquerade)"
	xtables_load ip6tables filter FORWARD XLAT464_plat "$(xtables_filter6)"
	xtables_load ip6tables nat POSTROUTING XLAT464_plat "$(xtables_nat66)"
}

xtables_load() { # PROGRAM TABLE HOOK CHAIN RULES
	change "xtables_unload $1 $2 $3 $4" xtables_restore "$@"
}

xtables_restore() { # PROGRAM TABLE HOOK CHAIN RULES
	printf '*%s\n:%s - [0:0]\n-I %s -j %s\n%s\nCOMMIT\n' "$2" "$4" "$3" "$4" "$5" | "$1-restore" -w "$XTABLES_WAIT_S" -n
}

xtables_unload() { # PROGRAM TABLE HOOK CHAIN
	"$1" -w "$XTABLES_WAIT_S" -t "$2" -D "$3" -j "$4"
	"$1" -w "$XTABLES_WAIT_S" -t "$2" -F "$4" && "$1" -w "$XTABLES_WAIT_S" -t "$2" -X "$4"
}

xtables_mss() { # clat | plat
	local direction
	[ "$1$TRANSLATOR" != clatnat46 ] || echo "-A XLAT464_clat -o $DEVICE ! -s $CLIENT_RANGE -j DROP"
	for direction in -o -i; do
		printf -- '-A XLAT464_%s %s %s -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss %s\n' \
			"$1" "$direction" "$DEVICE" "$MSS"
	done
}

# Of what siit does and the module nat46 does not, the part that needs no change of a packet: docs/nat46.md
xtables_nat46() {
	cat <<-RULES
		-A XLAT464_nat46 -i $DEVICE ! -d $CLIENT_RANGE -j DROP
		-A XLAT464_nat46 -i $DEVICE -s $CLIENT_RANGE -j DROP
	RULES
}

xtables_filter6() {
	cat <<-RULES
		-A XLAT464_plat ! -o $DEVICE -j RETURN
		-A XLAT464_plat -i $DEVICE -j DROP
		-A XLAT464_plat -m conntrack --ctstate INVALID -j DROP
		-A XLAT464_plat -s $CLAT_RANGE -j RETURN
		-A XLAT464_plat -p ipv6-icmp -m conntrack --ctstate RELATED -j RETURN
		-A XLAT464_plat -j REJECT --reject-with icmp6-adm-prohibited
	RULES
}

xtables_filter4() {
	local wan
	cat <<-RULES
		-A XLAT464_plat -o $DEVICE -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN
		-A XLAT464_plat -o $DEVICE -j DROP
		-A XLAT464_plat ! -i $DEVICE -j RETURN
		-A XLAT464_plat -m conntrack --ctstate INVALID -j DROP
	RULES
	for wan in $(printf '%s' "$WAN" | tr ',' ' '); do echo "-A XLAT464_plat -o $wan -j RETURN"; done
	echo "-A XLAT464_plat -j REJECT --reject-with icmp-admin-prohibited"
}

xtables_nat66() {
	local protocol pool="$POOL_FIRST"
	# Jool has a NAT of its own. But when a client roams its connections get an address here, and the kernel does that
	# only where the table has been used
	[ "$TRANSLATOR" != jool ] || {
		echo "-A XLAT464_plat -j RETURN"
		return
	}
	[ "$POOL_FIRST" = "$POOL_LAST" ] || pool=$POOL_FIRST-$POOL_LAST
	for protocol in tcp udp; do
		echo "-A XLAT464_plat -o $DEVICE -s $CLAT_RANGE -p $protocol -j SNAT --to-source [$pool]:$PORTS --persistent"
	done
	echo "-A XLAT464_plat -o $DEVICE -s $CLAT_RANGE -j SNAT --to-source $pool --persistent"
}

xtables_masquerade() {
	local wan
	for wan in $(printf '%s' "$WAN" | tr ',' ' '); do echo "-A XLAT464_plat -o $wan -s $POOL -j MASQUERADE"; done
}
