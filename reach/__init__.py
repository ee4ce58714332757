# SPDX-License-Identifier: ISC
"""IPv4 in and out through a rented server, for sites that have only IPv6 or share their IPv4 address.

description  reach.toml, what people write: the ends, the links between them, what is published
check        what in a description cannot work, or will surprise
plan         what one end has to have: devices, addresses, routes, firewall, listeners
render       a plan as the native configuration of a system
apply        a plan carried out on this machine, and taken back
relay        IPv4 to IPv6 in user space, a program of its own in C
"""
