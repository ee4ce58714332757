# SPDX-License-Identifier: ISC
"""prefixd: picks the PLAT of a clatnode by babel metric and by asking it. Runs on CPython and MicroPython.

    options.py    the command line                    pure
    babel.py      what babeld says                    pure
    probe.py      who answers                         pure
    choice.py     which PLAT, and why                 pure
    net.py        where the two Pythons differ
    links.py      babeld, ICMPv6, translator, hook, roaming daemon, status clients: one class each
    daemon.py     the loop
    table.py      `prefixd --status` for people

The pure modules take events and the time and return actions; they know no socket, no clock and no process.
"""
