# SPDX-License-Identifier: ISC
"""`464xlat clat|plat up|down` in machines of their own: what it refuses, makes, leaves behind, lets through.

A Machine is a process with its own network, mount and PID namespace and an empty /run, so the programs run
with the paths they have on a router, and all of it ends with the process, however the test run ends. The
traffic tests use the real siit; those about set-up alone a stand-in that makes a TUN device and no more.
"""

import contextlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from sdk.patience import SLOWER

REPOSITORY = Path(__file__).resolve().parents[2]
FRONT_END = REPOSITORY / "files/464xlat/usr/sbin/464xlat"
SHELLS = {"dash": ["dash"], "busybox ash": ["busybox", "ash"]}
FIREWALLS = ("nft", "xtables-nft", "xtables-legacy")
EITHER_KIND = ("nft", "xtables-legacy")  # where it is the kernel that is asked, not the two iptables

UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces, which needs root"),
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox"),
]


class Machine:
    """A set of namespaces, held by a shell that ends when its stdin closes."""

    def __init__(self, name):
        self.name = name
        self.holder = subprocess.Popen(
            [
                *UNSHARE,
                "sh",
                "-c",
                "mount -t tmpfs tmpfs /run && ip link set lo up && echo ready && read -r _",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text()
        self.pid = int(children.split()[0])
        self.started = []

    def words(self, command):
        words = command.split() if isinstance(command, str) else [str(word) for word in command]
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", f"--wd={REPOSITORY}", *words]

    def run(self, command, check=True, input=None, timeout=60 * SLOWER, **variables):
        """Run a command (text is split at blanks); its CompletedProcess."""
        result = subprocess.run(
            self.words(command),
            input="" if input is None else input,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **variables},
            start_new_session=True,
        )
        if check and result.returncode:
            raise AssertionError(f"{self.name}: {command}: {result.stdout}{result.stderr}")
        return result

    def output(self, command, **options):
        return self.run(command, **options).stdout

    def python(self, text, *arguments, **options):
        """Run a Python text; its stdout, stripped."""
        return self.output([sys.executable, "-c", textwrap.dedent(text), *arguments], **options).strip()

    def start(self, command, **variables):
        """Start a command and leave it running; it ends with the machine."""
        process = subprocess.Popen(
            self.words(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **variables},
        )
        self.started.append(process)
        return process

    def file(self, path, content, mode=0o644):
        self.run(
            ["sh", "-c", f'mkdir -p "$(dirname {path})" && cat >{path} && chmod {mode:o} {path}'],
            input=content,
        )

    def close(self):
        self.holder.stdin.close()
        self.holder.wait(10 * SLOWER)
        self.holder.stdout.close()
        for process in self.started:
            process.wait(10 * SLOWER)
            process.stdout.close()


@pytest.fixture
def machines():
    """A function that makes a Machine of a name."""
    with contextlib.ExitStack() as stack:

        def make(name):
            machine = Machine(name)
            stack.callback(machine.close)
            return machine

        yield make


def wait_for(condition, what, deadline_s=10):
    end = time.monotonic() + deadline_s * SLOWER
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"no {what} within {deadline_s * SLOWER:g} s")


# --- set-up alone, with a stand-in for the translator -----------------------

RANGES = "--clat-range fddd:1337:1337::/48 --plat-range fddd:1337:1338::/48"
CLAT = f"{RANGES} --mac 12:34:56:78:9a:bc --client-range 10.126.0.0/16 --mesh-mtu 1374"
PLAT = f"{RANGES} --mac 12:34:56:78:9a:bc --pool 192.0.2.9/32 --wan wan --mesh-mtu 1374"
OPTIONS = {"clat": CLAT, "plat": PLAT}

STAND_IN = """\
#!/bin/sh
# siit ctl --socket PATH COMMAND
echo "$4" >>/run/siit/said
set -- $4
case "$1" in
add) ip tuntap add dev "$2" mode tun ;;
del) ip tuntap del dev "$2" mode tun ;;
config) [ ! -e /run/siit/sulks ] || { echo "error: not today" >&2; exit 1; } ;;
esac
"""


