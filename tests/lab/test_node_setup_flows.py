# SPDX-License-Identifier: ISC
"""Rules that somebody takes away under an exit, and the flows that begin meanwhile."""

import re
import sys
import textwrap

import pytest
from node_lab import EITHER_KIND, FIREWALLS, NEEDS
from setup_mesh import SERVER
from test_node_setup_guard import BEHIND, ECHO, ONE_FLOW, give_home, mesh_that_carries
from waiting import wait_until

pytestmark = NEEDS

# a keepalive of ten a second from one port: a line for each that is answered
KEEPALIVE = """
    import socket, sys, time
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.bind(("", int(sys.argv[2])))
    asking.connect((sys.argv[1], 7))
    asking.settimeout(0.1)
    for i in range(600):
        try:
            asking.send(b"%d" % i)
            print(asking.recv(100).decode(), flush=True)
        except OSError:
            pass
        time.sleep(0.1)
"""
FLUSHES = {
    "nft": ["nft delete table inet xlat464_plat", "nft flush table inet xlat464_plat", "nft flush ruleset"],
    "xtables": [
        "ip6tables -t nat -F",
        "iptables -t nat -F",
        "iptables -F",
        "ip6tables -t mangle -F XLAT464_out",
        # what is accepted in mangle before ours is not looked at by ours
        "iptables -t mangle -I POSTROUTING -j ACCEPT",
        "ip6tables -t mangle -I INPUT -i plat -j RETURN",
        # and what is accepted in nat before ours keeps its address
        "ip6tables -t nat -I POSTROUTING -j ACCEPT",
        "iptables -t nat -I POSTROUTING -s 192.0.2.0/24 -j ACCEPT",
    ],
}
WITHOUT_NAT = {  # what blocks NAT, for both families
    "nft": ["nft delete table inet xlat464_plat"],
    "xtables": ["ip6tables -t nat -F", "iptables -t nat -F"],
}


def kind(firewall):
    return firewall.split("-")[0]


@pytest.mark.parametrize("firewall", FIREWALLS)
def test_rules_that_somebody_took_away_are_missed_and_come_back(machines, firewall):
    mesh = mesh_that_carries(machines, firewall)
    node, up = mesh.plat_node, f"plat up {mesh.plat_options}"
    # an address stays when only rules are made anew
    device = mesh.plat.output("ip link show plat").split(":")[0]
    for flush in FLUSHES[kind(firewall)]:
        mesh.plat.run(flush, **node.variables)
        assert "broken" in node.xlat("plat status", check=False).stdout, flush
        assert "set up again" in node.xlat(up).stderr
        assert "broken" not in node.xlat("plat status", check=False).stdout
        assert "1 received" in mesh.client.output(f"ping -c 1 -W 20 {SERVER}")
    if firewall != "nft":
        check_that_nobody_alternates(mesh)
    mesh.plat.run("ip -6 route flush root fddd:1337:1338:200:0:b2::/96 type prohibit")
    assert "broken" in node.xlat("plat status", check=False).stdout
    assert node.xlat(up).returncode == 0
    assert "broken" not in node.xlat("plat status", check=False).stdout
    assert mesh.plat.output("ip link show plat").split(":")[0] == device
    # an admin's own rules are left alone
    if firewall != "nft":
        mesh.plat.run("iptables -I FORWARD -j ACCEPT", **node.variables)
        assert "broken" not in node.xlat("plat status", check=False).stdout
    node.xlat("plat down")
    assert "XLAT464" not in node.snapshot()


