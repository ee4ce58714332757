# SPDX-License-Identifier: ISC
"""Sockets where CPython and MicroPython differ: addresses and errors. Everything above uses this alone."""

import errno
import os
import socket
import struct

from runtime import IS_MICRO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EACCES, EADDRINUSE, EAGAIN, ECONNREFUSED = errno.EACCES, errno.EADDRINUSE, errno.EAGAIN, errno.ECONNREFUSED
EHOSTUNREACH, EINPROGRESS, ENOENT = errno.EHOSTUNREACH, errno.EINPROGRESS, errno.ENOENT
IS_MIPS = EINPROGRESS == 150  # whose Linux has other numbers than all other processors' that there are
ENETUNREACH, EADDRNOTAVAIL = (128, 126) if IS_MIPS else (101, 99)  # MicroPython's errno has no name for these
ESRCH, EBUSY, EPIPE = 3, 16, 32
UNREACHABLE_ERRORS = (ENETUNREACH, EHOSTUNREACH, EACCES)  # EACCES: a route of the type "prohibit"
MSG_PEEK = 2
CLOEXEC = 0x80000  # a program that we start must not keep what is ours; CPython sees to it by itself
S_IFMT, S_IFSOCK, S_IFREG = 0o170000, 0o140000, 0o100000
PHRASES = {
    ENOENT: "no such file",
    EAGAIN: "no answer in time",
    EACCES: "permission denied",
    EADDRINUSE: "address in use",
    EADDRNOTAVAIL: "no such address here",
    ENETUNREACH: "network unreachable",
    ECONNREFUSED: "connection refused",
    EHOSTUNREACH: "no route to host",
}


def error_number(error: OSError) -> int:
    """Return the errno of an OSError (MicroPython has it in args only)."""
    number = error.args[0] if error.args else 0
    return number if isinstance(number, int) else 0


def error_text(error: OSError) -> str:
    """Return an OSError as a phrase: MicroPython knows the numbers alone."""
    number = error_number(error) or EAGAIN  # CPython's timeout has none
    return PHRASES[number] if number in PHRASES else phrase_of(number)


def phrase_of(number: int) -> str:
    """Return what the system calls an error, or its number where nobody knows."""
    return os.strerror(number) if hasattr(os, "strerror") else PHRASES.get(number, "error %d" % number)


def ip6_address(address: bytes, port: int = 0, scope: int = 0) -> "Any":
    """Return what connect, bind and sendto take for an IPv6 address of 16 bytes; scope: a device's index."""
    if not IS_MICRO:
        return (socket.inet_ntop(socket.AF_INET6, address), port, 0, scope)
    return struct.pack("H", socket.AF_INET6) + struct.pack("!HI", port, 0) + address + struct.pack("I", scope)


def unix_address(path: str) -> "Any":
    """Return what connect and bind take for the path of a Unix socket."""
    if not IS_MICRO:
        return path
    name = path.encode()
    # an abstract name begins with a zero byte and does not end with one
    return struct.pack("H", socket.AF_UNIX) + name + (b"" if name[:1] == b"\0" else b"\0")


def source_of(address: "Any") -> bytes:
    """Return the 16 bytes of the IPv6 address that recvfrom gave."""
    if IS_MICRO:
        return bytes(address[8:24])
    return socket.inet_pton(socket.AF_INET6, address[0].partition("%")[0])


def open_stream(family: int, address: "Any") -> socket.socket:
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


def peek(sock: socket.socket) -> None:
    """Raise what the next recv would, EAGAIN mostly: MicroPython's recv loses all the room it made when it fails.

    It loses one byte here. So who reads a socket until nothing is left does not fill the heap with room for nothing.
    """
    if IS_MICRO:
        sock.recv(1, MSG_PEEK)


def receive(sock: socket.socket, size: int = 1024) -> bytes | None:
    """Return the next bytes, b"" at the end, None when there are none yet; OSError."""
    try:
        peek(sock)
        return sock.recv(size)
    except OSError as error:
        if error_number(error) == EAGAIN:
            return None
        raise


def send(sock: socket.socket, data: "bytes | memoryview") -> int:
    """Return how many bytes went out, 0 when there is no room; OSError."""
    try:
        return sock.send(data)
    except OSError as error:
        if error_number(error) == EAGAIN:
            return 0
        raise


def ask(path: str, line: bytes, timeout_s: float) -> bytes:
    """Return all that is answered to a line at a Unix socket; OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        sock.connect(unix_address(path))
        line += b"\n"
        while line:
            line = line[sock.send(line) :]
        pieces = []
        piece = sock.recv(1 << 14)
        while piece:
            pieces.append(piece)
            piece = sock.recv(1 << 14)
        return b"".join(pieces)
    finally:
        sock.close()


def is_socket(path: str) -> bool:
    """Return whether the path is a Unix socket; OSError when it does not exist."""
    return os.stat(path)[0] & S_IFMT == S_IFSOCK


def birth_of(path: str) -> "tuple[float, float] | None":
    """Return something that differs when the file at this path is another one, or None when there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status[1], status[9]
