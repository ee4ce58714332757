# SPDX-License-Identifier: ISC
"""A PLAT whose engine is Jool, as far as it goes without Jool's module: a stand-in notes what the program is told."""

import shutil
import sys
import textwrap

import pytest
from node_lab import CLAT, EITHER_KIND, NEEDS, PLAT, REPOSITORY, address, link, stand_in_node

pytestmark = NEEDS

JOOL = """\
#!/bin/sh
[ ! -e /run/jool.sulks ] || { echo "Error: the module is not there" >&2; exit 1; }
echo "$(ip netns identify) $*" >>/run/jool.said
"""
SPACE, INSTANCE = "xlat464-plat", "464xlat"
PREFIX = "fddd:1337:1338:1234:5678:9abc"
ENGINE = f"{PLAT} --engine jool"


@pytest.fixture
def node(machines):
    made = stand_in_node(machines("node"))
    made.machine.file("/run/bin/jool", JOOL, 0o755)
    made.machine.run("rm /run/siit/control.sock")  # neither is needed, nor nat46
    return made


def said(node) -> list[str]:
    return node.machine.output("cat /run/jool.said").splitlines()


def test_jool_gets_the_prefix_and_the_pool_with_its_ports_in_a_namespace_of_its_own(node):
    node.xlat(f"plat up {ENGINE} --ports 20000-59999")
    assert said(node) == [
        f"{SPACE} instance add {INSTANCE} --netfilter --pool6 {PREFIX}::/96",
        *(
            f"{SPACE} -i {INSTANCE} pool4 add --{protocol} 192.0.2.9/32 20000-59999 --force"
            for protocol in ("tcp", "udp", "icmp")
        ),
    ]
    ip = node.machine.output
    assert f"{PREFIX}::/96 dev plat proto static" in ip("ip -6 route")
    assert "192.0.2.9 dev plat proto static" in ip("ip -4 route show 192.0.2.9")
    assert "mtu 1374" in ip("ip link show plat")
    assert "fe80" not in ip("ip -6 address show dev plat")
    # packets go in and come out, without anybody to resolve addresses
    node.machine.run(f"ip -6 route add {PREFIX}:c000:8 dev plat")  # an address that no route leads to
    node.machine.run(f"ping -6 -c 1 -W 20 {PREFIX}:c000:8")
    assert "plat  up " in node.xlat("plat status").stdout
    node.machine.run("touch /run/jool.sulks")
    assert "plat  broken " in node.xlat("plat status", check=False).stdout


@pytest.mark.parametrize("firewall", ["nft", "xtables-nft"])
def test_the_node_leaves_ports_to_jool_and_masquerades_its_pool(machines, firewall):
    made = stand_in_node(machines("node"), firewall=firewall)
    made.machine.file("/run/bin/jool", JOOL, 0o755)
    made.xlat(f"plat up {ENGINE}")
    rules = made.snapshot().lower()
    assert "masquerade" in rules
    assert "jump nat66" not in rules
    assert "-j snat" not in rules
    assert "admin-prohibited" in rules or "adm-prohibited" in rules


def test_down_leaves_no_namespace_and_a_failed_up_none_either(node):
    empty = node.snapshot()
    node.xlat(f"plat up {ENGINE}")
    assert node.xlat("plat down").stderr == ""
    assert node.snapshot() == empty
    assert node.machine.output("ip netns list") == ""
    node.machine.run("touch /run/jool.sulks")
    done = node.xlat(f"plat up {ENGINE}", check=False)
    assert done.returncode == 1
    assert "the module is not there" in done.stderr
    assert done.stderr.count("\n") == 1
    assert node.snapshot() == empty
    assert node.machine.output("ip netns list") == ""


def test_a_reload_keeps_jools_state_and_a_lost_instance_is_made_anew(node):
    node.xlat(f"plat up {ENGINE}")
    before = len(said(node))
    assert "it is, with these settings" in node.xlat(f"plat up {ENGINE}").stdout
    assert not [line for line in said(node)[before:] if " add " in line]
    node.machine.run(f"ip netns del {SPACE}")
    node.xlat(f"plat up {ENGINE}")
    assert node.machine.output("ip netns list").split()[0] == SPACE


