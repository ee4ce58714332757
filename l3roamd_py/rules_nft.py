# SPDX-License-Identifier: ISC
"""The rules of a roam in nftables, one table a role: stateless, so that conntrack never sees that anybody moved."""

from l3roamd_py.rules_nft_clat import NftClatRules
from l3roamd_py.rules_nft_plat import NftPlatRules

__all__ = ["NftClatRules", "NftPlatRules"]
