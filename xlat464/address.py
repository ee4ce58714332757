# SPDX-License-Identifier: ISC
"""Text and bytes of IPv4 addresses, IPv6 addresses (RFC 4291, RFC 5952), prefixes and MACs.

The parsers are strict: no leading zeros in a decimal octet (some programs read them as octal), no white space, no zone.
No host bits in a prefix: they are usually a typing error.
"""

DECIMAL = "0123456789"
HEXADECIMAL = "0123456789abcdefABCDEF"
QUOTED_CHARS = 60  # what a message shows of a text: enough to find it, too little to fill a log


def quote(text):
    """Return the text for an error message: in quotes, shortened, and without control characters."""
    shown = text if len(text) <= QUOTED_CHARS else text[:QUOTED_CHARS] + "..."
    return "'" + "".join([c if " " <= c <= "~" else "?" for c in shown]) + "'"


def parse_decimal(text, largest):
    """Return the number in a text of ASCII digits, at most `largest`, or None when it is anything else.

    Not int(): that takes signs, blanks, underscores and, on CPython, digits of every script.
    """
    if not 1 <= len(text) <= 10 or (text[0] == "0" and len(text) > 1):
        return None
    for c in text:
        if c not in DECIMAL:
            return None
    number = int(text)
    return number if number <= largest else None


def parse_ipv4(text):
    """Return the 4 bytes of a dotted quad; ValueError."""
    octets = [parse_decimal(part, 255) for part in text.split(".")]
    if len(octets) != 4 or None in octets:
        raise ValueError("%s is not an IPv4 address like 192.0.2.1" % quote(text))
    return bytes(octets)


def format_ipv4(address):
    """Return the dotted quad of 4 bytes."""
    return "%d.%d.%d.%d" % tuple(need_bytes(address, 4))


def parse_ipv6(text):
    """Return the 16 bytes of an IPv6 address, which may end in a dotted quad; ValueError."""
    halves = text.split("::")
    head = _parse_groups(halves[0], len(halves) == 1)
    if len(halves) == 1 and head is not None and len(head) == 16:
        return head
    if len(halves) == 2:
        tail = _parse_groups(halves[1], True)
        # "::" stands for one group or more
        if head is not None and tail is not None and len(head) + len(tail) <= 14:
            return head + bytes(16 - len(head) - len(tail)) + tail
    raise ValueError("%s is not an IPv6 address like fddd:1337::1" % quote(text))


def _parse_groups(text, at_end):
    """Return the bytes of colon-separated groups, or None; a dotted quad may stand last at the end."""
    if not text:
        return b""
    groups = text.split(":")
    if len(groups) > 8:
        return None
    found = b""
    for i in range(len(groups)):
        group = groups[i]
        if "." in group and at_end and i == len(groups) - 1:
            try:
                return found + parse_ipv4(group)
            except ValueError:
                return None
        if not 1 <= len(group) <= 4:
            return None
        for c in group:
            if c not in HEXADECIMAL:
                return None
        number = int(group, 16)
        found += bytes((number >> 8, number & 0xFF))
    return found


def format_ipv6(address):
    """Return the text of 16 bytes as RFC 5952 wants it, with a dotted quad for IPv4-mapped addresses only."""
    need_bytes(address, 16)
    if address[:12] == bytes(10) + b"\xff\xff":
        return "::ffff:" + format_ipv4(address[12:])
    groups = [address[i] << 8 | address[i + 1] for i in range(0, 16, 2)]
    start, length = _longest_zeros(groups)
    if length < 2:
        return _join(groups)
    return _join(groups[:start]) + "::" + _join(groups[start + length :])


def _join(groups):
    return ":".join(["%x" % group for group in groups])


def _longest_zeros(groups):
    """Return (start, length) of the longest run of zeros, the first one of equals (RFC 5952 section 4.2)."""
    best = (0, 0)
    start = 0
    for i in range(len(groups) + 1):
        if i == len(groups) or groups[i]:
            if i - start > best[1]:
                best = (start, i - start)
            start = i + 1
    return best