def check_that_nobody_alternates(mesh):
    """A program may put its rule before ours each time: then ours stay behind for a while, and status says so."""
    node, up = mesh.plat_node, f"plat up {mesh.plat_options}"

    def go_before_us():
        mesh.plat.run("iptables -t mangle -I POSTROUTING -j ACCEPT", **node.variables)
        return node.xlat(up).stderr

    moves = 0
    while "set up again" in (said := go_before_us()):
        moves += 1
        assert moves <= 5
    assert "ours stay behind for 300 s" in said
    status = node.xlat("plat status").stdout
    assert "behind a rule of somebody else (mangle -A POSTROUTING -j ACCEPT)" in status
    assert "stay behind" not in node.xlat(up).stderr  # said once
    # what is missing comes back all the same
    mesh.plat.run("ip6tables -t nat -F", **node.variables)
    assert "broken" in node.xlat("plat status", check=False).stdout
    node.xlat(up)
    assert "XLAT464_plat" in mesh.plat.output("ip6tables-save -t nat", **node.variables)
    assert "behind" not in node.xlat("plat status").stdout
    # and some minutes later ours are first again
    assert "ours stay behind" in go_before_us()
    mesh.plat.run(["sh", "-c", "echo 5 1 >/run/464xlat/plat.moves"])
    assert "broken" in node.xlat("plat status", check=False).stdout
    assert "set up again, and first" in node.xlat(up).stderr
    assert "behind" not in node.xlat("plat status").stdout


def test_rules_are_not_there_twice_when_somebody_held_the_lock_of_iptables(machines):
    mesh = mesh_that_carries(machines, "xtables-legacy")
    node, up = mesh.plat_node, f"plat up {mesh.plat_options}"
    saved = "iptables-save; ip6tables-save"
    before = sorted(rules(mesh).splitlines())
    mesh.plat.run("iptables -t nat -F", **node.variables)
    locking = mesh.plat.start(["flock", "/run/xtables.lock", "sh", "-c", "echo taken; sleep 12"])
    assert locking.stdout.readline() == "taken\n"
    assert "broken" in node.xlat("plat status", check=False).stdout, "who looks waits for no lock"
    assert locking.poll() is None
    assert "set up again" in node.xlat(up).stderr
    assert locking.wait() == 0
    after = mesh.plat.output(["sh", "-c", saved], **node.variables)
    ours = [line for line in after.splitlines() if "XLAT464" in line]
    assert sorted(ours) == [line for line in before if "XLAT464" in line and "{" not in line]
    assert "broken" not in node.xlat("plat status", check=False).stdout


@pytest.mark.parametrize("firewall", FIREWALLS)
def test_a_flow_that_began_without_rules_lives_once_they_are_back(machines, firewall):
    mesh = mesh_that_carries(machines, firewall)
    if firewall == "nft":  # others have connection tracking on as well: the node's firewall
        mesh.plat.run(
            ["nft", "add table inet fw; add chain inet fw f { type filter hook forward priority 0; }"]
        )
        mesh.plat.run("nft add rule inet fw f ct state new,established accept")
    command = [sys.executable, "-c", textwrap.dedent(KEEPALIVE), SERVER]
    before = mesh.client.start([*command, "5001"])
    assert before.stdout.readline() == "0\n"
    for removal in WITHOUT_NAT[kind(firewall)]:
        mesh.plat.run(removal, **mesh.plat_node.variables)
    during = mesh.client.start([*command, "5002"])

    def flows(port):
        return mesh.plat.output("conntrack -L -f ipv6 -p udp", check=False).count(f"sport={port} ")

    wait_until(lambda: flows(5002) == 1, "a flow without NAT")
    ports = dict(
        re.findall(r"sport=(5001) dport=7 .*dport=(\d+)", mesh.plat.output("conntrack -L -f ipv6 -p udp"))
    )
    mesh.plat_node.xlat(f"plat up {mesh.plat_options}")
    assert during.stdout.readline().strip().isdigit()
    after = mesh.plat.output("conntrack -L -f ipv6 -p udp")
    assert dict(re.findall(r"sport=(5001) dport=7 .*dport=(\d+)", after)) == ports, (
        "the old one is the same flow"
    )
    last = int(before.stdout.readline())
    wait_until(
        lambda: int(before.stdout.readline()) > last + 3, "more of the flow that had been there before"
    )


