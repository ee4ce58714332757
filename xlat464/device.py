# SPDX-License-Identifier: ISC
"""Names of network devices. No I/O."""

from xlat464.address import quote

NAME_CHARS = 15  # IFNAMSIZ less its zero byte
OTHERS = "._-"  # than letters and digits
NOT_ONE = (".", "..", "all", "default")  # the last two: of /proc/sys/net/*/conf


def parse_device(text):
    """Return a device's name. Raises ValueError for what the kernel, a shell or a firewall takes for something else.

    They go into lines of the control language and of iptables-restore, where a + at the end stands for anything.
    """
    good = 1 <= len(text) <= NAME_CHARS and text not in NOT_ONE and text[0] != "-"
    for c in text:
        good = good and ("a" <= c <= "z" or "A" <= c <= "Z" or "0" <= c <= "9" or c in OTHERS)
    if not good:
        raise ValueError("%s is no device name, expected at most 15 of A-Z a-z 0-9 . _ -" % quote(text))
    return text
