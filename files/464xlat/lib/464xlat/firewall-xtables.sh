# shellcheck shell=sh disable=SC2034,SC2153 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# The rules for iptables and ip6tables: chains of our own, XLAT464_ROLE and more, that the built-in chains jump to.
# A restore takes a table's rules in one go. (ip6tables takes ports for TCP and UDP only, so here the identifiers
# of ICMPv6 echoes are free.)

XTABLES_WAIT_S=30 # for the lock that iptables programs share

xtables_works() { command -v iptables >/dev/null 2>&1 && command -v ip6tables >/dev/null 2>&1; }

# mangle has what must be dropped even if an admin's rules accept it before ours. filter answers with an error, for
# packets that get that far.
xtables_up() { # clat | plat
	local device
	if [ "$1" = clat ]; then
		for device in $CLIENT_DEVICES; do
			xtables_load iptables mangle "PREROUTING -i $device" "XLAT464_from_$device" \
				"$(xtables_client4 "-A XLAT464_from_$device")"
			xtables_load ip6tables mangle "PREROUTING -i $device" "XLAT464_from_$device" \
				"$(xtables_client6 "-A XLAT464_from_$device")"
		done
		xtables_load iptables mangle FORWARD XLAT464_clat "$(xtables_mss clat)"
		[ "$TRANSLATOR" != nat46 ] ||
			xtables_load iptables mangle PREROUTING XLAT464_nat46 "$(xtables_nat46)"
		return
	fi
	xtables_load iptables mangle FORWARD XLAT464_plat "$(xtables_mss plat)"
	# until a flow is answered all its packets are new, and each would cost a search of all the client's flows
	[ "$CLIENT_MAX$NODE_MAX$CLIENT_FLOWS_PER_S$NODE_FLOWS_PER_S" = 0000 ] || xtables_load ip6tables mangle \
		"FORWARD -o $DEVICE -m conntrack --ctstate NEW ! --ctstatus CONFIRMED" XLAT464_new "$(xtables_flow_limits)"
	xtables_load iptables mangle POSTROUTING XLAT464_out "$(xtables_out4)"
	xtables_load ip6tables mangle "POSTROUTING -o $DEVICE" XLAT464_out "$(xtables_out6)"
	xtables_load iptables mangle "INPUT -i $DEVICE" XLAT464_in "$(xtables_in)"
	xtables_load ip6tables mangle "INPUT -i $DEVICE" XLAT464_in "$(ALLOW='' xtables_in)"
	# through 192.0.0.1 a client would reach the nodes' own traffic
	[ -z "$CLIENT_RANGE" ] || xtables_load ip6tables mangle "INPUT -d $ADDRESS" XLAT464_node \
		"$(xtables_clients '-A XLAT464_node' DROP)"
	xtables_load iptables filter FORWARD XLAT464_plat "$(xtables_filter4)"
	xtables_load iptables nat POSTROUTING XLAT464_plat "$(xtables_masquerade)"
	xtables_load ip6tables filter FORWARD XLAT464_plat "$(xtables_filter6)"
	xtables_load ip6tables nat POSTROUTING XLAT464_plat "$(xtables_nat66)"
}

