#!/bin/sh
# SPDX-License-Identifier: ISC
# A stand-in for OpenWrt's system.sh: the MAC on the board's label, as /etc/board.json has it.

get_mac_label() {
	[ ! -s /etc/board.json ] || jsonfilter -e '@.system.label_macaddr' </etc/board.json
}