class Node:
    """A machine with 464xlat on it, run by one of the shells, with one of the firewalls."""

    def __init__(self, machine, shell="dash", firewall="nft", siit="/run/bin/siit"):
        self.machine, self.shell, self.firewall = machine, SHELLS[shell], firewall
        machine.run("mkdir -p /run/bin")
        self.variables = {
            "PATH": f"/run/bin:{os.environ['PATH']}",
            "SIIT": siit,
            "XLAT464": f"{sys.executable} -S -m xlat464",
        }
        if firewall.startswith("xtables-"):
            for program, end in itertools.product(("iptables", "ip6tables"), ("", "-save", "-restore")):
                target = shutil.which(f"{program}-{firewall.removeprefix('xtables-')}{end}")
                machine.run(f"ln -s {target} /run/bin/{program}{end}")

    def xlat(self, command, check=True, **variables):
        role, *words = command.split() or [""]
        if words[:1] == ["up"]:
            words[1:1] = ["--firewall", self.firewall.split("-")[0]]
        return self.machine.run(
            [*self.shell, FRONT_END, role, *words], check=check, **{**self.variables, **variables}
        )

    def snapshot(self):
        """All that 464xlat could have changed, as one text."""
        return snapshot(self.machine, self.variables)


def snapshot(machine, variables=None):
    """Addresses, routes, rules, firewall and sysctls of a machine.

    Built-in chains and tables without a rule count as nothing: iptables makes them when it first looks.
    """
    variables = variables or {}
    text = ""
    for command in (
        "ip link",
        "ip address",
        "ip -4 route show table all",
        "ip -6 route show table all",
        "ip -4 rule",
        "ip -6 rule",
        "nft list ruleset",
        "iptables-legacy-save",
        "ip6tables-legacy-save",
        "iptables-nft-save",
        "ip6tables-nft-save",
        "sysctl -a -r ^net[.]",
        "ls -A /run/464xlat",
    ):
        said = machine.run(command, check=False, **variables).stdout
        said = re.sub(r"^(#.*|\*.*|COMMIT|:[A-Z]+ .*)\n", "", said, flags=re.M)
        said = re.sub(r"^\tchain [A-Z]+ \{\n\t\ttype .*\n\t\}\n", "", said, flags=re.M)
        said = re.sub(r"^\n", "", said, flags=re.M)
        said = re.sub(r"^table .* \{\n\}\n", "", said, flags=re.M)
        said = re.sub(r"^(net.netfilter.nf_conntrack_count|lock\b).*\n", "", said, flags=re.M)
        text += f"== {command}\n{said}"
    return text


def stand_in_node(machine, shell="dash", firewall="nft"):
    """A Node with br-client, wan, and a stand-in for siit."""
    for device in ("br-client", "wan"):
        machine.run(f"ip link add {device} type bridge")
    machine.file("/run/bin/siit", STAND_IN, 0o755)
    machine.python(
        "import os, socket; os.makedirs('/run/siit', exist_ok=True);"
        "socket.socket(socket.AF_UNIX).bind('/run/siit/control.sock')"
    )
    return Node(machine, shell, firewall)


@pytest.fixture
def node(machines):
    return stand_in_node(machines("node"))


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
    assert re.match("192.0.2.9 dev plat proto static .*mtu lock 1354", ip("ip -4 route show 192.0.2.9"))
    assert re.match("default dev clat proto static .*mtu lock 1354", ip("ip -4 route show table 464"))
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
    assert [line.split()[:3] for line in status[1:]] == [["clat", "up", "clat"], ["plat", "up", "plat"]]
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

    wait_for(is_watched, "notice of a rule")
    node.xlat(f"clat up {CLAT} --mesh-mtu 1400")
    assert "mtu 1400" in node.machine.output("ip link show clat")
    # at no moment is there no rule that keeps clients off the node's own default route
    wait_for(lambda: "Deleted 32500:" in seen()[-1], "end of the guard")
    seen_of_up = [line for line in seen() if "192.0.2.1" not in line]
    assert seen_of_up[0].startswith("32500:")
    assert any(line.startswith("466:") for line in seen_of_up)
    assert node.machine.output("cat /run/464xlat/clat.undo").count("translator_del") == 1


def test_up_again_repairs_what_somebody_removed(node):
    empty = node.snapshot()
    for role in ("clat", "plat"):
        node.xlat(f"{role} up {OPTIONS[role]}")
        whole = node.snapshot()
        for damage in (f"ip tuntap del dev {role} mode tun", "nft flush ruleset"):
            node.machine.run(damage)
            assert "broken" in node.xlat(f"{role} status").stdout
            node.xlat(f"{role} up {OPTIONS[role]}")
            assert without_indices(node.snapshot()) == without_indices(whole)
            assert "broken" not in node.xlat(f"{role} status").stdout
        node.xlat(f"{role} down")
    assert node.snapshot() == empty


