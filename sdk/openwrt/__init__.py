# SPDX-License-Identifier: ISC
"""What a router has and a laptop lacks, as far as this feed's packages need it. node.py makes a root of packages.

root/etc/rc.common              runs an init script: start, stop, reload, enabled, status
root/lib/functions.sh           reads /etc/config
root/lib/functions/procd.sh     starts what an init script describes, and starts it again when it ends
root/lib/functions/network.sh   a network's device is the one of its name
lua/                            Gluon's and UCI's modules, for upgrade scripts
"""