@pytest.mark.parametrize("firewall", FIREWALLS)
def test_another_line_comes_and_goes_beside_the_one_that_a_flow_uses(machines, firewall):
    mesh = mesh_that_carries(machines, firewall)
    node, options = mesh.plat_node, mesh.plat_options
    wan = re.search(r"--wan (\S+)", options).group(1)
    flow = mesh.client.start([sys.executable, "-c", textwrap.dedent(KEEPALIVE), SERVER, "5001"])
    assert flow.stdout.readline() == "0\n"
    device = mesh.plat.output("ip link show plat").split(":")[0]
    mesh.plat.run(["sh", "-c", "exec ip -6 monitor route >/run/routes 2>&1 </dev/null &"])
    mesh.plat.run("ip link add dsl type veth peer name tower")
    mesh.plat.run("sysctl -qw net.ipv4.conf.dsl.forwarding=0")  # as a line that has dialled anew
    for wans in (f"{wan},dsl", wan, f"dsl,{wan}"):
        node.xlat(f"plat up {options.replace(f'--wan {wan}', f'--wan {wans}')}")
        assert f"shared out of {wans}," in node.xlat("plat status").stdout
        assert ("dsl" in rules(mesh)) == ("dsl" in wans)
        assert wan in rules(mesh)
    assert mesh.plat.output("sysctl -n net.ipv4.conf.dsl.forwarding").strip() == "1"
    assert mesh.plat.output("ip link show plat").split(":")[0] == device
    last = int(flow.stdout.readline())
    wait_until(lambda: int(flow.stdout.readline()) > last + 3, "more of the flow over the line that stayed")
    gone = "Deleted fddd:1337:1338:200:0:b2::/96"
    assert gone not in mesh.plat.output("cat /run/routes"), "babel would take it back"
    node.xlat("plat down")
    wait_until(lambda: gone in mesh.plat.output("cat /run/routes"), "that it is taken back")
    assert mesh.plat.output("sysctl -n net.ipv4.conf.dsl.forwarding").strip() == "0"
    assert "XLAT464" not in node.snapshot()


def rules(mesh):
    return mesh.plat.output(
        ["sh", "-c", "nft list ruleset; iptables-save; ip6tables-save"], **mesh.plat_node.variables
    )


# one question from a port of its own: its answer, or "refused"
ASK = """
    import socket, sys
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.bind(("", 5003))
    asking.connect((sys.argv[1], 7))
    asking.settimeout(3)
    try:
        asking.send(b"hello")
        print(asking.recv(100).decode())
    except OSError:
        print("refused")
"""


@pytest.mark.parametrize("firewall", EITHER_KIND)
def test_what_is_not_allowed_any_more_ends_for_flows_under_way_too(machines, firewall):
    mesh = mesh_that_carries(machines, firewall)
    give_home(mesh)
    answering = [sys.executable, "-c", textwrap.dedent(ECHO), BEHIND]
    assert mesh.plat.start(["ip", "netns", "exec", "desk", *answering]).stdout.readline() == "ready\n"
    mesh.plat_node.xlat(f"plat up {mesh.plat_options} --allow 203.0.116.0/24")
    wait_until(lambda: mesh.client.python(ASK, BEHIND) == "hello", "an answer of what is allowed")
    mesh.plat_node.xlat(f"plat up {mesh.plat_options}")
    assert [mesh.client.python(ASK, BEHIND) for _ in range(3)] == ["refused"] * 3


# a flow without an answer, of 2000 packets in bursts
ONE_WAY = """
    import socket, sys, time
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.connect((sys.argv[1], 9))
    for _ in range(100):
        for _ in range(20):
            asking.send(b"picture")
        time.sleep(0.01)
"""
LISTEN = """
    import socket, sys
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    silent.bind(("", 9))
    print("ready", flush=True)
    for i in range(1900):
        silent.recv(100)
    print("almost all", flush=True)
    while True:
        silent.recv(100)
"""


@pytest.mark.parametrize("firewall", EITHER_KIND)
def test_a_flow_that_nobody_answers_is_one_flow(machines, firewall):
    mesh = mesh_that_carries(machines, firewall)
    mesh.plat_node.xlat(f"plat up {mesh.plat_options} --client-flows 50 --node-flows 50")
    wait_until(lambda: "1 received" in mesh.client.output(f"ping -c 1 -W 5 {SERVER}"), "way to the server")
    listening = mesh.server.start([sys.executable, "-c", textwrap.dedent(LISTEN)])
    assert listening.stdout.readline() == "ready\n"
    mesh.client.python(ONE_WAY, SERVER)
    assert listening.stdout.readline() == "almost all\n"
    assert mesh.client.python(ONE_FLOW, SERVER) == "hello"