def without_indices(text):
    return re.sub(r"^\d+: ", "", text, flags=re.M)


def test_micropython_computes_the_prefixes_as_well(node, micropython):
    node.xlat(f"clat up {CLAT}", XLAT464=f"{micropython.executable()} -m xlat464")
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
    ("plat up --firewall none", "'none' is no choice"),
    ("plat up --device br-client", "there is a device 'br-client' already"),
    ("clat-route use", "the CLAT is not up"),
    ("clat-route maybe", "'maybe' is nothing that clat-route does"),
    ("clat sideways", "'sideways' is nothing that clat does"),
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
    for options in ("--mesh-mtu 100", "--device wan", "--mac 13:00:00:00:00:00", "--target /run/nothing"):
        assert node.xlat(f"clat up {CLAT} {options}", check=False).returncode == 1
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
    assert result.returncode == 1
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
    node.machine.run("rm /run/siit/control.sock /run/bin/siit")
    node.xlat("clat down")
    assert node.snapshot() == empty


def test_a_kernel_target_gets_one_write_a_command_and_a_smaller_mtu(node):
    """/proc/net/nat46/control is played by a file; the device is made beforehand by who plays nat46."""
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
        assert up.wait(20) == 0, up.stdout.read()
    assert node.machine.output("nft list tables").count("xlat464") == 2
    node.xlat("clat down")
    node.xlat("plat down")
    assert node.snapshot() == empty


def test_help_names_every_option(node):
    said = node.xlat("--help").stdout
    for options in OPTIONS.values():
        for option in re.findall("--[a-z-]+", options):
            assert option in said


# --- traffic, through the real translator -----------------------------------

MESH_MTU = 1374
CLIENT, SERVER, NEXT_NODE = "10.126.0.50", "198.51.100.2", "10.126.0.1"
CLAT_PREFIX = "fddd:1337:1337:200:0:c1::/96"
PLAT_PREFIX = "fddd:1337:1338:200:0:b2::/96"
SIIT = f"{sys.executable} -m siit"

ECHO_SERVER = """
    import socket, threading

    def tcp():
        server = socket.create_server(("", 7), backlog=50)
        while True:
            connection, peer = server.accept()
            threading.Thread(target=talk, args=(connection, peer), daemon=True).start()

    def talk(connection, peer):
        # one line says what to do: echo, take N bytes, or give N bytes
        with connection, connection.makefile("rb") as reader:
            word, *rest = reader.readline().split()
            if word == b"who":
                connection.sendall(b"%s %d\\n" % (peer[0].encode(), peer[1]))
            elif word == b"take":
                import hashlib
                digest, left = hashlib.sha256(), int(rest[0])
                while left:
                    data = reader.read(min(left, 65536))
                    digest.update(data)
                    left -= len(data)
                connection.sendall(digest.hexdigest().encode() + b"\\n")
            elif word == b"give":
                connection.sendall(bytes(range(251)) * (int(rest[0]) // 251))

    threading.Thread(target=tcp, daemon=True).start()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("", 7))
    udp.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER, IP_PMTUDISC_DONT: what is too large is cut up
    print("ready", flush=True)
    while True:
        data, peer = udp.recvfrom(65536)
        if data.startswith(b"who"):
            data = b"%s %d" % (peer[0].encode(), peer[1])
        udp.sendto(data, peer)
"""

PRELUDE = """
    import hashlib, socket, sys, time
    SERVER = "198.51.100.2"
    def tcp(command, address=SERVER, timeout=10):
        connection = socket.create_connection((address, 7), timeout)
        connection.sendall(command + b"\\n")
        return connection
    def udp(address=SERVER, timeout=3, df=False):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(timeout)
        s.setsockopt(socket.IPPROTO_IP, 10, 2 if df else 0)  # IP_MTU_DISCOVER
        s.connect((address, 7))
        return s
"""


def link(one, device, other, other_device, mtu=1500):
    """Join two machines by a pair of devices."""
    # entering the network only: the other machine's process has its number outside of the PID namespaces
    add = f"ip link add {device} mtu {mtu} type veth peer name {other_device} mtu {mtu} netns {other.pid}"
    subprocess.run(["nsenter", f"--target={one.pid}", "--net", *add.split()], check=True)