@pytest.mark.parametrize(
    ("role", "options", "sentence"),
    [
        (
            "plat",
            f"{PLAT} --engine tayga",
            "--engine: 'tayga' is no choice, expected one of auto nat46 siit jool",
        ),
        ("plat", f"{ENGINE} --target /run/x", "'/run/x' beside --engine jool"),
        ("plat", f"{PLAT} --engine siit", "there is no translator at /run/siit/control.sock"),
        ("clat", f"{CLAT} --engine jool", "--engine: 'jool' is no choice, expected one of auto nat46 siit"),
    ],
)
def test_an_engine_that_cannot_be_is_refused_before_anything_changes(node, role, options, sentence):
    empty = node.snapshot()
    done = node.xlat(f"{role} up {options}", check=False)
    assert done.returncode == (1 if "there is no translator" in sentence else 2)
    assert sentence in done.stderr
    assert node.snapshot() == empty


def test_without_jool_it_says_which_packages_are_missing(node):
    # neither the stand-in nor one that this machine has
    node.machine.run("rm /run/bin/jool")
    if (installed := shutil.which("jool")) is not None:
        node.machine.run(f"mount --bind /dev/null {installed}")
    done = node.xlat(f"plat up {ENGINE}", check=False)
    assert "kmod-jool-netfilter" in done.stderr


# who asks is told where the question came from, in the place of Jool
ANSWER = """
    import socket
    answering = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    answering.bind(("", 7))
    print("ready", flush=True)
    while True:
        _, asking = answering.recvfrom(100)
        answering.sendto(asking[0].encode(), asking)
"""
ASK = """
    import socket, sys
    asking = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    asking.settimeout(1)
    asking.bind((sys.argv[1], 4000))
    for _ in range(60):
        asking.sendto(b"", (sys.argv[2], 7))
        try:
            print(asking.recvfrom(100)[0].decode())
            break
        except TimeoutError:
            pass  # a link that has just come up loses packets
"""
ROAM = """
    import sys
    from ipaddress import IPv6Address
    from l3roamd_py.core.mapping import Mapping
    from l3roamd_py.netfilter.choice import choose_rules

    wanted, way, *texts = sys.argv[1:]
    plat, home, at = (IPv6Address(text).packed for text in texts)
    rules = choose_rules(wanted)[1]("plat", plat)
    if way == "there":
        rules.set_up()
        assert rules.map_clients([Mapping(home, at, None, 300, 1)]) == [None]
    else:
        assert rules.map_clients([Mapping(home, home, at, 0, 0)]) == [None]
"""


@pytest.mark.parametrize("firewall", EITHER_KIND)
def test_a_connection_that_roams_is_the_same_to_jool(machines, firewall):
    """Its sessions are by source, so what comes from elsewhere would be another, with another port."""
    node, client = stand_in_node(machines("node"), firewall=firewall), machines("client")
    home, at = (f"fddd:1337:1337:{number}::a7e:32" for number in (1, 2))
    server = f"{PREFIX}:c633:6402"
    node.machine.file("/run/bin/jool", JOOL, 0o755)
    link(client, "eth0", node.machine, "mesh")
    address(node.machine, "mesh", "fd00::1/64")
    address(client, "eth0", "fd00::2/64", f"{home}/128", f"{at}/128")
    client.run("ip -6 route add default via fd00::1")
    node.machine.run("ip -6 route add fddd:1337:1337::/48 via fd00::2")
    node.xlat(f"plat up {ENGINE}")
    inside = ["ip", "netns", "exec", SPACE]
    node.machine.run([*inside, "ip", "-6", "address", "add", f"{server}/128", "dev", "lo", "nodad"])
    jool = node.machine.start([*inside, sys.executable, "-c", textwrap.dedent(ANSWER)])
    assert jool.stdout.readline() == "ready\n"

    def roam(way):
        words = firewall.partition("-")[0], way, f"{PREFIX}::", home, at
        node.machine.python(ROAM, *words, **node.variables, PYTHONPATH=str(REPOSITORY))

    assert client.python(ASK, home, server) == home
    assert client.python(ASK, home, server) == home
    for _ in range(2):
        roam("there")
        assert client.python(ASK, at, server) == home
        roam("back")
        assert client.python(ASK, home, server) == home
