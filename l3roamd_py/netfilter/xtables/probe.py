# SPDX-License-Identifier: ISC
"""Whether the kernel takes these rules, and whether it has some already. Asking leaves nothing behind."""

import os
import socket

from l3roamd_py.netfilter.program import is_there
from l3roamd_py.netfilter.xtables.ipset import IpSet, IpSets
from runtime.sockets import error_text


def lacks() -> str | None:
    """What keeps iptables, ipset and conntrack from working here, None if nothing does."""
    from l3roamd_py.netfilter.xtables.conntrack import get_entries  # who has other rules needs it never

    for name in ("iptables", "ip6tables"):
        for end in ("", "-save", "-restore"):
            if not is_there(name + end):
                return f"there is no {name}{end}"
    probe = IpSet(f"l3roamd_probe_{os.urandom(4).hex()}", socket.AF_INET6, has_timeout=True)
    try:
        sets = IpSets()
        try:
            sets.create(probe)
            sets.destroy(probe.name)
            for _ in sets.netfilter.dump(get_entries()):
                break  # there may be many, and one says it
        finally:
            sets.close()
    except OSError as error:
        return f"the kernel lacks ipset's hash:ip or conntrack over netlink ({error_text(error)})"
    return None


def has_left() -> bool:
    """Whether sets of ours are there. Raises OSError from a kernel without ipset."""
    sets = IpSets()
    try:
        return bool(sets.names("l3roam"))
    finally:
        sets.close()
