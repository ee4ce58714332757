# SPDX-License-Identifier: ISC
"""Addressing of the 464XLAT mesh: text, RFC 6052, and the prefixes a node makes of its MAC.

Pure functions over bytes, in network byte order. An IPv4 address is 4 bytes, an IPv6 address 16, a MAC 6. A prefix is
an address with a length in bits beside it. What cannot be is a ValueError whose message is one sentence for the user,
with what came and what was expected.

The same files run on CPython and on MicroPython, so there is nothing here but the language itself. Import the
modules by name, `from xlat464 import address, rfc6052, node`: a router loads only what it uses.
"""
