# SPDX-License-Identifier: ISC
"""Where a program listens, and which host is asked: text of a command line or a file. No I/O."""

from xlat464.address import parse_decimal, parse_ipv4, parse_ipv6, quote

PATH_BYTES = 107  # what a Unix socket's address has room for


def parse_path(text):
    """Return the path of a Unix socket. Raises ValueError."""
    if not text or len(text.encode()) > PATH_BYTES or "\0" in text:
        raise ValueError("%s is no path of 1 to %d bytes" % (quote(text), PATH_BYTES))
    return text


def parse_probe(text):
    """Return the 4 bytes of an IPv4 address that one host can have. Raises ValueError."""
    address = parse_ipv4(text)
    if address[0] in (0, 127) or address[0] >= 224:
        raise ValueError("%s is no address of a host" % quote(text))
    return address


def parse_endpoint(text):
    """Return where a routing daemon is asked: ("inet6", 16 bytes, port), ("unix", path) or ("bird", path)."""
    if text.startswith("/"):
        return "unix", parse_path(text)
    if text.startswith("bird:/"):
        return "bird", parse_path(text[5:])
    host, bracket, port = text.rpartition("]:")
    number = parse_decimal(port, 65535)
    if not bracket or not host.startswith("[") or not number:
        raise ValueError("%s is neither a path nor [ADDRESS]:PORT nor bird:PATH" % quote(text))
    return "inet6", parse_ipv6(host[1:]), number
