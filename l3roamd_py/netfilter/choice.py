# SPDX-License-Identifier: ISC
"""Which rules work here: nft if the kernel takes them, otherwise xtables. Asking leaves nothing behind.

A router's package has nft alone if its kernel can have nf_tables: see XLAT464_ROAM_RULES in package/464xlat.mk.
"""

from l3roamd_py.netfilter.rules import RulesError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from l3roamd_py.netfilter.nft.clat import NftClatRules
    from l3roamd_py.netfilter.nft.plat import NftPlatRules
    from l3roamd_py.netfilter.xtables.clat import XtablesClatRules
    from l3roamd_py.netfilter.xtables.plat import XtablesPlatRules

    Choice = tuple[type[NftClatRules] | type[XtablesClatRules], type[NftPlatRules] | type[XtablesPlatRules]]

    class Probe(Protocol):
        def lacks(self) -> str | None: ...
        def has_left(self) -> bool: ...


KINDS = NFT, XTABLES = "nft", "xtables"


def rules_of(kind: str) -> "Choice":
    """The classes of a backend. They are loaded here, as a node needs those of one alone."""
    if kind == NFT:
        from l3roamd_py.netfilter.nft.clat import NftClatRules
        from l3roamd_py.netfilter.nft.plat import NftPlatRules

        return NftClatRules, NftPlatRules
    from l3roamd_py.netfilter.xtables.clat import XtablesClatRules
    from l3roamd_py.netfilter.xtables.plat import XtablesPlatRules

    return XtablesClatRules, XtablesPlatRules


def probe_of(kind: str) -> "Probe | None":
    """What can be asked about a backend; None: it is not installed."""
    if kind == NFT:
        from l3roamd_py.netfilter.nft import probe as of_nft

        return of_nft
    try:
        from l3roamd_py.netfilter.xtables import probe as of_xtables
    except ImportError:
        return None
    return of_xtables


def choose_rules(wanted: str = "auto") -> "Choice":
    """The classes for `auto`, `nft` or `xtables`. Raises RulesError if what is wanted does not work here."""
    lacking = []
    for kind in KINDS:
        if wanted in ("auto", kind):
            probe = probe_of(kind)
            reason = "not in this package" if probe is None else probe.lacks()
            if reason is None:
                return rules_of(kind)
            lacking.append(f"{kind}: {reason}")
    if not lacking:
        raise ValueError(f"no rules {wanted!r}")
    raise RulesError(f"no firewall that can roam works here ({'; '.join(lacking)})")


def has_left(kind: str) -> bool:
    """Whether rules of a backend are in the kernel, by the names of its tables or sets."""
    probe = probe_of(kind)
    try:
        return probe is not None and probe.has_left()
    except OSError:
        return False  # a kernel without this backend
