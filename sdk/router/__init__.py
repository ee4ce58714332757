# SPDX-License-Identifier: ISC
"""The packages on real routers' root file systems: `make test-openwrt ROOTFS=openwrt-…-x86-64-rootfs.tar.gz`.

rootfs.py    what a root file system is, and its files in a folder
feed.py      the packages that nodes install, with an index as their package manager reads it
machine.py   a node: the root's own procd as the first process, over an overlay that lasts as long as the run
wires.py     the devices of nodes, client and internet, plugged into a switch; pull and plug
mesh.py      what checks ask of a mesh, whatever it is made of
openwrt.py   a mesh of three nodes of a root file system, a client and an internet with a DHCP server
stand_in.py  the same of sdk/lab, whose nodes run the packages under what stands in for OpenWrt
table.py     the checks, and how a run goes through them; check_*.py are what they do
"""