def parse_prefix4(text):
    """Return (4 bytes, length in bits) of `A.B.C.D/LENGTH`; ValueError, also for host bits."""
    return _parse_prefix(text, parse_ipv4, "an IPv4 prefix like 10.0.0.0/8")


def parse_prefix6(text):
    """Return (16 bytes, length in bits) of `P::/LENGTH`; ValueError, also for host bits."""
    return _parse_prefix(text, parse_ipv6, "an IPv6 prefix like fddd:1337::/48")


def parse_prefix6_of(length, text, example=""):
    """Return the 16 bytes of `P::/LENGTH` with this length; ValueError. example: such a prefix, to be shown."""
    prefix, found = parse_prefix6(text)
    if found != length:
        like = " like " + example if example else ""
        raise ValueError("%s is a /%d, expected a /%d%s" % (quote(text), found, length, like))
    return prefix


def _parse_prefix(text, parse, expected):
    address, _, bits = text.partition("/")
    try:
        prefix = parse(address)
        length = parse_decimal(bits, 8 * len(prefix))
    except ValueError:
        length = None
    if length is None:
        raise ValueError("%s is not %s" % (quote(text), expected))
    if mask(prefix, length) != prefix:
        fitting = format_prefix4 if len(prefix) == 4 else format_prefix6
        raise ValueError(
            "%s has bits set behind its length, expected %s"
            % (quote(text), fitting(mask(prefix, length), length))
        )
    return prefix, length


def format_prefix4(address, length):
    """Return `A.B.C.D/LENGTH`."""
    return "%s/%d" % (format_ipv4(address), need_length(address, length))


def format_prefix6(address, length):
    """Return `P::/LENGTH`."""
    return "%s/%d" % (format_ipv6(address), need_length(address, length))


def parse_mac(text):
    """Return the 6 bytes of `12:34:56:78:9a:bc`; ValueError. Multicast is the caller's business."""
    groups = text.split(":")
    good = len(groups) == 6
    for group in groups:
        good = good and len(group) == 2 and group[0] in HEXADECIMAL and group[1] in HEXADECIMAL
    if not good:
        raise ValueError("%s is not a MAC address like 12:34:56:78:9a:bc" % quote(text))
    return bytes([int(group, 16) for group in groups])


def format_mac(mac):
    """Return the text of 6 bytes, in lower case."""
    return ":".join(["%02x" % octet for octet in need_bytes(mac, 6)])


def mask(address, length):
    """Return the address with all bits behind the first `length` zero."""
    need_length(address, length)
    kept = length // 8
    if length % 8 == 0:
        return address[:kept] + bytes(len(address) - kept)
    partial = address[kept] & (0xFF00 >> length % 8) & 0xFF
    return address[:kept] + bytes((partial,)) + bytes(len(address) - kept - 1)


def contains(prefix, length, address):
    """Return whether the prefix holds the address; both of one family."""
    if length & 7 == 0 and 0 <= length <= 8 * len(address):
        kept = length >> 3
        return len(prefix) == len(address) and prefix[:kept] == address[:kept]
    return len(prefix) == len(address) and mask(address, length) == mask(prefix, length)


def overlap(prefix, length, other, other_length):
    """Return whether two prefixes of one family share an address."""
    shorter = min(length, other_length)
    return len(prefix) == len(other) and mask(prefix, shorter) == mask(other, shorter)


def need_bytes(value, size):
    """Return the value, a ValueError when it is not `size` bytes long: the caller's bug, not the user's."""
    if len(value) != size:
        raise ValueError("%d bytes where %d belong" % (len(value), size))
    return value


def need_length(address, length):
    """Return the prefix length, a ValueError when the address does not have so many bits."""
    if not 0 <= length <= 8 * len(address):
        raise ValueError("a prefix length of %d, expected 0 to %d" % (length, 8 * len(address)))
    return length