def address(machine, device, *addresses):
    machine.run(f"ip link set {device} up")
    for each in addresses:
        machine.run(f"ip address add {each} dev {device}" + (" nodad" if ":" in each else ""))


class Mesh:
    """client - clat - mid - plat - net4 - server: one node of each role, a router between, and the internet.

    `both` makes of plat a node with clients of its own: client2 is attached to it.
    """

    def __init__(self, machines, firewall="nft", pool="192.0.2.9/32", ports="1024-65535", both=False):
        names = ["client", "clat", "mid", "plat", "net4", "server"] + (["client2"] if both else [])
        for name in names:
            setattr(self, name, machines(name))
        link(self.client, "eth0", self.clat, "lan")
        link(self.clat, "mesh", self.mid, "left", MESH_MTU)
        link(self.mid, "right", self.plat, "mesh", MESH_MTU)
        link(self.plat, "wan", self.net4, "left")
        link(self.net4, "right", self.server, "eth0")
        self.attach(self.client, self.clat, CLIENT)
        address(self.clat, "mesh", "fd00:1::1/64")
        address(self.mid, "left", "fd00:1::2/64")
        address(self.mid, "right", "fd00:2::2/64")
        address(self.plat, "mesh", "fd00:2::1/64")
        address(self.plat, "wan", "203.0.113.1/24")
        address(self.net4, "left", "203.0.113.254/24")
        address(self.net4, "right", "198.51.100.1/24")
        address(self.server, "eth0", f"{SERVER}/24")
        self.clat.run("ip -6 route add default via fd00:1::2")
        self.plat.run("ip -6 route add default via fd00:2::2")
        self.plat.run("ip -4 route add default via 203.0.113.254")
        self.server.run("ip -4 route add default via 198.51.100.1")
        self.mid.run("sysctl -qw net.ipv6.conf.all.forwarding=1")
        self.net4.run("sysctl -qw net.ipv4.ip_forward=1")
        self.mid.run(f"ip -6 route add {CLAT_PREFIX} via fd00:1::1")
        self.mid.run("ip -6 route add fddd:1337:1337:200:0:b2::/96 via fd00:2::1")
        self.mid.run(f"ip -6 route add {PLAT_PREFIX} via fd00:2::1")
        if both:
            link(self.client2, "eth0", self.plat, "lan")
            self.attach(self.client2, self.plat, "10.126.0.60")
        # what makes it hard: reverse path filtering wherever it can be switched on
        for node in (self.clat, self.plat):
            node.run("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1")
        self.nodes = [Node(self.clat, "busybox ash", firewall, SIIT), Node(self.plat, "dash", firewall, SIIT)]
        self.before = [snapshot(node.machine, node.variables) for node in self.nodes]
        self.clat_node, self.plat_node = self.nodes
        for node in self.nodes:
            daemon = node.machine.start(f"{SIIT} daemon")
            wait_for(
                lambda machine=node.machine: (
                    machine.run("test -S /run/siit/control.sock", check=False).returncode == 0
                ),
                f"siit on {node.machine.name}: {daemon.poll()}",
            )
        common = f"{RANGES} --mesh-mtu {MESH_MTU} --client-range 10.126.0.0/16"
        self.plat_options = f"{common} --mac 02:00:00:00:00:b2 --pool {pool} --ports {ports} --wan wan"
        self.clat_options = f"{common} --mac 02:00:00:00:00:c1"
        self.plat_node.xlat(f"plat up {self.plat_options}")
        self.clat_node.xlat(f"clat up {self.clat_options}")
        self.choose(self.clat_node)
        if both:
            self.plat_node.xlat(f"clat up {common} --mac 02:00:00:00:00:b2")
            self.choose(self.plat_node)
        server = self.server.start([sys.executable, "-c", textwrap.dedent(ECHO_SERVER)])
        assert server.stdout.readline() == "ready\n"

    @staticmethod
    def attach(client, node, ipv4):
        node.run("ip link add br-client type bridge")
        address(node, "br-client", f"{NEXT_NODE}/16")
        node.run("ip link set lan up master br-client")
        address(client, "eth0", f"{ipv4}/16")
        client.run(f"ip route add default via {NEXT_NODE}")

    @staticmethod
    def choose(node):
        """What prefixd does when it has chosen the PLAT."""
        command = f"config clat remote.v4 0.0.0.0/0 remote.v6 {PLAT_PREFIX} remote.style RFC6052"
        node.machine.run([*SIIT.split(), "ctl", "--socket", "/run/siit/control.sock", command])
        node.xlat("clat-route use")

    def ask(self, text, machine=None, **options):
        return (machine or self.client).python(textwrap.dedent(PRELUDE) + textwrap.dedent(text), **options)


