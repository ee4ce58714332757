# SPDX-License-Identifier: ISC
"""What `464xlat` refuses, in one sentence; and that nothing is left when it fails or is killed half-way."""

import shutil

import pytest
from node_lab import CLAT, FRONT_END, NEEDS, OPTIONS, PLAT, SHELLS, stand_in_node

pytestmark = NEEDS

BAD_INPUT = [
    ("clat up --mac 13:34:56:78:9a:bc", "13:34:56:78:9a:bc is a multicast MAC"),
    ("clat up --mac 12:34:56:78:9a", "'12:34:56:78:9a' is not a MAC address"),
    ("clat up --mac=", "--mac is missing"),
    ("clat up --clat-range fddd:1337:1337::/64", "is a /64, expected a /48"),
    ("clat up --clat-range fddd:1337:1338::/48", "both fddd:1337:1338::/48, expected two different ones"),
    ("clat up --clat-range", "--clat-range needs a value behind it"),
    ("clat up --client-range 10.126.0.1/16", "has bits set behind its length, expected 10.126.0.0/16"),
    ("clat up --client-range 224.0.0.0/8", "expected addresses that hosts may have"),
    ("clat up --client-device br-guest", "there is no device 'br-guest'"),
    ("clat up --device wan", "there is a device 'wan' already and it is not ours"),
    ("clat up --device a/b", "'a/b' is no device name"),
    ("clat up --device abcdefghijklmnop", "is no device name, expected at most 15"),
    ("clat up --mesh-mtu 1279", "'1279' is no number that fits, expected 1280 to 65535"),
    ("clat up --mesh-mtu 01400", "'01400' is no number that fits"),
    ("clat up --mesh-mtu 1400;reboot", "'1400;reboot' is no number that fits"),
    ("clat up --table 254", "254 is the kernel's own"),
    ("clat up --target /run/nothing", "there is no translator at /run/nothing"),
    ("clat up --target siit", "'siit' is no path"),
    ("clat up --firewall pf", "'pf' is no choice, expected one of auto nft xtables none"),
    ("clat up --pool 192.0.2.9/32", "'--pool' is no option, expected one of --clat-range"),
    ("clat up extra", "'extra' is no option"),
    ("plat up --pool 10.126.7.0/24 --client-range 10.126.0.0/16", "overlaps the client range 10.126.0.0/16"),
    ("plat up --pool 127.0.0.1/32", "overlaps 127.0.0.0/8"),
    ("plat up --pool=", "--pool is missing"),
    ("plat up --ports 2000-1000", "'2000-1000' is no range of ports"),
    ("plat up --ports 1000-65536", "'1000-65536' is no range of ports"),
    ("plat up --ports 1000", "'1000' is no range of ports"),
    ("plat up --wan=", "--wan is missing"),
    ("plat up --wan plat", "names the PLAT's own device"),
    ("plat up --wan wan,", "is no list of devices"),
    ("plat up --wan w{an", "'w{an' is no device name"),
    ("plat up --uplink dsl", "'dsl' is no choice, expected one of wan reach"),
    ("plat up --uplink reach", "'wan' beside --uplink reach"),
    ("plat up --uplink reach --wan=", "no link of reach takes what comes from plat yet"),
    ("plat up --allow 192.168.178.1/24", "--allow: '192.168.178.1/24' has bits set behind its length"),
    ("plat up --allow printer", "--allow: 'printer' is not an IPv4 prefix"),
    ("plat up --allow 10.0.0.0/8,0.0.0.0/0", "--allow: 0.0.0.0/0 is every network there is"),
    ("clat up --client-prefixes 2001:db8::/64,x", "'x' is not an IPv6 prefix"),
    (
        "clat up --pref64 64:ff9b::/64",
        "pref64: '64:ff9b::/64' is no /96, expected auto (which is fddd:1337:1338::/96)",
    ),
    ("clat up --pref64 fd46::/96 --client-prefixes fd46::/64", "lies in fd46::/64, which is in use"),
    ("plat up --pref64 fddd:1337:1338:1234:56:9abc::/96", "is a node's, in plat_range"),
    ("plat up --firewall none", "'none' is no choice"),
    ("plat up --device br-client", "there is a device 'br-client' already"),
    ("clat-route use", "the CLAT is not up"),
    ("clat-route maybe", "'maybe' is no action of clat-route"),
    ("clat sideways", "'sideways' is no action of clat"),
    ("up", "'up' is no command"),
    ("clat down now", "'now' is no option"),
    ("babel-config --clat-range fddd:1::/48", "--plat-range is missing"),
    (
        "babel-config --clat-range fddd:1::/48 --plat-range fddd:2::/48 --node-client-prefix fd46::/60",
        "is no /64",
    ),
]


@pytest.mark.parametrize("shell", SHELLS)
def test_bad_input_is_one_sentence_and_changes_nothing(machines, shell):
    node = stand_in_node(machines("node"), shell)
    empty = node.snapshot()
    for command, sentence in BAD_INPUT:
        role, *rest = command.split()
        if rest[:1] == ["up"]:
            command = f"{role} up {OPTIONS[role]} {' '.join(rest[1:])}"
        result = node.xlat(command, check=False)
        assert result.returncode in (1, 2), command
        assert sentence in result.stderr, command
        assert result.stderr.count("\n") == 1, result.stderr
    assert node.snapshot() == empty


