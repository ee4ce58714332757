# SPDX-License-Identifier: ISC
"""The rules of a roam and the gate: which backend works here, NFQUEUE, connection tracking."""
