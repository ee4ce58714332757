# SPDX-License-Identifier: ISC
"""What the commands say of themselves, but `lease`, which dnsmasq waits for."""

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

Options of the C l3roamd in the place of a command start a node that serves IPv6 alone, without CLAT and PLAT:
  l3roamd_py -a fd00::1 -p 2001:db8:1::/64 -P fddd:1337:1339::/64 -i br-client -m mesh0

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

--prepare names a node by its address in `status`; that one has to name this one. Who walks between them roams sooner,
and either can take the other's clients.

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
set_platprefix P/96 [P/96], del_platprefix P/96, plats P/96 ... lost P/96 ... end, lease add|old|del MAC IPV4 [SECONDS],
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
