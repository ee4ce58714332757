# SPDX-License-Identifier: ISC
"""What a Debian server has in the place of UCI, procd and netifd.

keys.py       which keys /etc/464xlat.conf may have: UCI's sections and options, with what each may be
conf.py       the file: text in, values out, one sentence for each mistake
words.py      what programs are told of it: command lines, shell variables, lines for babeld and BIRD
machine.py    what this machine lacks for it, and the MAC
firewalls.py  which of a role's packets the machine's other firewalls drop
metrics.py    what daemons count, for Prometheus
cli.py        `464xlat check`, and what the units run

The roles themselves, and what keeps them up, are the same sh as on a router.
"""
