# SPDX-License-Identifier: ISC
"""What prefixd says, and the socket that its probes go through."""

import socket
import struct

from runtime.log import INFO, WARNING, Log
from runtime.sockets import ip6_address

RETRY_MS = 1000  # after how long what is not there is tried again

IPPROTO_IPV6, IPPROTO_ICMPV6 = 41, 58
ICMP6_FILTER = 1  # option of the level IPPROTO_ICMPV6; RFC 3542 section 3.2

_LOG = Log("prefixd")


def log(text):
    """Say what is wrong to whoever reads the log."""
    _LOG.say(WARNING, text)


def tell(text):
    """Say what is as it should be."""
    _LOG.say(INFO, text)


def show(text):
    """Have the service manager show it."""
    _LOG.tell_manager(text)


def open_probe_socket(source):
    """Return a raw ICMPv6 socket bound to the source (16 bytes), for echo replies and errors; OSError."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, IPPROTO_ICMPV6)
    try:
        sock.setblocking(False)
        blocked = [0xFFFFFFFF] * 8
        for kind in (1, 3, 129):  # unreachable, time exceeded, echo reply
            blocked[kind >> 5] &= ~(1 << (kind & 31))
        sock.setsockopt(IPPROTO_ICMPV6, ICMP6_FILTER, struct.pack("8I", *blocked))
        sock.bind(ip6_address(source))
    except OSError:
        sock.close()
        raise
    return sock
