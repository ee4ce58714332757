# shellcheck shell=sh disable=SC2034,SC2153 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# Where an exit does not lead: private and special networks, those that this node has addresses in, and the node itself.
#
# Routes of type prohibit inside the PLAT prefix, longer than it: the kernel answers "administratively prohibited" before
# there is a connection or a translation. They cost a packet nothing and work with every engine. No firewall rule comes
# before them, and no flush removes them.

# Make the routes that the node's addresses require. Routes that are right already are not changed.
exit_routes() { # PREFIX DEVICE ALLOW
	local now wanted line
	own_addresses
	# shellcheck disable=SC2086 # addresses
	ask exit-routes "$1" "$3" $ADDRESSES
	wanted=$ANSWER
	now=$(exit_routes_present "$1")
	{
		printf '%s\n' "$now" | while read -r line; do
			[ -z "$line" ] || is_line "$line" "$wanted" || printf 'route del %s\n' "$line"
		done
		printf '%s\n' "$wanted" | while read -r line; do
			case "$line" in
			unicast*) printf 'route replace %s dev %s proto static\n' "$line" "$2" ;;
			*) is_line "$line" "$now" || printf 'route replace %s proto static\n' "$line" ;;
			esac
		done
	} | ip -6 -batch - && echo "$ADDRESSES" >"$XLAT464_RUN/plat.addresses"
}

# Whether they are still there, and made of the addresses that the node has now. (Asked every few seconds: few programs.)
exit_routes_are_intact() { # PREFIX
	local made=''
	[ -n "$(ip -6 route show root "$1" type prohibit 2>/dev/null)" ] || return
	own_addresses
	read -r made 2>/dev/null <"$XLAT464_RUN/plat.addresses"
	[ "$ADDRESSES" = "$made" ]
}

# Put every address of the node, and of the other end of its point-to-point links, into ADDRESSES.
own_addresses() {
	local family address word other said
	said=$(ip -4 -o address show)
	ADDRESSES=
	while read -r _ _ family address word other _; do
		[ "$family" = inet ] || continue
		[ "$word" != peer ] || address="$address $other"
		ADDRESSES="${ADDRESSES:+$ADDRESSES }$address"
	done <<-SAID
		$said
	SAID
}

exit_routes_present() { # PREFIX
	# of a single address ip tells no length
	ip -6 route show root "$1" type prohibit 2>/dev/null | sed 's/^\(prohibit [^ ]*\) .*/\1/;s/^[^/]*$/&\/128/'
}

is_line() { # LINE LINES
	local nl='
'
	case "$nl$2$nl" in
	*"$nl$1$nl"*) ;;
	*) return 1 ;;
	esac
}

exit_routes_remove() { # PREFIX
	rm -f "$XLAT464_RUN/plat.addresses"
	ip -6 route flush root "$1" type prohibit
}
