# SPDX-License-Identifier: ISC
"""What a router has and a laptop lacks, as far as this feed's packages need it. node.py makes a root of packages.

root/etc/rc.common              runs an init script: start, stop, reload, enabled, status
root/usr/sbin/uci               reads and writes /etc/config
root/lib/functions.sh           the same for shell scripts, with names that are nobody else's (names.txt)
root/lib/functions/procd.sh     starts what an init script describes, and starts it again when it ends
root/lib/functions/procd-event.sh  tells services of an event
root/lib/functions/network.sh   a network's device is the one of its name
lua/                            Gluon's and UCI's modules, for upgrade scripts
"""
