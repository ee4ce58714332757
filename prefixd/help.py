# SPDX-License-Identifier: ISC
"""The help of the command, read only when somebody asks for it. Routers do without: they have /etc/config/464xlat."""

TEXT = """\
Usage: prefixd --plat-range P/48 --clat DEV --target PATH --source ADDR [OPTION...]
       prefixd --status [--json] [--socket PATH]
       prefixd --withdraw [--socket PATH]

Chooses the PLAT (the way to the IPv4 internet) for the clients of this node. It reads the metrics of all
PLATs from babeld, asks the best ones with ICMPv6 echo whether they work, and points the CLAT device at the
nearest that does. A better metric has to be better for a while; a PLAT that is lost is left at once.

What it needs
  --plat-range P/48       the domain's plat_range; every /96 route in it is a PLAT
  --clat DEV              the CLAT device whose remote prefix it sets
  --target PATH           the translator's control: the Unix socket of siit, or /proc/net/nat46/control
  --source ADDR           address to probe from: the node's CLAT management address, clat_prefix::192.0.0.1

Where PLATs come from
  --own-plat P/96         this node's own PLAT; needed only if babeld does not redistribute it
  --babel WHERE           babeld's local interface (babeld -G): [ADDR]:PORT or a path; default [::1]:33123.
                          bird:/run/bird/bird.ctl is BIRD, which is asked every second

How it chooses
  --probe-ipv4 A[,B...]   IPv4 addresses to ask through each PLAT; without them a PLAT counts as good when
                          its management address answers
  --probe-interval-ms N   how often the chosen PLAT is asked, 100 to 60000; default 500
  --margin N              what a better metric must be better by, 0 to 65535; default 64
  --hold-s N              and for how long, 0 to 86400 seconds; default 10

Whom it tells
  --hook 'CMD'            run as `CMD use PLAT` once a PLAT is set, `CMD stop` when there is none (the default
                          route of the clients: '464xlat clat-route')
  --l3roamd PATH          Unix socket of the roaming daemon: set_platprefix and del_platprefix go there
  --socket PATH           own control socket; default /run/prefixd.sock

What it tells hosts with a CLAT of their own (docs/ipv6-mostly.md)
  --pref64 P/96           the prefix that they use, by router advertisements behind those of the node's own daemon,
                          with lifetime 0 while there is no exit; nothing before one was seen
  --client-device DEV     where these leave
  --announce on|off       off: with lifetime 0 always, so that hosts forget it; default on
  --dns6 A[,B...]         DNS servers, if that daemon names none: IPv6, IPv4 (behind that prefix), or node (this one)
  --link-mtu BYTES        the link's MTU, if that daemon says none, or more
  --hosts-hook 'CMD'      run as `CMD on A B`, the addresses of ipv4only.arpa, and `CMD off`, for DHCP and DNS

Looking
  --status                the PLATs of the prefixd that runs, as a table; with --json for programs
                          exit status 3: none runs, 4: what listens there does not answer, or is no prefixd
  --withdraw              has the prefixd that runs tell hosts that the prefix is gone, and waits until it has;
                          for who ends it then
  --version, --help       the version, and this

Example: prefixd --plat-range fddd:1337:1338::/48 --clat clat --target /run/siit/control.sock \\
  --source fddd:1337:1337:1234:5678:9abc:c000:1 --probe-ipv4 9.9.9.9,1.1.1.1 --hook '464xlat clat-route'
"""
