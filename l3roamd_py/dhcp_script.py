# SPDX-License-Identifier: ISC
"""What a call of dnsmasq's dhcp-script means. No I/O, and no import that takes its time: dnsmasq waits for it."""

from xlat464.address import parse_decimal, parse_ipv4, parse_mac
from xlat464.node import need_unicast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FOREVER_S = 0xFFFFFFFF  # as in RFC 2131


def line_for(words: list[str], environment: "Callable[[str, str], str | None]") -> str | None:
    """The line for the control socket that a call of the dhcp-script means, None if it is no business of ours.

    environment: returns a variable, or what it is told to without one.
    words: what dnsmasq calls its script with: add|old|del MAC IPV4 [NAME], or another action (init, tftp, arp-add).
    Raises ValueError for what dnsmasq would not say.
    """
    if not words or words[0] not in ("add", "old", "del"):
        return None
    if len(words) < 3:
        raise ValueError(
            f"expected `{words[0]} MAC IPV4 [NAME]`, not {len(words) - 1} words behind {words[0]}"
        )
    action, mac, ipv4 = words[:3]
    if ":" in ipv4:
        return None  # a lease of IPv6, where MAC is a DUID
    need_unicast(parse_mac(mac))
    parse_ipv4(ipv4)
    if action == "del":
        return f"lease del {mac} {ipv4}"
    return f"lease {action} {mac} {ipv4} {_lease_s(environment)}"


def _lease_s(environment: "Callable[[str, str], str | None]") -> int:
    for name in ("DNSMASQ_TIME_REMAINING", "DNSMASQ_LEASE_LENGTH"):
        number = parse_decimal(environment(name, "") or "", 9999999999)
        if number is not None:
            return min(number, FOREVER_S)
    return FOREVER_S  # dnsmasq names no time where a lease never ends
