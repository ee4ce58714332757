# SPDX-License-Identifier: ISC
"""Whether the kernel takes these rules, and whether it has some already. Asking leaves nothing behind."""

import os

from l3roamd_py.netfilter.nfnetlink import SUBSYSTEM_NFTABLES, NetfilterSocket
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.nft.rewrite import SOURCE, swap_quoted
from l3roamd_py.netfilter.nft.table import find_table, layout
from runtime.sockets import error_text

TABLES = (
    (nftables.IPV4, "l3roamd"),
    (nftables.IPV6, "l3roamd"),
    (nftables.IPV6, "l3roamd_hosts"),
    (nftables.IPV6, "l3roamd_plat"),
)


def lacks() -> str | None:
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


def has_left() -> bool:
    """Whether tables of ours are there. Raises OSError from a kernel without nftables."""
    netfilter = NetfilterSocket()
    try:
        tables = [nftables.Table(family, name, "", ()) for family, name in TABLES]
        return any(find_table(netfilter, table) is not None for table in tables)
    finally:
        netfilter.close()
