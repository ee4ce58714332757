# SPDX-License-Identifier: ISC
"""Where CPython and MicroPython differ: clock, socket addresses, errors. Everything above uses this alone."""

import os
import select
import socket
import struct
import sys
import time

from xlat464.address import format_ipv6, parse_ipv6

IS_MICRO = sys.implementation.name == "micropython"

# Linux; MicroPython's errno module has a few of them only
EAGAIN, EACCES, EINPROGRESS = 11, 13, 115
ENETUNREACH, EHOSTUNREACH = 101, 113
UNREACHABLE_ERRORS = (ENETUNREACH, EHOSTUNREACH, EACCES)  # EACCES: a route of the type "prohibit"
S_IFMT, S_IFSOCK = 0o170000, 0o140000

RETRY_MS = 1000  # after how long what is not there is tried again

IPPROTO_ICMPV6 = 58
ICMP6_FILTER = 1  # option of the level IPPROTO_ICMPV6; RFC 3542 section 3.2

POLLIN, POLLOUT = select.POLLIN, select.POLLOUT


class Clock:
    """Milliseconds that only grow. MicroPython's own wrap around, after 12 days on a 32-bit router."""

    def __init__(self):
        self._total_ms = 0
        self._last = time.ticks_ms() if IS_MICRO else 0  # type: ignore[attr-defined]

    def now_ms(self):
        if not IS_MICRO:
            return int(time.monotonic() * 1000)
        ticks = time.ticks_ms()  # type: ignore[attr-defined]
        self._total_ms += time.ticks_diff(ticks, self._last)  # type: ignore[attr-defined]
        self._last = ticks
        return self._total_ms


def error_number(error):
    """Return the errno of an OSError (MicroPython has it in args only)."""
    number = error.args[0] if error.args else 0
    return number if isinstance(number, int) else 0


def error_text(error):
    """Return an OSError as a phrase: MicroPython knows the numbers alone."""
    number = error_number(error) or EAGAIN  # CPython's timeout has none
    known = {2: "no such file", 11: "no answer in time", 13: "permission denied", 98: "address in use",
             99: "no such address here", 101: "network unreachable", 111: "connection refused",
             113: "no route to host"}  # fmt: skip
    if number in known:
        return known[number]
    return os.strerror(number) if hasattr(os, "strerror") else "error %d" % number


def ip6_address(address, port=0):
    """Return what connect, bind and sendto take for an IPv6 address of 16 bytes."""
    if not IS_MICRO:
        return (format_ipv6(address), port)
    return struct.pack("H", socket.AF_INET6) + struct.pack("!H", port) + bytes(4) + address + bytes(4)


def unix_address(path):
    """Return what connect and bind take for the path of a Unix socket."""
    if not IS_MICRO:
        return path
    return struct.pack("H", socket.AF_UNIX) + path.encode() + b"\0"


def source_of(address):
    """Return the 16 bytes of the IPv6 address that recvfrom gave."""
    if IS_MICRO:
        return bytes(address[8:24])
    return parse_ipv6(address[0].partition("%")[0])


def open_stream(family, address):
    """Return a connected (or connecting) stream socket that never blocks; OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sock.connect(address)
    except OSError as error:
        if error_number(error) != EINPROGRESS:
            sock.close()
            raise
    return sock


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


def receive(sock, size=1024):
    """Return the next bytes, b"" at the end, None when there are none yet; OSError."""
    try:
        return sock.recv(size)
    except OSError as error:
        if error_number(error) == EAGAIN:
            return None
        raise


def send(sock, data):
    """Return how many bytes went out, 0 when there is no room; OSError."""
    try:
        return sock.send(data)
    except OSError as error:
        if error_number(error) == EAGAIN:
            return 0
        raise


def is_socket(path):
    """Return whether the path is a Unix socket; OSError when it does not exist."""
    return os.stat(path)[0] & S_IFMT == S_IFSOCK


def birth_of(path):
    """Return something that differs when the file at this path is another one, or None when there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status[1], status[9]


def log(text):
    """Say what is wrong to whoever reads the log."""
    print("prefixd: " + text, file=sys.stderr)


def tell(text):
    """Say what is as it should be: procd logs stdout as information, stderr as errors."""
    print("prefixd: " + text)
    if not IS_MICRO:  # which keeps nothing back
        sys.stdout.flush()


class Poller:
    """select.poll with callbacks: `add` a socket and the function to call when it is ready."""

    def __init__(self):
        self._poll = select.poll()
        self._callbacks = {}  # file descriptor -> function

    def add(self, sock, callback, events=POLLIN):
        self._callbacks[sock.fileno()] = callback
        self._poll.register(sock, events)

    def change(self, sock, events):
        self._poll.modify(sock, events)

    def close(self, sock):
        """Forget the socket and close it."""
        self._callbacks.pop(sock.fileno(), None)
        self._poll.unregister(sock)
        sock.close()

    def wait(self, timeout_ms):
        """Wait for at most so long and call who is ready."""
        for entry in self._poll.poll(timeout_ms):
            key = entry[0] if isinstance(entry[0], int) else entry[0].fileno()
            callback = self._callbacks.get(key)
            if callback is not None:  # gone, when an earlier callback of this round closed it
                callback()
