# SPDX-License-Identifier: ISC
"""`python3 -m xlat464` or `micropython -m xlat464`: addresses for shell scripts.

Answers go to stdout, one a line. What is wrong goes to stderr, one line, with exit status 2.
"""

import sys

from runtime.command import end_with, version_of
from xlat464 import address, node, rfc6052


def main(arguments):
    """Run one command; return (exit status, text)."""
    name = arguments[0] if arguments else ""
    if name in ("-h", "--help", "help"):
        return 0, usage()
    if name == "--version":
        return 0, version_of("xlat464")
    if name not in COMMANDS:
        wrong = address.quote(name) + " is no command" if name else "a command is missing"
        known = ", ".join(sorted(COMMANDS))
        return 2, "%s, expected one of %s (xlat464 --help tells more)" % (wrong, known)
    function, parameters = COMMANDS[name]
    given = arguments[1:]
    if given in (["-h"], ["--help"]):
        return 0, "%s %s" % (name, parameters)
    required, optional, _ = parameters.partition("[")
    missing = len(required.split()) - len(given)
    if missing > 0 or (missing < 0 and not optional):
        return 2, "%s takes %s, not %d words" % (name, parameters, len(given))
    try:
        return 0, function(*given)  # type: ignore[operator]
    except ValueError as error:
        return 2, str(error)


def usage():
    lines = ["usage: xlat464 COMMAND ...", ""]
    for name in sorted(COMMANDS):
        function, parameters = COMMANDS[name]
        lines.append("  %s %s" % (name, parameters))
        meaning = getattr(function, "__doc__", None)
        if meaning:  # MicroPython keeps none
            lines.append("      " + meaning)
    return "\n".join(lines)


def node_prefix(range_text, mac_text):
    """a node's /96 in clat_range or plat_range"""
    prefix = node.node_prefix(node.parse_range(range_text), address.parse_mac(mac_text))
    return address.format_prefix6(prefix, node.NODE_LENGTH)


def node_client(prefix_text, mac_text):
    """a client's address in the node-client prefix"""
    prefix = address.parse_prefix6_of(node.CLIENT_LENGTH, prefix_text)
    return address.format_ipv6(node.node_client_address(prefix, address.parse_mac(mac_text)))


def management_address(prefix_text):
    """the node's own address in its /96, at 192.0.0.1"""
    return address.format_ipv6(
        node.management_address(address.parse_prefix6_of(node.NODE_LENGTH, prefix_text))
    )


def embed(prefix_text, ipv4_text):
    """the IPv6 address of an IPv4 address, RFC 6052"""
    prefix, length = address.parse_prefix6(prefix_text)
    return address.format_ipv6(rfc6052.embed(prefix, length, address.parse_ipv4(ipv4_text)))


def extract(address_text, length_text):
    """the IPv4 address in an IPv6 address, RFC 6052"""
    length = address.parse_decimal(length_text, 128)
    if length is None:
        raise ValueError(
            "%s is no prefix length, expected 32, 40, 48, 56, 64 or 96" % address.quote(length_text)
        )
    return address.format_ipv4(rfc6052.extract(address.parse_ipv6(address_text), length))


def check_ranges(clat_text, plat_text, *options):
    """says nothing if the ranges (and pool and clients) can be used together"""
    values = {"--pool": None, "--client-range": None}
    words = list(options)
    while words:
        option = words.pop(0)
        if option not in values:
            raise ValueError("%s is no option, expected --pool or --client-range" % address.quote(option))
        if not words:
            raise ValueError("%s needs a prefix behind it, like 10.0.0.0/8" % option)
        values[option] = address.parse_prefix4(words.pop(0))
    node.check_ranges(node.parse_range(clat_text), node.parse_range(plat_text))
    pool, client_range = values["--pool"], values["--client-range"]
    if client_range:
        node.check_client_range(client_range)
    if pool and client_range:
        node.check_pool(pool, client_range)
    elif pool:
        node.need_host_range("pool", pool)
    return ""


def pref64(text, clat_text, plat_text, *others):
    """the prefix for hosts that translate themselves (auto, off: nothing); others: what is in use"""
    used = [address.parse_prefix6(each) for each in others]
    prefix = node.parse_pref64(text, node.parse_range(clat_text), node.parse_range(plat_text), used)
    return "" if prefix is None else address.format_prefix6(prefix, node.NODE_LENGTH)


def prefix4(text):
    """the same IPv4 prefix, checked"""
    return address.format_prefix4(*address.parse_prefix4(text))


def prefix6(text):
    """the same IPv6 prefix, checked and in the form of RFC 5952"""
    return address.format_prefix6(*address.parse_prefix6(text))


def first_last(text):
    """the first and the last address of an IPv4 prefix"""
    prefix, length = address.parse_prefix4(text)
    last = bytearray(prefix)
    for bit in range(length, 32):
        last[bit // 8] |= 0x80 >> bit % 8
    return "%s %s" % (address.format_ipv4(prefix), address.format_ipv4(last))


# name: (function of the words behind it, whose docstring says what it answers; those words)
COMMANDS = {
    "node-prefix": (node_prefix, "RANGE MAC"),
    "management-address": (management_address, "PREFIX"),
    "node-client": (node_client, "PREFIX64 MAC"),
    "embed": (embed, "PREFIX IPV4"),
    "extract": (extract, "ADDRESS LENGTH"),
    "check-ranges": (check_ranges, "CLAT PLAT [--pool CIDR] [--client-range CIDR]"),
    "pref64": (pref64, "auto|off|P/96 CLAT PLAT [PREFIX6...]"),
    "prefix4": (prefix4, "CIDR"),
    "prefix6": (prefix6, "CIDR"),
    "first-last": (first_last, "CIDR"),
}
try:
    from xlat464.exit import COMMANDS as of_exits
except ImportError:  # only platnodes have it
    of_exits = {}
COMMANDS.update(of_exits)


def say():
    status, text = main(sys.argv[1:])
    if status:
        sys.stderr.write("xlat464: %s\n" % text)
    elif text:
        print(text)
    return status


def run():
    end_with(say)


if __name__ == "__main__":
    run()
