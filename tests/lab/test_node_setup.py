# SPDX-License-Identifier: ISC
"""`464xlat clat|plat up|down` on a machine of its own: what it makes, and that nothing else is left of it."""

import os
import re
import shutil

import pytest
from node_lab import CLAT, FIREWALLS, FRONT_END, NEEDS, OPTIONS, PLAT, SHELLS, SIIT, Node, stand_in_node
from waiting import wait_until

from siit.fast import cuts_chains

pytestmark = NEEDS


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("firewall", FIREWALLS)
def test_down_removes_exactly_what_up_made(machines, shell, firewall):
    node = stand_in_node(machines("node"), shell, firewall)
    # the hardest start: forwarding on one device only, strict filtering, router advertisements in use
    node.machine.run("sysctl -w net.ipv6.conf.wan.forwarding=1 net.ipv4.conf.all.rp_filter=1")
    empty = node.snapshot()
    node.xlat(f"clat up {CLAT}")
    clat_only = node.snapshot()
    node.xlat("clat-route use")
    node.xlat(f"plat up {PLAT}")
    assert "SNAT" in node.snapshot() or "snat" in node.snapshot()
    node.xlat("plat down")
    node.xlat("clat-route stop")
    assert node.snapshot() == clat_only
    assert clat_only != empty
    node.xlat(f"plat up {PLAT}")
    node.xlat("clat down")
    assert node.machine.output("sysctl -n net.ipv6.conf.all.forwarding") == "1\n", "the PLAT still needs it"
    node.xlat("plat down")
    assert node.snapshot() == empty
    assert node.xlat("clat down").stderr == ""  # again: nothing to do, nothing said


def test_devices_make_no_lists_of_packets_while_siit_needs_them_one_by_one(machines):
    machine = machines("node")
    for device in ("br-client", "wan"):
        machine.run(f"ip link add {device} type bridge")
    machine.run("ip link add one type veth peer name other")
    node = Node(machine, siit=SIIT)
    machine.run(f"{SIIT} gro-list on one")

    def lists():
        return machine.output(f"{SIIT} gro-list")

    daemon = machine.start(f"{SIIT} daemon")
    wait_until(lambda: not machine.run(f"{SIIT} stat", check=False).returncode, "siit's answer")
    node.xlat(f"clat up {CLAT}")
    assert lists() == ""
    node.xlat(f"plat up {PLAT}")
    machine.run(f"{SIIT} gro-list on other")  # a device that is new
    node.xlat(f"plat up {PLAT}")
    assert lists() == ""
    node.xlat("clat down")
    assert lists() == "", "the PLAT still needs it"
    node.xlat("plat down")
    assert sorted(lists().split()) == ["one", "other"]
    machine.run(f"kill {daemon_of(machine)}")
    daemon.wait(30)
    machine.start(f"{SIIT} daemon --fast on")
    wait_until(lambda: not machine.run(f"{SIIT} stat", check=False).returncode, "siit's answer")
    node.xlat(f"clat up {CLAT}")
    kept = ["one", "other"] if cuts_chains(os.uname().release) else []
    assert sorted(lists().split()) == kept, (
        "its fast path takes them as they are, on kernels that cut them right"
    )


def daemon_of(machine):
    return machine.output("pgrep -f siit.daemon").split()[0]  # in the machine's own PID namespace


def test_what_up_makes(node):
    node.xlat(f"clat up {CLAT}")
    node.xlat("clat-route use")
    node.xlat(f"plat up {PLAT}")
    ip = node.machine.output
    clat, plat = "fddd:1337:1337:1234:5678:9abc", "fddd:1337:1338:1234:5678:9abc"
    assert f"{clat}::/96 dev clat proto static" in ip("ip -6 route")
    assert f"{plat}::/96 dev plat proto static" in ip("ip -6 route")
    assert f"{clat}:c000:1/128" in ip("ip -6 address show dev clat")
    assert f"{plat}:c000:1/128" in ip("ip -6 address show dev plat")
    assert "fe80" not in ip("ip -6 address show dev clat")
    assert "mtu 1374" in ip("ip link show clat")
    assert re.match("192.0.2.9 dev plat proto static .*mtu lock 65520", ip("ip -4 route show 192.0.2.9"))
    assert re.match("default dev clat proto static .*mtu lock 65520", ip("ip -4 route show table 464"))
    assert re.findall(r"^46\d:\s+from all (.*\S)", ip("ip -4 rule"), re.M) == [
        "to 10.126.0.0/16 iif br-client lookup main",
        "iif br-client lookup 464",
        "iif br-client unreachable",
    ]
    assert ip("cat /run/siit/said").splitlines() == [
        "add clat",
        f"config clat local.v4 10.126.0.0/16 local.v6 {clat}::/96 local.style RFC6052",
        "add plat",
        f"config plat local.v4 0.0.0.0/0 local.v6 {plat}::/96 local.style RFC6052 "
        f"remote.v4 192.0.2.9/32 remote.v6 {plat}::/96 remote.style RFC6052",
    ]
    status = node.xlat("status").stdout.splitlines()
    roles = [
        line.split()[:3] for line in status[1:] if not line.startswith("babeld: ")
    ]  # which may have a fault
    assert roles == [["clat", "up", "clat"], ["plat", "up", "plat"]]
    assert ip("sysctl -n net.ipv4.icmp_ratelimit") == "0\n"
    assert "with an exit" in status[1]
    node.xlat("clat-route stop")
    node.xlat("clat-route stop")
    assert ip("ip -4 route show table 464") == ""
    assert "without an exit" in node.xlat("clat status").stdout