@pytest.fixture(params=FIREWALLS)
def mesh(machines, request):
    return Mesh(machines, request.param)


@pytest.fixture
def nft_mesh(machines):
    return Mesh(machines)


def test_a_client_reaches_the_ipv4_internet(mesh):
    assert "3 received" in mesh.client.output(f"ping -c 3 -i 0.1 -W 2 {SERVER}")
    assert mesh.ask('print(tcp(b"who").recv(100))').startswith("b'203.0.113.1 ")
    assert mesh.ask('s = udp(); s.send(b"hello"); print(s.recv(100))') == "b'hello'"
    # not a multiple of anything, larger than any MTU on the way, once as fragments
    for size in (1200, 1346, 1347, 1400, 3000, 20000):
        assert mesh.ask(f's = udp(); s.send(b"x" * {size}); print(len(s.recv(65536)))') == str(size)
    size = 251 * 40000
    up = f'data = bytes(range(251)) * 40000; c = tcp(b"take {size}", timeout=30); c.sendall(data); '
    assert (
        mesh.ask(up + "print(c.makefile().readline().strip() == hashlib.sha256(data).hexdigest())") == "True"
    )
    down = f'data = tcp(b"give {size}", timeout=30).makefile("rb").read(); '
    assert mesh.ask(down + f"print(data == bytes(range(251)) * 40000, len(data) == {size})") == "True True"
    for node in mesh.nodes:
        node.xlat("clat down")
        node.xlat("plat down")
    for node, before in zip(mesh.nodes, mesh.before, strict=True):
        assert settled(snapshot(node.machine, node.variables)) == settled(before)


def settled(text):
    """A snapshot without what happens by itself: links come up, addresses finish their detection."""
    text = re.sub(r"^(local|multicast|anycast) .*\n", "", text, flags=re.M)
    text = re.sub(r" state (UP|DOWN|UNKNOWN)", "", text)
    return re.sub(r"^.*fe80::.*\n|tentative ", "", text, flags=re.M)


def test_without_an_exit_clients_hear_so_at_once_and_nothing_leaks(nft_mesh):
    mesh = nft_mesh
    # a default route of the node's own, which is none of the clients'
    mesh.clat.run("ip link add uplink type bridge")
    address(mesh.clat, "uplink", "192.168.77.1/24")
    mesh.clat.run("ip -4 route add default via 192.168.77.254")
    mesh.clat.run("sysctl -qw net.ipv4.ip_forward=1")
    assert "1 received" in mesh.client.output(f"ping -c 1 -W 2 {SERVER}")
    mesh.clat_node.xlat("clat-route stop")
    start = time.monotonic()
    said = mesh.client.run(f"ping -c 1 -W 20 {SERVER}", check=False)
    assert f"From {NEXT_NODE} icmp_seq=1 Destination Net Unreachable" in said.stdout
    assert time.monotonic() - start < 10
    failed = "try: tcp(b'who')\nexcept OSError as error: print(error.strerror)"
    assert mesh.client.python(textwrap.dedent(PRELUDE) + failed) == "Network is unreachable"
    assert "1 received" in mesh.client.output(f"ping -c 1 -W 2 {NEXT_NODE}"), (
        "the node itself stays reachable"
    )
    mesh.clat_node.xlat("clat-route use")
    assert "1 received" in mesh.client.output(f"ping -c 1 -W 2 {SERVER}")


def test_a_client_of_a_node_with_both_roles_uses_its_own_exit(machines):
    mesh = Mesh(machines, both=True)
    mesh.mid.run("ip link set right down")
    assert mesh.ask('print(tcp(b"who").recv(100))', mesh.client2).startswith("b'203.0.113.1 ")
    size = 251 * 20000
    down = f'print(len(tcp(b"give {size}", timeout=30).makefile("rb").read()))'
    assert mesh.ask(down, mesh.client2) == str(size)
    mesh.plat_node.xlat("plat down")
    said = mesh.client2.run(f"ping -c 1 -W 1 {SERVER}", check=False)
    assert " 0 received" in said.stdout, "no way past the CLAT"
    mesh.plat_node.xlat(f"plat up {mesh.plat_options}")
    assert mesh.ask('print(tcp(b"who").recv(100))', mesh.client2).startswith("b'203.0.113.1 ")


