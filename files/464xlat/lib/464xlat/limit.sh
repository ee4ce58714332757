# shellcheck shell=sh disable=SC2034,SC2153 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# What guests may have of the line behind an exit: kbit/s up (to the internet) and down, 0 for all that there is.
#
# All that an exit carries leaves the node through DEVICE once, whatever translates and whichever firewall there is: what
# goes up as IPv6, what comes down as IPv4. So an HTB there with a class for each limits guests and nobody else: what the
# mesh's nodes and the owner have to say does not pass DEVICE. A class queues, where a firewall's rule could only drop.
#
# The limit is no part of the role's settings, for it changes while the exit goes on: it is noted beside them.

LIMIT_MIN_KBIT=64
LIMIT_MAX_KBIT=10000000
LIMIT_MEMORY=2Mb # of what waits in a class

limit_settings() {
	need_number LIMIT_UP_KBIT "$LIMIT_MIN_KBIT" "$LIMIT_MAX_KBIT" 0
	need_number LIMIT_DOWN_KBIT "$LIMIT_MIN_KBIT" "$LIMIT_MAX_KBIT" 0
	[ "$LIMIT_UP_KBIT$LIMIT_DOWN_KBIT" = 00 ] || command -v tc >/dev/null 2>&1 ||
		die "--limit-up-kbit, --limit-down-kbit: there is no program tc, expected the package tc-tiny, or no limit"
}

limit_current() { # UP DOWN
	if [ -e "$XLAT464_RUN/plat.limit" ]; then cat "$XLAT464_RUN/plat.limit"; else echo 0 0; fi
}

# Whether the device still has our qdisc: another traffic shaper may have replaced it.
limit_is_intact() { # DEVICE
	[ ! -e "$XLAT464_RUN/plat.limit" ] || case "$(ip link show dev "$1" 2>/dev/null)" in *' qdisc htb '*) ;; *) false ;; esac
}

# Set the limit of a device that is up. An existing qdisc is changed in place with the packets that wait in it: without
# them a connection could stall for a second. So with no limit the qdisc stays, at the highest rate.
limit_set() {
	local way=change
	if [ ! -e "$XLAT464_RUN/plat.limit" ] || ! limit_is_intact "$DEVICE"; then
		[ "$LIMIT_UP_KBIT$LIMIT_DOWN_KBIT" != 00 ] || {
			rm -f "$XLAT464_RUN/plat.limit"
			return
		}
		way=add
		tc qdisc del dev "$DEVICE" root 2>/dev/null || true # somebody's, or ours of an up that was killed
		tc qdisc add dev "$DEVICE" root handle 464: htb || return
	fi
	limit_class "$way" 6 ipv6 "$LIMIT_UP_KBIT" && limit_class "$way" 4 ip "$LIMIT_DOWN_KBIT" &&
		echo "$LIMIT_UP_KBIT $LIMIT_DOWN_KBIT" >"$XLAT464_RUN/plat.limit"
}

# A burst is 10 ms of the rate, at least two packets, so coarse timers suffice. If the kernel has no fair queue, at most
# 50 ms of the rate wait, at least ten packets. The quantum has no effect, since the classes share nothing.
limit_class() { # add|change NUMBER PROTOCOL KBIT
	local kbit="$4" burst queue
	[ "$kbit" != 0 ] || kbit=$LIMIT_MAX_KBIT
	burst=$((kbit * 5 / 4)) queue=$((kbit * 25 / 4))
	[ "$burst" -ge 3000 ] || burst=3000
	[ "$queue" -ge 15000 ] || queue=15000
	tc class "$1" dev "$DEVICE" parent 464: classid "464:$2" \
		htb rate "${kbit}kbit" burst "$burst" cburst "$burst" quantum 3000 || return
	if [ "$1" = change ]; then
		case "$(tc qdisc show dev "$DEVICE")" in # which would take the other one's place
		*bfifo*) tc qdisc change dev "$DEVICE" parent "464:$2" bfifo limit "$queue" ;;
		esac
	else
		tc filter add dev "$DEVICE" parent 464: protocol "$3" u32 match u32 0 0 classid "464:$2" || return
		tc qdisc add dev "$DEVICE" parent "464:$2" fq_codel memory_limit "$LIMIT_MEMORY" 2>/dev/null ||
			tc qdisc add dev "$DEVICE" parent "464:$2" bfifo limit "$queue"
	fi
}

# For an exit that is being made: if its owner's limit cannot be set, it must not come up.
limit_up() {
	local said
	change "rm -f $XLAT464_RUN/plat.limit" true
	tell limit_set
	said=$(limit_set 2>&1 </dev/null) ||
		die "the limit cannot be set ($(printf '%s' "$said" | tail -n 1)), expected a kernel with sch_htb and cls_u32: the package kmod-sched-core"
}

# For an exit that is up. If this fails, the role has to be made again.
limit_restore() {
	[ "$(limit_current)" = "$LIMIT_UP_KBIT $LIMIT_DOWN_KBIT" ] && limit_is_intact "$DEVICE" && return
	tell limit_set
	limit_set >/dev/null 2>&1 </dev/null
}

limit_text() {
	local up down
	up=$(limit_current) down=${up#* } up=${up% *}
	case "$up $down" in
	'0 0') echo 'no limit' ;;
	*' 0') echo "limit $up kbit/s up" ;;
	'0 '*) echo "limit $down kbit/s down" ;;
	*) echo "limit $up kbit/s up, $down down" ;;
	esac
}
