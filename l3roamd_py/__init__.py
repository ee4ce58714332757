# SPDX-License-Identifier: ISC
"""The roaming daemon: clients walk from node to node and keep their IPv4 address and their open connections."""
