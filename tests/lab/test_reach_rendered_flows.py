# SPDX-License-Identifier: ISC
"""Rendered configuration asks anew about flows that began under other rules, as `reach up` and `down` do.

caller .99 -- server .7, whose link is eth1 here -- host .210, which listens on three ports
"""

import contextlib
import shutil
from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from reach_day import udp
from reach_lab import Machine, address, cable, needs, wait_until

from reach import keys, reader
from reach.firewall import ruleset_text
from reach.plan_publish import make
from reach.render import Place, entware, openwrt
from reach.render.commands import File, commands
from reach.render.flows import files

pytestmark = needs("nft", "iptables-restore", "conntrack")
HOST, PUBLIC = "192.168.1.210", "203.0.113.7"
ENDS = f"""
[server]
device = "eth0"
ipv4 = "{PUBLIC}"
[home.attic]
device = "eth0"
lan = "192.168.1.0/24"
lan_device = "eth1"
[link.eth1]
kind = "wireguard"
peers = {{ attic = 2 }}
masqueraded = "198.18.0.0/24"
[[publish]]
to = "{HOST}"
"""
STATES = ["udp = 5060", "udp = 5060\nto_port = 5070", "udp = 5080"]
EMPTY = dict.fromkeys(
    ("devices", "addresses", "routes", "rules", "pins", "dns", "services", "untouched_offloads"), ()
)
UNDONE = dict.fromkeys(("closed", "forwards", "inputs", "accepts", "clamps"), ())


def plan_of(state):
    """What a server's firewall has to do about addresses."""
    plan = make(reader.read(ENDS + state), "server")
    return replace(plan, **EMPTY, firewall=replace(plan.firewall, **UNDONE))


def by_commands(server, plan, place):
    """ifupdown, systemd and wg-quick carry out these; returns what takes them back."""
    found = commands(plan, place)
    for each in found:
        server.run("sh", "-ec", each.up)
    return [each.down for each in reversed(found) if each.down]


def by_entware(server, plan, place):
    server.run(
        "sh", "-ec", "mountpoint -q /opt || mount -t tmpfs none /opt; mkdir -p /opt/etc/init.d /opt/etc/reach"
    )
    for file in entware.render(plan, place):
        server.run("sh", "-c", f"cat >{file.path}", input=file.text)
    server.run(
        "sh", "-c", "sh /opt/etc/init.d/S62reach stop 2>/dev/null; exec sh /opt/etc/init.d/S62reach start"
    )
    return ["sh /opt/etc/init.d/S62reach stop"]


def by_openwrt(server, plan, place):
    """What its firewall does with the two includes, and what `uci.sh remove` does."""
    rendered = {file.path: file.text for file in openwrt.render(plan, place)}
    for option in ("type='script'", "fw4_compatible='1'", "reload='1'", "path='/etc/reach/flows.sh'"):
        assert f"set firewall.reach_flows.{option}" in rendered["/etc/reach/uci.sh"]
    assert f"sh {place.flows} down" in rendered["/etc/reach/uci.sh"]
    server.run("nft", "-f", place.ruleset)
    shell = ["busybox", "sh"] if shutil.which("busybox") else ["sh"]
    done = server.run(*shell, "-c", f". '{place.flows}'; echo goes on")
    assert (done.stdout, done.stderr) == ("goes on\n", "")
    return [f"nft delete table inet reach; sh {place.flows} down"]


class Net:
    def __init__(self, stack, folder):
        self.caller, self.server, self.host = machines = [Machine() for _ in range(3)]
        for machine in machines:
            stack.callback(machine.end)
        cable(self.caller, "eth0", self.server, "eth0")
        cable(self.server, "eth1", self.host, "eth0")
        address(self.caller, "eth0", "203.0.113.99/24")
        address(self.server, "eth0", f"{PUBLIC}/24")
        address(self.server, "eth1", "192.168.1.1/24")
        address(self.host, "eth0", f"{HOST}/24")
        self.host.run("ip", "route", "add", "default", "via", "192.168.1.1")
        self.server.run("sysctl", "-q", "net.ipv4.ip_forward=1")
        # it tracks connections before we come
        self.server.run("nft", "add table ip o; add chain ip o c { type filter hook prerouting priority 0; }")
        self.server.run("nft", "add rule ip o c ct state new,established accept")
        self.place = Place(keys.Keys({}, {}), PurePosixPath(folder))

    def write(self, plan):
        for file in (File(self.place.ruleset, ruleset_text(plan.firewall)), *files(plan, self.place)):
            self.server.run("sh", "-c", f"cat >{file.path}", input=file.text)


@pytest.fixture
def net(tmp_path):
    with contextlib.ExitStack() as stack:
        yield Net(stack, tmp_path)


def heard_by(phones):
    found = set()
    for port, phone in phones.items():
        with contextlib.suppress(BlockingIOError):
            while phone.recv(99):
                found.add(port)
    return found


@pytest.mark.parametrize("carry_out", [by_commands, by_entware, by_openwrt])
def test_a_keepalive_follows_the_rules_that_are_rendered(net, carry_out):
    with contextlib.ExitStack() as stack:
        phones = {port: stack.enter_context(udp(net.host, "", port)) for port in (5060, 5070, 5080)}
        for phone in phones.values():
            phone.setblocking(False)
        callers = [stack.enter_context(udp(net.caller, "", 4000 + port)) for port in (5060, 5080)]
        other = stack.enter_context(udp(net.host, "", 7000))

        def keep_alive():
            for caller, port in zip(callers, (5060, 5080), strict=True):
                with contextlib.suppress(ConnectionError):
                    caller.sendto(b"KEEPALIVE", (PUBLIC, port))
            return heard_by(phones)

        def flows():
            return net.server.run("conntrack", "-L", "-p", "udp").stdout

        wait_until(lambda: keep_alive() == set() and "dport=5080" in flows(), "flows before we come")
        for state, ports in zip(STATES, ({5060}, {5070}, {5080}), strict=True):
            plan = plan_of(state)
            net.write(plan)
            downs = carry_out(net.server, plan, net.place)
            wait_until(lambda ports=ports: keep_alive() == ports, f"{ports} hear, and nobody else")
            other.sendto(b"another's", ("203.0.113.99", 7001))
            if carry_out != by_entware:  # which stops first
                marks = [line for line in flows().splitlines() if HOST in line]
                carry_out(net.server, plan, net.place)
                assert len([line for line in flows().splitlines() if HOST in line]) == len(marks), (
                    "what is so stays"
                )
        for down in downs:
            net.server.run("sh", "-c", down)
        assert keep_alive() == set()
        assert "dport=7001" in flows(), "what is another's stays"
        assert net.server.run("sh", "-c", "[ ! -e /var/run/reach-flows ]", check=False).returncode == 0


def test_without_conntrack_it_says_which_package_is_missing(net):
    plan = plan_of(STATES[0])
    net.write(plan)
    done = net.server.run("env", "PATH=/nowhere", "/bin/sh", net.place.flows, check=False)
    assert "install conntrack" in done.stderr