def path_mtu(mesh, machine, to):
    """What a machine learnt about the path, in bytes; 0 if nothing."""
    found = re.search(r"mtu (\d+)", machine.output(f"ip route get {to}"))
    return int(found[1]) if found else 0


# sends what just fits the CLAT until an error says that the path is narrower: EMSGSIZE, 90
PROBE = """
    s = udp(df=True, timeout=0.3)
    for _ in range(20):
        try:
            s.send(b"x" * 1326)
            s.recv(2000)
        except TimeoutError:
            continue
        except OSError as error:
            print(error.errno)
            break
"""


def test_path_mtu_of_the_mesh_is_learnt_from_the_client(nft_mesh):
    mesh = nft_mesh
    narrow(mesh)
    assert mesh.ask(PROBE) == "90"
    assert path_mtu(mesh, mesh.client, SERVER) == 1280


@pytest.mark.parametrize("mesh", EITHER_KIND, indirect=True)
def test_path_mtu_of_the_mesh_is_learnt_from_the_server(mesh):
    """The router in the mesh has no IPv4 address and none that the PLAT's prefix maps: conntrack must place
    its Packet Too Big, NAT66 and siit translate it, and the masquerade put its own address in."""
    narrow(mesh)
    server = mesh.server.start([sys.executable, "-c", textwrap.dedent(BIG_ANSWERS)])
    assert server.stdout.readline() == "ready\n"
    mesh.ask('s = udp(); s.connect((SERVER, 9)); s.send(b"go"); time.sleep(1)')
    assert server.stdout.readline() == "90\n"  # EMSGSIZE
    assert path_mtu(mesh, mesh.server, "203.0.113.1") == 1280


BIG_ANSWERS = """
    import socket, time
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", 9))
    s.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
    print("ready", flush=True)
    _, peer = s.recvfrom(100)
    s.connect(peer)
    for _ in range(20):
        try:
            s.send(b"x" * 1326)
        except OSError as error:
            print(error.errno, flush=True)
            break
        time.sleep(0.1)
"""


def narrow(mesh):
    """A link in the mesh gets an MTU below the mesh's: the router before it says so, on either side."""
    for machine, device in (
        (mesh.mid, "left"),
        (mesh.clat, "mesh"),
        (mesh.mid, "right"),
        (mesh.plat, "mesh"),
    ):
        machine.run(f"ip link set {device} mtu {MESH_MTU}")
    mesh.mid.run("ip -6 route change fddd:1337:1337:200:0:c1::/96 via fd00:1::1 mtu 1300")
    mesh.mid.run(f"ip -6 route change {PLAT_PREFIX} via fd00:2::1 mtu 1300")


@pytest.mark.parametrize("mesh", EITHER_KIND, indirect=True)
def test_fragments_get_through_a_path_that_is_narrower_than_the_mesh_says(mesh):
    """Conntrack on the platnode puts them together, so a Packet Too Big would quote a whole packet."""
    narrow(mesh)
    for size in (1400, 3000, 20000):
        assert mesh.ask(f's = udp(); s.send(b"x" * {size}); print(len(s.recv(65536)))') == str(size)


def test_tcp_gets_through_a_path_that_is_narrower_than_its_mss(nft_mesh):
    mesh = nft_mesh
    narrow(mesh)
    size = 251 * 20000
    down = f'print(len(tcp(b"give {size}", timeout=30).makefile("rb").read()))'
    assert mesh.ask(down) == str(size)
    up = f'data = bytes({size}); c = tcp(b"take {size}", timeout=30); c.sendall(data); '
    assert (
        mesh.ask(up + "print(c.makefile().readline().strip() == hashlib.sha256(data).hexdigest())") == "True"
    )


