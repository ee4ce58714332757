# SPDX-License-Identifier: ISC
"""ICMPv6 echo as bytes: what a probe is, and what an answer says. No socket, no clock."""

import struct

ECHO_REQUEST, ECHO_REPLY = 128, 129  # RFC 4443 sections 4.1 and 4.2
UNREACHABLE, TIME_EXCEEDED = 1, 3  # RFC 4443 sections 3.1 and 3.3: no way there, and a loop
ICMPV6 = 58
COOKIE_BYTES = 8

REASONS = {
    0: "no route",
    1: "prohibited",
    2: "beyond scope",
    3: "address unreachable",
    4: "port unreachable",
    5: "source refused",
    6: "route rejected",
}


def build_echo(ident, sequence, cookie):
    """Return an ICMPv6 echo request without its checksum, which the kernel fills in."""
    return struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, ident, sequence) + cookie + b"prefixd!"


def parse_answer(packet, ident):
    """Return (sequence, cookie, destination, refusal) of an ICMPv6 message that is about an echo of ours.

    For a reply destination and refusal are None; for an error destination is where the quoted probe went and
    refusal says why. Returns None for other types and other programs' echoes. Raises ValueError for a message
    that is too short or quotes something odd.
    """
    if len(packet) < 8:
        raise ValueError("short")
    if packet[0] == ECHO_REPLY:
        echo, destination, refusal = 0, None, None
    elif packet[0] in (UNREACHABLE, TIME_EXCEEDED):
        if len(packet) < 56 or packet[8] >> 4 != 6:
            raise ValueError("no IPv6 header quoted")
        if packet[14] != ICMPV6 or packet[48] != ECHO_REQUEST:
            return None
        echo, destination = 48, packet[32:48]
        refusal = REASONS.get(packet[1], "unreachable") if packet[0] == UNREACHABLE else "a routing loop"
    else:
        return None
    their_ident, sequence = struct.unpack("!HH", packet[echo + 4 : echo + 8])
    if their_ident != ident:
        return None
    return sequence, packet[echo + 8 : echo + 8 + COOKIE_BYTES], destination, refusal
