# SPDX-License-Identifier: ISC
"""Which rules work here: nft if the kernel takes them, otherwise xtables. Asking changes nothing."""

from l3roamd_py import nftables
from l3roamd_py.nfnetlink import SUBSYSTEM_NFTABLES, NetfilterSocket
from l3roamd_py.nftables_rewrite import SOURCE, swap_quoted
from l3roamd_py.nftables_table import layout
from l3roamd_py.rules import RulesError
from l3roamd_py.rules_nft import NftClatRules, NftPlatRules

Choice = tuple[type[NftClatRules], type[NftPlatRules]]


def choose_rules(wanted: str = "auto") -> Choice:
    """The classes for `auto`, `nft` or `xtables`. Raises RulesError if what is wanted does not work here."""
    if wanted not in ("auto", "nft", "xtables"):
        raise ValueError(f"no rules {wanted!r}")
    lacking = nft_lacks()
    if lacking is None:
        return NftClatRules, NftPlatRules
    raise RulesError(f"nftables does not work here: {lacking}")


def nft_lacks() -> str | None:
    """What keeps nftables from working here, None if nothing does."""
    probe = layout(
        nftables.IPV6,
        "l3roamd_probe",
        [nftables.Chain("probe", nftables.PREROUTING, -350)],
        [nftables.Set("from", nftables.TYPE_IPV6, 16, nftables.TYPE_IPV6, 16)],
    )
    netfilter = None
    try:
        netfilter = NetfilterSocket()
        rule = nftables.add_rule(probe, "probe", swap_quoted("from", SOURCE))
        netfilter.commit(SUBSYSTEM_NFTABLES, [*nftables.add_table(probe), rule], check_only=True)
    except OSError as error:
        return f"the kernel does not take maps of addresses ({error.strerror})"
    finally:
        if netfilter:
            netfilter.close()
    return None
