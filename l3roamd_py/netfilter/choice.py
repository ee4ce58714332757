# SPDX-License-Identifier: ISC
"""Which rules work here: nft if the kernel takes them, otherwise xtables. Asking leaves nothing behind."""

import os
import socket

from l3roamd_py.netfilter.conntrack import get_entries
from l3roamd_py.netfilter.nfnetlink import SUBSYSTEM_NFTABLES, NetfilterSocket
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.nft.rewrite import SOURCE, swap_quoted
from l3roamd_py.netfilter.nft.table import find_table, layout
from l3roamd_py.netfilter.rules import RulesError
from l3roamd_py.netfilter.xtables.ipset import IpSet, IpSets
from l3roamd_py.netfilter.xtables.program import is_there
from runtime.sockets import error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from l3roamd_py.netfilter.nft.clat import NftClatRules
    from l3roamd_py.netfilter.nft.plat import NftPlatRules
    from l3roamd_py.netfilter.xtables.clat import XtablesClatRules
    from l3roamd_py.netfilter.xtables.plat import XtablesPlatRules

    Choice = tuple[type[NftClatRules] | type[XtablesClatRules], type[NftPlatRules] | type[XtablesPlatRules]]

KINDS = NFT, XTABLES = "nft", "xtables"
TABLES = (
    (nftables.IPV4, "l3roamd"),
    (nftables.IPV6, "l3roamd"),
    (nftables.IPV6, "l3roamd_hosts"),
    (nftables.IPV6, "l3roamd_plat"),
)


def rules_of(kind: str) -> "Choice":
    """The classes of a backend. They are loaded here, as a node needs those of one alone."""
    if kind == NFT:
        from l3roamd_py.netfilter.nft.clat import NftClatRules
        from l3roamd_py.netfilter.nft.plat import NftPlatRules

        return NftClatRules, NftPlatRules
    from l3roamd_py.netfilter.xtables.clat import XtablesClatRules
    from l3roamd_py.netfilter.xtables.plat import XtablesPlatRules

    return XtablesClatRules, XtablesPlatRules


def choose_rules(wanted: str = "auto") -> "Choice":
    """The classes for `auto`, `nft` or `xtables`. Raises RulesError if what is wanted does not work here."""
    lacking = []
    for kind, lacks in zip(KINDS, (nft_lacks, xtables_lacks)):
        if wanted in ("auto", kind):
            reason = lacks()
            if reason is None:
                return rules_of(kind)
            lacking.append(f"{kind}: {reason}")
    if not lacking:
        raise ValueError(f"no rules {wanted!r}")
    raise RulesError(f"no firewall that can roam works here ({'; '.join(lacking)})")


def has_left(kind: str) -> bool:
    """Whether rules of a backend are in the kernel, by the names of its tables or sets."""
    netfilter, sets = NetfilterSocket(), IpSets()
    try:
        if kind == XTABLES:
            return bool(sets.names("l3roam"))
        tables = [nftables.Table(family, name, "", ()) for family, name in TABLES]
        return any(find_table(netfilter, table) is not None for table in tables)
    except OSError:
        return False  # a kernel without this backend
    finally:
        netfilter.close()
        sets.close()


def nft_lacks() -> str | None:
    """What keeps nftables from working here, None if nothing does."""
    probe = layout(
        nftables.IPV6,
        f"l3roamd_probe_{os.urandom(4).hex()}",
        [nftables.Chain("probe", nftables.PREROUTING, -350)],
        [nftables.Set("from", nftables.TYPE_IPV6, 16, nftables.TYPE_IPV6, 16)],
    )
    rule = nftables.add_rule(probe, "probe", swap_quoted("from", SOURCE))
    try:
        netfilter = NetfilterSocket()
        try:
            netfilter.commit(SUBSYSTEM_NFTABLES, nftables.add_table(probe) + [rule], check_only=True)
        finally:
            netfilter.close()
    except OSError as error:
        return f"the kernel does not take maps of addresses ({error_text(error)})"
    return None


def xtables_lacks() -> str | None:
    """What keeps iptables, ipset and conntrack from working here, None if nothing does."""
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
