# shellcheck shell=sh disable=SC2034,SC2153 # settings pass between these files as variables
# SPDX-License-Identifier: ISC
# The translator behind a target: nat46's control file (the kernel module), or siit's Unix socket. Both take the same
# commands; siit says what it makes of them, nat46 answers "success" to everything.

SIIT_SOCKET=/run/siit/control.sock
NAT46_CONTROL=/proc/net/nat46/control

# Find the target (TARGET, `auto` for what there is) and its kind (TRANSLATOR). ENGINE names a kind, or is `auto`.
find_translator() {
	case "$ENGINE" in
	jool)
		[ "$TARGET" = auto ] || refuse "--target: '$TARGET' beside --engine jool, which has none; expected one of the two"
		need_jool
		TRANSLATOR=jool TARGET=none
		return
		;;
	siit) [ "$TARGET" != auto ] || TARGET=$SIIT_SOCKET ;;
	nat46) [ "$TARGET" != auto ] || TARGET=$NAT46_CONTROL ;;
	esac
	if [ "$TARGET" = auto ]; then
		TARGET=$SIIT_SOCKET
		[ -S "$TARGET" ] || [ ! -e "$NAT46_CONTROL" ] || TARGET=$NAT46_CONTROL
	fi
	need_path TARGET
	if [ -S "$TARGET" ]; then
		TRANSLATOR=siit
	elif [ -f "$TARGET" ]; then
		TRANSLATOR=nat46
	else
		die "there is no translator at $TARGET, expected siit's socket (start siit) or $NAT46_CONTROL (load the module nat46)"
	fi
	[ "$ENGINE" = auto ] || [ "$ENGINE" = "$TRANSLATOR" ] ||
		die "--engine: what is at $TARGET is $TRANSLATOR, expected $ENGINE, or another --target"
}

translate() { # TARGET COMMAND
	if [ -S "$1" ]; then
		# shellcheck disable=SC2086 # a command line
		$SIIT ctl --socket "$1" "$2"
	else
		with_lock "$1" write_command "$1" "$2"
	fi
}

# One command, one write.
write_command() { # TARGET COMMAND
	printf '%s\n' "$2" >"$1"
}

# One for all of a network namespace, also in a kernel that has no other.
lock_file() {
	if [ -e /proc/self/ns/net ]; then echo /proc/self/ns/net; else echo /proc; fi
}

# Run a command while no other user of this lock uses nat46's file. The shim takes the lock too: the module lists its
# pairs without a lock of its own, so a reader may read freed memory in the kernel while a pair or device is removed.
# The lock is on the network namespace: below /proc/net each opening of a file is another inode, so a lock there
# excludes nobody.
with_lock() { # TARGET COMMAND...
	local tries=0
	(
		until flock -n 8; do
			tries=$((tries + 1))
			[ "$tries" -lt "$LOCK_WAIT_S" ] || {
				printf 'another program has held %s for %s s\n' "$1" "$LOCK_WAIT_S" >&2
				exit 1
			}
			sleep 1
		done
		shift
		"$@"
	) 8<"$(lock_file)"
}

translator_add() { # TARGET DEVICE
	translate "$1" "add $2" || return
	device_exists "$2" && rm -f "$XLAT464_RUN/$2.left" && return
	printf 'the translator at %s made no device %s\n' "$1" "$2" >&2
	return 1
}

# nat46 ignores what it does not take. So its listing is read back (one long line for each device, cut off behind the
# local style).
translator_config() { # TARGET DEVICE CONFIGURATION
	translate "$1" "config $2 $3" || return
	[ ! -f "$1" ] || with_lock "$1" grep -q "^config $2 .*local\.style RFC6052" "$1" && return
	printf 'the translator at %s did not take the configuration of %s\n' "$1" "$2" >&2
	return 1
}

# Delete the device even if the translator does not run. siit would make it again from its state file when it starts;
# DEVICE.left notes that it must be deleted then. Take it down first: nat46 frees the pairs of a device before it stops
# packets.
translator_del() { # TARGET DEVICE
	[ ! -f "$1" ] || ip link set dev "$2" down 2>/dev/null || true
	# a translator that refuses and has no such device will not make it again
	{ [ -e "$1" ] && { translate "$1" "del $2" || ! device_exists "$2"; }; } || : >"$XLAT464_RUN/$2.left"
	! device_exists "$2" || ip link del dev "$2"
}

# Have the translator forget the device of an earlier role, if it could not be told then.
translator_forget() { # TARGET DEVICE
	[ -e "$XLAT464_RUN/$2.left" ] || return 0
	[ ! -e "$1" ] || translate "$1" "del $2" >/dev/null 2>&1 || true
	rm -f "$XLAT464_RUN/$2.left"
}

# Make the role's device: translator, MTU, kernel settings, up. IPv4 packets grow by 20 bytes on their way to IPv6.
device_up() { # CONFIGURATION
	change "translator_del $TARGET $DEVICE" translator_add "$TARGET" "$DEVICE"
	must translator_config "$TARGET" "$DEVICE" "$1"
	must ip link set dev "$DEVICE" mtu "$MESH_MTU"
	must device_sysctls "$DEVICE"
	must ip link set dev "$DEVICE" up
}

# Lists of packets, which OpenWrt has devices make of flows (fraglist GRO), come out of siit's device one by one: that
# takes many times the processor's time. Its fast path takes them as they are, on kernels that can. This is a setting of the node, whichever
# role needs it.
gro_list_off() {
	local LEDGER="$XLAT464_RUN/node.undo" devices
	[ "$TRANSLATOR" = siit ] || return 0
	devices=$($SIIT gro-list --socket "$TARGET" --unless-fast "$DEVICE" 2>/dev/null | tr '\n' ' ')
	# shellcheck disable=SC2086 # words
	[ -z "$devices" ] || change "$SIIT gro-list on $devices" $SIIT gro-list off $devices
}

# Run a command that needs no undo of its own: its effect ends with the device.
must() { # COMMAND...
	local said
	tell "$@"
	said=$("$@" 2>&1 </dev/null) || die "\`$*\` failed: $(printf '%s' "$said" | tail -n 1)"
}

# Bytes of the largest IPv4 packet to send into the device. siit takes packets of any size, and answers Fragmentation
# Needed or fragments itself. Some packets can only be translated whole (UDP without a checksum, large pings), so the
# kernel must not fragment them before. nat46 makes no fragments, so there eight bytes are kept free for a fragment
# header.
ipv4_mtu() {
	case "$TRANSLATOR" in
	siit) echo 65520 ;; # the kernel's largest
	nat46) echo $((MESH_MTU - 28)) ;;
	*) echo $((MESH_MTU - 20)) ;;
	esac
}
