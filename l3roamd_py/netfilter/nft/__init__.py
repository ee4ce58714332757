# SPDX-License-Identifier: ISC
"""The rules of a roam in nftables, one table a role: stateless, so that conntrack never sees that anybody moved."""
