# shellcheck shell=sh disable=SC2034,SC2153 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# The rules of a role, the same in two back ends (firewall-nft.sh, firewall-xtables.sh):
#
# clat, plat  TCP's MSS, both ways, to what fits a mesh packet; it is only ever lowered
# plat        NAT66: what comes from clat_range and leaves by the device gets a pool address and a port of the range
#             masquerade: what comes from the pool and leaves by a WAN device
#             into the device: IPv6 from clients of clat_range, nodes' echo requests, and ICMPv6 errors that belong to
#             their connections (a mesh router's Packet Too Big for a server has the router's own address), IPv4 that
#             answers; nothing that comes out of the device (an answer to nobody would go round for ever), nothing
#             that conntrack cannot place and NAT therefore not translate
#             out of the device: IPv4 to a WAN device only and nothing to the node itself (exit.sh has more)
# clat        from the clients' device nothing in another's name, nothing to the ranges, to 192.0.0.0/24 and to port 5523;
#             what goes to PREF64 passes, and what the roaming daemon has sent on from there, marked HOST_MARK
# plat        with PREF64 the clients' own IPv6 addresses (CLIENT_PREFIXES) are clients like those of clat_range
# with nat46  what siit does by itself: a CLAT's IPv4 is of the clients' range and no other; errors of routers that no
#             rule maps come from 192.0.0.8, not from the client itself (nft only); what a PLAT makes of 1260 bytes
#             and less may be fragmented (nft only)
#
# They only ever take traffic away: what else the node's firewall forbids stays forbidden.

HOST_MARK=0x8000000
FLOWS_BURST_S=5 # as many flows as of so many seconds may begin at once: programs open many, and then none for long

# The clients' IPv6 prefixes whose hosts may use the exit themselves, as words.
host_prefixes() { [ -z "$PREF64" ] || printf '%s' "$CLIENT_PREFIXES" | tr ',' ' '; }

for back_end in nft xtables; do
	# an image has the back end that fits its programs
	# shellcheck source=/dev/null
	[ ! -r "$XLAT464_LIB/firewall-$back_end.sh" ] || . "$XLAT464_LIB/firewall-$back_end.sh"
done

# Find the back end (FIREWALL, `auto` for what works here). Asks, changes nothing.
firewall_choose() { # clat | plat
	local said
	MSS=$((MESH_MTU - 60)) # IPv6 header and TCP header
	if [ "$FIREWALL" = auto ]; then
		if nft_check "$1" >/dev/null 2>&1; then
			FIREWALL=nft
		elif xtables_works >/dev/null 2>&1; then
			FIREWALL=xtables
		else
			die "there is no firewall here that works, expected nft, or iptables and ip6tables"
		fi
	elif [ "$FIREWALL" = nft ]; then
		said=$(nft_check "$1" 2>&1) || die "--firewall: nft does not work here ($(printf '%s' "$said" | head -n 1))"
	elif [ "$FIREWALL" = xtables ]; then
		xtables_works 2>/dev/null || die "--firewall: there is no iptables and ip6tables here, expected nft or auto"
	fi
}

# Whether a role's rules are those that were set up: other programs flush more than their own, and put theirs before ours.
firewall_is_intact() { # BACK-END clat | plat
	local sum=''
	[ "$1" != none ] || return 0
	read -r sum 2>/dev/null <"$XLAT464_RUN/$2.rules"
	[ "$sum" = "$(firewall_sum "$1" "$2")" ] || return
	[ ! -e "$XLAT464_RUN/$2.behind" ] || ! firewall_may_move "$2"
}

# Where ours stay behind those of others, for status.
firewall_detail() { # clat | plat
	[ ! -e "$XLAT464_RUN/$1.behind" ] || printf ', behind a rule of somebody else (%s)' "$(cat "$XLAT464_RUN/$1.behind")"
}

# What is not as it was set up, for people.
firewall_lacks() { # BACK-END clat | plat
	local before=''
	[ "$1" != xtables ] || before=$(xtables_before "$2")
	if [ -n "$before" ]; then
		echo "a rule of somebody else stands before ours ($before)"
	else
		echo "the firewall rules are not those that were set up"
	fi
}

# Whether ours may go to the front once more: with a program that does the same we would take turns for ever.
MOVES=5 MOVES_S=300
firewall_may_move() { # clat | plat
	local last=0
	moves=0
	read -r now _ </proc/uptime # the time since the boot: nobody sets it
	now=${now%.*}
	read -r moves last 2>/dev/null <"$XLAT464_RUN/$1.moves"
	if [ "$now" -lt "$last" ] || [ $((now - last)) -ge "$MOVES_S" ]; then moves=0; fi
	[ "$moves" -lt "$MOVES" ]
}

firewall_sum() { "$1_list" "$2" 2>/dev/null | md5sum; } # BACK-END clat | plat
firewall_own() { "$1_list" "$2" 2>/dev/null | sed '/^-A.* XLAT464_/!d' | md5sum; } # BACK-END clat | plat
firewall_note() { { firewall_sum "$@" && firewall_own "$@"; } >"$XLAT464_RUN/$2.rules"; } # BACK-END clat | plat

firewall_up() { # clat | plat
	[ "$FIREWALL" != none ] || return 0
	"${FIREWALL}_up" "$1"
	firewall_note "$FIREWALL" "$1"
}

# Set up a role's rules again, and nothing else. The role's ledger has their undo already.
firewall_restore() { # clat | plat
	local before='' moves=0 now
	LEDGER=
	[ "$FIREWALL" != xtables ] || before=$(xtables_before "$1")
	if [ -n "$before" ] && ! firewall_may_move "$1" &&
		[ "$(firewall_own xtables "$1")" = "$(sed -n 2p "$XLAT464_RUN/$1.rules" 2>/dev/null)" ]; then
		firewall_note xtables "$1"
		printf '%s\n' "$before" >"$XLAT464_RUN/$1.behind"
		warn "others put rules before ours again and again ($before): ours stay behind for $MOVES_S s"
		return
	fi
	firewall_up "$1"
	rm -f "$XLAT464_RUN/$1.behind"
	if [ -n "$before" ]; then
		echo "$((moves + 1)) $now" >"$XLAT464_RUN/$1.moves"
		warn "a rule of somebody else stood before ours ($before): the firewall rules are set up again, and first"
	else
		warn "the firewall rules were others and are set up again"
	fi
}