def test_up_again_changes_nothing_with_the_same_settings_and_all_with_others(node):
    node.xlat(f"clat up {CLAT}")
    node.xlat("clat-route use")
    before, said = node.snapshot(), node.machine.output("cat /run/siit/said")
    assert "it is, with these settings" in node.xlat(f"clat up {CLAT}").stdout
    assert (node.snapshot(), node.machine.output("cat /run/siit/said")) == (before, said)
    node.machine.start(["sh", "-c", "timeout 60 ip -4 monitor rule >/run/seen"])

    def seen():
        return node.machine.output("cat /run/seen").splitlines()

    def is_watched():
        node.machine.run("ip -4 rule add pref 1 unreachable from 192.0.2.1")
        node.machine.run("ip -4 rule del pref 1")
        return seen()

    wait_until(is_watched, "notice of a rule")
    node.xlat(f"clat up {CLAT} --mesh-mtu 1400")
    assert "mtu 1400" in node.machine.output("ip link show clat")
    # at no moment is there no rule that keeps clients off the node's own default route
    wait_until(lambda: "Deleted 32500:" in seen()[-1], "end of the guard")
    seen_of_up = [line for line in seen() if "192.0.2.1" not in line]
    assert seen_of_up[0].startswith("32500:")
    assert any(line.startswith("466:") for line in seen_of_up)
    assert node.machine.output("cat /run/464xlat/clat.undo").count("translator_del") == 1


def test_up_again_repairs_what_somebody_removed(node):
    empty = node.snapshot()
    for role in ("clat", "plat"):
        node.xlat(f"{role} up {OPTIONS[role]}")
        whole = node.snapshot()
        for damage in (f"ip link del {role}", "nft flush ruleset"):
            node.machine.run(damage)
            assert "broken" in node.xlat(f"{role} status", check=False).stdout
            node.xlat(f"{role} up {OPTIONS[role]}")
            assert without_indices(node.snapshot()) == without_indices(whole)
            assert "broken" not in node.xlat(f"{role} status").stdout
        node.xlat(f"{role} down")
    assert node.snapshot() == empty


def without_indices(text):
    return re.sub(r"^\d+: ", "", text, flags=re.M)


def test_micropython_computes_the_prefixes_as_well(node, micropython):
    node.xlat(f"clat up {CLAT}", XLAT464=f"{micropython.program} -m xlat464")
    assert "fddd:1337:1337:1234:5678:9abc::/96 dev clat" in node.machine.output("ip -6 route")


def test_settings_may_be_variables_and_the_option_wins(node):
    variables = {
        "XLAT464_CLAT_RANGE": "fddd:1::/48",
        "XLAT464_MESH_MTU": "1300",
        "XLAT464_MAC": "12:34:56:78:9a:bc",
    }
    node.xlat("clat up --plat-range=fddd:2::/48 --client-range 10.0.0.0/8 --mesh-mtu 1310", **variables)
    assert "fddd:1:0:1234:5678:9abc::/96" in node.machine.output("ip -6 route")
    assert "mtu 1310" in node.machine.output("ip link show clat")


def test_a_kernel_target_gets_one_write_a_command_and_a_smaller_mtu(node):
    """A file stands in for /proc/net/nat46/control, and the test makes the device beforehand."""
    node.machine.file("/run/control", "")
    node.machine.file(
        "/run/bin/ip",
        '#!/bin/sh\n[ "$*" != "link show dev clat" ] || [ ! -s /run/control ] || [ -e /run/made ] ||'
        " { touch /run/made; /usr/bin/env -u PATH true; "
        + shutil.which("ip")
        + " tuntap add dev clat mode tun; }\n"
        f'exec {shutil.which("ip")} "$@"\n',
        0o755,
    )
    node.xlat(f"clat up {CLAT} --target /run/control")
    node.xlat("clat-route use")
    assert "mtu lock 1346" in node.machine.output("ip -4 route show table 464")
    # the file holds the last write only, as each opens it anew
    assert node.machine.output("cat /run/control").startswith("config clat local.v4 10.126.0.0/16 local.v6 ")


def test_two_at_a_time_take_turns(node):
    empty = node.snapshot()
    words = [*node.shell, str(FRONT_END)]
    ups = [
        node.machine.start([*words, *f"{role} up {OPTIONS[role]}".split()], **node.variables)
        for role in ("clat", "plat", "clat", "plat")
    ]
    for up in ups:
        assert up.wait(120) == 0, up.stdout.read()
    assert node.machine.output("nft list tables").count("xlat464") == 2
    node.xlat("clat down")
    node.xlat("plat down")
    assert node.snapshot() == empty


def test_help_names_every_option(node):
    said = node.xlat("--help").stdout
    for options in OPTIONS.values():
        for option in re.findall("--[a-z-]+", options):
            assert option in said
