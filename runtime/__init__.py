# SPDX-License-Identifier: ISC
"""What every daemon needs of its operating system, once: nothing here knows what a daemon is for.

record.py, ordered.py, signing.py   values; dictionaries that know their oldest key; HMAC
sockets.py, loop.py                 sockets, clock and poll, where CPython and MicroPython differ
server.py, lock.py                  a control socket: a line in, an answer out; and one daemon at a path
files.py, log.py, text.py, rows.py  files read with a bound and replaced whole; the log; tables for people; JSON
sources.py, garbage.py              what one part waits for; when MicroPython collects garbage
usage.py, version.py                argparse as every command on CPython has it; the version of everything
command.py                          how every command ends
notify.py                           what systemd is told
netlink.py, netlink_socket.py       netlink: its messages, and a socket for requests
"""

import sys

IS_MICRO = sys.implementation.name == "micropython"
