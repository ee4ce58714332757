# SPDX-License-Identifier: ISC
"""The command line: `l3roamd_py daemon`, `status`, `lease`, `ctl`, `flush`.

Exit codes: 0 ok, 1 refused or failed, 2 usage. `lease` is called by dnsmasq for every lease and waits for nobody, so
nothing heavy is imported before a command needs it.
"""

import os
import sys

from l3roamd_py.question import SOCKET, Failure, ask
from runtime.command_line import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LEASE_S = 2.0  # dnsmasq answers nobody while its script runs
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
    except UsageError as error:
        print(f"l3roamd_py: {error}", file=sys.stderr)
        return 2
    except Failure as failure:
        print(f"l3roamd_py: {failure}", file=sys.stderr)
        return 1
    return 0
