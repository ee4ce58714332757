# SPDX-License-Identifier: ISC
"""Addresses, neighbours and routes; who is here (bridge entries, neighbours, nl80211, ARP); the UDP socket."""
