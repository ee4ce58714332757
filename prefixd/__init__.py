# SPDX-License-Identifier: ISC
"""prefixd: picks the PLAT of a clatnode by babel metric and by asking it. Runs on CPython and MicroPython.

    options.py    the command line                    pure
    routes.py     which PLATs have a route            pure
    babel.py      what babeld says of them            pure
    bird.py       what BIRD says of them              pure
    probe.py      who answers                         pure
    choice.py     which PLAT, and why                 pure
    advert.py     router advertisements for hosts     pure
    net.py        the log, and the socket of probes
    link_*.py     babeld, ICMPv6, translator and hook, roaming daemon, hosts, status clients: one class each
    daemon.py     the loop
    table.py      `prefixd --status` for people

The pure modules take events and the time and return actions; they know no socket, no clock and no process.
A link moves bytes and chooses no PLAT. It has `tick(now_ms)`, to be called often, and `deadline_ms()`, when to call it
at the latest, or None. None ever blocks, apart from the hook, and none lets an OSError out: what is not there is tried
again.
"""
