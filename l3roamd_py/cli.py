# SPDX-License-Identifier: ISC
"""The command line: `l3roamd_py daemon`, `status`, `lease`, `ctl`, `flush`.

Exit codes: 0 ok, 1 refused or failed, 2 usage. `lease` is called by dnsmasq for every lease and waits for nobody, so
nothing heavy is imported before a command needs it.
"""

import os
import socket
import sys

from runtime.command_line import UsageError
from runtime.sockets import error_text, unix_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SOCKET = "/var/run/l3roamd.sock"
ANSWER_S = 10.0
LEASE_S = 2.0  # dnsmasq answers nobody while its script runs

ABOUT = """\
The roaming daemon: a client that walks from node to node keeps its IPv4 address and its open connections.
"""
COMMANDS = """\
commands:
  daemon      serve: find clients, claim them from the nodes they come from, let them go to others
  status      what the daemon knows: clients, leases, roams, counters
  lease       tell the daemon what the DHCP server did; this is dnsmasq's --dhcp-script
  ctl         send one command of the C l3roamd to the daemon (get_clients, add_meshif mesh0, ...)
  flush       remove every rule, address and route that a daemon left in the kernel

`l3roamd_py COMMAND --help` tells more.

A node that is both, from nothing:
  l3roamd_py daemon --clat --plat --clat-range fddd:1337:1337::/48 --plat-range fddd:1337:1338::/48 \\
    --mac 12:34:56:78:9a:bc --node-client-prefix fddd:1337:1339::/64 --mesh mesh0 --mesh mesh1 &
  dnsmasq ... --dhcp-script=/usr/lib/l3roamd-py/dhcp-script --script-on-renewal
  l3roamd_py status
"""
HELPS = {
    "daemon": """\
It stays in the foreground and writes to stderr. SIGTERM, SIGINT and SIGKILL leave addresses, routes and rules in
the kernel, so clients notice nothing of an upgrade: the next daemon takes them over, with what the state file
says. `l3roamd_py flush` removes all of it.

example:
  l3roamd_py daemon --clat --clat-range fddd:1337:1337::/48 --plat-range fddd:1337:1338::/48 \\
    --mac 12:34:56:78:9a:bc --node-client-prefix fddd:1337:1339::/64 --mesh mesh0 --prefix 2001:db8:1::/64""",
    "status": """\
example:
  l3roamd_py status          tables
  l3roamd_py status --json   all of it, for programs""",
    "ctl": """\
commands: get_clients, get_prefixes, add_prefix P, del_prefix P, get_meshifs, add_meshif DEV, del_meshif DEV,
probe ADDR MAC, add_address ADDR MAC, del_address ADDR MAC, has_route ADDR, verbosity none|verbose|debug,
set_platprefix P/96, del_platprefix P/96, plats P/96 ... lost P/96 ... end, lease add|old|del MAC IPV4 [SECONDS],
get_roams, get_status

set_platprefix moves the rules, not the translator: who calls it by hand tells siit the same, as prefixd does.

examples:
  l3roamd_py ctl get_clients
  l3roamd_py ctl set_platprefix fddd:1337:1338:1234:5678:9abc::/96
  echo get_clients | socat - UNIX:/var/run/l3roamd.sock""",
    "flush": """\
Open connections of clients that have roamed end with it. It refuses while a daemon runs.

example:
  l3roamd_py flush --node-client-prefix fddd:1337:1339::/64""",
}
LEASE_HELP = """\
Usage: l3roamd_py lease [--socket PATH] add|old|del MAC IPV4 [NAME]

Tells the daemon that the DHCP server gave (add), has or renewed (old), or ended (del) a lease. It is made to be
dnsmasq's --dhcp-script, which calls it just so, and names the time left in DNSMASQ_TIME_REMAINING or, without a
clock, DNSMASQ_LEASE_LENGTH (seconds); neither means for ever. Renewals come only with --script-on-renewal. What is
no business of ours (init, leases of IPv6) is passed over. Without a daemon the lease is not lost: it reads
dnsmasq's file when it starts.

example:
  DNSMASQ_TIME_REMAINING=300 l3roamd_py lease add 02:00:00:00:00:01 10.126.0.23 phone
"""


class Failure(Exception):
    """One sentence for the user; exit code 1."""


def ask(path: str, line: str, timeout_s: float = ANSWER_S) -> str:
    """Send a line to the daemon and return its whole answer. Raises Failure."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(unix_address(path))
        send_all(connection, line.encode() + b"\n")
        pieces = []
        piece = connection.recv(1 << 14)
        while piece:
            pieces.append(piece)
            piece = connection.recv(1 << 14)
    except OSError as error:
        why = error_text(error)
        raise Failure(f"no daemon answers at {path} ({why}): start `l3roamd_py daemon` first") from None
    finally:
        connection.close()
    answer = b"".join(pieces).decode()
    if answer.startswith("error: "):
        raise Failure(answer[7:].strip())
    return answer


def send_all(connection: socket.socket, data: bytes) -> None:
    while data:
        data = data[connection.send(data) :]


def run_lease(words: list[str]) -> None:
    """dnsmasq's dhcp-script. By hand, for it waits until we end."""
    from l3roamd_py.dhcp_script import line_for

    path = os.getenv("L3ROAMD_SOCKET") or SOCKET
    while words and words[0].startswith("-"):
        if words[0] in ("-h", "--help"):
            print(LEASE_HELP, end="")
            return
        if words[0] != "--socket" or len(words) < 2:
            raise UsageError(f"lease: {words[0]!r} is no option, expected --socket PATH")
        path, words = words[1], words[2:]
    if not words:
        raise UsageError("lease: expected add|old|del MAC IPV4, see `l3roamd_py lease --help`")
    try:
        line = line_for(words, os.getenv)
    except ValueError as error:
        raise UsageError(f"lease: {error}") from None
    if line is not None:
        ask(path, line, LEASE_S)


def run_rest(words: list[str]) -> None:
    from l3roamd_py import cli_options

    cli_options.run(words)


def main(arguments: list[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    does: "Callable[[list[str]], None]" = run_rest
    if words and words[0] == "lease":
        does, words = run_lease, words[1:]
    try:
        does(words)
        if hasattr(sys.stdout, "flush"):
            sys.stdout.flush()
    except UsageError as error:
        print(f"l3roamd_py: {error}", file=sys.stderr)
        return 2
    except Failure as failure:
        print(f"l3roamd_py: {failure}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.args[0] != 32:  # EPIPE, of `l3roamd_py status | head`: nobody wants more
            raise
        sys.stderr.close()
        return 1
    return 0