# As it was set up, and what of others' comes before ours in mangle and nat, where ours must be first to hold (what comes
# before ours in filter lets nothing through that mangle would not). The roaming daemon's are ours as well.
# iptables-save without -t knows the tables that are in use; it takes no lock.
xtables_list() { eval "$(xtables_fingerprint "$1")"; } # clat | plat
xtables_fingerprint() { # clat | plat
	local chains='clat|from_[^ ]*|nat46'
	[ "$1" = clat ] || chains='plat|out|in|node|new'
	printf "{ iptables-save && ip6tables-save; } | awk '%s'\n" "
/^\*/ { table = substr(\$0, 2); split(\"\", before) }
/^-A.* XLAT464_($chains)( |\$)/ { printf \"%s\", before[\$2]; print; before[\$2] = \"\"; next }
table ~ /mangle|nat/ && /^-A/ && !/ (XLAT464|L3ROAMD)_/ { before[\$2] = before[\$2] table \" \" \$0 \"\\n\" }"
}

# A rule of somebody else's that comes before ours.
xtables_before() { xtables_list "$1" 2>/dev/null | sed -n '/ XLAT464_/!{p;q;}'; } # clat | plat

# HOOK may have words of a match behind it, which are the jump's.
xtables_load() { # PROGRAM TABLE HOOK CHAIN RULES
	change "xtables_unload $1 $2 '$3' $4" xtables_restore "$@"
}

# In one go, also over what is left of it: our jump is there once, and first.
xtables_restore() { # PROGRAM TABLE HOOK CHAIN RULES
	xtables_without_jumps "$1" "$2" "$3" "$4" ":$4 - [0:0]" "-I $3 -j $4
$5"
}

xtables_unload() { # PROGRAM TABLE HOOK CHAIN
	"$1-save" -t "$2" | grep -q "^:$4 " || return
	xtables_without_jumps "$1" "$2" "$3" "$4" '' "-F $4
-X $4"
}

# The jumps are read before the restore has the lock: if it fails, and they are others by then, it is tried again.
xtables_without_jumps() { # PROGRAM TABLE HOOK CHAIN LINES-BEFORE LINES-BEHIND
	local jumps now tries=0
	now=$(xtables_jumps "$@")
	while [ "$tries" -lt 3 ] && [ "$now" != "${jumps-none}" ]; do
		jumps=$now tries=$((tries + 1))
		! printf '*%s\n%s\n%s\n%s\nCOMMIT\n' "$2" "$5" "$jumps" "$6" |
			"$1-restore" -w "$XTABLES_WAIT_S" -n || return 0
		now=$(xtables_jumps "$@")
	done
	return 1
}

# The lines that take our jumps away.
xtables_jumps() { "$1-save" -t "$2" | sed -n "s/^-A \(${3%% *} .*-j $4\)\$/-D \1/p"; } # PROGRAM TABLE HOOK CHAIN

xtables_mss() { # clat | plat
	local direction device
	[ "$1" = plat ] ||
		for device in $CLIENT_DEVICES; do echo "-A XLAT464_clat -i $device ! -o $device ! -s $CLIENT_RANGE -j DROP"; done
	[ "$1$TRANSLATOR" != clatnat46 ] || echo "-A XLAT464_clat -o $DEVICE ! -s $CLIENT_RANGE -j DROP"
	for direction in -o -i; do
		printf -- '-A XLAT464_%s %s %s -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss %s\n' \
			"$1" "$direction" "$DEVICE" "$MSS"
	done
}

# Rules for what the module nat46 lacks, as far as no packet has to be changed: docs/nat46.md
xtables_nat46() {
	local kind
	echo "-A XLAT464_nat46 -i $DEVICE ! -d $CLIENT_RANGE -j DROP"
	for kind in destination-unreachable time-exceeded parameter-problem; do
		echo "-A XLAT464_nat46 -i $DEVICE -s $CLIENT_RANGE -p icmp --icmp-type $kind -j DROP"
	done
}

xtables_client4() { # WORDS
	cat <<-RULES
		$1 -d 192.0.0.0/24 -j DROP
		$1 -p udp --dport 5523 -d $CLIENT_RANGE -j DROP
	RULES
}

xtables_client6() { # WORDS
	local each
	cat <<-RULES
		$1 -s $CLAT_RANGE -j DROP
		$1 -s $PLAT_RANGE -j DROP
		$(xtables_hosts "$1")
		$1 -d $CLAT_RANGE -j DROP
		$1 -d $PLAT_RANGE -j DROP
		$1 -p udp --dport 5523 -j DROP
	RULES
	# clients' own addresses: of the configured prefixes, or routed back to where they came from
	for each in fe80::/10 ::/128 $(printf '%s' "$CLIENT_PREFIXES" | tr ',' ' '); do echo "$1 -s $each -j RETURN"; done
	echo "$1 -m rpfilter --invert -j DROP"
}

# What hosts that translate themselves may send to the PLATs, from addresses as below.
xtables_hosts() { # WORDS
	local each to
	[ -n "$PREF64" ] || return 0
	echo "$1 -d $HOST_NODES -j DROP"
	for to in "-d $PREF64" "-m mark --mark $HOST_MARK/$HOST_MARK"; do
		for each in $(host_prefixes); do echo "$1 $to -s $each -j RETURN"; done
		echo "$1 $to -m rpfilter -j RETURN"
	done
}

# Sources that are clients of an exit.
xtables_clients() { # WORDS TARGET
	local each
	for each in "$(echo "$CLIENTS" | tr ' ' /)" $(host_prefixes); do echo "$1 -s $each -j $2"; done
}

xtables_flow_limits() {
	xtables_limit client "$CLIENT_MAX" "$CLIENT_FLOWS_PER_S" 128
	# a node's probes: its clients must not make an exit look dead
	echo "-A XLAT464_new -s $(echo "$NODES" | tr ' ' /) -j RETURN"
	xtables_limit node "$NODE_MAX" "$NODE_FLOWS_PER_S" 96
}

# A source is forgotten when its burst is full again. Full of sources the table drops whoever is new.
xtables_limit() { # client | node, MAX, PER-S, LENGTH
	[ "$3" = 0 ] || echo "-A XLAT464_new -m hashlimit --hashlimit-above $3/sec --hashlimit-burst $(($3 * FLOWS_BURST_S)) \
--hashlimit-mode srcip --hashlimit-srcmask $4 --hashlimit-htable-expire $((FLOWS_BURST_S * 1000)) \
--hashlimit-htable-max 32768 --hashlimit-name xlat464_$1 -j DROP"
	[ "$2" = 0 ] || echo "-A XLAT464_new -m connlimit --connlimit-saddr --connlimit-above $2 --connlimit-mask $4 -j DROP"
}

# Sources whose packets may enter the PLAT.
xtables_sources() { # CHAIN
	cat <<-RULES
		$(xtables_clients "-A $1" RETURN)
		-A $1 -s $(echo "$NODES" | tr ' ' /) -p ipv6-icmp --icmpv6-type echo-request -j RETURN
	RULES
}

xtables_out6() {
	echo '-A XLAT464_out -m conntrack --ctstate INVALID -j DROP'
	echo '-A XLAT464_out -m conntrack ! --ctstate NEW -j RETURN'
	xtables_sources XLAT464_out
	echo '-A XLAT464_out -j DROP'
}

xtables_filter6() {
	cat <<-RULES
		-A XLAT464_plat ! -o $DEVICE -j RETURN
		-A XLAT464_plat -i $DEVICE -j DROP
		-A XLAT464_plat -m conntrack --ctstate ESTABLISHED -j RETURN
		-A XLAT464_plat -m conntrack --ctstate INVALID -j DROP
		$(xtables_sources XLAT464_plat)
		-A XLAT464_plat -p ipv6-icmp -m conntrack --ctstate RELATED -j RETURN
		-A XLAT464_plat -j REJECT --reject-with icmp6-adm-prohibited
	RULES
}

# Packets from the pool leave by the WAN only, and nobody may open a connection to it.
xtables_out4() {
	local rule='-A XLAT464_out'
	cat <<-RULES
		$rule -o $DEVICE -m conntrack ! --ctstate ESTABLISHED,RELATED -j DROP
		$rule ! -s $POOL -j RETURN
		$rule -m conntrack --ctstate INVALID -j DROP
		$(xtables_ways "$rule" RETURN)
		$rule -j DROP
	RULES
}

# Where IPv4 may go: to the WAN, and to the allowed destinations.
xtables_ways() { # WORDS TARGET
	local each
	for each in $(printf '%s' "$WAN" | tr ',' ' '); do echo "$1 -o $each -j $2"; done
	for each in $(printf '%s' "$ALLOW" | tr ',' ' '); do echo "$1 -d $each -j $2"; done
}

# Out of the device to this node itself.
xtables_in() {
	local each
	echo '-A XLAT464_in -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN'
	for each in $(allowed_hosts | tr ',' ' '); do echo "-A XLAT464_in -d $each -j RETURN"; done
	echo '-A XLAT464_in -j DROP'
}

xtables_filter4() {
	cat <<-RULES
		-A XLAT464_plat -o $DEVICE -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN
		-A XLAT464_plat -o $DEVICE -j DROP
		-A XLAT464_plat ! -i $DEVICE -j RETURN
		-A XLAT464_plat -m conntrack --ctstate INVALID -j DROP
		$(xtables_ways '-A XLAT464_plat' RETURN)
		-A XLAT464_plat -j REJECT --reject-with icmp-admin-prohibited
	RULES
}

xtables_nat66() {
	local protocol source pool="$POOL_FIRST"
	# Jool has a NAT of its own. But when a client roams its connections get an address here, and the kernel does that
	# only where the table has been used
	[ "$TRANSLATOR" != jool ] || {
		echo "-A XLAT464_plat -j RETURN"
		return
	}
	[ "$POOL_FIRST" = "$POOL_LAST" ] || pool=$POOL_FIRST-$POOL_LAST
	for source in $CLAT_RANGE $(host_prefixes); do
		local snat="-A XLAT464_plat -o $DEVICE -s $source"
		for protocol in tcp udp; do
			# a source port below 1024 is mapped to one below 1024, and no other is: RFC 4787, REQ-3
			echo "$snat -p $protocol --sport 0:1023 -j SNAT --to-source $pool --persistent"
			echo "$snat -p $protocol -j SNAT --to-source [$pool]:$HIGH_PORTS --persistent"
		done
		echo "$snat -j SNAT --to-source $pool --persistent"
	done
}

xtables_masquerade() {
	xtables_ways "-A XLAT464_plat -s $POOL" MASQUERADE
}
