# SPDX-License-Identifier: ISC
"""Clients of different nodes that talk to each other: what tests of pairs in a translator use."""

import select
import subprocess
import time

from sdk.timeouts import TIMEOUT_SCALE
from xlat464.address import format_ipv6

SILENCE_S = 20 * TIMEOUT_SCALE
# answers each line of each connection, until the test ends
SERVER = """
import socket, threading
def serve(connection):
    with connection, connection.makefile("rwb", 0) as lines:
        for line in lines:
            lines.write(line)
listener = socket.create_server(("", 7777))
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
"""
TALKER = """
import socket, sys
lines = socket.create_connection((sys.argv[1], 7777), float(sys.argv[2])).makefile("rwb", 0)
print("ready", flush=True)
for line in sys.stdin:
    lines.write(line.encode())
    print(lines.readline().decode(), end="", flush=True)
"""


def ping(lab, client, address, *words):
    return lab.exec(client, ["ping", "-n", *words, address], check=False)


def clat_of(lab, node):
    return f"{format_ipv6(lab.plan.clat_prefix(lab.node(node)))}/96"


def leads_to(lab, node, address):
    """Whether babel has a way; one that was lost is unreachable for a while."""
    return "via" in lab.exec(node, ["ip", "-6", "route", "show", address]).stdout


def spawn(lab, client, program, *words):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    process = lab.popen(client, ["python3", "-u", "-c", program, *words, str(SILENCE_S)], **pipes)
    assert line_of(process) == "ready"
    return process


def line_of(process, timeout_s=SILENCE_S):
    assert select.select([process.stdout], [], [], timeout_s)[0], "silence"
    return process.stdout.readline().strip()


def say(process, word):
    process.stdin.write(f"{word}\n")
    begun_s = time.monotonic()
    assert line_of(process) == word
    return time.monotonic() - begun_s


def end(process):
    process.kill()
    process.communicate()