def test_bad_input_leaves_a_running_role_alone(node):
    node.xlat(f"clat up {CLAT}")
    node.xlat("clat-route use")
    before = node.snapshot()
    for options, status in (
        ("--mesh-mtu 100", 2),
        ("--mac 13:00:00:00:00:00", 2),
        ("--device wan", 1),
        ("--target /run/nothing", 1),
    ):
        assert node.xlat(f"clat up {CLAT} {options}", check=False).returncode == status
    node.machine.run("ip -4 route add 10.9.0.0/16 dev lo table 500")
    assert "table 500 has routes" in node.xlat(f"clat up {CLAT} --table 500", check=False).stderr
    node.machine.run("ip -4 route flush table 500")
    assert node.snapshot() == before


# counts what would change something, and does the injury at the n-th
SABOTAGE = """\
#!/bin/sh
case "$*" in
*" add "* | *" set "* | *-f* | *-n*)
	n=$(cat /run/count)
	echo $((n - 1)) >/run/count
	if [ "$n" = 1 ]; then
		{injury}
	fi
	;;
esac
exec {program} "$@"
"""

FAIL, KILL, TERMINATE = "echo no >&2; exit 1", "kill -9 0", "kill -TERM $(cat /run/shell)"


@pytest.mark.parametrize(
    ("role", "firewall", "injury"),
    [
        ("clat", "nft", FAIL),
        ("clat", "nft", TERMINATE),
        ("clat", "nft", KILL),
        ("plat", "nft", TERMINATE),
        ("plat", "xtables-nft", FAIL),
        ("plat", "xtables-nft", KILL),
    ],
)
def test_an_up_that_fails_or_dies_anywhere_leaves_nothing_behind(machines, role, firewall, injury):
    node = stand_in_node(machines("node"), "dash", firewall)
    empty = node.snapshot()
    programs = ["nft"] if firewall == "nft" else ["iptables-nft-restore", "ip6tables-nft-restore"]
    for program in ["ip", *programs]:
        name = program.replace("-nft", "")
        node.machine.run(f"rm -f /run/bin/{name}")
        node.machine.file(
            f"/run/bin/{name}", SABOTAGE.format(program=shutil.which(program), injury=injury), 0o755
        )
    command = f"{FRONT_END} {role} up {OPTIONS[role]} --firewall {firewall.removesuffix('-nft')}"
    steps = 0
    while True:
        steps += 1
        assert steps < 40
        node.machine.file("/run/count", str(steps))
        result = node.machine.run(
            ["sh", "-c", f"echo $$ >/run/shell; exec {command}"], check=False, **node.variables
        )
        if result.returncode == 0:
            break
        if injury == KILL:
            node.machine.file("/run/count", "999")
            node.xlat(f"{role} down")  # which takes over what was left
        assert node.snapshot() == empty, f"after the failure of step {steps}: {result.stderr}"
    assert steps > 6
    node.machine.file("/run/count", "999")  # to undo runs the same programs
    node.xlat(f"{role} down")
    assert node.snapshot() == empty


@pytest.mark.parametrize("words", [f"clat up {CLAT}", f"plat up {PLAT}", "clat down"])
def test_without_root_one_line_says_so(node, words):
    empty = node.snapshot()
    # the checkout may be where only root reads
    reads = [f"--{which}-caps=+dac_read_search" for which in ("inh", "ambient")]
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *reads]
    result = node.machine.run([*nobody, "sh", FRONT_END, *words.split()], check=False)
    (line,) = result.stderr.splitlines()
    assert result.returncode == 1
    assert line.startswith(f"464xlat: {words.split(' --')[0]}: ")
    assert "needs root" in line
    assert node.snapshot() == empty


def test_a_refusal_is_one_line_whatever_it_quotes(node):
    result = node.machine.run([*node.shell, FRONT_END, "clat", "up", "--mac", "12\n34\x1b[2J"], check=False)
    (line,) = result.stderr.splitlines()
    assert result.returncode == 2
    assert line.isprintable()


def test_status_takes_nothing(node):
    for words in ("status all", "clat status --json"):
        result = node.xlat(words, check=False)
        (line,) = result.stderr.splitlines()
        assert result.returncode == 2
        assert "expected nothing" in line


def test_a_translator_that_refuses_is_quoted_and_nothing_stays(node):
    empty = node.snapshot()
    node.machine.file("/run/siit/sulks", "")
    result = node.xlat(f"clat up {CLAT}", check=False)
    assert result.returncode == 1
    assert "error: not today" in result.stderr
    assert node.snapshot() == empty


def test_down_works_when_the_translator_is_gone(node):
    empty = node.snapshot()
    node.xlat(f"clat up {CLAT}")
    node.machine.run("mv /run/siit/control.sock /run/siit/away")
    node.xlat("clat down")
    assert node.snapshot() == empty + "clat.left\n"
    # it makes the device again from its notes when it is back
    node.machine.run("mv /run/siit/away /run/siit/control.sock")
    node.machine.run("ip link add clat type ifb")
    node.xlat(f"clat up {CLAT}")
    node.xlat("clat down")
    assert node.snapshot() == empty
    # and a device that it has not made stays
    node.machine.run("ip link add clat type ifb")
    assert "it is not ours" in node.xlat(f"clat up {CLAT}", check=False).stderr
