# SPDX-License-Identifier: ISC
"""IPv6 packets go on to a client's new node: the rules with real packets, then a walk in a mesh with babel.

server - a - mid - b - client      the client was at a; a's route to it leads nowhere now
"""

import contextlib
import itertools
import re
import time

import pytest
from meshes import mesh_text
from node_lab import EITHER_KIND, NEEDS, Node, address, link
from rules_lab import CLAT_RULES, Hand
from waiting import wait_until

from l3roamd_py.core.onward import care_of
from xlat464.address import format_ipv6, parse_ipv6

pytestmark = NEEDS

SERVER, CLIENT, OTHER = "fd00:0:0:1::2", "fd11::2", "fd11::3"
PLACE = parse_ipv6("fddd:1337:1337:2:0:b::")
PAIRS = care_of(PLACE, 0x1234, [parse_ipv6(CLIENT)])
CARE_OF = format_ipv6(PAIRS[0][1])
FOR_S = 30.0


class Line:
    """The five machines, with the rules of a roam on a and b."""

    def __init__(self, machines, firewall, stack):
        names = ("server", "a", "mid", "b", "client", "other")
        self.machines = m = {name: machines(name) for name in names}
        for number, (one, other) in enumerate((("server", "a"), ("a", "mid"), ("mid", "b")), 1):
            link(m[one], "right", m[other], "left")
            address(m[one], "right", f"fd00:0:0:{number}::2/64")
            address(m[other], "left", f"fd00:0:0:{number}::1/64")
        for name in ("a", "b"):
            m[name].run("ip link add br-client type bridge")
            address(m[name], "br-client", "fe80::1/64")
        for name, ipv6 in (("client", CLIENT), ("other", OTHER)):
            link(m[name], "eth0", m["b"], name)
            m["b"].run(f"ip link set {name} master br-client up")
            address(m[name], "eth0", f"{ipv6}/128")
            m[name].run("ip -6 route add default via fe80::1 dev eth0")
        m["server"].run("ip -6 route add default via fd00:0:0:1::1")
        b = f"{format_ipv6(PLACE)}/96"
        routes = {
            "a": (f"{CLIENT} dev br-client", f"{b} via fd00:0:0:2::1", "fd00:0:0:3::/64 via fd00:0:0:2::1"),
            "mid": (
                f"{CLIENT} via fd00:0:0:2::2",
                f"{b} via fd00:0:0:3::1",
                "fd00:0:0:1::/64 via fd00:0:0:2::2",
            ),
            "b": (
                f"{CLIENT} dev br-client",
                f"{OTHER} dev br-client",
                f"unreachable {b}",
                "default via fd00:0:0:3::2",
            ),
        }
        for name, lines in routes.items():
            m[name].run("sysctl -qw net.ipv6.conf.all.forwarding=1")
            for line in lines:
                m[name].run(f"ip -6 route add {line}")
        self.a, self.b = (
            stack.enter_context(
                contextlib.closing(Hand(Node(m[name], "dash", firewall), CLAT_RULES, "br-client", "clat"))
            )
            for name in ("a", "b")
        )
        for hand in (self.a, self.b):
            hand.set_up()

    def begin(self):
        self.a.call("onward.send_on", (PAIRS, FOR_S), True)
        self.b.call("onward.add_care_of", (PAIRS, FOR_S), True)

    def ping(self, *words, source="server", to=CLIENT):
        """What ping says of three echoes."""
        command = ["ping", "-6", "-c", "3", "-i", "0.1", "-W", "1", *words, to]
        process = self.machines[source].start(command)
        while process.poll() is None:
            for hand in (self.a, self.b):  # with iptables each packet goes on from there
                hand.read_arrivals()
            time.sleep(0.01)
        return process.stdout.read()


@pytest.fixture(params=EITHER_KIND)
def firewall(request):
    return request.param


@pytest.fixture
def line(machines, firewall):
    with contextlib.ExitStack() as stack:
        yield Line(machines, firewall, stack)


def test_packets_of_any_size_go_on_and_are_what_they_were(line, firewall):
    assert "0 received" in line.ping()
    line.begin()
    whole = ("-M", "do", "-s", "1452")  # 1500 bytes: nothing is added to them
    for words in ((), whole, ("-s", "4000")):
        assert "3 received" in line.ping(*words), words
    assert "3 received" in line.ping(source="a"), "what the node itself sends"
    if firewall == "nft":  # iptables leaves what an error quotes
        for machine, device in (("mid", "right"), ("b", "left")):
            line.machines[machine].run(f"ip link set {device} mtu 1400")
        line.ping(*whole)
        assert "mtu 1400" in line.machines["server"].output(f"ip -6 route get {CLIENT}")
        assert "3 received" in line.ping("-s", "1352", "-M", "do")


def test_it_ends_at_each_end_and_is_nothing_for_clients(line):
    line.begin()
    assert "0 received" in line.ping(source="other", to=CARE_OF)
    line.b.call("onward.drop_care_of", (parse_ipv6(CLIENT),), True)
    assert "0 received" in line.ping()
    line.begin()
    assert "3 received" in line.ping()
    line.a.call("onward.stop_sending_on", (parse_ipv6(CLIENT),), True)
    assert "0 received" in line.ping()


def test_the_kernel_ends_it_alone(line):
    line.a.call("onward.send_on", (PAIRS, 8.0), True)
    line.b.call("onward.add_care_of", (PAIRS, FOR_S), True)
    wait_until(lambda: "3 received" in line.ping(), "what a sends on")  # links need a moment
    wait_until(lambda: "0 received" in line.ping(), "the end of what a sends on")


def test_a_restart_goes_on_with_what_is_turned_back_and_not_with_what_is_sent_on(line):
    line.begin()
    for hand in (line.a, line.b):
        hand.set_up()
    assert "0 received" in line.ping()
    line.a.call("onward.send_on", (PAIRS, FOR_S), True)
    assert "3 received" in line.ping()
    line.b.call("onward.drop_other_care_of", ([],), True)
    assert "0 received" in line.ping()


MESH = mesh_text("a=clat b=clat mid=plain exit=plat", "a-mid mid-b a-exit", "phone=a", hello_interval_ms=4000)
GAP_S = 0.5  # on a machine with other work; babel alone takes seconds
REPLY = re.compile(r"^\[(\d+\.\d+)\] .*icmp_seq=", re.M)


def test_who_walks_does_not_wait_for_babel(lab_of):
    """And babel leads to the new place when the old node's route goes, and before."""
    lab = lab_of(MESH)
    wait_until(lambda: len(lab.ipv6_addresses("phone")) == 2, "the phone's two addresses")
    far = lab.plan.node_address(lab.node("exit"))
    wait_until(
        lambda: lab.exec("phone", ["ping", "-6", "-c", "1", "-W", "1", far], check=False).returncode == 0,
        "an answer",
    )
    ping = lab.popen(
        "phone", ["timeout", "8", "ping", "-6", "-D", "-n", "-i", "0.02", far], stdout=-1, text=True
    )
    time.sleep(1)
    lab.roam("phone", "b", hard=True)
    times = [float(each) for each in REPLY.findall(ping.communicate()[0])]
    assert times[-1] - times[0] > 6
    assert max(later_s - at_s for at_s, later_s in itertools.pairwise(times)) < GAP_S
    used = lab.ipv6_addresses("phone")[0]
    route = lab.exec("a", ["ip", "-6", "route", "show", used]).stdout
    assert "proto 159" in route
    assert "expires" in route
    assert lab.roaming_status("a")["counters"]["sent_on"] == 1