@pytest.mark.parametrize(("mtu", "learnt"), [(1300, 1300), (1200, 1260)])
def test_path_mtu_of_the_ipv4_internet_is_learnt_by_the_client(nft_mesh, mtu, learnt):
    """Below 1280 IPv6 has no MTU to tell: what fits there goes without DF (RFC 7915 sections 4.2 and 5.1)."""
    mesh = nft_mesh
    for machine, device in ((mesh.net4, "right"), (mesh.server, "eth0")):
        machine.run(f"ip link set {device} mtu {mtu}")
    assert mesh.ask(PROBE) == "90"
    assert path_mtu(mesh, mesh.client, SERVER) == learnt
    size = learnt - 28
    assert mesh.ask(f's = udp(df=True); s.send(b"x" * {size}); print(len(s.recv(2000)))') == str(size)


def test_errors_of_mesh_routers_reach_the_client_from_192_0_0_8(nft_mesh):
    mesh = nft_mesh
    # hops: clat's IPv4 stack, its translator, clat's IPv6 stack, mid
    seen = [mesh.client.run(f"ping -c 1 -W 1 -t {ttl} {SERVER}", check=False).stdout for ttl in range(1, 7)]
    assert f"From {NEXT_NODE}" in seen[0]
    assert any("From 192.0.0.8" in text for text in seen[1:]), seen


def test_tcp_mss_is_clamped_both_ways_and_never_raised(mesh):
    mss = "s = tcp(b'who'); s.recv(100); print(s.getsockopt(6, 2))"  # TCP_MAXSEG
    assert int(mesh.ask(mss)) <= MESH_MTU - 60
    mesh.server.run("ip route change default via 198.51.100.1 advmss 1000")
    assert int(mesh.ask(mss)) <= 1000


def test_only_the_clat_range_enters_the_plat_and_nobody_from_outside(mesh):
    # another network's host in the mesh, and a node's own address
    mesh.mid.run("ip -6 address add fd00:9::1/128 dev lo")
    mesh.plat.run("ip -6 route add fd00:9::1 via fd00:2::2")
    target = "fddd:1337:1338:200:0:b2:c633:6402"  # SERVER in the PLAT's prefix
    said = mesh.mid.run(f"ping -c 1 -W 2 -I fd00:9::1 {target}", check=False)
    assert "Administratively prohibited" in said.stdout, said
    mesh.mid.run("ip -6 address add fddd:1337:1337:dead::1/128 dev lo")
    mesh.plat.run("ip -6 route add fddd:1337:1337:dead::1 via fd00:2::2")
    assert "1 received" in mesh.mid.output(f"ping -c 1 -W 2 -I fddd:1337:1337:dead::1 {target}")
    # from the internet side, to the pool, which no connection asked for
    mesh.net4.run("ip -4 route add 192.0.2.9 via 203.0.113.1")
    before = packets_in(mesh.plat, "plat")
    assert " 0 received" in mesh.net4.run("ping -c 2 -i 0.1 -W 1 192.0.2.9", check=False).stdout
    assert packets_in(mesh.plat, "plat") == before
    # out of the PLAT to anything but the WAN
    mesh.plat.run("ip link add office type bridge")
    address(mesh.plat, "office", "192.168.50.1/24")
    said = mesh.client.run("ping -c 1 -W 2 192.168.50.7", check=False)
    assert "Destination Host Prohibited" in said.stdout, said


def packets_in(machine, device):
    """IPv4 packets that siit has read from a device."""
    return re.search(r"in4_packets\s+(\d+)", machine.output(f"{SIIT} stat {device}"))[1]


@pytest.mark.parametrize("firewall", EITHER_KIND)
def test_clients_share_the_pools_addresses_and_stay_in_the_port_range(machines, firewall):
    mesh = Mesh(machines, firewall, pool="192.0.2.8/30", ports="20000-20199")
    watch = mesh.plat.start("tcpdump -i plat -nn -l --immediate-mode ip and dst 198.51.100.2 and not icmp")
    wait_for(lambda: "listening" in watch.stdout.readline(), "tcpdump")
    many = """
        for i in range(60):
            for s in (tcp(b"who"), udp()):
                if s.type == socket.SOCK_DGRAM: s.send(b"who")
                s.recv(100)
    """
    mesh.ask(many)
    mesh.plat.run("pkill -INT tcpdump")
    sources = re.findall(r"IP (192\.0\.2\.\d+)\.(\d+) > 198", watch.stdout.read())
    assert len(sources) >= 120
    assert {ip for ip, _ in sources} <= {"192.0.2.8", "192.0.2.9", "192.0.2.10", "192.0.2.11"}
    assert all(20000 <= int(port) <= 20199 for _, port in sources)
