# SPDX-License-Identifier: ISC
"""The rules of a roam for kernels without nftables: iptables, ipset and conntrack entries."""
