# SPDX-License-Identifier: ISC
"""The embedded translator between IPv4 and IPv6 (RFC 7915): a TUN device, a C core, a control socket."""
